//! Release of resources when a call completes, is dropped, times out, is rejected or panics.

use crate::support::*;
use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context as Call, Facts, OwnedGuard, Policy, kind};
use mainstay::retry::Retry;
use mainstay::time::ManualClock;
use std::cell::{Cell, RefCell};
use std::future::{Future, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

#[test]
fn a_call_dropped_at_any_poll_records_nothing_and_releases_its_probe() {
    let mut ended_at = None;
    for polls in 0..12 {
        let time = ManualClock::new();
        let clock = time.clock();
        let breaker = half_open(&time);
        let retry =
            Retry::builder().clock(clock.clone()).backoff(Backoff::constant(Duration::ZERO));
        let pipeline = Pipeline::standard(
            limit(&clock, 99),
            retry.build().unwrap(),
            &breaker,
            limit(&clock, 50),
        );
        // Fails once, then succeeds; each attempt is pending twice.
        let attempts = Rc::new(Cell::new(0));
        let service = service_fn(|(): ()| {
            attempts.set(attempts.get() + 1);
            Steps(2, Some(if attempts.get() == 1 { Err(()) } else { Ok(()) }))
        });
        let ended = poll_and_drop(pipeline.layer(service).call(()), polls);
        let finished = if ended.is_some() { 2 } else { u64::from(attempts.get() == 2) };
        if ended.is_some() {
            assert_eq!(ended, Some(Ok(())));
            ended_at.get_or_insert(polls);
        }
        let snapshot = breaker.snapshot();
        assert_eq!(
            (snapshot.active_probes, snapshot.stale_outcomes, snapshot.trial.total),
            (0, 0, finished),
            "{polls} polls"
        );
        assert_eq!(time.next_deadline(), None, "{polls} polls: timers are disarmed");
    }
    assert_eq!(ended_at, Some(5), "every await point was visited");
}

#[test]
fn a_wait_for_admission_that_is_dropped_holds_nothing() {
    let time = ManualClock::new();
    let gate = Gate::new(&time.clock());
    let strict = Strict::new(0);
    let mut service = Pipeline::builder().guard(gate.clone()).build().layer(strict.clone());
    let mut task = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut task).is_ready());
    let call = service.call(1);
    assert_eq!(strict.reserved.get(), 1, "the ready service waits for admission");
    assert_eq!(poll_and_drop(call, 2), None);
    assert_eq!((strict.reserved.get(), gate.permits()), (0, 0));
    assert_eq!(time.next_deadline(), None);
}

#[test]
fn an_operation_is_dropped_before_its_permit() {
    /// Records the number of active probes when it is dropped.
    struct CountOnDrop<'a>(&'a CircuitBreaker, &'a RefCell<Vec<u32>>);
    impl Drop for CountOnDrop<'_> {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0.snapshot().active_probes);
        }
    }
    /// Holds its value until it is dropped, even after it has completed.
    struct CountingFuture<'a>(#[allow(dead_code)] CountOnDrop<'a>, bool);
    impl Future for CountingFuture<'_> {
        type Output = Result<(), ()>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            if self.1 { Poll::Ready(Ok(())) } else { Poll::Pending }
        }
    }

    let time = ManualClock::new();
    let breaker = half_open(&time);
    let seen = RefCell::new(Vec::new());
    let layer = Pipeline::builder().breaker(&breaker).build();
    for ends in [false, true] {
        let service = service_fn(|(): ()| CountingFuture(CountOnDrop(&breaker, &seen), ends));
        assert_eq!(poll_and_drop(layer.layer(service).call(()), 1), ends.then_some(Ok(())));
    }
    assert_eq!(seen.into_inner(), [1, 1]);
}

fn assert_panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_panic_of_the_service_or_the_classifier_records_nothing_and_releases_its_probe() {
    let time = ManualClock::new();
    let breaker = half_open(&time);
    let assert_released = || {
        let snapshot = breaker.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.active_probes, snapshot.trial.total),
            (CircuitBreakerState::HalfOpen, 0, 0)
        );
    };
    let layer = Pipeline::builder().timeout(SECOND).breaker(&breaker).build();
    let in_call =
        layer.layer(service_fn(|(): ()| -> std::future::Ready<Result<(), ()>> { panic!("call") }));
    assert_panics(|| now(in_call.clone().oneshot(())));
    assert_released();
    let in_poll = layer.layer(service_fn(|(): ()| async { panic!("poll") as Result<(), ()> }));
    assert_panics(|| now(in_poll.clone().oneshot(())));
    assert_released();
    let rule = breaker.classified_by(|_: &Result<(), Error<()>>| -> Outcome { panic!("rule") });
    let layer = Pipeline::builder().breaker(&rule).build();
    assert_panics(|| now(layer.layer(service_fn(|(): ()| ready(Ok(())))).oneshot(())));
    assert_released();
}

