//! The tables "What each policy counts" of `src/docs/composing.rs`: one test per row.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerSnapshot};
use mainstay::budget::Budget;
use mainstay::cache::{Cached, SingleValueStore};
use mainstay::coalesce::Coalesce;
use mainstay::error::{Error, Reason, Rejection};
use mainstay::fallback::Fallback;
use mainstay::hedge::Hedge;
use mainstay::pipeline::{Pipeline, StandardStack};
use mainstay::policy::{Context, Facts, Guard, Policy, kind};
use mainstay::retry::{Retry, RetryOnFailure};
use mainstay::time::{Clock, Deadline, ManualClock};
use mainstay::timeout::Timeout;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker and the settings of the standard stack: three attempts that are 1 s apart and last 2 s
/// at most. A call of 1 s or more is slow.
struct World {
    time: ManualClock,
    clock: Clock,
    breaker: CircuitBreaker,
    attempts: AtomicU32,
}

impl World {
    fn closed() -> Self {
        let time = ManualClock::new();
        let clock = time.clock();
        let breaker = CircuitBreaker::builder()
            .clock(clock.clone())
            .count_window(20)
            .min_calls(10)
            .slow_calls(SECOND, 1.0)
            .open_duration(Backoff::constant(60 * SECOND))
            .half_open_concurrency(1)
            .build()
            .unwrap();
        Self { time, clock, breaker, attempts: AtomicU32::new(0) }
    }

    fn open() -> Self {
        let world = Self::closed();
        for _ in 0..10 {
            world.breaker.try_acquire().unwrap().failure();
        }
        world
    }

    fn half_open() -> Self {
        let world = Self::open();
        world.time.advance(60 * SECOND);
        world
    }

    fn timeout(&self, name: &str, seconds: u32) -> Timeout {
        Timeout::new(seconds * SECOND).name(name).unwrap().clock(self.clock.clone())
    }

    fn retry(&self) -> Retry {
        let retry = Retry::builder().clock(self.clock.clone()).backoff(Backoff::constant(SECOND));
        retry.assume_idempotent().build().unwrap()
    }

    fn stack(
        &self,
        call: u32,
    ) -> Pipeline<StandardStack<RetryOnFailure, mainstay::outcome::FailOnError>> {
        let (call, attempt) = (self.timeout("call", call), self.timeout("attempt", 2));
        Pipeline::standard(call, self.retry(), &self.breaker, attempt)
    }

    /// Runs for `seconds`, then returns `result`.
    async fn operation(
        &self,
        seconds: u32,
        result: Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.clock.sleep(seconds * SECOND).await;
        result
    }

    /// Makes a call. Returns the result in words, and the duration of the call in seconds.
    fn call(&self, limit: u32, seconds: u32, result: Result<(), &'static str>) -> (String, u64) {
        let start = self.time.now();
        let answer = self.time.drive(self.stack(limit).call(|| self.operation(seconds, result)));
        (words(answer), (self.time.now() - start).as_secs())
    }

    /// Returns the numbers of successes, failures, slow calls and rejections.
    fn counts(&self) -> (u64, u64, u64, u64) {
        let CircuitBreakerSnapshot { counts, rejected, .. } = self.breaker.snapshot();
        (counts.total - counts.failed, counts.failed, counts.slow, rejected)
    }

    fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Asserts that the only probe was released and that its outcome was not recorded.
    fn assert_probe_released(&self) {
        let CircuitBreakerSnapshot { trial, active_probes, stale_outcomes: stale, .. } =
            self.breaker.snapshot();
        assert_eq!((trial.total, active_probes, stale), (0, 0, 0));
        assert_eq!(self.time.next_deadline(), None, "timers are disarmed");
    }
}

fn words(answer: Result<(), Error<&str>>) -> String {
    match answer {
        Ok(()) => "ok".into(),
        Err(Error::Operation(error)) => error.into(),
        Err(Error::Timeout(timed_out)) => format!("timeout of the {}", timed_out.policy()),
        Err(error) => format!("{:?}", error.retry_after()),
    }
}

/// Asserts that the table has a row for `event`.
fn row(event: &str) {
    let row = format!("//! | {event} |");
    assert!(include_str!("../src/docs/composing.rs").contains(&row), "{row}");
}

#[test]
fn a_success_is_recorded() {
    row("the operation succeeds");
    let world = World::closed();
    assert_eq!(world.call(10, 0, Ok(())), ("ok".into(), 0));
    assert_eq!((world.counts(), world.attempts()), ((1, 0, 0, 0), 1));
}

#[test]
fn a_slow_success_is_recorded_as_slow() {
    row("it succeeds slowly");
    let world = World::closed();
    assert_eq!(world.call(10, 1, Ok(())), ("ok".into(), 1));
    assert_eq!((world.counts(), world.attempts()), ((1, 0, 1, 0), 1));
}

