//! The capacity counts the jobs that wait, and nothing else: not jobs that were cancelled or that
//! another thread has run while they were queued.

use super::{Hold, pool};
use mainstay::error::Reason;
use mainstay::worker_pool::{JobHandle, WorkerPool, WorkerPoolShutdown};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

/// Checks that exactly `free` jobs fit into the queue.
fn assert_free(pool: &WorkerPool, free: usize) {
    for n in 0..free {
        assert!(pool.try_submit(|| ()).is_ok(), "only {n} of {free} fit");
    }
    assert_eq!(pool.try_submit(|| ()).unwrap_err().reason(), Reason::QueueFull);
}

#[test]
fn a_job_may_spawn_and_join_any_number_of_jobs() {
    let pool = WorkerPool::builder().workers(1).build().unwrap();
    let inner = pool.clone();
    let sum = pool.call_blocking(move || {
        (0..5_000).map(|_| inner.try_spawn(|| 1).unwrap().join_blocking().unwrap()).sum::<u32>()
    });
    assert_eq!(sum.unwrap(), 5_000);
    assert_eq!(pool.shutdown(WorkerPoolShutdown::drain()).completed, 5_001);
}

#[test]
fn jobs_of_ended_scopes_and_maps_do_not_occupy_the_queue() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    let ran = AtomicUsize::new(0);
    for _ in 0..30 {
        pool.scope(|scope| {
            scope.spawn(|| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        });
    }
    assert_eq!(ran.into_inner(), 30);
    drop(pool.map(0..30, |n| n).concurrency(30));
    assert_free(&pool, 8);
    hold.release();
}

#[test]
fn cancelled_jobs_do_not_occupy_the_queue() {
    let pool = pool(1, 4);
    let hold = Hold::one(&pool);
    for _ in 0..3 {
        let jobs: Vec<JobHandle<()>> = (0..4).map(|_| pool.try_spawn(|| ()).unwrap()).collect();
        assert_eq!(pool.try_submit(|| ()).unwrap_err().reason(), Reason::QueueFull);
        assert!(jobs.iter().all(JobHandle::cancel));
    }
    assert_free(&pool, 4);
    assert_eq!(pool.snapshot().cancelled, 12);
    hold.release();
}

#[test]
fn jobs_keep_their_order_when_cancelled_jobs_are_replaced() {
    let pool = pool(1, 6);
    let hold = Hold::one(&pool);
    let (sender, ran) = channel();
    let mut handles: Vec<_> = (0..6)
        .map(|n| {
            let sender = sender.clone();
            pool.try_spawn(move || sender.send(n).unwrap()).unwrap()
        })
        .collect();
    for cancelled in [4, 2, 0] {
        assert!(handles.remove(cancelled).cancel());
    }
    for n in 6..9 {
        let sender = sender.clone();
        pool.try_submit(move || sender.send(n).unwrap()).unwrap();
    }
    assert_eq!(pool.try_submit(|| ()).unwrap_err().reason(), Reason::QueueFull);
    hold.release();
    pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [1, 3, 5, 6, 7, 8]);
}
