//! Windows that are aligned to the calendar: [`CalendarPeriod`], [`Calendar`].

use super::{Shortage, Standing};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// The length of a window that is aligned to the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CalendarPeriod {
    /// A minute that starts at second 0.
    Minute,
    /// An hour that starts at minute 0.
    Hour,
    /// A day that starts at midnight.
    Day,
    /// A week that starts at midnight on Monday.
    Week,
    /// A month that starts at midnight on its first day.
    Month,
}

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

impl CalendarPeriod {
    /// Returns the end of the window that contains `now`. Both are in nanoseconds since the Unix
    /// epoch.
    fn end_after(self, now: u64) -> u64 {
        let aligned = |period: u64, offset: u64| {
            let start = now.saturating_add(offset) / period * period;
            start.saturating_add(period).saturating_sub(offset)
        };
        match self {
            Self::Minute => aligned(60 * SECOND, 0),
            Self::Hour => aligned(3600 * SECOND, 0),
            Self::Day => aligned(DAY, 0),
            // The epoch was a Thursday, three days after a Monday.
            Self::Week => aligned(7 * DAY, 3 * DAY),
            Self::Month => end_of_month(now / DAY).saturating_mul(DAY),
        }
    }
}

/// Returns the first day of the month that follows the month of `day`. Days are counted from the
/// Unix epoch.
const fn end_of_month(day: u64) -> u64 {
    // The proleptic Gregorian calendar with years that begin in March, so that a leap day is the
    // last day of a year (H. Hinnant, "chrono-compatible low-level date algorithms", 2013).
    const ERA: u64 = 146_097;
    let day = day + 719_468;
    let (era, of_era) = (day / ERA, day % ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let start_of_year = 365 * year + year / 4 - year / 100;
    let month = (5 * (of_era - start_of_year) + 2) / 153;
    let next = match month {
        // February ends with the year, which has 366 days if the next March 1 is in a leap year.
        11 => {
            let year = year + 1;
            365 * year + year / 4 - year / 100 + year / 400
        }
        _ => start_of_year + (153 * (month + 1) + 2) / 5,
    };
    era * ERA + next - 719_468
}

/// The tokens used in the current window of the calendar.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    limit: u32,
    period: CalendarPeriod,
    /// The Unix time minus the time of the clock, in nanoseconds modulo 2^64, since the difference
    /// may be negative.
    offset: u64,
    /// The end of the current window, in nanoseconds of Unix time.
    end: u64,
    used: u32,
}

impl Calendar {
    /// Creates the first window of a limiter that is built at `now`, when the Unix time is `unix`.
    pub(super) fn new(limit: u32, period: CalendarPeriod, now: Instant, unix: Duration) -> Self {
        let offset = nanos(unix).wrapping_sub(now.as_nanos());
        Self { limit, period, offset, end: period.end_after(nanos(unix)), used: 0 }
    }

    pub(super) fn take(&mut self, now: Instant, n: u32) -> Result<(), Shortage> {
        let left = self.advance(now);
        if n > self.limit {
            return Err(Shortage::Forever);
        }
        if n > self.limit - self.used {
            return Err(Shortage::Until(left));
        }
        self.used += n;
        Ok(())
    }

    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        let left = self.advance(now);
        Standing { remaining: self.limit - self.used, reset_after: left }
    }

    /// Moves to the window that contains `now`, unless the clock was set back. Returns the time
    /// until the end of the window.
    fn advance(&mut self, now: Instant) -> Duration {
        let unix = now.as_nanos().wrapping_add(self.offset);
        if unix >= self.end {
            self.end = self.period.end_after(unix);
            self.used = 0;
        }
        Duration::from_nanos(self.end.saturating_sub(unix))
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    /// Unix times in seconds, from `date -u`.
    #[test]
    fn windows_end_at_calendar_boundaries() {
        use CalendarPeriod::{Day, Hour, Minute, Month, Week};
        for (period, now, end) in [
            (Minute, 0, 60),
            (Minute, 59, 60),
            (Minute, 60, 120),
            (Hour, 3_599, 3_600),
            (Hour, 3_600, 7_200),
            (Day, 0, 86_400),
            (Day, 86_399, 86_400),
            (Day, 86_400, 172_800),
            (Week, 0, 345_600), // Thursday 1970-01-01 to Monday 1970-01-05
            (Week, 345_599, 345_600),
            (Week, 345_600, 950_400),
            (Month, 0, 2_678_400),                 // January 1970
            (Month, 2_678_400, 5_097_600),         // February 1970: 28 days
            (Month, 68_169_599, 68_256_000),       // 1972-02-28 23:59:59: a leap year
            (Month, 68_256_000, 70_934_400),       // March 1972
            (Month, 951_782_400, 951_868_800),     // 2000-02-29: a leap year
            (Month, 1_704_067_199, 1_704_067_200), // the end of 2023
            (Month, 1_708_992_000, 1_709_251_200), // 2024-02-27
            (Month, 1_733_011_200, 1_735_689_600), // December 2024
            (Month, 4_107_456_000, 4_107_542_400), // 2100-02-28: not a leap year
        ] {
            let found = period.end_after(now * SECOND);
            assert_eq!(found / SECOND, end, "{period:?} after {now}");
            assert!(found % SECOND == 0);
        }
        // The arithmetic does not overflow at the largest time.
        assert!(Month.end_after(u64::MAX) > 0 && Week.end_after(u64::MAX) > 0);
    }

    /// Counts every day of 400 years, after which the Gregorian calendar repeats.
    #[test]
    fn every_month_of_four_centuries_has_the_right_length() {
        let is_leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let mut day = 0;
        for year in 1970..2370 {
            let february = if is_leap(year) { 29 } else { 28 };
            for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                for today in day..day + length {
                    assert_eq!(end_of_month(today), day + length, "{year}, day {today}");
                }
                day += length;
            }
        }
    }
}
