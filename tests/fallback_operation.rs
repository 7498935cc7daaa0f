//! Fallbacks to another operation: when it runs, and how the time of a call is divided.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::CircuitBreaker;
use mainstay::error::{Error, Reason, Rejection};
use mainstay::event::Event;
use mainstay::fallback::{Fallback, FallbackBuilder};
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Context, Repeat};
use mainstay::time::{Clock, Deadline, ManualClock};
use mainstay::timeout::Timeout;
use std::future::{Future, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

type Outcome = Result<u32, Error<&'static str>>;

fn builder(time: &ManualClock) -> FallbackBuilder {
    Fallback::builder().name("prices").clock(time.clock())
}

/// An operation that takes some milliseconds.
async fn after(
    clock: Clock,
    millis: u32,
    result: Result<u32, &'static str>,
) -> Result<u32, &'static str> {
    clock.sleep(millis * MS).await;
    result
}

#[test]
fn the_other_operation_runs_after_a_failure_or_after_its_share_of_the_time_began() {
    // The deadline, the first operation, the other one; the result and the time of the call.
    type Step = (u32, Result<u32, &'static str>);
    type Row = (Option<u32>, Step, Step, Result<u32, &'static str>, u128);
    let table: [Row; 8] = [
        (Some(1000), (500, Ok(1)), (0, Ok(2)), Ok(1), 500),
        (Some(1000), (700, Ok(1)), (0, Ok(2)), Ok(1), 700),
        (Some(1000), (701, Ok(1)), (100, Ok(2)), Ok(2), 800),
        (Some(1000), (9999, Ok(1)), (299, Ok(2)), Ok(2), 999),
        (Some(1000), (9999, Ok(1)), (301, Ok(2)), Err("timeout"), 1000),
        (Some(1000), (100, Err("down")), (800, Ok(2)), Ok(2), 900),
        (Some(1000), (100, Err("down")), (100, Err("down too")), Err("down too"), 200),
        (None, (9999, Err("down")), (5000, Ok(2)), Ok(2), 14_999),
    ];
    for (deadline, first, other, expected, millis) in table {
        let time = ManualClock::new();
        let clock = time.clock();
        let fallback = builder(&time).build().unwrap();
        let to = {
            let clock = clock.clone();
            fallback.operation(move |_: Error<&str>, _| after(clock.clone(), other.0, other.1))
        };
        let pipeline = Pipeline::builder().fallback_to(&to).build();
        let deadline = match deadline {
            Some(deadline) => Deadline::after(clock.now(), deadline * MS),
            None => Deadline::NEVER,
        };
        let start = time.now();
        let call = pipeline.with_deadline(deadline, &clock);
        let result = time.drive(call.call(|| after(clock.clone(), first.0, first.1)));
        let result = result.map_err(|error| error.operation().copied().unwrap_or("timeout"));
        let row = format!("{deadline:?} {first:?} {other:?}");
        assert_eq!((result, (time.now() - start).as_millis()), (expected, millis), "{row}");
        assert_eq!(fallback.snapshot().degraded, u64::from(result == Ok(2)), "{row}");
    }
}

#[test]
fn a_chain_divides_the_time_that_is_left() {
    let time = ManualClock::new();
    let clock = time.clock();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let fallback = builder(&time).build().unwrap();
    let hangs = |seen: &Arc<Mutex<Vec<_>>>, name: &'static str| {
        let seen = seen.clone();
        move |_: Error<&'static str>, cx: Context| {
            seen.lock().unwrap().push((name, cx.remaining().unwrap().as_millis()));
            std::future::pending::<Result<u32, &str>>()
        }
    };
    let pipeline = Pipeline::builder()
        .timeout(Timeout::new(1000 * MS).clock(clock.clone()))
        .fallback_to(fallback.operation(hangs(&seen, "cache")))
        .fallback_to(fallback.operation(hangs(&seen, "replica")))
        .build();
    let start = time.now();
    let result = time.drive(pipeline.call_with(|cx| {
        seen.lock().unwrap().push(("primary", cx.remaining().unwrap().as_millis()));
        std::future::pending::<Result<u32, &str>>()
    }));
    assert!(matches!(result, Err(Error::Timeout(_))));
    assert_eq!(*seen.lock().unwrap(), [("primary", 490), ("replica", 210), ("cache", 300)]);
    assert_eq!(time.now() - start, 1000 * MS);
}

