//! The order of policies, the forms of a call, and what an operation receives.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::{Backoff, Jitter};
use mainstay::breaker::{CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerState};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::hedge::Hedge;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Context, Facts, Guard, Policy, kind};
use mainstay::retry::{Retry, RetryDecision};
use mainstay::time::{Clock, Deadline, ManualClock};
use mainstay::timeout::Timeout;
use std::cell::RefCell;
use std::future::{pending, ready};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A manual clock, and functions that create policies on that clock.
struct World {
    time: ManualClock,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let time = ManualClock::new();
        Self { clock: time.clock(), time }
    }

    fn timeout(&self, seconds: u32) -> Timeout {
        Timeout::new(seconds * SECOND).clock(self.clock.clone())
    }

    /// A retry that waits one second between attempts.
    fn retry(&self, attempts: u32) -> Retry {
        let wait = Backoff::constant(SECOND).jitter(Jitter::None);
        Retry::builder()
            .clock(self.clock.clone())
            .max_attempts(attempts)
            .backoff(wait)
            .build()
            .unwrap()
    }

    fn breaker(
        &self,
        setup: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder,
    ) -> CircuitBreaker {
        setup(CircuitBreaker::builder().clock(self.clock.clone()).count_window(10).min_calls(3))
            .build()
            .unwrap()
    }

    fn elapsed<R>(&self, f: impl FnOnce() -> R) -> (R, u64) {
        let start = self.time.now();
        let result = f();
        (result, (self.time.now() - start).as_secs())
    }
}

/// A guard that admits after a wait, and counts its permits.
struct Gate {
    clock: Clock,
    wait: Duration,
    permits: AtomicU32,
    recorded: Mutex<Vec<&'static str>>,
}

impl Gate {
    fn new(world: &World, wait: Duration) -> Self {
        Self {
            clock: world.clock.clone(),
            wait,
            permits: AtomicU32::new(0),
            recorded: Mutex::default(),
        }
    }
}

struct GatePermit<'a>(&'a Gate);

impl Drop for GatePermit<'_> {
    fn drop(&mut self) {
        self.0.permits.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Policy for &Gate {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new("gate", "gate")
    }
}

impl<T: Send, E: Send> Guard<T, E> for &Gate {
    type Permit<'a>
        = GatePermit<'a>
    where
        Self: 'a;

    async fn admit(&self, _: Context) -> Result<GatePermit<'_>, Rejection> {
        self.clock.sleep(self.wait).await;
        self.permits.fetch_add(1, Ordering::Relaxed);
        Ok(GatePermit(self))
    }

    fn admit_blocking(&self, _: Context) -> Result<GatePermit<'_>, Rejection> {
        self.clock.sleep_blocking(self.wait);
        self.permits.fetch_add(1, Ordering::Relaxed);
        Ok(GatePermit(self))
    }

    fn record<'a>(&'a self, permit: GatePermit<'a>, result: &Result<T, Error<E>>) {
        self.recorded.lock().unwrap().push(match result {
            Ok(_) => "ok",
            Err(Error::Operation(_)) => "failed",
            Err(Error::Timeout(_)) => "timeout",
            Err(_) => "rejected",
        });
        drop(permit);
    }
}

#[test]
fn a_timeout_around_a_retry_holds_for_all_attempts() {
    let world = World::new();
    let pipeline = Pipeline::builder().timeout(world.timeout(5)).retry(world.retry(9)).build();
    let attempts = AtomicU32::new(0);
    let call = pipeline.call(|| async {
        attempts.fetch_add(1, Ordering::Relaxed);
        world.clock.sleep(SECOND).await;
        Err::<(), _>("failed")
    });
    // Attempts end at 1, 3 and 5 s. The last ends exactly at the limit, so its result is returned.
    let (result, took) = world.elapsed(|| world.time.drive(call));
    assert_eq!((result, took), (Err(Error::Operation("failed")), 5));
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
}

