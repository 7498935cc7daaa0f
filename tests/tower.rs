//! Pipelines as Tower layers: the same meaning as around a future, and the known faults of others.
#![cfg(all(not(mainstay_loom), feature = "tower"))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState};
use mainstay::error::{Error, Rejection};
use mainstay::event::Event;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context as Call, Facts, OwnedGuard, Policy, kind};
use mainstay::rate::{Quota, RateLimiter, RateLimiterGroup};
use mainstay::retry::Retry;
use mainstay::time::{Clock, ManualClock};
use mainstay::timeout::Timeout;
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// How long a breaker stays open here.
const WAIT: Duration = Duration::from_secs(60);

/// Opens on two failures of two; then waits, and takes one probe at a time, three in all.
fn breaker(clock: &Clock) -> CircuitBreaker {
    CircuitBreaker::builder()
        .clock(clock.clone())
        .min_calls(2)
        .open_duration(Backoff::constant(WAIT))
        .half_open_concurrency(1)
        .half_open_calls(3)
        .build()
        .unwrap()
}

fn half_open(time: &ManualClock) -> CircuitBreaker {
    let breaker = breaker(&time.clock());
    open(&breaker);
    time.advance(WAIT);
    breaker
}

fn open(breaker: &CircuitBreaker) {
    for _ in 0..2 {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), CircuitBreakerState::Open);
}

/// Waits a second between attempts.
fn retry(clock: &Clock, attempts: u32) -> Retry {
    let wait = Backoff::constant(SECOND);
    Retry::builder().clock(clock.clone()).max_attempts(attempts).backoff(wait).build().unwrap()
}

