//! How long it took lately to join clients to an origin.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The set-up times of the newest sessions on one origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Setups(VecDeque<(Instant, Duration)>);

impl Setups {
    /// Notes that a session was joined at `now`, which took this long.
    pub(super) fn note(&mut self, now: Instant, took: Duration) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((now, took));
    }

    /// The median of those of the last five minutes; `None` without one.
    pub(super) fn median(&self, now: Instant) -> Option<Duration> {
        let lately = self
            .0
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= LATELY);
        let mut took: Vec<Duration> = lately.map(|(_, took)| *took).collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }
}

/// Sessions that are remembered: enough for a median.
const MOST: usize = 64;
const LATELY: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(
        clippy::disallowed_methods,
        reason = "a test needs some instant to count from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_median_is_that_of_the_newest_few() {
        let began = start();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let millis = Duration::from_millis;
        let mut setups = Setups::default();
        assert_eq!(setups.median(began), None);
        for (seconds, took) in [(0, 900), (1, 10), (2, 30)] {
            setups.note(at(seconds), millis(took));
        }
        assert_eq!(setups.median(at(2)), Some(millis(30)));
        assert_eq!(
            setups.median(at(301)),
            Some(millis(30)),
            "the first is too old"
        );
        assert_eq!(setups.median(at(303)), None);
        for second in 0..1_000 {
            setups.note(at(303), millis(second));
        }
        assert_eq!(setups.0.len(), MOST);
    }
}
