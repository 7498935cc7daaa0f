//! Fallbacks: the errors that are replaced, their replacements, and the counters.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::CircuitBreaker;
use mainstay::error::{Error, Reason, Rejection, TimedOut};
use mainstay::event::Event;
use mainstay::fallback::{Fallback, FallbackHandler};
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Context, Policy, Repeat};
use mainstay::rate::{Quota, RateLimiter};
use mainstay::retry::Retry;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Outcome = Result<u8, Error<&'static str>>;

fn rejected() -> Error<&'static str> {
    Rejection::new(Reason::CircuitOpen, "search").into()
}

fn timed_out() -> Error<&'static str> {
    TimedOut::new("search", Duration::from_secs(1)).into()
}

/// Runs an operation that returns `result` through `policy`, as a future and as a closure.
fn run(policy: &impl Repeat<u8, &'static str>, result: Outcome) -> Outcome {
    let future = policy.call(Context::new(), |_| ready(result));
    let returned = futures::executor::block_on(future);
    assert_eq!(policy.call_blocking(Context::new(), |_| result), returned);
    returned
}

#[test]
fn the_handler_decides_which_errors_are_replaced() {
    let fallback = Fallback::new();
    let value = fallback.value(9);
    let failures = fallback.value(9).when(|error: &Error<_>| !error.is_rejected());
    let function = fallback.handle(|error: Error<&str>| match error {
        Error::Operation(message) => Ok(message.len() as u8),
        Error::Timeout(_) => Err(Error::Operation("too late")),
        error => Err(error),
    });
    //     result, by value, by value when not rejected, by function
    let table = [
        (Ok(1), Ok(1), Ok(1), Ok(1)),
        (Err(Error::Operation("down")), Ok(9), Ok(9), Ok(4)),
        (Err(timed_out()), Ok(9), Ok(9), Err(Error::Operation("too late"))),
        (Err(rejected()), Ok(9), Err(rejected()), Err(rejected())),
    ];
    for (result, by_value, by_rule, by_function) in table {
        assert_eq!(run(&value, result), by_value);
        assert_eq!(run(&failures, result), by_rule);
        assert_eq!(run(&function, result), by_function);
    }
    // `run` runs each policy twice. An error that the handler returns is not counted.
    assert_eq!(fallback.snapshot().degraded, 2 * (3 + 2 + 1));
}

#[test]
fn an_outer_fallback_replaces_the_errors_that_an_inner_one_returns() {
    let (outer, inner) = (Fallback::new(), Fallback::new());
    let pipeline = Pipeline::builder()
        .fallback(outer.value(2))
        .fallback(inner.value(1).when(|error: &Error<_>| error.operation() == Some(&"down")))
        .build();
    assert!(pipeline.check().is_empty());
    assert_eq!(pipeline.call_blocking(|| Err("down")), Ok(1));
    assert_eq!(pipeline.call_blocking(|| Err("lost")), Ok(2));
    assert_eq!((outer.snapshot().degraded, inner.snapshot().degraded), (1, 1));
}

#[test]
fn degraded_results_are_reported_with_their_cause() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let fallback = Fallback::builder()
        .name("prices")
        .observer(move |event: &Event<'_>| log.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    let value = fallback.value(0);
    for error in [Error::Operation("down"), timed_out(), rejected()] {
        assert_eq!(value.call_blocking(|| Err::<u8, _>(())), Ok(0));
        _ = Repeat::call_blocking(&value, Context::new(), |_| Err(error));
    }
    let events = events.lock().unwrap();
    assert_eq!(events[1], "prices degraded #2 cause=operation");
    assert_eq!(events[3], "prices degraded #4 cause=timeout");
    assert_eq!(events[5], "prices degraded #6 cause=circuit open");
}

#[test]
fn a_panic_of_the_handler_unwinds_and_is_not_counted() {
    struct Panics;
    impl FallbackHandler<u8, ()> for Panics {
        fn handle(&self, _: Error<()>) -> Result<u8, Error<()>> {
            panic!("handler")
        }
    }
    let fallback = Fallback::new();
    let handler = fallback.handle(|error| Panics.handle(error));
    assert!(catch_unwind(AssertUnwindSafe(|| handler.call_blocking(|| Err(())))).is_err());
    assert_eq!(handler.call_blocking(|| Ok(1)), Ok(1));
    assert_eq!(fallback.snapshot().degraded, 0);
}

#[test]
fn check_reports_what_a_fallback_hides() {
    let limiter = RateLimiter::new(Quota::per_second(10)).unwrap();
    let breaker = CircuitBreaker::new();
    let retry = Retry::builder().assume_idempotent().budget(mainstay::Budget::default());
    let retry = retry.build().unwrap();
    let fallback = || Fallback::new().value(0);
    let some = || Fallback::new().value(0).when(|error: &Error<()>| !error.is_rejected());
    let builder = Pipeline::builder;
    let rules = |lints: Vec<mainstay::Lint>| {
        lints.iter().map(|lint| lint.rule.as_str()).collect::<Vec<_>>().join(" ")
    };
    for (lints, expected) in [
        (builder().fallback(fallback()).build().check(), ""),
        (builder().fallback(fallback()).breaker(&breaker).build().check(), ""),
        (builder().fallback(fallback()).retry(&retry).build().check(), ""),
        (
            builder().fallback(fallback()).rate_limit(&limiter).build().check(),
            "fallback-hides-rejection",
        ),
        (builder().fallback(some()).rate_limit(&limiter).build().check(), ""),
        (builder().rate_limit(&limiter).fallback(fallback()).build().check(), ""),
        (
            builder().breaker(&breaker).fallback(fallback()).build().check(),
            "fallback-hides-failure",
        ),
        (builder().retry(&retry).fallback(fallback()).build().check(), "fallback-hides-failure"),
        (builder().retry(&retry).fallback(some()).build().check(), ""),
    ] {
        assert_eq!(rules(lints), expected);
    }
    assert_eq!(fallback().facts().max_attempts, None);
}
