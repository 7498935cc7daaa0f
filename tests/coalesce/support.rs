//! An operation that a test completes, and calls whose wake-ups are counted.

use mainstay::coalesce::Coalesce;
use mainstay::error::{Error, Reason};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

pub(crate) type Group = Coalesce<String, u32, String>;
pub(crate) type Call<'a> = Pin<Box<dyn Future<Output = Result<u32, Error<String>>> + Send + 'a>>;

pub(crate) fn group() -> Group {
    Coalesce::builder().name("users").build().unwrap()
}

/// A waker that counts its wake-ups.
#[derive(Default)]
pub(crate) struct Woken(pub(crate) AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Woken {
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, SeqCst)
    }
}

/// An operation that is pending until the test completes it, and that the test can wake.
#[derive(Default)]
pub(crate) struct Remote {
    pub(crate) started: AtomicU32,
    pub(crate) polls: AtomicU32,
    pub(crate) dropped: AtomicU32,
    pub(crate) wakers: Mutex<Vec<Waker>>,
    pub(crate) result: Mutex<Option<Result<u32, String>>>,
}

pub(crate) struct RemoteFuture(pub(crate) Arc<Remote>);

impl Remote {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn start(self: &Arc<Self>) -> RemoteFuture {
        self.started.fetch_add(1, SeqCst);
        RemoteFuture(self.clone())
    }

    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn complete(&self, result: Result<u32, &str>) {
        *self.result.lock().unwrap() = Some(result.map_err(String::from));
        self.wake();
    }
}

impl Future for RemoteFuture {
    type Output = Result<u32, String>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.polls.fetch_add(1, SeqCst);
        let result = self.0.result.lock().unwrap().clone();
        match result {
            Some(result) => Poll::Ready(result),
            None => {
                self.0.wakers.lock().unwrap().push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for RemoteFuture {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

/// A call with a waker of its own.
pub(crate) struct Task<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) woken: Arc<Woken>,
    pub(crate) polls: usize,
}

impl<'a> Task<'a> {
    pub(crate) fn new(call: impl Future<Output = Result<u32, Error<String>>> + Send + 'a) -> Self {
        Self { call: Box::pin(call), woken: Arc::default(), polls: 0 }
    }

    pub(crate) fn poll(&mut self) -> Poll<Result<u32, Error<String>>> {
        self.polls += 1;
        let waker = Waker::from(self.woken.clone());
        self.call.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn polled(mut self) -> Self {
        assert!(self.poll().is_pending());
        self
    }
}

pub(crate) fn panicked(result: &Result<u32, Error<String>>) -> bool {
    matches!(result, Err(Error::Rejected(rejection)) if rejection.reason() == Reason::Panicked)
}
