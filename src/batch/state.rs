//! The decisions of a batcher: when a batch starts, what it takes, and when a caller may enter the
//! queue.

use super::BatchOverflowRule;
use crate::time::Instant;
use std::time::Duration;

/// The validated settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) name: &'static str,
    pub(super) max_items: usize,
    pub(super) max_bytes: u64,
    pub(super) max_linger: Duration,
    pub(super) max_concurrent: usize,
    pub(super) max_queue: usize,
    /// In items.
    pub(super) high_watermark: usize,
    pub(super) max_lag: Duration,
    pub(super) max_pause: Duration,
    pub(super) when_full: BatchOverflowRule,
}

/// The inputs of the decision when the next batch starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// The number of queued items.
    pub(super) queued: usize,
    /// The total size of the queued items.
    pub(super) bytes: u64,
    /// The number of running batches.
    pub(super) running: usize,
    /// Whether the oldest item must not linger, because of a flush or because the batcher is
    /// closed.
    pub(super) is_urgent: bool,
    /// The start of the previous batch.
    pub(super) last_start: Option<Instant>,
}

/// When the next batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Not before another item is queued or a batch ends.
    Later,
    Now,
    At(Instant),
}

/// When a caller may enter the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Now,
    At(Instant),
    /// Not before items leave the queue.
    Full,
}

impl Config {
    /// Decides when the next batch starts.
    ///
    /// A full or urgent batch starts immediately. Any other batch starts `max_linger` after the
    /// start of the previous one: in an idle batcher, that time has passed; under load, the batch
    /// takes all items that arrived in the interval.
    pub(super) fn start(&self, load: &Load) -> Start {
        if load.queued == 0 || load.running >= self.max_concurrent {
            return Start::Later;
        }
        let is_full = load.queued >= self.max_items || load.bytes >= self.max_bytes;
        match load.last_start {
            Some(last) if !is_full && !load.is_urgent => Start::At(last + self.max_linger),
            _ => Start::Now,
        }
    }

    /// Returns whether a batch with `items` items of `bytes` in total has room for one more item of
    /// `next` bytes. A batch takes at least one item, however large.
    pub(super) fn takes(&self, items: usize, bytes: u64, next: u64) -> bool {
        items == 0 || (items < self.max_items && bytes.saturating_add(next) <= self.max_bytes)
    }

    /// Decides when the next caller enters a queue of `queued` items, the oldest of which has been
    /// queued for `lag`. `last` is the time of the previous entry.
    ///
    /// The interval between entries grows with the pressure. Callers that arrive faster than the
    /// operation processes their items are therefore slowed to the pace of the operation.
    pub(super) fn entry(&self, queued: usize, lag: Duration, last: Instant, now: Instant) -> Entry {
        if queued >= self.max_queue {
            return Entry::Full;
        }
        let pressure = self.pressure(queued, lag);
        let at = last + self.max_pause.mul_f64(pressure);
        // If the last entry is in the future, the clock was set back.
        if pressure == 0.0 || now >= at || now < last { Entry::Now } else { Entry::At(at) }
    }

    /// Returns the pressure, from 0 to 1: the larger of two shares. The first grows from 0 at the
    /// high watermark to 1 at the capacity of the queue, the second from 0 at a lag of `max_lag` to
    /// 1 at twice `max_lag`.
    fn pressure(&self, queued: usize, lag: Duration) -> f64 {
        let above = queued.saturating_sub(self.high_watermark);
        let fill = match self.max_queue - self.high_watermark {
            0 => 0.0,
            room => above as f64 / room as f64,
        };
        let late = lag.saturating_sub(self.max_lag);
        let lag = match late.is_zero() {
            true => 0.0,
            false => late.as_secs_f64() / self.max_lag.as_secs_f64(),
        };
        fill.max(lag).min(1.0)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        name: "batcher",
        max_items: 4,
        max_bytes: 100,
        max_linger: Duration::from_millis(10),
        max_concurrent: 2,
        max_queue: 20,
        high_watermark: 10,
        max_lag: Duration::from_secs(1),
        max_pause: Duration::from_millis(10),
        when_full: BatchOverflowRule::Wait,
    };

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn a_batch_starts_when_it_is_full_urgent_or_one_linger_after_the_previous_start() {
        let load = Load { queued: 1, bytes: 1, running: 0, is_urgent: false, last_start: None };
        let last_start = Some(at(50));
        for (load, expected) in [
            (load, Start::Now), // the first batch
            (Load { queued: 0, ..load }, Start::Later),
            (Load { running: 2, ..load }, Start::Later),
            (Load { running: 2, queued: 9, is_urgent: true, ..load }, Start::Later),
            (Load { last_start, ..load }, Start::At(at(60))),
            (Load { last_start, running: 1, ..load }, Start::At(at(60))),
            (Load { last_start, queued: 3, bytes: 99, ..load }, Start::At(at(60))),
            (Load { last_start, queued: 4, ..load }, Start::Now),
            (Load { last_start, queued: 5, running: 1, ..load }, Start::Now),
            (Load { last_start, bytes: 100, ..load }, Start::Now),
            (Load { last_start, is_urgent: true, ..load }, Start::Now),
            (Load { last_start, is_urgent: true, queued: 0, ..load }, Start::Later),
        ] {
            assert_eq!(CONFIG.start(&load), expected, "{load:?}");
        }
    }

    #[test]
    fn a_batch_takes_items_up_to_its_limits_and_at_least_one() {
        for (items, bytes, next, expected) in [
            (0, 0, 1, true),
            (0, 0, 101, true), // larger than a batch
            (0, 0, u64::MAX, true),
            (1, 101, 0, false),
            (3, 99, 1, true),
            (3, 99, 2, false),
            (4, 4, 1, false),
            (1, 1, u64::MAX, false),
        ] {
            assert_eq!(CONFIG.takes(items, bytes, next), expected, "{items}, {bytes}, {next}");
        }
    }

    #[test]
    fn callers_enter_at_intervals_that_grow_with_the_queue_and_the_lag() {
        let last = at(100);
        for (queued, lag, now, expected) in [
            (0, 0, 100, Entry::Now),
            (10, 0, 100, Entry::Now), // at the high watermark
            (11, 0, 100, Entry::At(at(101))),
            (11, 0, 101, Entry::Now),
            (15, 0, 104, Entry::At(at(105))),
            (19, 0, 100, Entry::At(at(109))),
            (20, 0, 999, Entry::Full),
            (21, 0, 999, Entry::Full),
            (1, 1000, 100, Entry::Now), // at the maximum lag
            (1, 1500, 104, Entry::At(at(105))),
            (1, 1500, 105, Entry::Now),
            (1, 2000, 100, Entry::At(at(110))),
            (1, 9000, 100, Entry::At(at(110))),
            (15, 2000, 100, Entry::At(at(110))), // the larger of both
            (19, 0, 99, Entry::Now),             // the clock was set back
        ] {
            let lag = Duration::from_millis(lag);
            let entry = CONFIG.entry(queued, lag, last, at(now));
            assert_eq!(entry, expected, "{queued} items, lag {lag:?}, at {now} ms");
        }
    }

    #[test]
    fn a_watermark_at_the_capacity_slows_no_caller() {
        let config = Config { high_watermark: 20, ..CONFIG };
        assert_eq!(config.entry(19, Duration::ZERO, at(100), at(100)), Entry::Now);
        assert_eq!(config.entry(20, Duration::ZERO, at(100), at(100)), Entry::Full);
    }
}
