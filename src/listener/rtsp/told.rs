//! Of which origins the log was told lately that no client can log in there: each client that tries hears it, and the log has a
//! line for each of them, but what to do about it is to be said once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::rtsp::rewrite::Unanswerable;
use tracing::warn;

/// The origins, and when the log was told.
#[derive(Debug, Default)]
pub struct ToldOrigins(Mutex<HashMap<OriginId, Instant>>);

impl ToldOrigins {
    /// Tells of an origin whose challenge no client can answer, unless that was said lately.
    pub(super) fn tell_of(&self, origin: &OriginId, why: Unanswerable) {
        if self.is_due(origin, Instant::now()) {
            warn!(%origin, why = why.as_str(), advice = why.advice(), "no client can log in at this origin by RTSP");
        }
    }

    fn is_due(&self, origin: &OriginId, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < AGAIN;
        if told.get(origin).is_some_and(is_recent) {
            return false;
        }
        if told.len() >= MOST {
            told.retain(|_, at| is_recent(at));
        }
        let has_room = told.len() < MOST;
        if has_room {
            told.insert(origin.clone(), now);
        }
        has_room
    }
}

/// How long until it is said again.
const AGAIN: Duration = Duration::from_secs(600);
/// Maximum origins that are remembered.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_of_once_in_a_while() {
        let told = ToldOrigins::default();
        let now = Instant::now();
        let (one, two) = (OriginId::from("one"), OriginId::from("two"));
        assert!(told.is_due(&one, now) && told.is_due(&two, now));
        assert!(!told.is_due(&one, now + AGAIN / 2));
        assert!(told.is_due(&one, now + AGAIN));
        assert!(!told.is_due(&one, now + AGAIN), "that was said now");
        for number in 0..MOST {
            told.is_due(&OriginId::from(format!("{number}").as_str()), now + AGAIN);
        }
        assert_eq!(told.0.lock().unwrap().len(), MOST);
    }
}