#[test]
fn a_timeout_inside_a_retry_holds_for_each_attempt() {
    let world = World::new();
    let pipeline = Pipeline::builder().retry(world.retry(3)).timeout(world.timeout(2)).build();
    let (result, took) =
        world.elapsed(|| world.time.drive(pipeline.call(pending::<Result<(), ()>>)));
    assert!(matches!(result, Err(Error::Timeout(timed_out)) if timed_out.limit() == 2 * SECOND));
    assert_eq!(took, 2 + 1 + 2 + 1 + 2);
}

#[test]
fn a_breaker_inside_a_retry_counts_attempts_and_its_rejection_ends_the_retry() {
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let pipeline = Pipeline::builder().retry(world.retry(9)).breaker(&breaker).build();
    let attempts = AtomicU32::new(0);
    let (result, took) = world.elapsed(|| {
        world.time.drive(pipeline.call(|| {
            attempts.fetch_add(1, Ordering::Relaxed);
            ready(Err::<(), ()>(()))
        }))
    });
    // The rejection ends the retry. The result is the failure before it, which is the cause.
    assert_eq!(result, Err(Error::Operation(())));
    assert_eq!((attempts.load(Ordering::Relaxed), took), (3, 3));
    let result = world.time.drive(pipeline.call(|| ready(Ok::<(), ()>(()))));
    let Err(Error::Rejected(rejection)) = result else { panic!("{result:?}") };
    assert_eq!(rejection.reason(), Reason::CircuitOpen);
}

#[test]
fn a_breaker_around_a_retry_counts_calls() {
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let pipeline = Pipeline::builder().breaker(&breaker).retry(world.retry(3)).build();
    for _ in 0..2 {
        let result = world.time.drive(pipeline.call(|| ready(Err::<(), ()>(()))));
        assert_eq!(result, Err(Error::Operation(())));
    }
    assert_eq!(breaker.snapshot().counts.failed, 2);
}

#[test]
fn a_breaker_records_the_timeouts_below_it_and_not_those_above() {
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let below = Pipeline::builder().breaker(&breaker).timeout(world.timeout(1)).build();
    let above = Pipeline::builder().timeout(world.timeout(1)).breaker(&breaker).build();
    assert!(world.time.drive(above.call(pending::<Result<(), ()>>)).unwrap_err().is_timeout());
    assert_eq!(breaker.snapshot().counts.total, 0);
    assert!(world.time.drive(below.call(pending::<Result<(), ()>>)).unwrap_err().is_timeout());
    assert_eq!(breaker.snapshot().counts.failed, 1);
}

#[test]
fn a_rejection_by_one_breaker_is_not_counted_by_another() {
    let world = World::new();
    let (outer, inner) = (world.breaker(|b| b), world.breaker(|b| b));
    for _ in 0..3 {
        inner.try_acquire().unwrap().failure();
    }
    let pipeline = Pipeline::builder().breaker(&outer).breaker(&inner).build();
    assert!(world.time.drive(pipeline.call(|| ready(Ok::<(), ()>(())))).unwrap_err().is_rejected());
    assert_eq!(outer.snapshot().counts.total, 0);
}

#[test]
fn a_permit_inside_a_retry_is_released_before_the_wait_and_one_around_it_is_held() {
    for (inside, during_wait) in [(true, 0), (false, 1)] {
        let world = World::new();
        let gate = Gate::new(&world, Duration::ZERO);
        let seen = Mutex::new(Vec::new());
        // The rule is called after every attempt but the last.
        let wait = Retry::builder().clock(world.clock.clone()).max_attempts(3).build().unwrap();
        let observe = wait.when(|result: &Result<(), Error<()>>| {
            seen.lock().unwrap().push(gate.permits.load(Ordering::Relaxed));
            RetryDecision::from(result.is_err())
        });
        let fail = || ready(Err::<(), ()>(()));
        let _ = match inside {
            true => world
                .time
                .drive(Pipeline::builder().retry(&observe).guard(&gate).build().call(fail)),
            false => world
                .time
                .drive(Pipeline::builder().guard(&gate).retry(&observe).build().call(fail)),
        };
        assert_eq!(seen.into_inner().unwrap(), [during_wait; 2]);
        assert_eq!(gate.permits.load(Ordering::Relaxed), 0);
        let recorded = if inside { vec!["failed"; 3] } else { vec!["failed"] };
        assert_eq!(gate.recorded.into_inner().unwrap(), recorded);
    }
}

