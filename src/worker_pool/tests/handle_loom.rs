//! Loom models of how a job's result reaches its handle.

use super::model;
use crate::sync::PlainArc;
use crate::time::Deadline;
use crate::worker_pool::error::JobError;
use crate::worker_pool::handle::{JobCell, JobHandle};
use crate::worker_pool::run::JobEnd;
use crate::worker_pool::workers::pool_id::PoolId;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A value that counts how many such values are alive.
struct Alive(PlainArc<AtomicUsize>);

impl Alive {
    fn new(count: &PlainArc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn run<F: FnOnce() -> T, T>(cell: &JobCell<F, T>) -> JobEnd {
    cell.run(|_| panic!("the job does not panic"))
}

/// A job is run while its handle cancels it: worker and handle agree on which came first.
#[test]
fn a_job_is_either_run_or_cancelled() {
    model(3, || {
        let alive = PlainArc::new(AtomicUsize::new(0));
        let capture = Alive::new(&alive);
        let body = move || {
            drop(capture);
            7
        };
        let cell = JobCell::new(body, Deadline::NEVER);
        let handle = JobHandle::new(cell.clone(), PoolId::acquire());
        let worker = thread::spawn(move || run(&cell));
        let cancelled = handle.cancel();
        let result = handle.join_blocking();
        let end = worker.join().unwrap();
        assert_eq!(end, if cancelled { JobEnd::Cancelled } else { JobEnd::Completed });
        match result {
            Ok(seven) => assert!(!cancelled && seven == 7),
            Err(error) => assert!(cancelled && matches!(error, JobError::Cancelled)),
        }
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    });
}

/// The handle receives the result, or is dropped while the job completes; then the result is
/// dropped once.
#[test]
fn a_result_is_received_or_dropped_once() {
    for join in [true, false] {
        model(3, move || {
            let alive = PlainArc::new(AtomicUsize::new(0));
            let result = Alive::new(&alive);
            let cell = JobCell::new(move || result, Deadline::NEVER);
            let handle = JobHandle::new(cell.clone(), PoolId::acquire());
            let worker = thread::spawn(move || run(&cell));
            match join {
                true => drop(handle.join_blocking().unwrap()),
                false => drop(handle),
            }
            assert_eq!(worker.join().unwrap(), JobEnd::Completed);
            assert_eq!(alive.load(Ordering::Relaxed), 0);
        });
    }
}

/// A worker that joins a job runs it, or waits for the thread that runs it.
#[test]
fn a_job_that_is_joined_on_a_worker_runs_once() {
    model(3, || {
        let cell = JobCell::new(|| 7, Deadline::NEVER);
        let handle = JobHandle::new(cell.clone(), PoolId::acquire());
        let other = cell.clone();
        let worker = thread::spawn(move || run(&cell));
        let helped = run(&other);
        assert_eq!(handle.join_blocking().unwrap(), 7);
        let ran = worker.join().unwrap();
        assert_ne!(ran == JobEnd::Completed, helped == JobEnd::Completed, "the job runs once");
    });
}
