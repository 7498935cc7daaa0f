//! Policies, services and futures for the tests.

use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState};
use mainstay::error::{Error, Rejection};
use mainstay::policy::{Admission, Context as Call, Facts, OwnedGuard, Policy, kind};
use mainstay::retry::Retry;
use mainstay::time::{Clock, ManualClock};
use mainstay::timeout::Timeout;
use std::cell::Cell;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::Service;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The open duration of a breaker.
pub(crate) const OPEN: Duration = Duration::from_secs(60);

/// A breaker that opens after two failures. It admits one probe at a time, and closes after three.
pub(crate) fn breaker(clock: &Clock) -> CircuitBreaker {
    CircuitBreaker::builder()
        .clock(clock.clone())
        .min_calls(2)
        .open_duration(Backoff::constant(OPEN))
        .half_open_concurrency(1)
        .half_open_calls(3)
        .build()
        .unwrap()
}

pub(crate) fn half_open(time: &ManualClock) -> CircuitBreaker {
    let breaker = breaker(&time.clock());
    open(&breaker);
    time.advance(OPEN);
    breaker
}

pub(crate) fn open(breaker: &CircuitBreaker) {
    for _ in 0..2 {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), CircuitBreakerState::Open);
}

/// A retry that waits a second between attempts.
pub(crate) fn retry(clock: &Clock, attempts: u32) -> Retry {
    let wait = Backoff::constant(SECOND);
    Retry::builder().clock(clock.clone()).max_attempts(attempts).backoff(wait).build().unwrap()
}

pub(crate) fn limit(clock: &Clock, seconds: u32) -> Timeout {
    Timeout::new(seconds * SECOND).clock(clock.clone())
}

pub(crate) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// Polls `future` up to `polls` times, and drops it.
pub(crate) fn poll_and_drop<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    (0..polls).find_map(|_| match poll(future.as_mut()) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// A future that is pending the given number of times, and then returns the value.
pub(crate) struct Steps<T>(pub(crate) u32, pub(crate) Option<T>);

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

/// A service that checks Tower's contract: a caller must call the instance that was ready, and not
/// its clone. A ready instance holds a reservation until it is called or dropped.
pub(crate) struct Strict {
    pub(crate) reserved: Rc<Cell<u32>>,
    ready: bool,
    /// The number of times that `poll_ready` returns `Pending` first.
    pending: u32,
    fails: bool,
}

impl Strict {
    pub(crate) fn new(pending: u32) -> Self {
        Self { reserved: Rc::default(), ready: false, pending, fails: false }
    }

    pub(crate) fn failing(pending: u32) -> Self {
        let mut strict = Self::new(pending);
        strict.fails = true;
        strict
    }

    fn set(&mut self, ready: bool) {
        let reserved = self.reserved.get();
        match (self.ready, ready) {
            (false, true) => self.reserved.set(reserved + 1),
            (true, false) => self.reserved.set(reserved - 1),
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
        assert!(self.ready, "called although it was not ready");
        self.set(false);
        ready(if self.fails { Err("failed") } else { Ok(request) })
    }
}

/// A guard that admits after ten seconds, and counts its permits.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) permits: Arc<AtomicU32>,
    pub(crate) clock: Clock,
}

impl Gate {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { permits: Arc::default(), clock: clock.clone() }
    }

    pub(crate) fn permits(&self) -> u32 {
        self.permits.load(Ordering::Relaxed)
    }
}

pub(crate) struct GatePermit(Arc<AtomicU32>);

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
            gate.permits.fetch_add(1, Ordering::Relaxed);
            Ok(GatePermit(gate.permits.clone()))
        }))
    }

    fn record_owned(permit: GatePermit, _: &Result<T, Error<E>>) {
        assert!(permit.0.load(Ordering::Relaxed) > 0);
    }
}
