//! Durations as people write them, in Go's grammar, which the SRS proxy's variables use.

use crate::value::ValueError;
use std::time::Duration;

/// Reads `300s`, `1m30s`, `1.5s` or `500ms`: one or more decimals, each with its unit (`ns us µs ms s m h`). A bare
/// number other than `0` is refused, and so is a negative duration.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.starts_with('-') {
        return Err(ValueError::Negative);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(ValueError::NotADuration);
    }
    let mut nanoseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = take_part(rest)?;
        nanoseconds = nanoseconds
            .checked_add(part)
            .filter(|total| *total <= LONGEST)
            .ok_or(ValueError::TooLong)?;
        rest = after;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Reads what [`parse_duration`] reads, and whole days, as `30d`: for people who say how long something lasts. Settings keep to
/// the units of Go.
pub fn parse_period(text: &str) -> Result<Duration, ValueError> {
    let Some(days) = text.strip_suffix('d') else {
        return parse_duration(text);
    };
    if days.is_empty() || !days.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::NotADuration);
    }
    let hours = days
        .parse::<u64>()
        .ok()
        .and_then(|days| days.checked_mul(24));
    let hours = hours.ok_or(ValueError::TooLong)?;
    parse_duration(&format!("{hours}h"))
}

/// Writes a duration that [`parse_duration`] reads, with as few units as possible: `5m`, `1m30s`, `500ms`, `1.5ms` as
/// `1ms500us`.
pub fn format_duration(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, size) in UNITS {
        let count = left / u128::from(size);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            left %= u128::from(size);
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// Reads one `decimal unit` from the front. Returns its nanoseconds and the rest of the text.
fn take_part(text: &str) -> Result<(u64, &str), ValueError> {
    let (whole, after) = split_while(text, |c| c.is_ascii_digit());
    let (fraction, after) = match after.strip_prefix('.') {
        None => ("", after),
        Some(after) => split_while(after, |c| c.is_ascii_digit()),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(ValueError::NotADuration);
    }
    let (unit, rest) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
    if unit.is_empty() {
        return Err(ValueError::NoUnit);
    }
    let size = match unit {
        // The micro sign and the Greek letter look the same; Go accepts both.
        "µs" | "μs" => 1_000,
        _ => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, size)| *size)
            .ok_or(ValueError::NotADuration)?,
    };
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| ValueError::TooLong)?
    };
    let whole = whole.checked_mul(size).ok_or(ValueError::TooLong)?;
    // Digits below a nanosecond are cut, as Go does.
    let mut part = 0;
    let mut scale = size;
    for digit in fraction.chars().filter_map(|c| c.to_digit(10)) {
        if scale < 10 {
            break;
        }
        part += u64::from(digit) * scale / 10;
        scale /= 10;
    }
    Ok((whole.checked_add(part).ok_or(ValueError::TooLong)?, rest))
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !keep(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Maximum duration: Go counts in signed nanoseconds, which is 292 years.
const LONGEST: u64 = i64::MAX as u64;

/// The units, longest first, with their nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_durations_are_read() {
        for (cause, text, milliseconds) in [
            ("seconds", "300s", 300_000),
            ("two units", "1m30s", 90_000),
            ("a fraction", "1.5s", 1_500),
            ("a fraction without a whole", ".5s", 500),
            ("a whole with an empty fraction", "2.s", 2_000),
            ("milliseconds are not minutes", "500ms", 500),
            ("hours", "1h", 3_600_000),
            ("zero may be bare", "0", 0),
            ("a plus sign", "+3s", 3_000),
            ("micro sign", "1000µs", 1),
            ("greek mu", "1000μs", 1),
            ("a unit twice", "1s1s", 2_000),
            ("a fraction that has no binary form", "0.3s", 300),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{cause}: {text}"
            );
        }
        assert_eq!(
            parse_duration("1.23456789s"),
            Ok(Duration::from_nanos(1_234_567_890))
        );
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_the_reason() {
        for (cause, text, error) in [
            ("a bare number", "5", ValueError::NoUnit),
            ("a number after a unit", "1m30", ValueError::NoUnit),
            ("nothing", "", ValueError::NotADuration),
            ("a unit alone", "s", ValueError::NotADuration),
            ("a point alone", ".s", ValueError::NotADuration),
            ("an unknown unit", "3d", ValueError::NotADuration),
            ("a space", "3 s", ValueError::NotADuration),
            ("capital letters", "3S", ValueError::NotADuration),
            ("negative", "-3s", ValueError::Negative),
            ("longer than Go can count", "3000000h", ValueError::TooLong),
            (
                "more digits than a number holds",
                "99999999999999999999s",
                ValueError::TooLong,
            ),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{cause}: {text:?}");
        }
    }

    #[test]
    fn people_say_days_too() {
        let day = 24 * 3600;
        for (cause, text, expected) in [
            ("days", "30d", Ok(30 * day)),
            ("none", "0d", Ok(0)),
            ("what settings take", "1h30m", Ok(5400)),
            ("a fraction", "1.5d", Err(ValueError::NotADuration)),
            ("no number", "d", Err(ValueError::NotADuration)),
            ("with hours", "1d2h", Err(ValueError::NotADuration)),
            ("a sign", "-1d", Err(ValueError::NotADuration)),
            ("too many", "999999d", Err(ValueError::TooLong)),
            (
                "far too many",
                "99999999999999999999d",
                Err(ValueError::TooLong),
            ),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(parse_period(text), expected, "{cause}: {text:?}");
        }
    }

    #[test]
    fn durations_are_written_short() {
        for (milliseconds, text) in [
            (0, "0s"),
            (300_000, "5m"),
            (90_000, "1m30s"),
            (1_500, "1s500ms"),
            (3_600_000, "1h"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(milliseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn reading_is_the_inverse_of_writing(nanoseconds in 0..LONGEST) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,24}") {
            let _ = parse_duration(&text);
        }
    }
}
