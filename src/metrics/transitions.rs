//! State changes of origins, and their reasons: a counter that moves when a state does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use sluicegate_core::fleet::origin::OriginId;

use super::TransitionLabels;
use super::catalog::Catalog;

/// The last known state of each origin, and how often each state was entered. There are as many entries as origins.
#[derive(Debug)]
pub struct Transitions {
    seen: Mutex<HashMap<OriginId, &'static str>>,
    counts: Family<TransitionLabels, Counter>,
}

impl Transitions {
    pub(super) fn new(registry: &mut Catalog) -> Self {
        let counts = Family::default();
        let help = "Origins that entered a state, by reason";
        registry.register("origin_transitions", help, counts.clone());
        Self {
            seen: Mutex::default(),
            counts,
        }
    }

    /// Notes the state that `origin` is in now; it counts if the state differs from the last one, and only then is the
    /// answer yes.
    pub fn now_in(&self, origin: &OriginId, state: &'static str, reason: &'static str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.get(origin) != Some(&state);
        if is_new {
            seen.insert(origin.clone(), state);
            self.count(state, reason);
        }
        is_new
    }

    /// Notes that `origin` is no longer known; yes if it was.
    pub fn gone(&self, origin: &OriginId, reason: &'static str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let was_known = seen.remove(origin).is_some();
        if was_known {
            self.count("gone", reason);
        }
        was_known
    }

    /// Notes that the origin `from` has another name now.
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
