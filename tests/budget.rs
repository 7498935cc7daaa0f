//! Budgets in retries: which retries are suppressed, what the caller receives, and exact counts
//! under concurrency.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::budget::{Budget, BudgetBuilder, BudgetPermit};
use mainstay::error::Error;
use mainstay::event::Event;
use mainstay::pipeline::Pipeline;
use mainstay::retry::{Retry, RetryDecision};
use mainstay::time::ManualClock;
use mainstay::timeout::Timeout;
use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn budget(min_repeats: u32) -> BudgetBuilder {
    Budget::builder().of_calls_in_flight(min_repeats)
}

/// A retry with up to three attempts and a backoff of one second.
fn retry(time: &ManualClock, budget: &Budget) -> Retry {
    let builder = Retry::builder().clock(time.clock()).backoff(Backoff::constant(SECOND));
    builder.budget(budget).build().unwrap()
}

fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn a_share_of_recent_calls_expires_with_the_time() {
    let time = ManualClock::new();
    let builder = Budget::builder().percent(100).of_recent_calls(10 * SECOND, 0);
    let budget = builder.clock(time.clock()).build().unwrap();
    drop(budget.start_call());
    assert_eq!(budget.snapshot().available, 1);
    time.advance(9 * SECOND);
    assert_eq!(budget.snapshot().available, 1);
    time.advance(SECOND);
    assert_eq!(budget.snapshot().available, 0);
}

#[test]
fn an_exhausted_budget_returns_the_error_of_the_operation() {
    let time = ManualClock::new();
    let budget = budget(0).build().unwrap();
    let retry = retry(&time, &budget);
    let attempts = Cell::new(0);
    let result = time.drive(retry.call(|| async {
        attempts.set(attempts.get() + 1);
        Err::<(), _>(attempts.get())
    }));
    assert_eq!(result, Err(Error::Operation(1)));
    assert_eq!((budget.snapshot().denials, retry.snapshot().suppressed), (1, 1));
    assert_eq!(retry.snapshot().retries, 0);
}

#[test]
fn a_waiting_retry_counts_as_in_flight() {
    // envoy#30205: only running retries were counted, so a backlog of waiting retries could start
    // at the same time.
    let time = ManualClock::new();
    let budget = budget(1).build().unwrap();
    let retry = retry(&time, &budget);
    let fail = || async { Err::<(), _>("refused") };
    let mut waiting = pin!(retry.call(fail));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert_eq!(budget.snapshot().available, 0);
    // The second call fails at the same time, and is not retried.
    assert_eq!(time.drive(retry.call(fail)), Err(Error::Operation("refused")));
    assert_eq!(retry.snapshot().suppressed, 1);
    // The first call retries twice, one retry at a time.
    assert_eq!(time.drive(waiting), Err(Error::Operation("refused")));
    assert_eq!((budget.snapshot().available, budget.snapshot().grants), (1, 2));
}

/// envoy-mobile#811: only running attempts were counted as calls, so the limit decreased with each
/// call that waited for its retry.
#[test]
fn a_call_that_waits_for_its_retry_counts_as_in_flight() {
    let time = ManualClock::new();
    let clock = time.clock();
    let budget = budget(0).percent(50).build().unwrap();
    let retry = retry(&time, &budget);
    let call = || {
        Box::pin(retry.call(|| async {
            clock.sleep(SECOND).await;
            Err::<(), _>(())
        }))
    };
    let mut calls: Vec<_> = (0..10).map(|_| call()).collect();
    assert_eq!(calls.iter_mut().map(is_pending).filter(|pending| *pending).count(), 10);
    time.advance(SECOND);
    assert_eq!(calls.iter_mut().map(is_pending).filter(|pending| *pending).count(), 5);
    drop(calls);
    let held: Vec<_> = (0..4).map(|_| budget.start_call()).collect();
    assert_eq!(budget.snapshot().available, 2); // no call or permit has leaked
    drop(held);
}

#[test]
fn dropping_a_call_at_any_point_releases_its_permits() {
    let time = ManualClock::new();
    let budget = budget(3).build().unwrap();
    let retry = retry(&time, &budget);
    for polls in 0..8 {
        let attempts = Cell::new(0);
        let call = retry.call(|| {
            attempts.set(attempts.get() + 1);
            let attempt = attempts.get();
            async move {
                if attempt == 3 {
                    pending::<()>().await;
                }
                Err::<(), _>(())
            }
        });
        {
            let mut call = pin!(call);
            for _ in 0..polls {
                let poll = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(poll.is_pending());
                time.advance(SECOND);
            }
        }
        assert_eq!(budget.snapshot().available, 3, "{polls} polls");
    }
}

