//! When a shard sleeps between two reads.

use std::time::{Duration, Instant};

/// Decides whether a shard is so busy that it should sleep between its reads.
///
/// A wake-up costs more than a datagram. A shard with little traffic wakes up for each datagram, and nothing is
/// delayed. A shard with much traffic sleeps for a moment when it has emptied its sockets, and then reads what arrived
/// meanwhile.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    arrived: u64,
    busy: bool,
    rest: Duration,
}

impl Pace {
    /// `rest` is how long a busy shard sleeps, and so the most by which it delays a datagram; the system adds about
    /// fifty microseconds. It sleeps less if the system gave it a receive buffer (in bytes) so small that a burst would
    /// fill it.
    pub(super) fn new(now: Instant, rest: Duration, buffer: usize) -> Self {
        let datagrams = u32::try_from(buffer / ROOM_OF_ONE).unwrap_or(u32::MAX);
        Self {
            since: now,
            arrived: 0,
            busy: false,
            rest: rest.min(AT_ONCE.saturating_mul(datagrams)),
        }
    }

    /// Takes the number of datagrams of the last read.
    pub(super) fn count(&mut self, now: Instant, arrived: u64) {
        self.arrived += arrived;
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            self.busy = u128::from(self.arrived) >= u128::from(BUSY) * passed.as_millis();
            self.since = now;
            self.arrived = 0;
        }
    }

    /// How long to sleep after a turn in which something was `received` or not; `None` for not at all.
    pub(super) fn rest(&self, received: bool) -> Option<Duration> {
        (self.busy && received).then_some(self.rest)
    }
}

/// Datagrams per millisecond that make a shard busy, so that a sleep gathers several.
const BUSY: u32 = 10;
/// Bytes that the system counts for a full-sized datagram in a receive buffer.
const ROOM_OF_ONE: usize = 2304;
/// How far apart the datagrams of a burst are: at five gigabits per second.
const AT_ONCE: Duration = Duration::from_micros(2);
/// How long datagrams are counted before that is decided.
const WINDOW: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_millis(1);

    #[test]
    fn a_shard_rests_while_much_comes_and_not_otherwise() {
        let millis = Duration::from_millis;
        let rows = [
            ("nothing came", &[(millis(20), 0)][..], true, None),
            ("a call or two", &[(millis(20), 16)], true, None),
            ("just not busy", &[(millis(20), 199)], true, None),
            ("busy", &[(millis(20), 200)], true, Some(REST)),
            (
                "busy, in several looks",
                &[(millis(5), 50), (millis(5), 70), (millis(10), 80)],
                true,
                Some(REST),
            ),
            (
                "busy, and now nothing is there",
                &[(millis(20), 200)],
                false,
                None,
            ),
            ("as much in a longer time", &[(millis(80), 200)], true, None),
            ("much, and not for long", &[(millis(19), 9000)], true, None),
            (
                "busy no more",
                &[(millis(20), 900), (millis(20), 3)],
                true,
                None,
            ),
            (
                "busy again",
                &[(millis(20), 3), (millis(20), 900)],
                true,
                Some(REST),
            ),
            ("no time passed", &[(Duration::ZERO, 900)], true, None),
        ];
        for (cause, counted, received, expected) in rows {
            let mut now = Instant::now();
            let mut pace = Pace::new(now, REST, 16 << 20);
            assert_eq!(pace.rest(received), None, "{cause}: before it is known");
            for (passed, arrived) in counted {
                now += *passed;
                pace.count(now, *arrived);
            }
            assert_eq!(pace.rest(received), expected, "{cause}");
        }
    }

    #[test]
    fn a_small_receive_buffer_shortens_rests() {
        // What Linux gives to anyone who asks for more, as Linux counts it; and less than any system has.
        for (buffer, micros) in [(16 << 20, 1000), (2 * 212_992, 368), (2304, 2), (0, 0)] {
            let mut now = Instant::now();
            let mut pace = Pace::new(now, REST, buffer);
            now += Duration::from_millis(20);
            pace.count(now, 900);
            assert_eq!(pace.rest(true), Some(Duration::from_micros(micros)));
        }
    }
}
