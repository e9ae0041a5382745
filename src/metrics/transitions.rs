//! What became of each origin, and why: a counter that moves when a state does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use sluicegate_core::fleet::origin::OriginId;

use super::TransitionLabels;
use super::catalog::Catalog;

/// The states origins were last seen in, and how often each was entered. As many entries as there are origins.
#[derive(Debug)]
pub struct Transitions {
    seen: Mutex<HashMap<OriginId, &'static str>>,
    counts: Family<TransitionLabels, Counter>,
}

impl Transitions {
    pub(super) fn new(registry: &mut Catalog) -> Self {
        let counts = Family::default();
        let help = "Origins that entered a state, by what led to it";
        registry.register("origin_transitions", help, counts.clone());
        Self {
            seen: Mutex::default(),
            counts,
        }
    }

    /// Notes the state `origin` is in now; it counts if it was in another before.
    pub fn now_in(&self, origin: &OriginId, state: &'static str, reason: &'static str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.get(origin) != Some(&state) {
            seen.insert(origin.clone(), state);
            self.count(state, reason);
        }
    }

    /// Notes that `origin` is known no more.
    pub fn gone(&self, origin: &OriginId, reason: &'static str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.remove(origin).is_some() {
            self.count("gone", reason);
        }
    }

    /// Notes that the origin `from` stands under another name.
    pub fn renamed(&self, from: &OriginId, to: &OriginId) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = seen.remove(from) {
            seen.insert(to.clone(), state);
        }
    }

    fn count(&self, state: &'static str, reason: &'static str) {
        self.counts
            .get_or_create(&TransitionLabels { state, reason })
            .inc();
    }
}
