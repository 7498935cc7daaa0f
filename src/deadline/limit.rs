//! The limit on the share of calls that a deadline guard rejects: [`RejectionLimit`].

use crate::share;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// A limit on the rejections of a period, as a share of its calls. Counts the calls and the
/// rejections of the current period.
pub(super) struct RejectionLimit {
    /// The largest share of the calls that is rejected, from 0 to 1.
    max_rate: f64,
    /// The packed [`Counts`]. Ordering: relaxed. The word protects no other memory.
    word: AtomicU64,
}

/// The length of a period.
const PERIOD: Duration = Duration::from_secs(10);
const COUNT_BITS: u32 = 24;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The counts of one period. As a word: `[period 16 | calls 24 | rejections 24]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    period: u16,
    calls: u64,
    rejections: u64,
}

impl Counts {
    const fn unpack(word: u64) -> Self {
        Self {
            period: (word >> (2 * COUNT_BITS)) as u16,
            calls: word >> COUNT_BITS & MAX_COUNT,
            rejections: word & MAX_COUNT,
        }
    }

    const fn pack(self) -> u64 {
        (self.period as u64) << (2 * COUNT_BITS) | self.calls << COUNT_BITS | self.rejections
    }

    /// Counts a call of `period`, and returns whether it is rejected. A `late` call is rejected if
    /// the rejections, including this one, are at most `max_rate` of the calls.
    fn count(self, period: u16, late: bool, max_rate: f64) -> (Self, bool) {
        let mut counts = match period.wrapping_sub(self.period) {
            0 => self,
            // This thread was delayed: its period has ended. The call counts in the current period.
            ahead if ahead > u16::MAX / 2 => self,
            _ => Self { period, calls: 0, rejections: 0 },
        };
        if counts.calls == MAX_COUNT {
            (counts.calls, counts.rejections) = (counts.calls / 2, counts.rejections / 2);
        }
        counts.calls += 1;
        let rejects = late && counts.rejections < share::at_most(max_rate, counts.calls);
        counts.rejections += u64::from(rejects);
        (counts, rejects)
    }
}

impl RejectionLimit {
    pub(super) fn new(max_rate: f64) -> Self {
        Self { max_rate, word: AtomicU64::new(0) }
    }

    /// Counts a call, and returns whether it is rejected. Only `late` calls are rejected.
    pub(super) fn rejects(&self, now: Instant, late: bool) -> bool {
        if self.max_rate >= 1.0 {
            return late;
        }
        let period = (now.as_nanos() / nanos(PERIOD)) as u16;
        let mut word = self.word.load(Relaxed);
        loop {
            let (counts, rejects) = Counts::unpack(word).count(period, late, self.max_rate);
            match self.word.compare_exchange_weak(word, counts.pack(), Relaxed, Relaxed) {
                Ok(_) => return rejects,
                Err(changed) => word = changed,
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn at_most_a_share_of_the_calls_of_a_period_is_rejected() {
        let limit = RejectionLimit::new(0.5);
        //     time, late, rejected
        let table = [
            (0, true, false), // 0 of 1
            (0, true, true),  // 1 of 2
            (0, true, false),
            (1, false, false),
            (1, true, true),   // 2 of 5
            (9, true, true),   // 3 of 6
            (10, true, false), // a new period
            (9, true, true),   // an old reading of the clock
            (19, true, false),
            (29, true, false),
        ];
        for (time, late, rejected) in table {
            assert_eq!(limit.rejects(at(time), late), rejected, "at {time} s");
        }
    }

    #[test]
    fn every_late_call_is_rejected_at_rate_one_and_no_call_at_rate_zero() {
        let (all, none) = (RejectionLimit::new(1.0), RejectionLimit::new(0.0));
        for _ in 0..10 {
            assert!(all.rejects(at(0), true) && !all.rejects(at(0), false));
            assert!(!none.rejects(at(0), true) && !none.rejects(at(0), false));
        }
    }

    #[test]
    fn counts_that_reach_their_maximum_keep_their_ratio() {
        let counts = Counts { period: 7, calls: MAX_COUNT, rejections: MAX_COUNT / 2 };
        assert_eq!(Counts::unpack(counts.pack()), counts);
        let (next, rejects) = counts.count(7, true, 0.5);
        assert_eq!((next.calls, next.rejections), ((1 << 23), (1 << 22) - 1 + u64::from(rejects)));
        assert!(rejects);
    }

    #[test]
    fn a_call_with_an_old_reading_of_the_clock_counts_in_the_current_period() {
        let counts = Counts { period: 3, calls: 4, rejections: 1 };
        for (period, calls) in [(3, 5), (2, 5), (3_u16.wrapping_sub(u16::MAX / 2), 5), (4, 1)] {
            assert_eq!(counts.count(period, false, 0.5).0.calls, calls, "{period}");
        }
        assert_eq!(counts.count(3 + u16::MAX / 2, false, 0.5).0.calls, 1);
    }

    #[test]
    fn eight_threads_never_exceed_the_share() {
        let limit = RejectionLimit::new(0.25);
        let rejected: usize = std::thread::scope(|scope| {
            let count = || (0..10_000).filter(|_| limit.rejects(at(5), true)).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(rejected, 20_000);
    }
}
