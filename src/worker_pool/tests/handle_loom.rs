//! Models of a result's path from a worker to the job's handle.

use super::model;
use crate::sync::PlainArc;
use crate::time::Deadline;
use crate::worker_pool::error::JobError;
use crate::worker_pool::handle::{JobCell, JobHandle};
use crate::worker_pool::run::JobEnd;
use crate::worker_pool::workers::pool_id::PoolId;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the values of it that are alive.
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

/// The job is run or cancelled, and worker and handle agree.
#[test]
fn cancel_against_run() {
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

/// The result is received by the handle, or dropped once if the handle is gone.
#[test]
fn dropping_the_handle_against_completion() {
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
fn helping_against_run() {
    model(3, || {
        let cell = JobCell::new(|| 7, Deadline::NEVER);
        let handle = JobHandle::new(cell.clone(), PoolId::acquire());
        let other = cell.clone();
        let worker = thread::spawn(move || run(&cell));
        let helped = run(&other);
        assert_eq!(handle.join_blocking().unwrap(), 7);
        let ran = worker.join().unwrap();
        assert_ne!(ran == JobEnd::Completed, helped == JobEnd::Completed, "it runs once");
    });
}
