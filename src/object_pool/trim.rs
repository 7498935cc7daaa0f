//! When to drop idle objects, and how many.

use std::time::Duration;

/// How many objects a trim drops. `min_len` is the smallest number that was idle at any time since
/// the last trim, `droppable` how many there are beyond the configured minimum.
///
/// Half of `min_len`, rounded up: a burst of `n` objects is gone after `log2(n) + 1` trims, and a
/// pause of one interval costs a busy pool at most half of what it did not use.
pub(super) fn surplus(min_len: usize, droppable: usize) -> usize {
    min_len.div_ceil(2).min(droppable)
}

/// Whether the interval is over. A time before `last` counts as no time.
pub(super) fn is_due(last: u64, interval: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(last)) >= interval.as_nanos()
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn idle_objects_are_halved_down_to_the_minimum() {
        let mut idle = 1000;
        let mut seen = Vec::new();
        while surplus(idle, idle) > 0 {
            idle -= surplus(idle, idle);
            seen.push(idle);
        }
        assert_eq!(seen, [500, 250, 125, 62, 31, 15, 7, 3, 1, 0]);
        assert_eq!(surplus(1000, 20), 20);
        assert_eq!(surplus(0, 20), 0);
    }

    #[test]
    fn a_trim_is_due_after_a_whole_interval() {
        let interval = Duration::from_nanos(10);
        for (last, now, expected) in
            [(0, 9, false), (0, 10, true), (5, 14, false), (5, 15, true), (50, 3, false)]
        {
            assert_eq!(is_due(last, interval, now), expected, "{last} to {now}");
        }
        assert!(!is_due(0, Duration::MAX, u64::MAX));
    }
}
