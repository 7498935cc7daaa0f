//! A cache with a manual clock, and an operation that the test completes.

use mainstay::cache::{Cached, CachedBuilder, SingleValueStore};
use mainstay::error::{Error, Reason, Rejection, TimedOut};
use mainstay::time::ManualClock;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const S: Duration = Duration::from_secs(1);

pub(crate) type Cache = Cached<(), u32, &'static str>;
pub(crate) type Outcome = Result<u32, Error<&'static str>>;

/// Returns a builder of a cache whose values are fresh for exactly 10 s.
pub(crate) fn builder(time: &ManualClock) -> CachedBuilder<(), u32, &'static str> {
    Cached::builder(SingleValueStore::new())
        .name("prices")
        .ttl(10 * S)
        .jitter(0.0)
        .clock(time.clock())
}

/// Makes a call whose operation returns `result`. Returns the result of the call, and whether the
/// operation ran.
pub(crate) fn call(cache: &Cache, result: Outcome) -> (Outcome, bool) {
    let mut ran = false;
    let returned = cache.call_blocking(&(), || {
        ran = true;
        result
    });
    (returned, ran)
}

pub(crate) fn rejected() -> Error<&'static str> {
    Rejection::new(Reason::CircuitOpen, "breaker").into()
}

pub(crate) fn timed_out() -> Error<&'static str> {
    TimedOut::new("timeout", S).into()
}

/// Polls a future once.
pub(crate) fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns the output of a future that is ready at its first poll.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the call waits"),
    }
}

/// An operation that runs until the test completes it.
#[derive(Default)]
pub(crate) struct Remote {
    pub(crate) started: AtomicU32,
    pub(crate) dropped: AtomicU32,
    pub(crate) result: Mutex<Option<Outcome>>,
    waker: Mutex<Option<Waker>>,
}

pub(crate) struct RemoteFuture(Arc<Remote>);

impl Remote {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn start(self: &Arc<Self>) -> RemoteFuture {
        self.started.fetch_add(1, SeqCst);
        RemoteFuture(self.clone())
    }

    pub(crate) fn complete(&self, result: Outcome) {
        *self.result.lock().unwrap() = Some(result);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }
}

impl Future for RemoteFuture {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        *self.0.waker.lock().unwrap() = Some(cx.waker().clone());
        self.0.result.lock().unwrap().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for RemoteFuture {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}
