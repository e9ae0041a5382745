//! Limits floods of log lines: each place in the code may write a limited number of lines a second, and the rest is
//! counted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

/// The recent lines of each place in the code; there are as many entries as places.
#[derive(Debug)]
pub(super) struct Flood {
    places: Mutex<Option<HashMap<Identifier, CallSite>>>,
}

#[derive(Debug)]
struct CallSite {
    second: Instant,
    lines: u32,
    left_out: u64,
    message: String,
}

impl Flood {
    pub(super) const fn new() -> Self {
        Self {
            places: Mutex::new(None),
        }
    }

    /// Whether to write the line; if not, it is counted.
    pub(super) fn admits(&self, callsite: Identifier, message: &str, now: Instant) -> bool {
        let mut places = self.lock();
        let place = places
            .get_or_insert_default()
            .entry(callsite)
            .or_insert_with(|| CallSite {
                second: now,
                lines: 0,
                left_out: 0,
                message: message.to_owned(),
            });
        if now.saturating_duration_since(place.second) >= SECOND {
            place.second = now;
            place.lines = 0;
        }
        place.lines = place.lines.saturating_add(1);
        let admitted = place.lines <= MOST;
        if !admitted {
            place.left_out += 1;
        }
        admitted
    }

    /// What was left out since the last call: the message, and how often.
    pub(super) fn take_left_out(&self) -> Vec<(String, u64)> {
        let mut places = self.lock();
        let Some(places) = places.as_mut() else {
            return Vec::new();
        };
        let told = places.values_mut().filter(|place| place.left_out > 0);
        told.map(|place| (place.message.clone(), std::mem::take(&mut place.left_out)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<Identifier, CallSite>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Maximum lines a second from one place: as much as a person can still read, and far more than a quiet fleet writes.
const MOST: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    /// A callsite of its own.
    macro_rules! place {
        () => {{
            use tracing::Callsite;
            static METADATA: tracing::Metadata<'static> = tracing::metadata! {
                name: "a place",
                target: "test",
                level: tracing::Level::INFO,
                fields: &[],
                callsite: &CALLSITE,
                kind: tracing::metadata::Kind::EVENT
            };
            static CALLSITE: tracing::callsite::DefaultCallsite =
                tracing::callsite::DefaultCallsite::new(&METADATA);
            CALLSITE.metadata().callsite()
        }};
    }

    #[test]
    fn what_is_left_out_is_counted_and_told_once() {
        let flood = Flood::new();
        let (loud, quiet) = (place!(), place!());
        let now = Instant::now();
        let admitted = |times: u32, at: Instant| {
            let admits = |_: &u32| flood.admits(loud.clone(), "refused", at);
            (0..times).filter(admits).count()
        };
        assert_eq!(admitted(MOST + 50, now), MOST as usize);
        assert!(flood.admits(quiet, "ready", now), "others have their own");
        assert_eq!(admitted(1, now + SECOND), 1, "the next second");
        assert_eq!(flood.take_left_out(), [("refused".to_owned(), 50)]);
        assert_eq!(flood.take_left_out(), []);
    }
}
