//! The header fields that carry the remaining time of a request: `grpc-timeout`,
//! `X-Request-Timeout` and `X-Timeout-At`.

use std::time::{Duration, SystemTime};

/// The largest number of a `grpc-timeout`: eight digits.
const GRPC_MAX: u128 = 99_999_999;

/// The units of a `grpc-timeout`, finest first, with their nanoseconds.
const GRPC_UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];

/// Returns `remaining` as the value of a `grpc-timeout` field: at most eight digits and a unit.
///
/// The finest unit that fits is used. The value is rounded down, so that the server does not work
/// for longer than the client waits. More than 99,999,999 hours are written as that number.
///
/// ```
/// use mainstay::deadline;
/// use std::time::Duration;
///
/// assert_eq!(deadline::to_grpc_timeout(Duration::from_millis(50)), "50000000n");
/// assert_eq!(deadline::to_grpc_timeout(Duration::from_secs(5)), "5000000u");
/// ```
#[must_use]
pub fn to_grpc_timeout(remaining: Duration) -> String {
    let nanos = remaining.as_nanos();
    let fits = GRPC_UNITS.iter().find(|(_, unit)| nanos / unit <= GRPC_MAX);
    let &(letter, unit) = fits.unwrap_or(&GRPC_UNITS[5]);
    format!("{}{letter}", (nanos / unit).min(GRPC_MAX))
}

