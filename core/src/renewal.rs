//! When a certificate from an ACME server is replaced: at a moment of the time that the server suggests (RFC 9773), or after
//! two thirds of its life; when the server is asked about that; and when a failed order is tried again. All times are seconds
//! since 1970 in UTC.

use std::time::Duration;

/// The renewal of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    not_before: i64,
    not_after: i64,
    taken: i64,
    place: u32,
    window: Option<Window>,
    ask: i64,
}

/// The time in which a server wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start: i64,
    end: i64,
}

impl Window {
    /// From `start` to `end`; `None` unless that is some time, because then it is to be taken for no answer (RFC 9773 §4.2).
    pub const fn new(start: i64, end: i64) -> Option<Self> {
        if start < end {
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// The moment at `place`, in parts of 2^32.
    fn at(self, place: u32) -> i64 {
        let length = i128::from(self.end) - i128::from(self.start);
        let moment = i128::from(self.start) + ((length * i128::from(place)) >> u32::BITS);
        i64::try_from(moment).unwrap_or(self.end)
    }
}

impl Renewal {
    /// For a certificate that holds from `not_before` to `not_after`, and is in use since `taken`. `place` is random: where in a
    /// window of the server this certificate is renewed, so that not everybody comes at once.
    pub const fn new(not_before: i64, not_after: i64, taken: i64, place: u32) -> Self {
        Self {
            not_before,
            not_after,
            taken,
            place,
            window: None,
            // A server has something to say of a certificate as soon as it is issued (RFC 9773 §4.3).
            ask: taken,
        }
    }

    /// When another certificate is to be ordered in place of this one.
    ///
    /// The server's word counts, early and late, with two bounds. On its word alone nothing is ordered within an hour after the
    /// last time, or one that always says "now" would be sent order after order. And the last tenth of the certificate's life
    /// is not waited for, so that a mistake of the server does not let it run out.
    pub fn due(&self) -> i64 {
        let Some(window) = self.window else {
            return two_thirds(self.not_before, self.not_after);
        };
        let life = self.not_after.saturating_sub(self.not_before);
        let latest = self.not_after.saturating_sub(life / LAST_PART);
        let earliest = self.taken.saturating_add(seconds(ONCE_IN));
        window.at(self.place).max(earliest).min(latest)
    }

    /// When the server is to be asked for its window; `None` if the certificate has run out by then, because that is not asked
    /// (RFC 9773 §4.3).
    pub fn ask(&self) -> Option<i64> {
        (self.ask <= self.not_after).then_some(self.ask)
    }

    /// The server answered at `now`, and wants to be asked again after `retry_after`: not within a minute, and within a day
    /// (RFC 9773 §4.3.2).
    pub fn answered(&mut self, now: i64, window: Window, retry_after: Duration) {
        self.window = Some(window);
        let wait = retry_after.clamp(SOONEST, LATEST);
        self.ask = now.saturating_add(seconds(wait));
    }

    /// There was no answer at `now`, or none that can be used. What the server said before still counts. It is asked again after
    /// six hours (RFC 9773 §4.3.3), or up to a quarter more, by `random`.
    pub fn unanswered(&mut self, now: i64, random: u32) {
        self.ask = now.saturating_add(seconds(longer(ASK_AGAIN, random)));
    }
}

/// After two thirds of the time from `not_before` to `not_after`: that leaves weeks to notice that it failed.
pub const fn two_thirds(not_before: i64, not_after: i64) -> i64 {
    not_after.saturating_sub(not_after.saturating_sub(not_before) / 3)
}

/// How long to wait after this many failed orders in a row: a minute, then twice as long each time, up to half a day. `random`
/// makes it up to a quarter longer, so that not everybody comes again when a server is back.
pub fn back_off(failures: u32, random: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    longer(doubled.min(LONGEST), random)
}

/// Up to a quarter longer.
fn longer(wait: Duration, random: u32) -> Duration {
    wait + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0)
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const FIRST: Duration = Duration::from_secs(MINUTE);
/// Servers allow a handful of failed validations an hour for one name.
const LONGEST: Duration = Duration::from_secs(12 * HOUR);
/// Between two orders of a certificate on the server's word alone.
const ONCE_IN: Duration = Duration::from_secs(HOUR);
/// The part of a certificate's life that is not waited for: the last of this many.
const LAST_PART: i64 = 10;
/// The bounds that RFC 9773 §4.3.2 names for the time between two questions.
const SOONEST: Duration = Duration::from_secs(MINUTE);
const LATEST: Duration = Duration::from_secs(24 * HOUR);
const ASK_AGAIN: Duration = Duration::from_secs(6 * HOUR);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;
    const NINETY_DAYS: i64 = 90 * DAY;

    #[test]
    fn two_thirds_of_the_time_are_used() {
        for (cause, days, expected) in [("90 days", 90, 60), ("47 days", 48, 32), ("6 days", 6, 4)]
        {
            let renewal = Renewal::new(1000, 1000 + days * DAY, 1000, 0);
            assert_eq!(renewal.due(), 1000 + expected * DAY, "{cause}");
        }
        assert_eq!(two_thirds(9, 9), 9, "one that never held");
        assert!(two_thirds(i64::MIN, i64::MAX) > 0, "nonsense is no panic");
    }

    #[test]
    fn the_server_says_when_within_bounds() {
        let half = 1 << 31;
        let hour = 60 * 60;
        for (cause, start, end, place, expected) in [
            ("its beginning", 30 * DAY, 32 * DAY, 0, 30 * DAY),
            ("its middle", 30 * DAY, 32 * DAY, half, 31 * DAY),
            ("its end", 30 * DAY, 32 * DAY, u32::MAX, 32 * DAY - 1),
            ("it is over", -DAY, -hour, half, hour),
            ("it is over since long ago", i64::MIN, -1, half, hour),
            ("later than two thirds", 70 * DAY, 71 * DAY, 0, 70 * DAY),
            ("in the last tenth", 85 * DAY, 86 * DAY, 0, 81 * DAY),
            ("after the end", 100 * DAY, i64::MAX, half, 81 * DAY),
        ] {
            let mut renewal = Renewal::new(0, NINETY_DAYS, 0, place);
            let window = Window::new(start, end).unwrap();
            renewal.answered(0, window, Duration::from_secs(600));
            assert_eq!(renewal.due(), expected, "{cause}");
        }
        for (start, end) in [(5, 5), (6, 5), (i64::MAX, i64::MIN)] {
            assert_eq!(Window::new(start, end), None, "{start} to {end}");
        }
    }

    #[test]
    fn one_that_is_taken_later_may_be_replaced_at_once() {
        // As after a restart: it is in use for long.
        let mut renewal = Renewal::new(0, NINETY_DAYS, 0, 0);
        let window = Window::new(5 * DAY, 5 * DAY + 1).unwrap();
        renewal.answered(20 * DAY, window, Duration::ZERO);
        assert!(renewal.due() < 20 * DAY);
        // What replaces it is not replaced in turn, whatever the server says.
        let mut next = Renewal::new(20 * DAY, 110 * DAY, 20 * DAY, 0);
        next.answered(20 * DAY, window, Duration::ZERO);
        assert_eq!(next.due(), 20 * DAY + 3600);
    }

    #[test]
    fn a_later_answer_counts_and_none_changes_nothing() {
        let mut renewal = Renewal::new(0, NINETY_DAYS, 0, 0);
        renewal.answered(0, Window::new(50 * DAY, 51 * DAY).unwrap(), Duration::ZERO);
        renewal.unanswered(DAY, 0);
        assert_eq!(renewal.due(), 50 * DAY);
        renewal.answered(
            2 * DAY,
            Window::new(3 * DAY, 4 * DAY).unwrap(),
            Duration::ZERO,
        );
        assert_eq!(renewal.due(), 3 * DAY);
    }

    #[test]
    fn the_server_is_asked_neither_too_often_nor_too_seldom() {
        let window = Window::new(60 * DAY, 61 * DAY).unwrap();
        let mut renewal = Renewal::new(0, NINETY_DAYS, 7, 0);
        assert_eq!(renewal.ask(), Some(7), "as soon as it is there");
        for (cause, retry_after, expected) in [
            ("as it says", 6 * 3600, 6 * 3600),
            ("at once", 0, 60),
            ("never again", u64::MAX, 24 * 3600),
        ] {
            renewal.answered(100, window, Duration::from_secs(retry_after));
            assert_eq!(renewal.ask(), Some(100 + expected), "{cause}");
        }
        renewal.unanswered(100, 0);
        assert_eq!(renewal.ask(), Some(100 + 6 * 3600), "no answer");
        renewal.unanswered(100, u32::MAX);
        assert_eq!(renewal.ask(), Some(100 + 27_000), "a quarter later");
        renewal.unanswered(NINETY_DAYS, 0);
        assert_eq!(renewal.ask(), None, "of one that has run out");
    }

    #[test]
    fn failures_are_repeated_less_and_less_often() {
        let minutes = |failures, random| back_off(failures, random).as_secs() / 60;
        let rows = [(1, 1), (2, 2), (3, 4), (5, 16), (11, 720), (u32::MAX, 720)];
        for (failures, expected) in rows {
            assert_eq!(minutes(failures, 0), expected, "{failures}");
        }
        assert_eq!(minutes(11, u32::MAX), 900, "a quarter more");
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_it_is_renewed_in_its_life_and_not_at_once(
            life in 2 * 3600..400 * DAY, start: i64, length in 1..i64::MAX, place: u32, retry: u64,
        ) {
            let mut renewal = Renewal::new(0, life, 0, place);
            if let Some(window) = Window::new(start, start.saturating_add(length)) {
                renewal.answered(0, window, Duration::from_secs(retry));
            }
            prop_assert!((3600..life).contains(&renewal.due()));
            prop_assert!(renewal.ask().is_some_and(|ask| (0..=DAY).contains(&ask)) || life < DAY);
        }
    }
}
