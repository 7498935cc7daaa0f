//! Submitting and spawning: every method, full queues, waiting in order, cancellation.

use super::{CountingWaker, Hold, LONG, pool, wait_until};
use futures::executor::block_on;
use mainstay::error::Reason;
use mainstay::time::ManualClock;
use mainstay::worker_pool::{JobError, SubmitFuture, WorkerPool, WorkerPoolShutdown};
use std::collections::HashSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Waker};
use std::time::Duration;

#[test]
fn every_method_runs_the_job() {
    let pool = pool(2, 16);
    let (sender, ran) = channel();
    let job = |number: u32| {
        let sender = sender.clone();
        move || sender.send(number).unwrap()
    };
    pool.try_submit(job(1)).unwrap();
    block_on(pool.submit(job(2))).unwrap();
    block_on(pool.submit_timeout(job(3), LONG)).unwrap();
    pool.submit_blocking(job(4)).unwrap();
    pool.submit_blocking_timeout(job(5), LONG).unwrap();
    pool.try_spawn(job(6)).unwrap().join_blocking().unwrap();
    block_on(async { pool.spawn(job(7)).await.unwrap().await.unwrap() });
    block_on(async { pool.spawn_timeout(job(8), LONG).await.unwrap().await.unwrap() });
    pool.spawn_blocking(job(9)).unwrap().join_blocking().unwrap();
    pool.spawn_blocking_timeout(job(10), LONG).unwrap().join_blocking().unwrap();
    pool.execute(job(11)).unwrap();
    block_on(pool.call(job(12))).unwrap();
    pool.call_blocking(job(13)).unwrap();
    pool.scope(|scope| scope.spawn(job(14)));
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!(
        (report.panicked, report.running, report.queued, report.unrun_jobs.len()),
        (0, 0, 0, 0)
    );
    assert_eq!(ran.try_iter().collect::<HashSet<_>>(), (1..=14).collect());
}

#[test]
fn a_full_queue_returns_the_job() {
    let pool = pool(1, 1);
    let hold = Hold::one(&pool);
    pool.try_submit(|| ()).unwrap();
    let text = String::from("mine");
    let error = pool.try_submit(move || drop(text)).unwrap_err();
    assert_eq!((error.reason(), error.rejection().policy()), (Reason::QueueFull, "worker_pool"));
    error.into_job()();
    let error = pool.try_spawn(|| 5).unwrap_err();
    assert_eq!((error.into_job())(), 5, "a job with a result");
    let large = [7u8; 200];
    let error = pool.try_spawn(move || large[199]).unwrap_err();
    assert_eq!((error.into_job())(), 7, "a job that is boxed");
    let short = Duration::from_millis(1);
    let error = pool.submit_blocking_timeout(|| (), short).unwrap_err();
    assert_eq!(error.reason(), Reason::QueueTimeout);
    let error = pool.spawn_blocking_timeout(|| 4, short).unwrap_err();
    assert_eq!((error.reason(), (error.into_job())()), (Reason::QueueTimeout, 4));
    let error = pool.execute(|| ()).unwrap_err();
    assert_eq!(error.reason(), Reason::QueueFull, "the default rule");
    assert_eq!(pool.snapshot().rejected, 6);
    hold.release();
}

#[test]
fn a_waiting_submission_ends_at_its_timeout() {
    let time = ManualClock::new();
    let pool =
        WorkerPool::builder().workers(1).queue_capacity(1).clock(time.clock()).build().unwrap();
    let hold = Hold::one(&pool);
    pool.try_submit(|| ()).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let second = Duration::from_secs(1);
    let mut submit = pin!(pool.submit_timeout(|| (), second));
    let mut spawn = pin!(pool.spawn_timeout(|| 3, second));
    let woken = Arc::new(CountingWaker::default());
    let mut behind = pin!(pool.submit(|| ()));
    assert!(submit.as_mut().poll(&mut cx).is_pending());
    assert!(spawn.as_mut().poll(&mut cx).is_pending());
    assert!(behind.as_mut().poll(&mut Context::from_waker(&woken.clone().into())).is_pending());
    time.advance(second);
    let error = block_on(submit).unwrap_err();
    assert_eq!(error.reason(), Reason::QueueTimeout);
    let error = block_on(spawn).unwrap_err();
    assert_eq!((error.reason(), (error.into_job())()), (Reason::QueueTimeout, 3));
    hold.release();
    wait_until(|| woken.count() == 1);
    block_on(behind).unwrap();
}

#[test]
fn waiting_submissions_are_served_in_order_and_can_be_dropped() {
    let pool = pool(1, 1);
    let hold = Hold::one(&pool);
    let (sender, ran) = channel();
    let job = |number: u32| {
        let sender = sender.clone();
        move || sender.send(number).unwrap()
    };
    pool.try_submit(job(0)).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = pin!(pool.submit(job(1)));
    let mut dropped = Box::pin(pool.submit(job(2)));
    let mut third = pin!(pool.spawn(job(3)));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(dropped.as_mut().poll(&mut cx).is_pending());
    assert!(third.as_mut().poll(&mut cx).is_pending());
    drop(dropped);
    hold.release();
    block_on(async {
        first.await.unwrap();
        third.await.unwrap().await.unwrap();
    });
    pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1, 3]);
}

