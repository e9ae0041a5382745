//! When a certificate is renewed, and when a failed order is tried again.

use std::time::Duration;

/// When a certificate is to be renewed that holds from `not_before` to `not_after`, all in seconds since 1970: after two
/// thirds of its time, which leaves weeks to notice that it failed.
pub(super) const fn renewal(not_before: i64, not_after: i64) -> i64 {
    not_after - (not_after - not_before) / 3
}

/// How long to wait after this many failures in a row: a minute, then twice as long each time, up to half a day. `random`
/// makes it up to a quarter longer, so that not everybody comes again when a server is back.
pub(super) fn back_off(failures: u32, random: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST);
    wait + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0)
}

const FIRST: Duration = Duration::from_secs(60);
/// Servers allow a handful of failed validations an hour for one name.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thirds_of_the_time_are_used() {
        let day = 24 * 60 * 60;
        for (cause, days, expected) in [("90 days", 90, 60), ("47 days", 48, 32), ("6 days", 6, 4)]
        {
            assert_eq!(
                renewal(1000, 1000 + days * day),
                1000 + expected * day,
                "{cause}"
            );
        }
        assert_eq!(renewal(9, 9), 9, "one that never held");
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
}
