//! Dates and durations of XML Schema, as manifests write them (ISO/IEC 23009-1 §5.3.1.2).

use crate::calendar::days;

/// Microseconds since 1970 of an `xs:dateTime`; one without a time zone is in UTC. `None` for what is none, and before 1970.
pub(super) fn date_time(text: &str) -> Option<u64> {
    let (date, time) = text.trim().split_once('T')?;
    let mut date = date
        .splitn(3, '-')
        .map(|part| i64::try_from(digits(part)?).ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let valid =
        (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid {
        return None;
    }
    let (time, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at_checked(at)?,
        None => (time, "Z"),
    };
    let mut time = time.splitn(3, ':');
    let (hours, minutes) = (digits(time.next()?)?, digits(time.next()?)?);
    let seconds = micros(time.next()?)?;
    if hours > 24 || minutes > 59 || seconds > 60 * SECOND {
        return None;
    }
    let days = u64::try_from(days(year, month, day)).ok()?;
    let since = days * 86_400 + hours * 3_600 + minutes * 60;
    let since = since.checked_mul(SECOND)?.checked_add(seconds)?;
    let (sign, zone) = match offset.split_at_checked(1)? {
        ("Z", "") => return Some(since),
        (sign, zone) => (sign, zone.split_once(':')?),
    };
    let zone = digits(zone.0)? * 3_600 + digits(zone.1)? * 60;
    let zone = (zone <= 14 * 3_600).then_some(zone * SECOND)?;
    match sign {
        "+" => since.checked_sub(zone),
        "-" => since.checked_add(zone),
        _ => None,
    }
}

/// Microseconds of an `xs:duration`; a year counts 365 days, and a month 30. `None` for what is none, and for negative ones.
pub(super) fn duration(text: &str) -> Option<u64> {
    let text = text.trim().strip_prefix('P')?;
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let units = [
        (
            date,
            &[
                ('Y', 365 * DAY),
                ('M', 30 * DAY),
                ('W', 7 * DAY),
                ('D', DAY),
            ][..],
        ),
        (
            time,
            &[('H', 3_600 * SECOND), ('M', 60 * SECOND), ('S', SECOND)],
        ),
    ];
    let mut sum = 0_u64;
    for (mut text, units) in units {
        while !text.is_empty() {
            let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
            let (number, rest) = text.split_at_checked(end)?;
            let letter = rest.chars().next()?;
            let (_, unit) = units.iter().find(|(name, _)| *name == letter)?;
            let part = u128::from(micros(number)?) * u128::from(*unit) / u128::from(SECOND);
            sum = sum.checked_add(u64::try_from(part).ok()?)?;
            text = rest.get(1..)?;
        }
    }
    Some(sum)
}

/// Microseconds as an `xs:duration`.
pub(super) fn written(micros: u64) -> String {
    let (seconds, part) = (micros / SECOND, micros % SECOND);
    if part == 0 {
        return format!("PT{seconds}S");
    }
    let part = format!("{part:06}");
    format!("PT{seconds}.{}S", part.trim_end_matches('0'))
}

/// The millionths of a decimal number.
fn micros(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mut millionths = 0;
    let mut unit = SECOND;
    for digit in part.chars() {
        unit /= 10;
        millionths += u64::from(digit.to_digit(10)?) * unit;
    }
    digits(whole)?.checked_mul(SECOND)?.checked_add(millionths)
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

/// Microseconds of a second.
pub(super) const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-03-01T00:00:00Z", Some(951_868_800_000_000)),
            ("2026-11-29T06:24:25.5Z", Some(1_795_933_465_500_000)),
            ("2026-11-29T06:24:25", Some(1_795_933_465_000_000)),
            ("2026-11-29T08:24:25+02:00", Some(1_795_933_465_000_000)),
            (
                "2026-11-29T00:54:25.123456789-05:30",
                Some(1_795_933_465_123_456),
            ),
            ("1969-12-31T23:59:59Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-29 06:24:25Z", None),
            ("2026-11-29T06:24Z", None),
            ("2026-11-29T06:24:25+2", None),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(date_time(text), expected, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected, back) in [
            ("PT0S", Some(0), "PT0S"),
            ("PT2S", Some(2_000_000), "PT2S"),
            ("PT1H2M3.5S", Some(3_723_500_000), "PT3723.5S"),
            ("P0Y0M0DT0H3M30.000S", Some(210_000_000), "PT210S"),
            ("P1DT0.000001S", Some(86_400_000_001), "PT86400.000001S"),
            ("-PT2S", None, ""),
            ("PT2", None, ""),
            ("PTxS", None, ""),
            ("2S", None, ""),
            ("PT99999999999999999999S", None, ""),
        ] {
            assert_eq!(duration(text), expected, "{text}");
            if let Some(micros) = expected {
                assert_eq!(written(micros), back);
                assert_eq!(duration(back), expected, "{back}");
            }
        }
    }
}