#[test]
fn a_failure_is_recorded_for_each_attempt() {
    row("it fails");
    let world = World::closed();
    assert_eq!(world.call(10, 0, Err("failed")), ("failed".into(), 2));
    assert_eq!((world.counts(), world.attempts()), ((0, 3, 0, 0), 3));
}

#[test]
fn a_timeout_of_an_attempt_is_recorded_as_a_failure() {
    row("an attempt exceeds its timeout");
    let world = World::closed();
    assert_eq!(world.call(10, 3, Ok(())), ("timeout of the attempt".into(), 2 + 1 + 2 + 1 + 2));
    assert_eq!((world.counts(), world.attempts()), ((0, 3, 3, 0), 3));
}

#[test]
fn an_open_breaker_rejects_and_is_not_retried() {
    row("the breaker is open");
    let world = World::open();
    assert_eq!(world.call(10, 0, Ok(())), ("Some(60s)".into(), 0));
    assert_eq!((world.counts(), world.attempts()), ((0, 10, 0, 1), 0));
}

#[test]
fn a_rejection_below_the_breaker_is_not_recorded() {
    row("a limit below the breaker rejects");
    struct Full;
    impl Policy for Full {
        type Kind = kind::Guard;

        fn facts(&self) -> Facts {
            Facts::new("full", "full")
        }
    }
    impl<T: Send, E: Send> Guard<T, E> for Full {
        type Permit<'a> = ();
        async fn admit(&self, cx: Context) -> Result<(), Rejection> {
            Guard::<T, E>::admit_blocking(self, cx)
        }
        fn admit_blocking(&self, _: Context) -> Result<(), Rejection> {
            Err(Rejection::new(Reason::Custom, "full").with_retry_after(7 * SECOND))
        }
        fn record(&self, (): (), _: &Result<T, Error<E>>) {}
    }
    let world = World::half_open();
    let stack = Pipeline::builder()
        .timeout(world.timeout("call", 10))
        .retry(world.retry())
        .breaker(&world.breaker)
        .guard(Full)
        .timeout(world.timeout("attempt", 2))
        .build();
    let start = world.time.now();
    let answer = world.time.drive(stack.call(|| world.operation(0, Ok(()))));
    assert_eq!((words(answer), world.time.now() - start), ("Some(7s)".into(), Duration::ZERO));
    assert_eq!(world.attempts(), 0);
    world.assert_probe_released();
}

#[test]
fn a_timeout_of_the_call_is_not_recorded() {
    row("the call exceeds its timeout during an attempt");
    let world = World::half_open();
    assert_eq!(world.call(1, 5, Ok(())), ("timeout of the call".into(), 1));
    assert_eq!(world.attempts(), 1);
    world.assert_probe_released();
}

#[test]
fn a_retry_that_would_begin_too_late_is_not_made() {
    row("the next wait would exceed the deadline");
    // The first attempt ends at 0 s. The second would begin at 1 s, at the deadline.
    let world = World::closed();
    assert_eq!(world.call(1, 0, Err("failed")), ("failed".into(), 0));
    assert_eq!((world.counts(), world.attempts()), ((0, 1, 0, 0), 1));
}

#[test]
fn a_dropped_call_is_not_recorded() {
    row("the caller drops the future");
    let world = World::half_open();
    {
        let stack = world.stack(10);
        let mut call = pin!(stack.call(|| async {
            world.attempts.fetch_add(1, Ordering::Relaxed);
            pending::<Result<(), &str>>().await
        }));
        assert!(
            call.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending()
        );
        assert_eq!((world.attempts(), world.breaker.snapshot().active_probes), (1, 1));
    }
    world.assert_probe_released();
}

#[test]
fn a_panic_is_not_recorded() {
    row("the operation panics");
    let world = World::half_open();
    let stack = world.stack(10);
    let call = stack.call(|| async { panic!("operation") as Result<(), ()> });
    assert!(catch_unwind(AssertUnwindSafe(|| world.time.drive(call))).is_err());
    world.assert_probe_released();
}

#[test]
fn a_blocking_closure_is_not_interrupted() {
    let world = World::closed();
    let answer = world.stack(1).call_blocking(|| {
        world.clock.sleep_blocking(5 * SECOND);
        Ok(())
    });
    assert_eq!(words(answer), "ok");
    assert_eq!(world.counts(), (1, 0, 1, 0));
}

/// Asserts that the second table has a row for `case` of `policy`.
fn case(policy: &str, case: &str) {
    let row = format!("//! | [{policy}](crate::{policy})");
    let mut rows = include_str!("../src/docs/composing.rs").lines();
    assert!(rows.any(|line| line.starts_with(&row) && line.contains(&format!("| {case} |"))));
}