fn limit(clock: &Clock, seconds: u32) -> Timeout {
    Timeout::new(seconds * SECOND).clock(clock.clone())
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn now<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// Polls at most `polls` times and drops.
fn poll_and_drop<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    (0..polls).find_map(|_| match poll(future.as_mut()) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// Pending a number of times, then that.
struct Steps<T>(u32, Option<T>);

impl<T: Unpin> Future for Steps<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        if self.0 == 0 {
            return Poll::Ready(self.1.take().unwrap());
        }
        self.0 -= 1;
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A service that holds its callers to the contract: it is called only when it was found ready, it and not
/// a clone; and a place is reserved for it from then until it is called or dropped.
struct Strict {
    reserved: Rc<Cell<u32>>,
    ready: bool,
    /// How often it is found pending before it is ready.
    pending: u32,
    fails: bool,
}

impl Strict {
    fn new(pending: u32) -> Self {
        Self { reserved: Rc::default(), ready: false, pending, fails: false }
    }

    fn failing(pending: u32) -> Self {
        let mut strict = Self::new(pending);
        strict.fails = true;
        strict
    }

    fn set(&mut self, ready: bool) {
        let places = self.reserved.get();
        match (self.ready, ready) {
            (false, true) => self.reserved.set(places + 1),
            (true, false) => self.reserved.set(places - 1),
            _ => {}
        }
        self.ready = ready;
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { reserved: self.reserved.clone(), ready: false, ..*self }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl Service<u32> for Strict {
    type Response = u32;
    type Error = &'static str;
    type Future = std::future::Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        if !self.ready && self.pending > 0 {
            self.pending -= 1;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.set(true);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(self.ready, "called without having been found ready");
        self.set(false);
        ready(if self.fails { Err("failed") } else { Ok(request) })
    }
}

/// A guard that admits after a wait, and counts its permits.
#[derive(Clone)]
struct Gate {
    out: Arc<AtomicU32>,
    clock: Clock,
}

struct GatePermit(Arc<AtomicU32>);

impl Drop for GatePermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Policy for Gate {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new("gate", "gate")
    }
}

impl<T, E> OwnedGuard<T, E> for Gate {
    type OwnedPermit = GatePermit;
    type AdmitFuture = Pin<Box<dyn Future<Output = Result<GatePermit, Rejection>> + Send>>;

    fn admit_owned(&self, _: Call) -> Admission<GatePermit, Self::AdmitFuture> {
        let gate = self.clone();
        Admission::Waiting(Box::pin(async move {
            gate.clock.sleep(10 * SECOND).await;
            gate.out.fetch_add(1, Ordering::Relaxed);
            Ok(GatePermit(gate.out.clone()))
        }))
    }

    fn record_owned(permit: GatePermit, _: &Result<T, Error<E>>) {
        assert!(permit.0.load(Ordering::Relaxed) > 0);
    }
}

/// The fault of a limiter that each connection had to itself (axum#2634).
#[test]
fn services_of_one_layer_and_their_clones_share_its_policies() {
    let time = ManualClock::new();
    let layer = Pipeline::builder().breaker(breaker(&time.clock())).build();
    let fail = service_fn(|(): ()| ready(Err::<(), _>("failed")));
    let (first, second) = (layer.layer(fail), layer.clone().layer(fail));
    // Every connection clones the service that it was given.
    assert_eq!(now(first.clone().oneshot(())), Err(Error::Operation("failed")));
    assert_eq!(now(first.clone().oneshot(())), Err(Error::Operation("failed")));
    for service in [first.clone(), first, second] {
        assert!(now(service.oneshot(())).unwrap_err().is_rejected());
    }
}

/// The same, for a limiter itself; and for several that must agree.
#[test]
fn a_limiter_is_not_per_connection() {
    let time = ManualClock::new();
    let limiter = || {
        let quota = Quota::per_second(1).burst(3);
        RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
    };
    let service = service_fn(|(): ()| ready(Ok::<_, ()>(())));
    let one = Pipeline::builder().rate_limit(limiter()).build();
    let all = Pipeline::builder().guard(RateLimiterGroup::new([&limiter(), &limiter()])).build();
    let served =
        |service: &dyn Fn() -> Result<(), Error<()>>| (0..9).filter(|_| service().is_ok()).count();
    let (first, second) = (one.layer(service), one.layer(service));
    assert_eq!(served(&|| now(first.clone().oneshot(()))), 3);
    assert_eq!(served(&|| now(second.clone().oneshot(()))), 0);
    let refused = now(second.oneshot(())).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SECOND));
    let (first, second) = (all.layer(service), all.layer(service));
    assert_eq!(served(&|| now(first.clone().oneshot(()))), 3);
    assert_eq!(served(&|| now(second.clone().oneshot(()))), 0);
}

#[test]
fn calls_wait_for_a_limiter_in_order_and_hold_nothing_when_dropped() {
    let time = ManualClock::new();
    let refusals = Arc::new(AtomicU32::new(0));
    let told = refusals.clone();
    let limiter = RateLimiter::builder(Quota::per_second(1))
        .clock(time.clock())
        .observer(move |_: &Event<'_>| {
            told.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let layer = Pipeline::builder().rate_limit(limiter.max_wait(3 * SECOND)).build();
    let strict = Strict::new(0);
    let call = |n: u32| {
        let mut service = layer.layer(strict.clone());
        assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        Box::pin(service.call(n))
    };
    assert_eq!(now(call(0)), Ok(0));
    let [mut first, mut second, mut third, mut fourth] = [1, 2, 3, 4].map(call);
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll(waiting.as_mut()).is_pending());
    }
    // It would be its turn after four seconds, and it has three.
    assert!(matches!(poll(fourth.as_mut()), Poll::Ready(Err(Error::Rejected(_)))));
    drop(fourth);
    assert_eq!((limiter.snapshot().waiting, strict.reserved.get()), (3, 3));
    drop(second);
    assert_eq!((limiter.snapshot().waiting, strict.reserved.get()), (2, 2));
    time.advance(SECOND);
    assert_eq!((poll(third.as_mut()), poll(first.as_mut())), (Poll::Pending, Poll::Ready(Ok(1))));
    time.advance(SECOND);
    assert_eq!(poll(third.as_mut()), Poll::Ready(Ok(3)));
    assert_eq!((limiter.snapshot().waiting, strict.reserved.get()), (0, 0));
    assert_eq!(refusals.load(Ordering::Relaxed), 1, "who waits has not been refused");
}