// --- Futures that are kept after their call has ended ---

/// A guard that rejects after a wait.
#[derive(Clone)]
struct LateRejection;

impl Policy for LateRejection {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new("late_rejection", "late_rejection")
    }
}

impl<T, E> OwnedGuard<T, E> for LateRejection {
    type OwnedPermit = ();
    type AdmitFuture = Steps<Result<(), Rejection>>;

    fn admit_owned(&self, _: Call) -> Admission<(), Self::AdmitFuture> {
        let rejection = Rejection::new(Reason::Custom, "late_rejection");
        Admission::Waiting(Steps(1, Some(Err(rejection))))
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

/// The number of pending polls of a future that never completes.
const HANGS: u32 = u32::MAX;

/// A service whose instances and futures hold a token, like a concurrency limit that holds a
/// permit.
#[derive(Clone)]
struct TokenService {
    token: Rc<()>,
    pending: u32,
    fails: bool,
}

/// Holds its token until it is dropped, even after it has completed.
struct TokenFuture {
    _token: Rc<()>,
    steps: Steps<Result<(), ()>>,
}

impl Future for TokenFuture {
    type Output = Result<(), ()>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.steps.0 {
            HANGS => Poll::Pending,
            _ => Pin::new(&mut self.steps).poll(task),
        }
    }
}

impl Service<()> for TokenService {
    type Response = ();
    type Error = ();
    type Future = TokenFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> TokenFuture {
        let result = if self.fails { Err(()) } else { Ok(()) };
        TokenFuture { _token: self.token.clone(), steps: Steps(self.pending, Some(result)) }
    }
}

/// Calls a service through a pipeline, drops the service, and keeps the future after it has ended.
/// Returns the result and the number of tokens that are still held.
macro_rules! tokens_held_after {
    ($time:expr, $pipeline:expr, $service:expr) => {{
        let token = Rc::new(());
        let service = TokenService { token: token.clone(), ..$service };
        let mut service = $pipeline.layer(service);
        assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        let mut call = Box::pin(service.call(()));
        drop(service);
        let result = $time.drive(std::future::poll_fn(|task| call.as_mut().poll(task)));
        (result, Rc::strong_count(&token) - 1)
    }};
}

#[test]
fn a_call_that_has_ended_holds_nothing_while_its_future_is_kept() {
    let time = ManualClock::new();
    let clock = time.clock();
    let token = Rc::new(());
    let completes = || TokenService { token: token.clone(), pending: 2, fails: false };
    let fails = || TokenService { fails: true, ..completes() };
    let hangs = || TokenService { pending: HANGS, ..completes() };
    let builder = Pipeline::builder;
    let gate = Gate::new(&clock);
    let opened = breaker(&clock);
    open(&opened);

    let (result, held) = tokens_held_after!(time, builder().breaker(&opened).build(), completes());
    assert!(result.unwrap_err().is_rejected());
    assert_eq!(held, 0, "rejected immediately");

    let (result, held) = tokens_held_after!(time, builder().guard(LateRejection).build(), fails());
    assert!(result.unwrap_err().is_rejected());
    assert_eq!(held, 0, "rejected after a wait");

    let limit_only = builder().timeout(limit(&clock, 1)).build();
    let (result, held) = tokens_held_after!(time, limit_only, hangs());
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(held, 0, "timed out");

    let (result, held) = tokens_held_after!(time, limit_only, completes());
    assert_eq!((result, held), (Ok(()), 0), "completed in time");

    let guarded = builder().guard(gate.clone()).build();
    let (result, held) = tokens_held_after!(time, guarded, completes());
    assert_eq!((result, held, gate.permits()), (Ok(()), 0, 0), "completed with a permit");

    let retried = builder().retry(retry(&clock, 2)).build();
    let (result, held) = tokens_held_after!(time, retried, completes());
    assert_eq!((result, held), (Ok(()), 0), "completed at the first attempt");
    let (result, held) = tokens_held_after!(time, retried, fails());
    assert_eq!((result, held), (Err(Error::Operation(())), 0), "failed at every attempt");

    let stack = builder().timeout(limit(&clock, 3)).retry(retry(&clock, 2)).guard(gate.clone());
    let (result, held) = tokens_held_after!(time, stack.build(), fails());
    assert!(result.unwrap_err().is_timeout());
    assert_eq!((held, gate.permits()), (0, 0), "timed out while waiting for admission");
}
