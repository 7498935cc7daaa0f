//! Job handles: joining, cancelling, deadlines.

use super::{Hold, pool};
use futures::executor::block_on;
use mainstay::time::{Deadline, ManualClock};
use mainstay::worker_pool::{
    JobError, JobHandle, SubmitError, WorkerPool, WorkerPoolShutdown, WorkerPoolShutdownReport,
    WorkerPoolSnapshot, WorkerPoolSubmitter,
};
use std::future::Future;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

#[test]
fn a_job_is_cancelled_before_it_begins_or_not_at_all() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    let capture = Arc::new(());
    let job = {
        let capture = Arc::clone(&capture);
        pool.try_spawn(move || drop(capture)).unwrap()
    };
    assert!(!job.is_finished());
    assert!(job.cancel());
    assert!(!job.cancel(), "only once");
    assert_eq!(Arc::strong_count(&capture), 1, "its captures are dropped");
    assert!(matches!(job.try_join(), Ok(Err(JobError::Cancelled))));
    hold.release();
    let job = pool.try_spawn(|| 1).unwrap();
    pool.call_blocking(|| ()).unwrap();
    assert!(!job.cancel(), "it has run");
    assert_eq!(job.join_blocking().unwrap(), 1);
}

#[test]
fn a_handle_is_joined_by_threads_and_tasks() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    let job = pool.try_spawn(|| 3).unwrap();
    let job = job.try_join().unwrap_err();
    let mut job = job.join_blocking_timeout(Duration::from_millis(1)).unwrap_err();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut job).poll(&mut cx).is_pending());
    hold.release();
    assert_eq!(block_on(&mut job).unwrap(), 3);
    let again = catch_unwind(AssertUnwindSafe(|| block_on(&mut job)));
    assert!(again.is_err(), "the result was taken");
}

#[test]
fn a_job_whose_deadline_has_passed_is_not_run() {
    let time = ManualClock::new();
    let pool = WorkerPool::builder().workers(1).clock(time.clock()).build().unwrap();
    let hold = Hold::one(&pool);
    let seconds = Duration::from_secs;
    let late = pool.start_timeout(seconds(1)).try_spawn(|| "late").unwrap();
    let in_time = pool.start_timeout(seconds(3)).try_spawn(|| "in time").unwrap();
    let deadline = Deadline::at(time.now() + seconds(2));
    let at_deadline = pool.start_deadline(deadline).try_spawn(|| "at").unwrap();
    let unlimited = pool.try_spawn(|| "unlimited").unwrap();
    time.advance(seconds(2));
    hold.release();
    assert!(matches!(late.join_blocking(), Err(JobError::Expired)));
    assert!(matches!(at_deadline.join_blocking(), Err(JobError::Expired)));
    assert_eq!(in_time.join_blocking().unwrap(), "in time");
    assert_eq!(unlimited.join_blocking().unwrap(), "unlimited");
    pool.shutdown(WorkerPoolShutdown::drain());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.expired, snapshot.completed), (2, 3));
}

#[test]
fn a_worker_that_joins_a_job_after_its_deadline_does_not_run_it() {
    let time = ManualClock::new();
    let pool = WorkerPool::builder().workers(1).clock(time.clock()).build().unwrap();
    let (inner, clock) = (pool.clone(), time);
    let joined = pool.call_blocking(move || {
        let limited = inner.start_timeout(Duration::from_secs(1));
        let in_time = limited.try_spawn(|| 1).unwrap().join_blocking();
        let late = limited.try_spawn(|| 2).unwrap();
        clock.advance(Duration::from_secs(2));
        (in_time, late.join_blocking())
    });
    assert!(matches!(joined, Ok((Ok(1), Err(JobError::Expired)))), "{joined:?}");
    pool.shutdown(WorkerPoolShutdown::drain());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.completed, snapshot.expired), (2, 1), "each job is counted once");
}

#[test]
fn public_types_can_be_sent_shared_and_used_after_a_panic() {
    fn check<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    check::<WorkerPool>();
    check::<WorkerPoolSnapshot>();
    check::<WorkerPoolSubmitter<'static>>();
    check::<WorkerPoolShutdown>();
    check::<WorkerPoolShutdownReport>();
    check::<JobError>();
    check::<JobHandle<u32>>();
    check::<SubmitError<u32>>();
}
