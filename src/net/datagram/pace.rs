//! When a shard rests.

use std::time::{Duration, Instant};

/// Whether a shard is so busy that it should rest between its looks.
///
/// A wake-up costs more than a datagram. A shard to which little comes has one for each, and nothing is delayed. One to
/// which much comes sleeps for a moment when it has found its sockets empty, and then takes what came meanwhile.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    busy: bool,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            since: now,
            busy: false,
        }
    }

    /// Takes how many datagrams arrived since this was last said.
    pub(super) fn settle(&mut self, now: Instant, arrived: u64) {
        let millis = now.saturating_duration_since(self.since).as_millis();
        self.busy = u128::from(arrived) >= u128::from(BUSY) * millis.max(1);
        self.since = now;
    }

    /// How long to rest, after a turn in which something was `received` or not.
    pub(super) fn rest(&self, received: bool) -> Option<Duration> {
        (self.busy && received).then_some(REST)
    }
}

/// Datagrams a millisecond that make a shard busy, so that a rest brings some together.
const BUSY: u32 = 10;
/// How long a busy shard rests, and so the most by which it delays a datagram that finds it idle; the system adds some
/// fifty microseconds.
const REST: Duration = Duration::from_micros(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_rests_while_much_comes_and_not_otherwise() {
        let second = Duration::from_secs(1);
        let quarter = second / 4;
        let rows = [
            ("nothing came", &[(quarter, 0)][..], true, None),
            ("a call or two", &[(quarter, 200)], true, None),
            ("just not busy", &[(quarter, 2499)], true, None),
            ("busy", &[(quarter, 2500)], true, Some(REST)),
            (
                "busy, and now nothing is there",
                &[(quarter, 2500)],
                false,
                None,
            ),
            ("as much in a longer time", &[(second, 2500)], true, None),
            ("busy no more", &[(quarter, 9000), (quarter, 3)], true, None),
            (
                "busy again",
                &[(quarter, 3), (quarter, 9000)],
                true,
                Some(REST),
            ),
            ("no time passed", &[(Duration::ZERO, 9)], true, None),
        ];
        for (cause, settled, received, expected) in rows {
            let mut now = Instant::now();
            let mut pace = Pace::new(now);
            assert_eq!(pace.rest(received), None, "{cause}: before it is known");
            for (passed, arrived) in settled {
                now += *passed;
                pace.settle(now, *arrived);
            }
            assert_eq!(pace.rest(received), expected, "{cause}");
        }
    }
}