/// The fault of refusing by `poll_ready`, which is for good.
#[test]
fn refusals_come_from_the_call() {
    let time = ManualClock::new();
    let breaker = breaker(&time.clock());
    open(&breaker);
    let called = Cell::new(0);
    let service = service_fn(|(): ()| {
        called.set(called.get() + 1);
        ready(Ok::<_, ()>(()))
    });
    let mut service = Pipeline::builder().breaker(&breaker).build().layer(service);
    let mut task = Context::from_waker(Waker::noop());
    assert_eq!(service.poll_ready(&mut task), Poll::Ready(Ok(())));
    assert!(now(service.call(())).unwrap_err().is_rejected());
    assert_eq!(called.get(), 0);
    time.advance(WAIT);
    assert_eq!(service.poll_ready(&mut task), Poll::Ready(Ok(())));
    assert_eq!(now(service.call(())), Ok(()));
    assert_eq!(called.get(), 1);
}

/// The fault of polling one instance ready and calling its clone.
#[test]
fn the_instance_that_was_found_ready_is_the_one_that_is_called() {
    let time = ManualClock::new();
    let clock = time.clock();
    let breaker = CircuitBreaker::builder().clock(clock.clone()).build().unwrap();
    let gate = Gate { out: Arc::default(), clock: clock.clone() };
    let guarded = Pipeline::builder().breaker(&breaker).build();
    let waiting = Pipeline::builder().guard(gate.clone()).timeout(limit(&clock, 9)).build();
    let repeated =
        Pipeline::builder().retry(retry(&clock, 3)).breaker(&breaker).guard(gate).build();
    for pending in 0..3 {
        let sound = Strict::new(pending);
        assert_eq!(time.drive(guarded.layer(sound.clone()).oneshot(1)), Ok(1));
        assert_eq!(time.drive(waiting.layer(sound.clone()).oneshot(2)), Ok(2));
        assert_eq!(time.drive(repeated.layer(sound.clone()).oneshot(3)), Ok(3));
        let failing = Strict::failing(pending);
        let result = time.drive(repeated.layer(failing.clone()).oneshot(4));
        assert_eq!(result, Err(Error::Operation("failed")));
        assert_eq!((sound.reserved.get(), failing.reserved.get()), (0, 0));
    }
    // A service that is used again and again: its replacement has to be found ready anew.
    let mut service = repeated.layer(Strict::failing(1));
    for _ in 0..3 {
        time.drive(async { service.ready().await.unwrap().call(5).await }).unwrap_err();
    }
}

#[test]
fn a_refused_call_gives_back_what_was_reserved_for_it() {
    let time = ManualClock::new();
    let breaker = breaker(&time.clock());
    open(&breaker);
    let strict = Strict::new(0);
    let mut service =
        Pipeline::builder().timeout(SECOND).breaker(&breaker).build().layer(strict.clone());
    let mut task = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut task).is_ready());
    assert_eq!(strict.reserved.get(), 1);
    drop(service.call(1));
    assert_eq!(strict.reserved.get(), 0, "the service lives on, and must not keep the place");
}

#[test]
fn nothing_needs_to_be_send_or_static() {
    let time = ManualClock::new();
    let clock = time.clock();
    let word = String::from("mast");
    let borrowed: &str = &word;
    let service =
        service_fn(|request: Rc<str>| async move { Ok::<_, Rc<()>>(Rc::new((borrowed, request))) });
    let service = Pipeline::builder()
        .timeout(limit(&clock, 9))
        .retry(retry(&clock, 2))
        .breaker(breaker(&clock))
        .build()
        .layer(service);
    let answer = time.drive(service.oneshot(Rc::from("main"))).unwrap();
    assert_eq!((answer.0, &*answer.1), ("mast", "main"));
}

#[test]
fn what_is_made_of_send_parts_is_send_and_can_be_named() {
    type Inner = tower::util::ServiceFn<fn(u32) -> std::future::Ready<Result<u32, ()>>>;
    fn spawnable<F: Future + Send + 'static>(future: F) -> F {
        future
    }
    fn named<S: Layer<Inner>>(layer: &S) -> <S::Service as Service<u32>>::Future
    where
        S::Service: Service<u32, Response = u32, Error = Error<()>> + Clone + Send + Sync,
    {
        let inner: Inner = service_fn(|n| ready(Ok(n)));
        layer.layer(inner).call(7)
    }
    let clock = ManualClock::new().clock();
    let layer =
        Pipeline::standard(limit(&clock, 9), retry(&clock, 2), breaker(&clock), limit(&clock, 2));
    assert_eq!(now(spawnable(named(&layer))), Ok(7));
}

