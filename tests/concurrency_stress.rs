//! Eight threads on one adaptive limiter, with a limit that changes, waits that are cancelled and
//! calls that panic. The calls in flight never exceed the limit, and every permit is released.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{
    AdaptiveLimiter, LimitController, LimitReason, LimitUpdate, LimitWindow, WindowRule,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

const THREADS: u64 = 8;
const CALLS: u64 = 20_000;
const MAX: i64 = 6;

/// A controller whose limit changes at every window, between one and six.
struct Jumps(u32);

impl LimitController for Jumps {
    fn limit(&self) -> f64 {
        f64::from([3, 1, 6, 2, 5, 4][self.0 as usize % 6])
    }

    fn update(&mut self, _: &LimitWindow) -> LimitUpdate {
        self.0 += 1;
        LimitUpdate { limit: self.limit(), reason: LimitReason::Growth }
    }

    fn window_rule(&self) -> WindowRule {
        let min_duration = Duration::from_micros(50);
        WindowRule { min_duration, min_calls: 1, min_latencies: 0 }
    }
}

#[test]
fn calls_never_exceed_the_limit_and_every_permit_is_released() {
    let limiter = AdaptiveLimiter::builder().controller(Jumps(0)).build().unwrap();
    let (running, highest) = (AtomicI64::new(0), AtomicI64::new(0));
    let (admitted, rejected, cancelled) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let quiet = Mutex::new(());
    let work = |panics: bool| {
        let now = running.fetch_add(1, SeqCst) + 1;
        highest.fetch_max(now, SeqCst);
        admitted.fetch_add(1, SeqCst);
        std::hint::spin_loop();
        running.fetch_sub(1, SeqCst);
        if panics {
            std::panic::resume_unwind(Box::new("operation"));
        }
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (limiter, work, quiet) = (&limiter, &work, &quiet);
            let (rejected, cancelled) = (&rejected, &cancelled);
            scope.spawn(move || {
                for call in 0..CALLS {
                    match (thread + call) % 5 {
                        0 => match limiter.try_acquire() {
                            Ok(permit) => {
                                work(false);
                                permit.success();
                            }
                            Err(_) => drop(rejected.fetch_add(1, SeqCst)),
                        },
                        1 => match limiter.acquire_blocking_timeout(Duration::from_millis(50)) {
                            Ok(permit) => {
                                work(false);
                                permit.overload();
                            }
                            Err(_) => drop(rejected.fetch_add(1, SeqCst)),
                        },
                        2 => {
                            // Polled once, then dropped, granted or not.
                            let mut wait = Box::pin(limiter.acquire_owned());
                            let mut cx = Context::from_waker(Waker::noop());
                            match wait.as_mut().poll(&mut cx) {
                                std::task::Poll::Ready(Ok(permit)) => {
                                    work(false);
                                    permit.success();
                                }
                                _ => drop(cancelled.fetch_add(1, SeqCst)),
                            }
                        }
                        3 if call % 100 == 0 => {
                            let _one = quiet.lock();
                            let call = || {
                                limiter.call_blocking(|| {
                                    work(true);
                                    Ok::<_, ()>(())
                                })
                            };
                            if let Ok(Err(_)) = catch_unwind(AssertUnwindSafe(call)) {
                                rejected.fetch_add(1, SeqCst);
                            }
                        }
                        _ => match limiter.try_acquire_owned() {
                            Ok(permit) => {
                                work(false);
                                drop(permit);
                            }
                            Err(_) => drop(rejected.fetch_add(1, SeqCst)),
                        },
                    }
                }
            });
        }
    });
    let total = [&admitted, &rejected, &cancelled].map(|count| count.load(SeqCst));
    assert_eq!(total.iter().sum::<u64>(), THREADS * CALLS, "{total:?}");
    assert!(highest.load(SeqCst) <= MAX, "{highest:?} calls at the same time");
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0), "{snapshot:?}");
    assert!(snapshot.windows > 10, "{snapshot:?}");
    let all: Vec<_> = std::iter::from_fn(|| limiter.try_acquire().ok()).collect();
    assert_eq!(all.len(), snapshot.limit as usize, "every permit can be acquired again");
}
