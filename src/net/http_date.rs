//! The time of day as HTTP writes it (RFC 9110 §5.6.7).

use std::cell::RefCell;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::unix_time;

/// Gives the date of this second to `write`. It is written once a second on each thread.
pub(crate) fn with<T>(write: impl FnOnce(&str) -> T) -> T {
    let now = unix_time::seconds();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now || text.is_empty() {
            *second = now;
            *text = written(now);
        }
        write(text)
    })
}

fn written(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let written = DateTimePrinter::new().timestamp_to_rfc9110_string(&time.unwrap_or_default());
    written.unwrap_or_default()
}

thread_local! {
    static LAST: RefCell<(u64, String)> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let rows = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(written(seconds), expected);
        }
        assert!(with(str::to_owned).ends_with(" GMT"));
    }
}