/// As `tests/pipeline.rs` has it for futures.
#[test]
fn the_order_means_what_it_means_around_a_future() {
    let time = ManualClock::new();
    let clock = time.clock();
    let attempts = Cell::new(0);
    let fail = service_fn(|(): ()| {
        attempts.set(attempts.get() + 1);
        ready(Err::<(), ()>(()))
    });

    let inside = breaker(&clock);
    let pipeline = Pipeline::builder().retry(retry(&clock, 9)).breaker(&inside).build();
    assert!(time.drive(pipeline.layer(fail).oneshot(())).unwrap_err().is_rejected());
    assert_eq!(attempts.replace(0), 2, "the breaker opens, and the retry stops");

    let outside = breaker(&clock);
    let pipeline = Pipeline::builder().breaker(&outside).retry(retry(&clock, 3)).build();
    assert_eq!(time.drive(pipeline.layer(fail).oneshot(())), Err(Error::Operation(())));
    assert_eq!((attempts.replace(0), outside.snapshot().counts.failed), (3, 1));

    // The retry hears of the deadline: the attempt at 3 s would be too late.
    let start = time.now();
    let pipeline = Pipeline::builder().timeout(limit(&clock, 3)).retry(retry(&clock, 9)).build();
    assert_eq!(time.drive(pipeline.layer(fail).oneshot(())), Err(Error::Operation(())));
    assert_eq!((attempts.replace(0), time.now() - start), (3, 2 * SECOND));

    let hang = service_fn(|(): ()| pending::<Result<(), ()>>());
    let below = breaker(&clock);
    let pipeline = Pipeline::builder().breaker(&below).timeout(limit(&clock, 1)).build();
    assert!(time.drive(pipeline.layer(hang).oneshot(())).unwrap_err().is_timeout());
    assert_eq!(below.snapshot().counts.failed, 1);
    let above = breaker(&clock);
    let pipeline = Pipeline::builder().timeout(limit(&clock, 1)).breaker(&above).build();
    assert!(time.drive(pipeline.layer(hang).oneshot(())).unwrap_err().is_timeout());
    assert_eq!(above.snapshot().counts.total, 0);
}

#[test]
fn rules_of_the_users_see_the_response() {
    let time = ManualClock::new();
    let verdict = |result: &Result<u16, Error<()>>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    };
    let breaker = breaker(&time.clock());
    let pipeline = Pipeline::builder()
        .retry(retry(&time.clock(), 2).classified_by(verdict))
        .breaker(breaker.classified_by(verdict))
        .build();
    let service = pipeline.layer(service_fn(|status: u16| ready(Ok::<_, ()>(status))));
    assert_eq!(time.drive(service.clone().oneshot(503)), Ok(503));
    assert_eq!(breaker.snapshot().counts.failed, 2);
    assert!(time.drive(service.oneshot(200)).unwrap_err().is_rejected());
}

#[test]
fn time_spent_waiting_for_admission_is_not_the_calls() {
    let time = ManualClock::new();
    let clock = time.clock();
    let slow =
        CircuitBreaker::builder().clock(clock.clone()).slow_calls(5 * SECOND, 1.0).build().unwrap();
    let gate = Gate { out: Arc::default(), clock: clock.clone() };
    // The outer timeout has read the clock; the breaker must not take that reading for its own.
    let pipeline =
        Pipeline::builder().timeout(limit(&clock, 99)).guard(gate.clone()).breaker(&slow).build();
    let service = service_fn(|(): ()| async {
        assert_eq!(gate.out.load(Ordering::Relaxed), 1);
        Ok::<_, ()>(())
    });
    time.drive(pipeline.layer(service).oneshot(())).unwrap();
    let counts = slow.snapshot().counts;
    assert_eq!((counts.total, counts.slow, gate.out.load(Ordering::Relaxed)), (1, 0, 0));
}