#[test]
fn a_wait_for_admission_does_not_make_a_call_slow() {
    let world = World::new();
    let gate = Gate::new(&world, 10 * SECOND);
    let breaker = world.breaker(|b| b.slow_calls(5 * SECOND, 1.0));
    // The outer timeout has read the clock; after the wait, the breaker must not use that reading.
    let stack =
        Pipeline::builder().timeout(world.timeout(100)).guard(&gate).breaker(&breaker).build();
    world.time.drive(stack.call(|| ready(Ok::<(), ()>(())))).unwrap();
    stack.call_blocking(|| Ok::<(), ()>(())).unwrap();
    let counts = breaker.snapshot().counts;
    assert_eq!((counts.total, counts.slow), (2, 0));
}

#[test]
fn an_operation_receives_its_attempt_number_and_remaining_time() {
    let world = World::new();
    let pipeline = Pipeline::builder()
        .timeout(world.timeout(10))
        .retry(world.retry(3))
        .timeout(world.timeout(4))
        .build();
    let seen_blocking = RefCell::new(Vec::new());
    let describe = |cx: Context| (cx.attempt(), cx.remaining().map(|left| left.as_secs()));
    let seen = Mutex::new(Vec::new());
    let result = world.time.drive(pipeline.call_with(|cx| {
        seen.lock().unwrap().push(describe(cx));
        pending::<Result<(), ()>>()
    }));
    assert!(result.unwrap_err().is_timeout());
    // The second attempt begins at 5 s. The third would begin at 10 s, at the deadline.
    assert_eq!(seen.into_inner().unwrap(), [(1, Some(4)), (2, Some(4))]);

    let _ = pipeline.call_with_blocking(|cx| {
        seen_blocking.borrow_mut().push(describe(cx));
        world.clock.sleep_blocking(6 * SECOND); // too long, but not interrupted
        Err::<(), ()>(())
    });
    assert_eq!(seen_blocking.into_inner(), [(1, Some(4)), (2, Some(3))]);
}

#[test]
fn a_late_ok_of_a_blocking_closure_is_returned_and_recorded_as_slow() {
    let world = World::new();
    let breaker = world.breaker(|b| b.slow_calls(2 * SECOND, 1.0));
    let pipeline = Pipeline::builder().breaker(&breaker).timeout(world.timeout(1)).build();
    let result = pipeline.call_blocking(|| {
        world.clock.sleep_blocking(3 * SECOND);
        Ok::<_, ()>("late")
    });
    assert_eq!(result, Ok("late"));
    assert_eq!(breaker.snapshot().counts.slow, 1);
}

#[test]
fn an_operation_that_runs_once_may_move_its_captured_values() {
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let pipeline = Pipeline::builder().breaker(&breaker).timeout(world.timeout(1)).build();
    let body = String::from("body");
    let sent = world.time.drive(pipeline.call_once(|| async move { Ok::<_, ()>(body) }));
    assert_eq!(sent, Ok("body".into()));
    let body = String::from("body");
    let sent = world
        .time
        .drive(pipeline.call_once_with(|cx| async move { Ok::<_, ()>((body, cx.remaining())) }));
    assert_eq!(sent, Ok(("body".into(), Some(SECOND))));
    let body = String::from("body");
    assert_eq!(pipeline.call_once_blocking(|| Ok::<_, ()>(body)), Ok("body".into()));
    let body = String::from("body");
    let sent = pipeline.call_once_with_blocking(|cx| Ok::<_, ()>((body, cx.remaining())));
    assert_eq!(sent, Ok(("body".into(), Some(SECOND))));
    assert_eq!(breaker.snapshot().counts.total, 4);
}

