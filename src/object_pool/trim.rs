//! The decisions of a trim: when it is due, and how many objects it drops.

use std::time::Duration;

/// Returns how many objects of a shard a trim drops. `min_len` is the smallest number of objects
/// that the shard has held since the last trim. `droppable` is the number of idle objects in all
/// shards beyond the configured minimum.
///
/// The result is at most half of `min_len`, rounded up: `n` objects are dropped after `log2(n) + 1`
/// trims, and a pause of one interval makes a busy pool drop at most half of its idle objects.
pub(super) fn surplus(min_len: usize, droppable: usize) -> usize {
    min_len.div_ceil(2).min(droppable)
}

/// Returns whether `interval` has passed since `last`. If `now` is before `last`, no time has
/// passed.
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