#[test]
fn a_further_attempt_waits_until_its_service_is_ready_and_says_if_it_cannot_be() {
    /// Ready for the first call; each clone says once that it is pending, then that it has failed.
    struct Worn {
        original: bool,
        asked: Rc<Cell<u32>>,
    }
    impl Clone for Worn {
        fn clone(&self) -> Self {
            Self { original: false, asked: self.asked.clone() }
        }
    }
    impl Service<()> for Worn {
        type Response = ();
        type Error = &'static str;
        type Future = std::future::Ready<Result<(), &'static str>>;
        fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            if self.original {
                return Poll::Ready(Ok(()));
            }
            self.asked.set(self.asked.get() + 1);
            task.waker().wake_by_ref();
            if self.asked.get() == 1 { Poll::Pending } else { Poll::Ready(Err("worn out")) }
        }
        fn call(&mut self, (): ()) -> Self::Future {
            ready(Err("failed"))
        }
    }
    let time = ManualClock::new();
    let asked = Rc::new(Cell::new(0));
    let layer = Pipeline::builder().retry(retry(&time.clock(), 2)).build();
    let service = layer.layer(Worn { original: true, asked: asked.clone() });
    assert_eq!(time.drive(service.oneshot(())), Err(Error::Operation("worn out")));
    assert_eq!(asked.get(), 2);
}

#[test]
fn a_call_dropped_at_any_poll_counts_nothing_and_frees_its_slot() {
    let mut ended_at = None;
    for polls in 0..12 {
        let time = ManualClock::new();
        let clock = time.clock();
        let breaker = half_open(&time);
        let again =
            Retry::builder().clock(clock.clone()).backoff(Backoff::constant(Duration::ZERO));
        let pipeline = Pipeline::standard(
            limit(&clock, 99),
            again.build().unwrap(),
            &breaker,
            limit(&clock, 50),
        );
        // Fails, then succeeds; pending twice in each attempt.
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
            (snapshot.active_probes, snapshot.stale, snapshot.trial.total),
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
    let gate = Gate { out: Arc::default(), clock: time.clock() };
    let strict = Strict::new(0);
    let mut service = Pipeline::builder().guard(gate.clone()).build().layer(strict.clone());
    let mut task = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut task).is_ready());
    let call = service.call(1);
    assert_eq!(strict.reserved.get(), 1, "kept for when it is admitted");
    assert_eq!(poll_and_drop(call, 2), None);
    assert_eq!((strict.reserved.get(), gate.out.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(time.next_deadline(), None);
}

#[test]
fn what_an_operation_holds_is_gone_before_its_permit() {
    /// Notes how many probes are under way when it is dropped.
    struct Held<'a>(&'a CircuitBreaker, &'a RefCell<Vec<u32>>);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0.snapshot().active_probes);
        }
    }
    /// Holds on until it is dropped, also after it has ended.
    struct Holding<'a>(#[allow(dead_code)] Held<'a>, bool);
    impl Future for Holding<'_> {
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
        let service = service_fn(|(): ()| Holding(Held(&breaker, &seen), ends));
        assert_eq!(poll_and_drop(layer.layer(service).call(()), 1), ends.then_some(Ok(())));
    }
    assert_eq!(seen.into_inner(), [1, 1]);
}

fn panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_panic_of_the_service_or_of_a_rule_counts_nothing_and_frees_its_slot() {
    let time = ManualClock::new();
    let breaker = half_open(&time);
    let free = || {
        let snapshot = breaker.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.active_probes, snapshot.trial.total),
            (CircuitBreakerState::HalfOpen, 0, 0)
        );
    };
    let layer = Pipeline::builder().timeout(SECOND).breaker(&breaker).build();
    let in_call =
        layer.layer(service_fn(|(): ()| -> std::future::Ready<Result<(), ()>> { panic!("call") }));
    panics(|| now(in_call.clone().oneshot(())));
    free();
    let in_poll = layer.layer(service_fn(|(): ()| async { panic!("poll") as Result<(), ()> }));
    panics(|| now(in_poll.clone().oneshot(())));
    free();
    let rule = breaker.classified_by(|_: &Result<(), Error<()>>| -> Outcome { panic!("rule") });
    let layer = Pipeline::builder().breaker(&rule).build();
    panics(|| now(layer.layer(service_fn(|(): ()| ready(Ok(())))).oneshot(())));
    free();
}
