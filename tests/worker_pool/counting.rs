//! Every job is counted once, by its outcome.

use super::{Bomb, Hold, pool, quiet_panic, wait_until};
use mainstay::time::ManualClock;
use mainstay::worker_pool::{WorkerPool, WorkerPoolShutdown};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn a_snapshot_counts_all_jobs() {
    let pool = pool(2, 4096);
    for number in 0..2000 {
        pool.submit_blocking(move || {
            if number % 10 == 0 {
                quiet_panic("tenth");
            }
        })
        .unwrap();
    }
    pool.shutdown(WorkerPoolShutdown::drain());
    let snapshot = pool.snapshot();
    let counts = (snapshot.completed, snapshot.panicked, snapshot.queued, snapshot.running);
    assert_eq!(counts, (1800, 200, 0, 0));
    let waits = snapshot.queue_wait.expect("one in 64 jobs is sampled");
    assert!(waits.count > 0 && waits.p50 <= waits.p90 && waits.p90 <= waits.p99);
}

fn counts(pool: &WorkerPool) -> (u64, u64, u64, u64) {
    let snapshot = pool.snapshot();
    (snapshot.completed, snapshot.panicked, snapshot.cancelled, snapshot.expired)
}

#[test]
fn cancelled_and_expired_jobs_are_counted_once() {
    let time = ManualClock::new();
    let pool = WorkerPool::builder().workers(1).clock(time.clock()).build().unwrap();
    // One job is cancelled and its deadline passes; one expires, and its captures panic.
    let hold = Hold::one(&pool);
    let limited = pool.start_timeout(Duration::from_secs(1));
    assert!(limited.try_spawn(|| ()).unwrap().cancel());
    let bomb = Bomb;
    limited.try_submit(move || drop(bomb)).unwrap();
    time.advance(Duration::from_secs(2));
    hold.release();
    pool.call_blocking(|| ()).unwrap();
    wait_until(|| pool.snapshot().running == 0);
    assert_eq!(counts(&pool), (2, 1, 1, 1));
}

#[test]
fn jobs_of_scopes_and_maps_are_counted_once() {
    let panics = Arc::new(AtomicUsize::new(0));
    let pool = {
        let panics = Arc::clone(&panics);
        WorkerPool::builder().workers(1).on_panic(move |_| {
            panics.fetch_add(1, Ordering::Relaxed);
        })
    };
    let pool = pool.build().unwrap();
    // A job of a scope that panics on a worker.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            let (begun, has_begun) = channel();
            scope.spawn(move || {
                begun.send(()).unwrap();
                quiet_panic("scoped");
            });
            has_begun.recv().unwrap();
        });
    }));
    assert!(panicked.is_err());
    // A job of a scope that runs on the waiting thread.
    let hold = Hold::one(&pool);
    pool.scope(|scope| scope.spawn(|| ()));
    hold.release();
    // Items of a map on a worker: three, of which one panics.
    let inner = pool.clone();
    pool.call_blocking(move || {
        let item = |n| {
            if n == 1 {
                quiet_panic("item");
            }
        };
        inner.map(0..3, item).count()
    })
    .unwrap();
    pool.shutdown(WorkerPoolShutdown::drain());
    // Completed: the hold, the scope's second job, two items, and the call.
    assert_eq!(counts(&pool), (5, 2, 0, 0));
    assert_eq!((pool.snapshot().running, panics.load(Ordering::Relaxed)), (0, 2));
}

#[test]
fn jobs_handed_back_are_counted_when_they_end() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    pool.try_submit(|| ()).unwrap();
    pool.try_submit(|| ()).unwrap();
    for bomb in [Bomb, Bomb] {
        pool.try_submit(move || drop(bomb)).unwrap();
    }
    // The ticket of the scope's job stays in the queue.
    pool.scope(|scope| scope.spawn(|| ()));
    let mut report = pool.shutdown(WorkerPoolShutdown::cancel().timeout(Duration::ZERO));
    assert_eq!(pool.snapshot().cancelled, 0);
    report.unrun_jobs.remove(0).run();
    // Two captures panic.
    drop(report);
    hold.release();
    pool.shutdown(WorkerPoolShutdown::drain());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.completed, snapshot.cancelled, snapshot.panicked), (3, 3, 2));
}
