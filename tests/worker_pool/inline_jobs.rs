//! Scopes and maps, whose jobs the waiting thread may run itself.

use super::{LONG, pool, quiet_panic};
use mainstay::worker_pool::{JobError, WorkerPoolShutdown};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[test]
fn scopes_borrow_and_nest() {
    for workers in [1, 3] {
        let pool = pool(workers, 2);
        let counter = AtomicUsize::new(0);
        let mut squares = [0; 20];
        let result = pool.scope(|scope| {
            for (number, square) in squares.iter_mut().enumerate() {
                let (pool, counter) = (&pool, &counter);
                scope.spawn(move || {
                    *square = number * number;
                    scope.spawn(move || {
                        counter.fetch_add(1, Ordering::Relaxed);
                    });
                    // A scope inside a job of the outer one.
                    pool.scope(|inner| {
                        inner.spawn(|| {
                            counter.fetch_add(100, Ordering::Relaxed);
                        });
                    });
                });
            }
            "done"
        });
        assert_eq!(result, "done");
        assert_eq!(counter.into_inner(), 2020);
        assert!(squares.iter().enumerate().all(|(number, square)| *square == number * number));
    }
}

#[test]
fn a_scope_waits_for_all_jobs_before_it_panics() {
    let pool = pool(2, 64);
    let ran = AtomicUsize::new(0);
    let scope = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            for number in 0..20 {
                let ran = &ran;
                scope.spawn(move || {
                    ran.fetch_add(1, Ordering::Relaxed);
                    if number == 7 {
                        quiet_panic("seven");
                    }
                });
            }
        });
    }));
    assert_eq!(scope.unwrap_err().downcast_ref::<&str>(), Some(&"seven"));
    assert_eq!(ran.load(Ordering::Relaxed), 20, "the others ran");
    let scope = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            scope.spawn(|| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            quiet_panic("the body");
        })
    }));
    assert_eq!(scope.unwrap_err().downcast_ref::<&str>(), Some(&"the body"));
    assert_eq!(ran.into_inner(), 21, "the job spawned before the panic has ended");
}

#[test]
fn a_scope_runs_its_jobs_after_a_shutdown() {
    let pool = pool(2, 1);
    pool.shutdown(WorkerPoolShutdown::cancel());
    let mut sum = 0;
    pool.scope(|scope| scope.spawn(|| sum = 7));
    assert_eq!(sum, 7);
}

#[test]
fn a_map_keeps_the_order_and_its_concurrency() {
    let pool = pool(3, 64);
    let at_once = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let count = Arc::clone(&at_once);
    let doubled = pool
        .map(0..500usize, move |number| {
            let now = count.0.fetch_add(1, Ordering::SeqCst) + 1;
            count.1.fetch_max(now, Ordering::SeqCst);
            thread::yield_now();
            count.0.fetch_sub(1, Ordering::SeqCst);
            number * 2
        })
        .concurrency(2);
    let doubled: Vec<usize> = doubled.map(Result::unwrap).collect();
    assert_eq!(doubled, (0..500).map(|number| number * 2).collect::<Vec<_>>());
    assert!(at_once.1.load(Ordering::SeqCst) <= 2);

    let unordered = pool.map(0..500usize, |number| number).unordered();
    assert_eq!(unordered.map(Result::unwrap).collect::<HashSet<_>>(), (0..500).collect());
}

#[test]
fn a_map_makes_progress_on_a_worker_and_with_a_full_queue() {
    let many = pool(3, 64);
    let inner = many.clone();
    let sum = many.call_blocking(move || {
        inner.map(0..100u32, |n| n).concurrency(300).map(Result::unwrap).sum::<u32>()
    });
    assert_eq!(sum.unwrap(), 4950);
    let tiny = pool(1, 1);
    assert_eq!(tiny.map(0..100u32, |n| n).concurrency(50).map(Result::unwrap).sum::<u32>(), 4950);
}

#[test]
fn a_map_yields_an_error_for_an_item_without_a_result() {
    let pool = pool(2, 16);
    let results: Vec<_> = pool
        .map(0..4, |number| if number == 2 { quiet_panic("two") } else { number })
        .map(|result| result.map_err(|error| error.to_string()))
        .collect();
    assert_eq!(results, [Ok(0), Ok(1), Err("the job panicked: two".to_owned()), Ok(3)]);

    let mut half_taken = pool.map(0..1000, |number| number);
    assert_eq!(half_taken.next().unwrap().unwrap(), 0);
    drop(half_taken);
    pool.shutdown(WorkerPoolShutdown::drain());
    assert!(matches!(pool.map([1], |number| number).next(), Some(Err(JobError::ShutDown))));
}

#[test]
fn the_concurrency_of_a_map_can_be_any_number_and_can_change() {
    let pool = pool(1, 8);
    assert_eq!(pool.map(0..3, |n| n).concurrency(usize::MAX).count(), 3);
    let inner = pool.clone();
    let job = pool.try_spawn(move || {
        let mut map = inner.map(0..10, |n| n).concurrency(1);
        let first = map.next().unwrap().unwrap();
        let rest = map.concurrency(4).map(Result::unwrap);
        first + rest.sum::<u32>()
    });
    assert_eq!(job.unwrap().join_blocking_timeout(LONG).unwrap().unwrap(), 45);
}
