//! Loom models of the windows: threads that record, read and reset at the same time.

use super::count_window::CountWindow;
use super::sparse_window::SparseWindow;
use super::time_window::TimeWindow;
use super::{Sample, WindowCounts, WindowGeneration};
use crate::time::Instant;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

const OLD: WindowGeneration = WindowGeneration::FIRST;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn two_buckets() -> Arc<TimeWindow> {
    Arc::new(TimeWindow::new(Duration::from_millis(2), 2))
}

/// Two threads record in one slot: each replaces the other's sample before it is counted.
#[test]
fn counts_agree_with_the_slots() {
    loom::model(|| {
        let window = Arc::new(CountWindow::new(1));
        window.record(OLD, Sample::SLOW);
        let threads = [Sample::FAILED, Sample::SUCCESS].map(|sample| {
            let window = window.clone();
            thread::spawn(move || window.record(OLD, sample))
        });
        for thread in threads {
            assert!(thread.join().unwrap());
        }
        assert_eq!(window.counts(), window.recount(OLD));
        assert_eq!(window.counts().total, 1);
    });
}

/// One thread records in the old generation while another resets and records in the new one.
#[test]
fn a_late_sample_does_not_reach_the_next_generation() {
    loom::model(|| {
        let window = Arc::new(CountWindow::new(2));
        window.record(OLD, Sample::SLOW);
        let late = {
            let window = window.clone();
            thread::spawn(move || window.record(OLD, Sample::FAILED))
        };
        let new = OLD.next();
        window.reset(new);
        assert!(window.record(new, Sample::SLOW));
        assert!(window.record(new, Sample::SUCCESS));
        late.join().unwrap();
        assert_eq!(window.counts(), window.recount(new));
        assert_eq!(window.counts().failed, 0);
    });
}

/// The front advances and a bucket is moved while two threads add to it.
#[test]
fn rotation_counts_each_sample_once() {
    loom::model(|| {
        let window = two_buckets();
        window.record(OLD, at(0), Sample::SLOW_AND_FAILED);
        let threads = [Sample::FAILED, Sample::SUCCESS].map(|sample| {
            let window = window.clone();
            thread::spawn(move || window.record(OLD, at(2), sample))
        });
        for thread in threads {
            assert!(thread.join().unwrap());
        }
        assert_eq!(window.counts(at(2)), WindowCounts { total: 2, failed: 1, slow: 0 });
    });
}

/// Two threads record a lap apart: the later one moves the bucket that the earlier one is about to
/// add to.
#[test]
fn a_sample_that_is_one_lap_late_is_counted_at_most_once() {
    loom::model(|| {
        let window = two_buckets();
        let early = {
            let window = window.clone();
            thread::spawn(move || window.record(OLD, at(1), Sample::SUCCESS))
        };
        assert!(window.record(OLD, at(3), Sample::FAILED));
        assert!(early.join().unwrap());
        let counts = window.counts(at(3));
        assert_eq!(counts.failed, 1);
        assert!(counts.total <= 2, "{counts:?}");
    });
}

#[test]
fn a_late_sample_does_not_reach_the_next_generation_of_a_time_window() {
    loom::model(|| {
        let window = two_buckets();
        window.record(OLD, at(0), Sample::SUCCESS);
        let late = {
            let window = window.clone();
            thread::spawn(move || window.record(OLD, at(0), Sample::FAILED))
        };
        let new = OLD.next();
        window.reset(new, at(0));
        assert!(window.record(new, at(0), Sample::SUCCESS));
        late.join().unwrap();
        assert_eq!(window.counts(at(0)), WindowCounts { total: 1, failed: 0, slow: 0 });
    });
}

/// A failure creates the count window while another thread counts a success: both are counted.
#[test]
fn a_success_concurrent_with_the_first_failure_is_counted() {
    loom::model(|| {
        let window = Arc::new(SparseWindow::new(3));
        window.record(OLD, Sample::SUCCESS);
        let other = {
            let window = window.clone();
            thread::spawn(move || window.record(OLD, Sample::SUCCESS))
        };
        assert!(window.record(OLD, Sample::FAILED));
        assert!(other.join().unwrap());
        assert_eq!(window.counts(), WindowCounts { total: 3, failed: 1, slow: 0 });
        assert_eq!(window.counts(), window.recount(OLD));
    });
}

/// A thread records in a generation that has a count window while the next generation creates its
/// own.
#[test]
fn a_late_sample_does_not_reach_the_next_count_window() {
    loom::model(|| {
        let window = Arc::new(SparseWindow::new(2));
        window.record(OLD, Sample::FAILED);
        let late = {
            let window = window.clone();
            thread::spawn(move || window.record(OLD, Sample::FAILED))
        };
        let new = OLD.next();
        window.reset(new);
        assert!(window.record(new, Sample::SUCCESS));
        assert!(window.record(new, Sample::SLOW));
        late.join().unwrap();
        assert_eq!(window.counts(), window.recount(new));
        assert_eq!(window.counts().failed, 0);
    });
}