#[test]
fn a_retry_without_cover_of_the_budget_is_not_made() {
    case("budget", "it does not cover a retry");
    let world = World::closed();
    let budget = Budget::builder().of_all_calls(1).build().unwrap();
    let stack = Pipeline::standard(
        world.timeout("call", 10),
        world.retry().with_budget(&budget),
        &world.breaker,
        world.timeout("attempt", 2),
    );
    let answer = world.time.drive(stack.call(|| world.operation(0, Err("failed"))));
    assert_eq!((words(answer), world.attempts()), ("failed".into(), 2));
    assert_eq!(world.counts(), (0, 2, 0, 0));
}

#[test]
fn the_attempt_of_a_hedge_that_is_dropped_is_not_recorded() {
    case("hedge", "the second attempt returns first");
    let world = World::closed();
    let hedge = Hedge::builder().delay(SECOND).clock(world.clock.clone()).build().unwrap();
    let (call, attempt) = (world.timeout("call", 10), world.timeout("attempt", 5));
    let stack = Pipeline::standard_read(call, hedge, &world.breaker, attempt);
    let operation = |cx: Context| world.operation(if cx.attempt() == 1 { 4 } else { 0 }, Ok(()));
    assert_eq!(words(world.time.drive(stack.call_with(operation))), "ok");
    assert_eq!((world.counts(), world.attempts()), ((1, 0, 0, 0), 2));
    assert_eq!(world.time.next_deadline(), None, "timers are disarmed");
}

#[test]
fn an_error_that_a_fallback_replaces_is_recorded() {
    case("fallback", "it replaces an error");
    let world = World::closed();
    let stack = Pipeline::builder()
        .fallback(Fallback::new().value(()))
        .breaker(&world.breaker)
        .timeout(world.timeout("attempt", 2))
        .build();
    let answer = world.time.drive(stack.call(|| world.operation(0, Err("failed"))));
    assert_eq!((words(answer), world.counts()), ("ok".into(), (0, 1, 0, 0)));
}

#[test]
fn the_execution_that_calls_share_is_recorded_once() {
    case("coalesce", "ten calls share an execution");
    let world = World::closed();
    let users = Coalesce::<u32, (), Error<&str>>::builder().build().unwrap();
    let pipeline = Pipeline::builder().breaker(&world.breaker).build();
    let call = || {
        let (pipeline, clock) = (pipeline.clone(), world.clock.clone());
        users.call(&7, move || async move {
            let slow = || async {
                clock.sleep(SECOND / 2).await;
                Ok::<_, &str>(())
            };
            pipeline.call(slow).await
        })
    };
    let calls = futures::future::join_all((0..10).map(|_| call()));
    let answers = world.time.drive(calls);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(world.counts(), (1, 0, 0, 0));
}

#[test]
fn a_cached_value_is_used_without_a_call() {
    case("cache", "it has a fresh value");
    let world = World::open();
    let store = SingleValueStore::new();
    let cache = Cached::<(), (), &str>::builder(store).clock(world.clock.clone()).build().unwrap();
    assert_eq!(cache.call_blocking(&(), || Ok::<_, &str>(())), Ok(()));
    let pipeline = Pipeline::builder().breaker(&world.breaker).build();
    let answer = cache.call_blocking(&(), || pipeline.call_blocking(|| Err("is not called")));
    assert_eq!((words(answer), world.counts()), ("ok".into(), (0, 10, 0, 0)));
}

#[test]
fn a_call_after_its_deadline_reaches_no_policy() {
    case("deadline", "it has passed");
    let world = World::half_open();
    let stack = world.stack(10);
    let late = stack.with_deadline(Deadline::at(world.time.now()), &world.clock);
    let answer = world.time.drive(late.call(|| world.operation(0, Ok(()))));
    assert!(answer.unwrap_err().is_rejected());
    assert_eq!((world.attempts(), world.breaker.snapshot().rejected), (0, 0));
    world.assert_probe_released();
}

#[test]
fn every_row_of_the_second_table_has_a_test() {
    let table = include_str!("../src/docs/composing.rs").split("| policy | case |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("//! |")).count();
    let tests = include_str!("composing.rs").lines();
    assert_eq!(rows, tests.filter(|line| line.starts_with("    case(\"")).count());
}

#[test]
fn every_row_of_the_table_has_a_test() {
    let table = include_str!("../src/docs/composing.rs").split("| event |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("//! |")).count();
    let tested =
        include_str!("composing.rs").lines().filter(|line| line.starts_with("    row(\"")).count();
    assert_eq!(rows, tested);
}