#[test]
fn a_panic_of_the_operation_releases_the_permits() {
    let budget = budget(1).build().unwrap();
    let retry = Retry::builder().backoff(Backoff::constant(Duration::ZERO)).budget(&budget);
    let retry = retry.build().unwrap();
    let attempts = Cell::new(0);
    let call = std::panic::AssertUnwindSafe(|| {
        retry.call_blocking(|| {
            attempts.set(attempts.get() + 1);
            assert!(attempts.get() < 2, "in the retry");
            Err::<(), _>(())
        })
    });
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!(budget.snapshot().available, 1);
}

#[test]
fn a_retry_after_a_timeout_costs_more() {
    let time = ManualClock::new();
    for (min_repeats, attempts) in [(1, 1), (2, 3)] {
        let budget = budget(min_repeats).timeout_cost(2).build().unwrap();
        let pipeline = Pipeline::builder()
            .retry(retry(&time, &budget))
            .timeout(Timeout::new(SECOND).clock(time.clock()))
            .build();
        let started = AtomicU64::new(0);
        let result = time.drive(pipeline.call(|| {
            started.fetch_add(1, Ordering::Relaxed);
            pending::<Result<(), ()>>()
        }));
        assert!(result.unwrap_err().is_timeout());
        assert_eq!(started.into_inner(), attempts, "{min_repeats}");
    }
}

#[test]
fn a_retry_that_the_rule_stops_withdraws_nothing() {
    let budget = budget(1).build().unwrap();
    let retry = Retry::builder().budget(&budget).build().unwrap();
    let never = retry.when(|_: &Result<(), Error<()>>| RetryDecision::Stop);
    assert!(never.call_blocking(|| Err(())).is_err());
    assert_eq!((budget.snapshot().grants, budget.snapshot().denials), (0, 0));
}

#[test]
fn retries_and_denials_are_reported() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let observer = || {
        let events = events.clone();
        move |event: &Event<'_>| events.lock().unwrap().push(event.to_string())
    };
    let budget = Budget::builder().of_all_calls(1).observer(observer()).build().unwrap();
    let retry = Retry::builder()
        .name("search")
        .clock(time.clock())
        .backoff(Backoff::constant(SECOND))
        .budget(&budget)
        .observer(observer())
        .build()
        .unwrap();
    _ = time.drive(retry.call(|| async { Err::<(), _>(()) }));
    let expected = [
        "search retry #1 attempt=1 result=operation wait=1s",
        "budget exhausted #1 cost=1",
        "search suppressed #1 attempt=2 result=operation",
    ];
    assert_eq!(*events.lock().unwrap(), expected);
}

#[test]
fn the_standard_pipeline_has_a_budget() {
    let breaker =
        mainstay::CircuitBreaker::builder().count_window(100).min_calls(100).build().unwrap();
    let retry = Retry::builder().clock(ManualClock::new().clock()).assume_idempotent();
    let retry = retry.build().unwrap();
    let pipeline = Pipeline::standard(9 * SECOND, &retry, &breaker, SECOND);
    let mut calls: Vec<_> =
        (0..10).map(|_| Box::pin(pipeline.call(|| async { Err::<(), _>(()) }))).collect();
    let waiting = calls.iter_mut().map(is_pending).filter(|pending| *pending).count();
    assert_eq!(waiting, 3);
    assert_eq!(retry.snapshot().suppressed, 7);
}

/// tower#857: `TpsBudget` reads the balance and then withdraws, so concurrent retries exceed the
/// budget.
#[test]
fn concurrent_repeats_never_exceed_the_budget() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 5_000;
    let budget = Budget::builder().percent(60).of_all_calls(100).build().unwrap();
    let granted = AtomicU64::new(0);
    let barrier = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..CALLS {
                    let _call = budget.start_call();
                    // Request two repeats of each call.
                    let first = budget.try_acquire().is_ok();
                    let second = budget.try_acquire().is_ok();
                    granted.fetch_add(u64::from(first) + u64::from(second), Ordering::Relaxed);
                }
            });
        }
    });
    let granted = granted.into_inner();
    let snapshot = budget.snapshot();
    assert_eq!((snapshot.grants, snapshot.denials), (granted, 2 * THREADS * CALLS - granted));
    // At most the initial balance of 100 and 60 % of the calls. Deposits into the full bucket are
    // discarded.
    assert!(granted <= 100 + THREADS * CALLS * 60 / 100, "{granted}");
    assert!(granted >= THREADS * CALLS * 60 / 100, "{granted}");
}

