//! Eight threads on one bulkhead, with a limit that changes, callers that give up and calls that
//! panic: the limit is never exceeded, and every permit is released.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::Bulkhead;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const THREADS: u64 = 8;
const CALLS: u64 = 20_000;
const MAX: i64 = 6;

// Netflix#234: several threads that saw the last free permit each took one.
#[test]
fn the_limit_is_never_exceeded_and_every_permit_is_released() {
    let settings = |limit: u32| {
        let queue = Bulkhead::builder().max_concurrent(limit).max_queue(4);
        queue.max_wait(Duration::from_millis(20)).lifo_after(Duration::from_micros(50))
    };
    let bulkhead = settings(3).build().unwrap();
    let (in_flight, highest) = (AtomicI64::new(0), AtomicI64::new(0));
    let (ran, rejected, given_up) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let work = |cost: i64| {
        let now = in_flight.fetch_add(cost, SeqCst) + cost;
        highest.fetch_max(now, SeqCst);
        ran.fetch_add(1, SeqCst);
        std::hint::spin_loop();
        in_flight.fetch_sub(cost, SeqCst);
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (bulkhead, work) = (&bulkhead, &work);
            let (rejected, given_up) = (&rejected, &given_up);
            scope.spawn(move || {
                for call in 0..CALLS {
                    let run = |cost: i64, admitted: bool| match admitted {
                        true => work(cost),
                        false => drop(rejected.fetch_add(1, SeqCst)),
                    };
                    match (thread + call) % 6 {
                        0 => {
                            let permit = bulkhead.try_acquire();
                            run(1, permit.is_ok());
                        }
                        1 => {
                            let permit = bulkhead.acquire_blocking();
                            run(1, permit.is_ok());
                        }
                        2 => {
                            let permit = bulkhead.cost(2).acquire_owned_blocking();
                            run(2, permit.is_ok());
                        }
                        3 => {
                            // The future is polled once and then dropped, whether or not it was
                            // granted a permit.
                            let mut wait = Box::pin(bulkhead.acquire_owned());
                            match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                                Poll::Ready(permit) => run(1, permit.is_ok()),
                                Poll::Pending => drop(given_up.fetch_add(1, SeqCst)),
                            }
                        }
                        4 if call % 100 == 0 => {
                            let call = || {
                                bulkhead.call_blocking(|| -> Result<(), ()> {
                                    work(1);
                                    resume_unwind(Box::new("operation"))
                                })
                            };
                            if catch_unwind(AssertUnwindSafe(call)).is_ok() {
                                rejected.fetch_add(1, SeqCst);
                            }
                        }
                        _ => {
                            if call % 50 == 0 {
                                let limit = [3, 1, 6, 2, 5, 4][(call / 50 % 6) as usize];
                                bulkhead.reconfigure(&settings(limit)).unwrap();
                            }
                            let permit = bulkhead.try_acquire_owned();
                            run(1, permit.is_ok());
                        }
                    }
                }
            });
        }
    });
    let total = [&ran, &rejected, &given_up].map(|count| count.load(SeqCst));
    assert_eq!(total.iter().sum::<u64>(), THREADS * CALLS, "{total:?}");
    assert!(highest.load(SeqCst) <= MAX, "{highest:?} permits at one time");
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0), "{snapshot:?}");
    let rejections = snapshot.rejected_full + snapshot.rejected_timeout + snapshot.rejected_shed;
    assert_eq!(rejections, rejected.load(SeqCst), "{snapshot:?}");
    let all: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire().ok()).collect();
    assert_eq!(all.len(), snapshot.max_concurrent as usize, "every permit can be acquired again");
}