#[test]
fn the_stack_for_reads_hedges_slow_attempts_and_records_failures_once() {
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let hedge = Hedge::builder().delay(SECOND).without_budget().clock(world.clock.clone());
    let hedge = hedge.assume_idempotent().build().unwrap();
    let pipeline = Pipeline::standard_read(world.timeout(9), &hedge, &breaker, world.timeout(4));
    let (result, seconds) = world.elapsed(|| {
        world.time.drive(pipeline.call_with(|cx| {
            let clock = &world.clock;
            async move {
                clock.sleep(if cx.attempt() == 1 { 3 * SECOND } else { SECOND / 2 }).await;
                Ok::<_, ()>(cx.attempt())
            }
        }))
    });
    assert_eq!((result, seconds), (Ok(2), 1));
    let failed = world.time.drive(pipeline.call(|| ready(Err::<(), _>("down"))));
    assert_eq!(failed, Err(Error::Operation("down")));
    let counts = breaker.snapshot().counts;
    assert_eq!((counts.total, counts.failed), (2, 1));
}

#[test]
fn the_stack_for_operations_that_run_once_counts_timeouts_and_repeats_nothing() {
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let pipeline = Pipeline::standard_once(&breaker, world.timeout(2));
    let body = String::from("body");
    let sent = world.time.drive(pipeline.call_once(|| async move { Ok::<_, ()>(body) }));
    assert_eq!(sent, Ok("body".into()));
    let starts = AtomicU32::new(0);
    let hangs = || {
        starts.fetch_add(1, Ordering::Relaxed);
        pending::<Result<(), ()>>()
    };
    let (result, seconds) = world.elapsed(|| world.time.drive(pipeline.call(hangs)));
    assert!(matches!(result, Err(Error::Timeout(_))));
    assert_eq!((seconds, starts.into_inner()), (2, 1));
    assert_eq!(breaker.snapshot().counts.failed, 1);
}

#[test]
fn a_boxed_pipeline_behaves_as_its_stack() {
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let verdict = breaker.classified_by(|result: &Result<u16, Error<()>>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    });
    let pipeline = Pipeline::builder()
        .timeout(world.timeout(10))
        .retry(world.retry(2))
        .breaker(&verdict)
        .build()
        .boxed::<u16, ()>();
    let same = pipeline.clone();
    let attempts = AtomicU32::new(0);
    let call = same.call(|| {
        attempts.fetch_add(1, Ordering::Relaxed);
        ready(Err(()))
    });
    assert_eq!(world.time.drive(call), Err(Error::Operation(())));
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert_eq!(pipeline.call_blocking(|| Ok(503)), Ok(503));
    assert_eq!(breaker.state(), CircuitBreakerState::Open);
    let kinds: Vec<_> = pipeline.facts().iter().map(|facts| facts.policy).collect();
    assert_eq!(kinds, ["timeout", "retry", "circuit_breaker"]);

    breaker.reset();
    let attempt = |cx: Context| if cx.attempt() == 2 { Ok(2) } else { Err(()) };
    assert_eq!(world.time.drive(pipeline.call_with(|cx| ready(attempt(cx)))), Ok(2));
    breaker.reset();
    assert_eq!(pipeline.call_with_blocking(attempt), Ok(2));
}

#[test]
fn a_pipeline_can_be_spawned_from_generic_code_with_borrowed_data() {
    async fn fetch<T: Send + Sync>(
        pipeline: &mainstay::pipeline::BoxPipeline<usize, ()>,
        of: &[T],
    ) -> usize {
        pipeline.call(|| async { Ok(of.len()) }).await.unwrap()
    }
    fn spawnable<F: Future + Send>(future: F) -> F {
        future
    }
    let world = World::new();
    let breaker = world.breaker(|b| b);
    let stack = Pipeline::builder()
        .timeout(world.timeout(1))
        .retry(world.retry(3))
        .breaker(&breaker)
        .breaker(&breaker)
        .retry(world.retry(3))
        .timeout(world.timeout(1))
        .build();
    let name = String::from("borrowed");
    let call = spawnable(stack.call(|| async { Ok::<_, ()>(name.len()) }));
    assert_eq!(world.time.drive(call), Ok(8));
    assert_eq!(world.time.drive(spawnable(fetch(&stack.boxed(), &[1, 2, 3]))), 3);
}