#[test]
fn repeats_in_flight_never_exceed_their_share() {
    const THREADS: usize = 8;
    let budget = budget(2).percent(25).build().unwrap();
    let (repeats, most) = (AtomicU64::new(0), AtomicU64::new(0));
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..10_000 {
                    let _call = budget.start_call();
                    if let Ok(permit) = budget.try_acquire() {
                        most.fetch_max(
                            repeats.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        repeats.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    // 25 % of 8 calls are 2, which is also the minimum.
    assert!(most.into_inner() <= 2);
    assert_eq!(budget.snapshot().available, 2);
}

#[test]
fn in_shadow_mode_every_repeat_is_granted_and_denials_are_counted() {
    let time = ManualClock::new();
    let budget = budget(1).shadow().build().unwrap();
    let permits = [(); 3].map(|()| budget.try_acquire().unwrap());
    assert_eq!(permits.each_ref().map(BudgetPermit::cost), [1, 0, 0]);
    assert_eq!((budget.snapshot().grants, budget.snapshot().denials), (1, 2));
    drop(permits);
    assert_eq!(budget.snapshot().available, 1);

    let retry = retry(&time, &budget);
    let _held = budget.try_acquire().unwrap();
    let attempts = Cell::new(0);
    let result = retry.call_blocking(|| {
        attempts.set(attempts.get() + 1);
        Err::<(), _>("down")
    });
    assert_eq!((result, attempts.get()), (Err(Error::Operation("down")), 3));
}

#[test]
fn new_settings_apply_to_the_calls_in_flight() {
    let budget = budget(3).build().unwrap();
    let calls: Vec<_> = (0..40).map(|_| budget.start_call()).collect();
    let permits: Vec<_> = (0..8).map(|_| budget.try_acquire().unwrap()).collect();
    assert!(budget.try_acquire().is_err(), "20 % of 40 calls");
    budget.reconfigure(&Budget::builder().percent(25)).unwrap();
    assert_eq!(budget.snapshot().available, 2);
    budget.reconfigure(&Budget::builder().percent(10)).unwrap();
    assert_eq!(budget.snapshot().available, 0, "8 run, 4 are allowed");
    assert_eq!(permits.len() + calls.len(), 48);
    drop(permits);
    assert_eq!(budget.snapshot().available, 4);
    drop(calls);
    assert_eq!(budget.snapshot().available, 3);
}

#[test]
fn the_cost_of_a_timeout_can_be_replaced() {
    let budget = Budget::builder().build().unwrap();
    let timed_out = Err::<(), Error<()>>(mainstay::TimedOut::new("search", SECOND).into());
    assert_eq!(budget.cost_after(&timed_out), 2);
    budget.reconfigure(&Budget::builder().timeout_cost(7)).unwrap();
    assert_eq!(budget.cost_after(&timed_out), 7);
}

#[test]
fn settings_that_cannot_be_applied_change_nothing() {
    let budget = Budget::builder().of_all_calls(5).build().unwrap();
    let field = |config: BudgetBuilder| budget.reconfigure(&config).unwrap_err().field();
    assert_eq!(field(Budget::builder()), "of_calls_in_flight");
    assert_eq!(field(Budget::builder().of_recent_calls(SECOND, 1)), "of_recent_calls");
    assert_eq!(field(Budget::builder().of_all_calls(7).percent(0)), "percent");
    assert_eq!(field(Budget::builder().of_all_calls(7).timeout_cost(0)), "timeout_cost");
    assert_eq!(budget.snapshot().available, 5);
    let in_flight = Budget::builder().build().unwrap();
    let error = in_flight.reconfigure(&Budget::builder().of_all_calls(5)).unwrap_err();
    assert_eq!(error.field(), "of_all_calls");
}

#[test]
fn repeats_never_exceed_the_larger_of_the_settings_that_alternate() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 3_000;
    let settings = |percent, capacity| Budget::builder().percent(percent).of_all_calls(capacity);
    let in_flight = |min| Budget::builder().percent(1).of_calls_in_flight(min);
    let bucket = settings(10, 50).build().unwrap();
    let running = in_flight(2).build().unwrap();
    let (repeats, most) = (AtomicU64::new(0), AtomicU64::new(0));
    let barrier = Barrier::new(THREADS as usize + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..CALLS {
                    drop(bucket.start_call());
                    drop(bucket.try_acquire());
                    let _call = running.start_call();
                    if let Ok(permit) = running.try_acquire() {
                        let now = repeats.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        repeats.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
        barrier.wait();
        for i in 0..2_000 {
            let (percent, capacity) = [(10, 50), (20, 5)][i % 2];
            bucket.reconfigure(&settings(percent, capacity)).unwrap();
            running.reconfigure(&in_flight([2, 4][i % 2])).unwrap();
        }
    });
    let grants = bucket.snapshot().grants;
    assert!(grants <= 50 + THREADS * CALLS * 20 / 100, "{grants}");
    assert!(most.into_inner() <= 4);
    running.reconfigure(&in_flight(2)).unwrap();
    assert_eq!(running.snapshot().available, 2, "no permit was lost");
}