#[test]
fn the_operation_receives_the_error_and_may_return_it() {
    let time = ManualClock::new();
    let fallback = builder(&time).build().unwrap();
    let not_found = fallback.operation(|error: Error<&'static str>, _| async move {
        match error {
            Error::Operation("not found") => Ok(0),
            error => Err(error),
        }
    });
    let pipeline = Pipeline::builder().fallback_to(&not_found).build();
    let call = |result: Result<u32, &'static str>| time.drive(pipeline.call(|| ready(result)));
    assert_eq!(call(Err("not found")), Ok(0));
    assert_eq!(call(Err("down")), Err(Error::Operation("down")));
    assert_eq!(fallback.snapshot().degraded, 1);
}

#[test]
fn the_other_operation_can_be_another_pipeline() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder().clock(time.clock()).build().unwrap();
    let replica = Pipeline::builder().breaker(&breaker).build().boxed::<u32, &'static str>();
    let fallback = Fallback::new().operation(move |_: Error<&str>, _| {
        let replica = replica.clone();
        async move { replica.call(|| ready(Ok(7))).await }
    });
    let pipeline = Pipeline::builder().fallback_to(fallback).build();
    assert_eq!(time.drive(pipeline.call(|| ready(Err("down")))), Ok(7));
    assert_eq!(breaker.snapshot().counts.total, 1);
}

#[test]
fn errors_that_the_rule_does_not_select_are_returned() {
    let time = ManualClock::new();
    let fallback = builder(&time).build().unwrap();
    let to = fallback
        .operation(|_: Error<&'static str>, _| ready(Ok::<u32, &'static str>(2)))
        .when(|error: &Error<&'static str>| !error.is_rejected());
    let rejected: Error<&str> = Rejection::new(Reason::RateLimited, "limiter").into();
    for (error, expected) in [(Error::Operation("down"), Ok(2)), (rejected, Err(rejected))] {
        let future = Repeat::call(&to, Context::new(), |_| ready(Err(error)));
        assert_eq!(time.drive(future), expected);
        assert_eq!(Repeat::call_blocking(&to, Context::new(), |_| Err(error)), expected);
    }
    assert_eq!(fallback.snapshot().degraded, 2);
}

#[test]
fn after_the_deadline_the_other_operation_is_not_started() {
    let time = ManualClock::new();
    let clock = time.clock();
    let started = Arc::new(AtomicU32::new(0));
    let count = started.clone();
    let to = builder(&time).build().unwrap().operation(move |_: Error<&'static str>, _| {
        count.fetch_add(1, SeqCst);
        ready(Ok::<u32, &'static str>(2))
    });
    let pipeline = Pipeline::builder().fallback_to(&to).build();
    // A blocking closure is not interrupted.
    let call = |millis: u32| {
        let limited = pipeline.with_deadline(Deadline::after(clock.now(), 100 * MS), &clock);
        limited.call_with_blocking(|cx| {
            assert_eq!(cx.remaining(), Some(70 * MS));
            time.advance(millis * MS);
            Err("down")
        })
    };
    assert_eq!(call(99), Ok(2));
    assert_eq!(call(100), Err(Error::Operation("down")));
    assert_eq!(started.load(SeqCst), 1);
}

struct Held(Arc<AtomicU32>);

impl Held {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// An operation that holds something for three polls.
fn steps(
    held: &Arc<AtomicU32>,
    result: Result<u32, &'static str>,
) -> impl Future<Output = Result<u32, &'static str>> + use<> {
    let guard = Held::new(held);
    let mut left = 3;
    poll_fn(move |_| {
        let _held = &guard;
        left -= 1;
        if left == 0 { Poll::Ready(result) } else { Poll::Pending }
    })
}

