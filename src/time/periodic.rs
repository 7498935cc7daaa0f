//! Work that one of many threads does once per interval.

use super::Instant;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The instant at which periodic work is due.
#[derive(Debug)]
pub(crate) struct Periodic {
    /// In nanoseconds.
    due: AtomicU64,
}

impl Periodic {
    /// Creates work that is due at `first`.
    pub(crate) fn new(first: Instant) -> Self {
        Self { due: AtomicU64::new(first.as_nanos()) }
    }

    /// Returns `true` if the work is due at `now` and the caller must do it. It is then due again
    /// after `interval`.
    pub(crate) fn take(&self, now: Instant, interval: Duration) -> bool {
        let due = self.due.load(Relaxed);
        let next = (now + interval).as_nanos();
        // If the work is due later than in one interval, the clock was set back.
        let is_due = now.as_nanos() >= due || due > next;
        // Ordering: relaxed; of the callers that find the work due, the exchange selects one.
        is_due && self.due.compare_exchange(due, next, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn work_is_due_once_per_interval() {
        let second = Duration::from_secs(1);
        let at = |millis| Instant::ORIGIN + Duration::from_millis(millis);
        let work = Periodic::new(at(10_000));
        for (now, expected) in [
            (9_999, false),
            (10_000, true),
            (10_000, false),
            (10_999, false),
            (11_000, true),
            (20_000, true), // once, although several intervals have passed
            (20_999, false),
            (20_000, false), // a thread that is late
            (5_000, true),   // the clock was set back
            (5_999, false),
            (6_000, true),
        ] {
            assert_eq!(work.take(at(now), second), expected, "at {now} ms");
        }
    }
}