/// Returns the time that a `grpc-timeout` field states, or `None` if the value is not one to eight
/// digits and a unit.
///
/// ```
/// use mainstay::deadline;
/// use std::time::Duration;
///
/// assert_eq!(deadline::from_grpc_timeout("250m"), Some(Duration::from_millis(250)));
/// assert_eq!(deadline::from_grpc_timeout("123456789m"), None);
/// ```
#[must_use]
pub fn from_grpc_timeout(value: &str) -> Option<Duration> {
    let letter = value.chars().next_back()?;
    let (_, unit) = GRPC_UNITS.iter().find(|(known, _)| *known == letter)?;
    let digits = &value[..value.len() - 1]; // every unit is one byte
    if digits.len() > 8 {
        return None;
    }
    let nanos = u128::from(digits_only(digits)?) * unit;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// Returns `remaining` as the value of an `X-Request-Timeout` field: whole milliseconds, rounded
/// down.
///
/// ```
/// use mainstay::deadline;
/// use std::time::Duration;
///
/// assert_eq!(deadline::to_request_timeout(Duration::from_secs(2)), "2000");
/// ```
#[must_use]
pub fn to_request_timeout(remaining: Duration) -> String {
    remaining.as_millis().to_string()
}

/// Returns the time that an `X-Request-Timeout` field states in milliseconds, or `None` if the
/// value is not a decimal number that fits into 64 bits.
///
/// ```
/// use mainstay::deadline;
/// use std::time::Duration;
///
/// assert_eq!(deadline::from_request_timeout("250"), Some(Duration::from_millis(250)));
/// assert_eq!(deadline::from_request_timeout("-1"), None);
/// ```
#[must_use]
pub fn from_request_timeout(value: &str) -> Option<Duration> {
    digits_only(value).map(Duration::from_millis)
}

/// Returns the value of an `X-Timeout-At` field for a deadline `remaining` after `now`:
/// milliseconds since the Unix epoch, rounded down. Returns `None` if that time is before the epoch
/// or does not fit into 64 bits.
///
/// The value is an instant, so the transit time of the request counts. It depends on the clocks of
/// both machines; between machines whose clocks differ, use a duration.
///
/// ```
/// use mainstay::deadline;
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let now = UNIX_EPOCH + Duration::from_secs(1_000);
/// let value = deadline::to_timeout_at(Duration::from_secs(2), now).unwrap();
/// assert_eq!(value, "1002000");
/// let later = now + Duration::from_secs(1);
/// let left = deadline::from_timeout_at(&value, later);
/// assert_eq!(left, Some(Duration::from_secs(1)));
/// ```
#[must_use]
pub fn to_timeout_at(remaining: Duration, now: SystemTime) -> Option<String> {
    let at = now.checked_add(remaining)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(at.as_millis()).ok().map(|millis| millis.to_string())
}

/// Returns the time from `now` to the instant that an `X-Timeout-At` field states, or zero if that
/// instant has passed. Returns `None` if the value is not a decimal number of milliseconds that
/// fits into 64 bits.
///
/// ```
/// use mainstay::deadline;
/// use std::time::{Duration, SystemTime};
///
/// let left = deadline::from_timeout_at("1000", SystemTime::now());
/// assert_eq!(left, Some(Duration::ZERO));
/// ```
#[must_use]
pub fn from_timeout_at(value: &str, now: SystemTime) -> Option<Duration> {
    let at = Duration::from_millis(digits_only(value)?);
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(at.saturating_sub(now))
}

/// Parses ASCII digits. `str::parse` alone would accept a sign.
fn digits_only(digits: &str) -> Option<u64> {
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    if all { digits.parse().ok() } else { None }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_finest_unit_that_fits_into_eight_digits_is_written() {
        let table = [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_000), "100000u"),
            (Duration::from_nanos(100_000_999), "100000u"), // rounded down
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(6_000_000_000), "1666666H"),
            (Duration::MAX, "99999999H"),
        ];
        for (remaining, expected) in table {
            assert_eq!(to_grpc_timeout(remaining), expected, "{remaining:?}");
        }
    }

    #[test]
    fn an_instant_is_written_in_milliseconds_since_the_epoch() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        for (now, remaining, value) in [
            (at(0), Duration::ZERO, Some("0")),
            (at(1_000_000), Duration::from_millis(2000), Some("1002000")),
            (at(5), Duration::from_micros(1999), Some("6")), // rounded down
            (before, Duration::from_secs(3), Some("2000")),
            (before, Duration::from_millis(999), None), // before the epoch
            (at(0), Duration::MAX, None),
        ] {
            assert_eq!(to_timeout_at(remaining, now).as_deref(), value, "{remaining:?}");
        }
        for (value, now, remaining) in [
            ("1002000", at(1_000_500), Some(Duration::from_millis(1500))),
            ("1002000", at(1_002_000), Some(Duration::ZERO)),
            ("1002000", at(1_002_001), Some(Duration::ZERO)), // it has passed
            ("2000", before, Some(Duration::from_secs(2))),
            ("18446744073709551615", at(0), Some(Duration::from_millis(u64::MAX))),
        ] {
            assert_eq!(from_timeout_at(value, now), remaining, "{value}");
        }
    }

    #[test]
    fn malformed_values_are_rejected() {
        for value in ["", "n", "1", "1x", "+1n", "-1n", "1.5S", "100000000n", " 1n", "1n ", "1µ"] {
            assert_eq!(from_grpc_timeout(value), None, "{value:?}");
        }
        for value in ["", "+1", "-1", "1.5", " 1", "99999999999999999999", "٣"] {
            assert_eq!(from_request_timeout(value), None, "{value:?}");
            assert_eq!(from_timeout_at(value, SystemTime::UNIX_EPOCH), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_time_that_is_written_and_read_back_is_rounded_down_by_little(
            nanos in 0_u64.., shift in 0_u32..64,
        ) {
            let remaining = Duration::from_nanos(nanos >> shift);
            let grpc = from_grpc_timeout(&to_grpc_timeout(remaining)).unwrap();
            prop_assert!(grpc <= remaining);
            prop_assert!(remaining - grpc <= remaining / 100_000 + Duration::from_nanos(1));
            let millis = from_request_timeout(&to_request_timeout(remaining)).unwrap();
            prop_assert!(millis <= remaining && remaining - millis < Duration::from_millis(1));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,12}") {
            let _ = (from_grpc_timeout(&text), from_request_timeout(&text));
            let _ = from_timeout_at(&text, SystemTime::UNIX_EPOCH);
        }
    }
}