#[test]
fn a_call_dropped_after_any_number_of_polls_holds_nothing() {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    for polls in 0..7 {
        let (first, other) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let fallback = Fallback::new();
        let to = {
            let other = other.clone();
            fallback.operation(move |_: Error<&'static str>, _| steps(&other, Ok(2)))
        };
        let mut call = Box::pin(to.call(|| steps(&first, Err("down"))));
        let mut returned = None;
        for _ in 0..polls {
            if let Poll::Ready(result) = call.as_mut().poll(&mut cx) {
                returned = Some(result);
                break;
            }
        }
        // The first operation ends in the third poll, in which the other one is polled first.
        assert_eq!(returned, (polls >= 5).then_some(Ok(2)), "{polls}");
        let held = (first.load(SeqCst), other.load(SeqCst));
        let expected = match polls {
            0 => (0, 0),
            1 | 2 => (1, 0),
            3 | 4 => (0, 1),
            _ => (0, 0),
        };
        assert_eq!(held, expected, "{polls}");
        drop(call);
        assert_eq!((first.load(SeqCst), other.load(SeqCst)), (0, 0));
        assert_eq!(fallback.snapshot().degraded, u64::from(polls >= 5));
    }
}

#[test]
fn a_panic_of_either_operation_unwinds_and_is_not_counted() {
    let fallback = Fallback::new();
    let starts = fallback.operation(|_: Error<&'static str>, _| -> std::future::Ready<Outcome> {
        panic!("starting")
    });
    let polls = fallback.operation(|_: Error<&'static str>, _| async {
        if true { panic!("polled") } else { Ok::<u32, &'static str>(1) }
    });
    let time = ManualClock::new();
    let fails = || ready(Err::<u32, _>("down"));
    assert!(catch_unwind(AssertUnwindSafe(|| time.drive(starts.call(fails)))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| time.drive(polls.call(fails)))).is_err());
    assert_eq!(time.drive(polls.call(|| ready(Ok(1)))), Ok(1));
    assert_eq!(fallback.snapshot().degraded, 0);
}

#[test]
fn a_degraded_result_is_reported_with_the_cause_of_the_first_error() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let fallback = builder(&time)
        .observer(move |event: &Event<'_>| log.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    let to = fallback.operation(|_: Error<&'static str>, _| ready(Ok::<u32, &'static str>(2)));
    let clock = time.clock();
    let pipeline = Pipeline::builder()
        .timeout(Timeout::new(1000 * MS).clock(clock.clone()))
        .fallback_to(&to)
        .build();
    assert_eq!(time.drive(pipeline.call(|| after(clock.clone(), 0, Err("down")))), Ok(2));
    assert_eq!(time.drive(pipeline.call(|| after(clock.clone(), 5000, Ok(1)))), Ok(2));
    let expected = ["prices degraded #1 cause=operation", "prices degraded #2 cause=timeout"];
    assert_eq!(*events.lock().unwrap(), expected);
}

#[test]
fn the_share_is_configurable_and_checked() {
    let time = ManualClock::new();
    for (share, remaining) in [(0.0, 1000), (0.25, 750), (0.9, 100)] {
        let to = builder(&time).share(share).build().unwrap();
        let to = to.operation(|_: Error<()>, _| ready(Ok::<u128, ()>(0)));
        assert!(format!("{to:?}").starts_with("FallbackToOperation { fallback: "));
        let timeout = Timeout::new(1000 * MS).clock(time.clock());
        let pipeline = Pipeline::builder().timeout(timeout).fallback_to(to).build();
        let left = |cx: Context| ready(Ok::<_, ()>(cx.remaining().unwrap().as_millis()));
        assert_eq!(time.drive(pipeline.call_with(left)), Ok(remaining));
    }
    for share in [-0.1, 1.0, f64::NAN] {
        assert_eq!(builder(&time).share(share).build().unwrap_err().field(), "share");
    }
}

#[test]
fn check_treats_it_as_any_other_fallback() {
    let breaker = CircuitBreaker::new();
    let to = Fallback::new().operation(|_: Error<()>, _| ready(Ok::<u32, ()>(0)));
    let above = Pipeline::builder().fallback_to(&to).breaker(&breaker).build();
    assert!(above.check().is_empty());
    let below = Pipeline::builder().breaker(&breaker).fallback_to(&to).build();
    assert_eq!(below.check()[0].rule.as_str(), "fallback-hides-failure");
}

#[cfg(feature = "tower")]
#[test]
fn it_works_as_a_tower_layer() {
    use tower::{Layer, ServiceExt, service_fn};
    let time = ManualClock::new();
    let to = builder(&time).build().unwrap();
    let to = to.operation(|_: Error<&'static str>, _| ready(Ok::<u32, &'static str>(2)));
    let service = service_fn(|request: Result<u32, &'static str>| ready(request));
    let service = Pipeline::builder().fallback_to(&to).build().layer(service);
    assert_eq!(time.drive(service.clone().oneshot(Ok(1))), Ok(1));
    assert_eq!(time.drive(service.oneshot(Err("down"))), Ok(2));
}