#[test]
fn a_dropped_call_cancels_its_job() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    let ran = Arc::new(AtomicUsize::new(0));
    let mut cx = Context::from_waker(Waker::noop());
    for polls in 0..2 {
        let count = Arc::clone(&ran);
        let mut call = Box::pin(pool.call(move || count.fetch_add(1, Ordering::Relaxed)));
        for _ in 0..polls {
            assert!(call.as_mut().poll(&mut cx).is_pending());
        }
        drop(call);
        assert_eq!(Arc::strong_count(&ran), 1, "its captures are dropped");
    }
    hold.release();
    pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(pool.snapshot().cancelled, 1);
}

/// A submission waits on a thread, then is polled on a worker, which runs the job: it must pass on
/// the wake-up that it received.
#[test]
fn a_submission_that_moves_to_a_worker_stops_waiting() {
    type Moved = Pin<Box<SubmitFuture<'static, fn()>>>;
    let pool: &'static WorkerPool = Box::leak(Box::new(pool(1, 1)));
    let (to_worker, on_worker) = channel();
    let (to_test, from_worker) = channel();
    pool.submit_blocking(move || {
        let mut moved: Moved = on_worker.recv().unwrap();
        let polled = moved.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        to_test.send((moved, polled.is_ready())).unwrap();
    })
    .unwrap();
    wait_until(|| pool.snapshot().running > 0);
    pool.try_submit(|| ()).unwrap();
    let mut moved = Box::pin(pool.submit((|| ()) as fn()));
    assert!(moved.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let woken = Arc::new(CountingWaker::default());
    let mut behind = Box::pin(pool.submit(|| ()));
    assert!(behind.as_mut().poll(&mut Context::from_waker(&woken.clone().into())).is_pending());
    to_worker.send(moved).unwrap();
    // The future is kept alive, like a part of a larger future.
    let (_moved, ready) = from_worker.recv().unwrap();
    assert!(ready);
    wait_until(|| pool.snapshot().completed == 3);
    assert_eq!(woken.count(), 1, "the next submission is woken, because the queue is not full");
}

#[test]
fn a_job_may_submit_to_its_own_pool_and_wait_for_the_result() {
    let pool = pool(1, 1);
    let inner = pool.clone();
    let sum = pool.call_blocking(move || {
        // One job fits into the queue; the others run in the call. The join runs the queued one.
        let jobs: Vec<_> = (1..=10).map(|n| inner.spawn_blocking(move || n).unwrap()).collect();
        jobs.into_iter().map(|job| job.join_blocking().unwrap()).sum::<u32>()
    });
    assert_eq!(sum.unwrap(), 55);
    let inner = pool.clone();
    let ran = pool.call_blocking(move || {
        // The queue is full from the first submission on. Otherwise `call` would queue its job, and
        // an executor would block the only worker.
        inner.try_submit(|| ()).unwrap();
        let mut ran = 0;
        for n in 0..5 {
            ran += u32::from(inner.submit_blocking(|| ()).is_ok());
            ran += u32::from(inner.submit_blocking_timeout(|| (), LONG).is_ok());
            ran += u32::from(block_on(inner.submit(|| ())).is_ok());
            ran += u32::from(inner.call_blocking(move || n).unwrap() == n);
            ran += u32::from(block_on(inner.call(move || n)).unwrap() == n);
            ran += u32::from(block_on(inner.spawn(move || n)).unwrap().is_finished());
        }
        ran
    });
    assert_eq!(ran.unwrap(), 30);
}

#[test]
fn a_pool_that_is_shut_down_returns_the_job() {
    let pool = pool(1, 4);
    pool.shutdown(WorkerPoolShutdown::drain());
    let reasons = [
        pool.try_submit(|| ()).unwrap_err().reason(),
        block_on(pool.submit(|| ())).unwrap_err().reason(),
        pool.submit_blocking(|| ()).unwrap_err().reason(),
        pool.submit_blocking_timeout(|| (), LONG).unwrap_err().reason(),
        pool.try_spawn(|| ()).unwrap_err().reason(),
        block_on(pool.spawn(|| ())).unwrap_err().reason(),
        pool.spawn_blocking(|| ()).unwrap_err().reason(),
        pool.execute(|| ()).unwrap_err().reason(),
    ];
    assert_eq!(reasons, [Reason::ShutDown; 8]);
    assert!(matches!(pool.call_blocking(|| ()), Err(JobError::ShutDown)));
    assert!(matches!(block_on(pool.call(|| ())), Err(JobError::ShutDown)));
    assert_eq!(pool.snapshot().rejected, 10);
}
