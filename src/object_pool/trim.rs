//! When to let idle objects go, and how many.

use std::time::Duration;

/// Of `low`, the fewest objects that were idle at any time since the last look, the half goes, and the
/// last one too: a burst of `n` is gone after `log2(n) + 1` looks, yet a lull of one interval costs a
/// busy pool no more than half of what it did not need then. `spare` is what stands above the floor.
pub(super) fn surplus(low: usize, spare: usize) -> usize {
    low.div_ceil(2).min(spare)
}

/// Whether an interval has passed. Time that went backwards is no time.
pub(super) fn due(last: u64, interval: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(last)) >= interval.as_nanos()
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn idle_objects_halve_down_to_the_floor() {
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
    fn due_after_a_whole_interval() {
        let interval = Duration::from_nanos(10);
        for (last, now, expected) in
            [(0, 9, false), (0, 10, true), (5, 14, false), (5, 15, true), (50, 3, false)]
        {
            assert_eq!(due(last, interval, now), expected, "{last} to {now}");
        }
        assert!(!due(0, Duration::MAX, u64::MAX));
    }
}