/// The compiler shows that a future is `Send` less often for a boxed error than for others.
#[test]
fn every_form_of_call_with_a_boxed_error_can_be_spawned() {
    type BoxError = Box<dyn std::error::Error + Send + Sync>;
    async fn operation(text: &str) -> Result<usize, BoxError> {
        Ok(text.len())
    }
    fn spawned(call: impl Future<Output = Result<usize, Error<BoxError>>> + Send + 'static) {
        assert_eq!(futures::executor::block_on(call).unwrap(), 4);
    }
    let never = (Deadline::NEVER, Clock::system());
    let retry = Retry::builder().build().unwrap();
    let pipeline = Pipeline::builder().retry(retry).breaker(CircuitBreaker::new()).build();
    let boxed = pipeline.clone().boxed::<usize, BoxError>();
    let once = Pipeline::builder().breaker(CircuitBreaker::new()).build();
    let text = || String::from("text");
    spawned({
        let (pipeline, text) = (pipeline.clone(), text());
        async move { pipeline.call(|| operation(&text)).await }
    });
    spawned({
        let (pipeline, text) = (pipeline.clone(), text());
        async move { pipeline.call_with(|_| operation(&text)).await }
    });
    spawned({
        let (pipeline, text, never) = (pipeline, text(), never.clone());
        async move { pipeline.with_deadline(never.0, &never.1).call_with(|_| operation(&text)).await }
    });
    spawned({
        let (once, text) = (once.clone(), text());
        async move { once.call_once(|| async move { operation(&text).await }).await }
    });
    spawned({
        let text = text();
        async move { once.call_once_with(|_| async move { operation(&text).await }).await }
    });
    spawned({
        let (boxed, text) = (boxed.clone(), text());
        async move { boxed.call(|| operation(&text)).await }
    });
    spawned({
        let (boxed, text) = (boxed.clone(), text());
        async move { boxed.call_with(|_| operation(&text)).await }
    });
    spawned({
        let text = text();
        async move { boxed.with_deadline(never.0, &never.1).call(|| operation(&text)).await }
    });
}

#[test]
fn the_debug_output_lists_the_policies_in_order_with_their_limits() {
    let pipeline = Pipeline::builder()
        .timeout(2 * SECOND)
        .retry(Retry::builder().backoff(Backoff::constant(SECOND)).build().unwrap())
        .breaker(
            CircuitBreaker::builder().name("search").time_window(10 * SECOND, 10).build().unwrap(),
        )
        .build();
    assert_eq!(
        format!("{pipeline:?}"),
        "[timeout timeout=2s, retry max_wait=2s max_attempts=3, circuit_breaker \"search\" window=10s]"
    );
}

/// On tokio, an operation that is always ready uses up the task's cooperative budget in each poll.
/// A timer that is polled after it is pending, even if it has elapsed.
#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_timeout_on_tokio_ends_an_operation_that_is_always_ready() {
    /// Runs for one minute unless it is cancelled, so that a failing test ends.
    async fn busy() -> Result<(), ()> {
        let start = std::time::Instant::now();
        while start.elapsed() < 60 * SECOND {
            tokio::task::consume_budget().await;
        }
        Ok(())
    }
    let timeout = Timeout::new(Duration::from_millis(20)).clock(Clock::tokio());
    assert!(timeout.call(busy).await.unwrap_err().is_timeout());

    let retry = Retry::builder().clock(Clock::tokio()).max_attempts(2);
    let retry = retry.backoff(Backoff::constant(Duration::from_millis(1))).build().unwrap();
    let pipeline = Pipeline::builder().timeout(60 * SECOND).retry(retry).timeout(&timeout).build();
    assert!(pipeline.call(busy).await.unwrap_err().is_timeout());
}
