//! Dates as a count of days.

/// Days from 1970-01-01 to a date of the Gregorian calendar, whose month is from 1 to 12. The year is counted from March, so
/// that the day that leap years add is its last.
pub(crate) const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let in_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + in_year - DAYS_TO_1970
}

/// From March 1 of the year 0 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
