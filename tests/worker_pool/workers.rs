//! The number of workers: elastic pools, resizing, hooks.

use super::{Hold, LONG, pool, quiet_panic, wait_until};
use mainstay::worker_pool::{WorkerPool, WorkerPoolShutdown};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[test]
fn an_elastic_pool_grows_before_it_queues_and_shrinks_again() {
    let pool = WorkerPool::builder()
        .workers(1..=3)
        .idle_timeout(Duration::from_millis(5))
        .queue_capacity(8)
        .build()
        .unwrap();
    assert_eq!(pool.snapshot().workers, 1);
    let holds: Vec<_> = (0..3).map(|_| Hold::one(&pool)).collect();
    assert_eq!(pool.snapshot().workers, 3, "each job has a worker");
    pool.try_submit(|| ()).unwrap();
    holds.into_iter().for_each(Hold::release);
    wait_until(|| pool.snapshot().workers == 1);
    assert_eq!(pool.call_blocking(|| 1).unwrap(), 1);
}

#[test]
fn a_thread_that_starts_slowly_does_not_delay_jobs() {
    let (begun, has_begun) = channel();
    let (release, released) = channel::<()>();
    let hook = Mutex::new((0, begun, released));
    let pool = WorkerPool::builder()
        .workers(1..=2)
        .on_thread_start(move || {
            let (number, begun, released) = &mut *hook.lock().unwrap();
            *number += 1;
            if *number == 2 {
                begun.send(()).unwrap();
                let _ = released.recv();
            }
        })
        .build()
        .unwrap();
    let hold = Hold::one(&pool);
    let second = pool.try_spawn(|| 2).unwrap();
    has_begun.recv().unwrap();
    hold.release();
    let result = second.join_blocking_timeout(LONG).unwrap();
    assert_eq!(result.unwrap(), 2, "run by the first worker");
    wait_until(|| pool.snapshot().idle > 0);
    let third = pool.try_spawn(|| 3).unwrap().join_blocking_timeout(LONG);
    release.send(()).unwrap();
    assert_eq!(third.expect("the first worker was woken").unwrap(), 3);
}

#[test]
fn a_pool_is_resized() {
    let pool = pool(1, 64);
    let first = Hold::one(&pool);
    pool.resize(3).unwrap();
    let others = [Hold::one(&pool), Hold::one(&pool)];
    assert_eq!(pool.snapshot().workers, 3);
    pool.resize(1).unwrap();
    pool.resize(2).unwrap();
    others.into_iter().for_each(Hold::release);
    first.release();
    wait_until(|| pool.snapshot().workers == 2);
    let holds = [Hold::one(&pool), Hold::one(&pool)];
    pool.resize(1..=4).unwrap();
    let more = [Hold::one(&pool), Hold::one(&pool)];
    assert_eq!(pool.snapshot().workers, 4);
    holds.into_iter().chain(more).for_each(Hold::release);
    assert_eq!(pool.resize(0).unwrap_err().field(), "workers");
    assert_eq!(pool.shutdown(WorkerPoolShutdown::drain()).running, 0);
    pool.resize(5).unwrap();
    assert_eq!(pool.snapshot().workers, 0, "a resize does not restart the pool");
}

#[test]
fn sleeping_workers_end_when_the_minimum_is_lowered() {
    let pool =
        WorkerPool::builder().workers(4).idle_timeout(Duration::from_millis(1)).build().unwrap();
    wait_until(|| pool.snapshot().idle == 4);
    pool.resize(1..=4).unwrap();
    wait_until(|| pool.snapshot().workers == 1);
}

#[test]
fn hooks_run_on_named_threads() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let record = |hook: &'static str| {
        let names = Arc::clone(&names);
        move || {
            names.lock().unwrap().push(format!("{hook} {}", thread::current().name().unwrap()));
            quiet_panic("a hook");
        }
    };
    let pool = WorkerPool::builder()
        .name("resize")
        .workers(1)
        .stack_size(256 * 1024)
        .on_thread_start(record("start"))
        .on_thread_stop(record("stop"))
        .build()
        .unwrap();
    assert_eq!(pool.name(), "resize");
    assert_eq!(pool.call_blocking(|| 1).unwrap(), 1);
    pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!(*names.lock().unwrap(), ["start resize-0", "stop resize-0"]);
}
