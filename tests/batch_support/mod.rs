//! Sinks whose batches are recorded or held back, and calls that are polled one by one.
#![allow(dead_code)] // each test file uses a part

use futures::future::{self, FutureExt};
use futures::task::ArcWake;
use mainstay::batch::{Batch, Batcher, BatcherBuilder};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::time::{Instant, ManualClock};
use mainstay::wait::{OneshotReceiver, OneshotSender, oneshot};
use std::collections::VecDeque;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) type Numbers = Batcher<u32, u32, &'static str>;

/// A batcher whose operation returns the items.
pub(crate) fn echo() -> BatcherBuilder<u32, u32, &'static str> {
    Batcher::builder(|batch: Batch<u32>| ready(Ok(batch.into_vec())))
}

pub(crate) fn rejected<T>(reason: Reason) -> Result<T, Error<&'static str>> {
    Err(Rejection::new(reason, "batcher").into())
}

pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

pub(crate) fn time_of(seconds: u64) -> ManualClock {
    ManualClock::at(at(seconds))
}

/// Polls with a waker that does nothing.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A call. Once it has completed, it is pending.
pub(crate) type Call<R, E> = Pin<Box<dyn Future<Output = Result<R, Error<E>>> + Send>>;

fn call<T, R, E>(batcher: &Batcher<T, R, E>, item: T) -> Call<R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    let batcher = batcher.clone();
    Box::pin(async move { batcher.call(item).await }.fuse())
}

/// A call that was polled once. If it completed, the next poll returns its result.
pub(crate) fn started<T, R, E>(batcher: &Batcher<T, R, E>, item: T) -> Call<R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    let mut call = call(batcher, item);
    match poll(&mut call) {
        Poll::Pending => call,
        Poll::Ready(result) => Box::pin(future::ready(result).fuse()),
    }
}

/// Counts wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl ArcWake for Wakes {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.fetch_add(1, SeqCst);
    }
}

/// Polls with a waker, and returns whether the future is pending and the counter of its wake-ups.
pub(crate) fn poll_counted<F: Future + Unpin>(
    future: &mut F,
) -> (bool, impl Fn() -> usize + use<F>) {
    let wakes = Arc::new(Wakes::default());
    let waker = futures::task::waker(Arc::clone(&wakes));
    let is_pending = Pin::new(future).poll(&mut Context::from_waker(&waker)).is_pending();
    (is_pending, move || wakes.0.load(SeqCst))
}

/// A call that counts its wake-ups.
pub(crate) struct Counted<R, E> {
    call: Call<R, E>,
    wakes: Arc<Wakes>,
}

/// A call that was polled once, and counts its wake-ups.
pub(crate) fn counted<T, R, E>(batcher: &Batcher<T, R, E>, item: T) -> Counted<R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    let mut counted = Counted { call: call(batcher, item), wakes: Arc::default() };
    assert!(counted.poll().is_pending());
    counted
}

impl<R, E> Counted<R, E> {
    /// Returns the number of wake-ups since the last poll.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(SeqCst)
    }

    pub(crate) fn poll(&mut self) -> Poll<Result<R, Error<E>>> {
        self.wakes.0.store(0, SeqCst);
        let waker = futures::task::waker(Arc::clone(&self.wakes));
        self.call.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Polls all calls, and ignores their results.
pub(crate) fn poll_all<R, E>(calls: &mut [Call<R, E>]) {
    for call in calls {
        let _ = poll(call);
    }
}

/// Polls the calls that were woken, and ignores their results.
pub(crate) fn poll_woken<R, E>(calls: &mut [Counted<R, E>]) {
    for call in calls.iter_mut().filter(|call| call.wakes() > 0) {
        let _ = call.poll();
    }
}

/// Checks that each accepted item was counted once.
pub(crate) fn is_accounted<T, R, E>(batcher: &Batcher<T, R, E>) {
    let shot = batcher.snapshot();
    let ended = shot.succeeded + shot.failed + shot.unsent + shot.cancelled + shot.abandoned;
    assert_eq!(shot.accepted, ended + (shot.queued + shot.in_flight) as u64, "{shot:?}");
}

/// A sink that records its batches.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<Vec<u32>>>>);

impl Sink {
    pub(crate) fn builder(&self) -> BatcherBuilder<u32, u32, &'static str> {
        let sink = self.clone();
        Batcher::builder(move |batch: Batch<u32>| {
            sink.0.lock().unwrap().push(batch.to_vec());
            ready(Ok(batch.into_vec()))
        })
    }

    pub(crate) fn batches(&self) -> Vec<Vec<u32>> {
        self.0.lock().unwrap().clone()
    }
}

/// A sink whose batches wait until they are let through, in order.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Held>);

#[derive(Default)]
struct Held {
    state: Mutex<State>,
    running: AtomicUsize,
    max_running: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<OneshotSender<()>>,
    open: usize,
    items: Vec<u32>,
}

/// A batch that runs.
pub(crate) struct Pass {
    receiver: Option<OneshotReceiver<()>>,
    held: Arc<Held>,
}

impl Gate {
    pub(crate) fn builder(&self) -> BatcherBuilder<u32, u32, &'static str> {
        let gate = self.clone();
        Batcher::builder(move |batch: Batch<u32>| {
            gate.0.state.lock().unwrap().items.extend_from_slice(&batch);
            let pass = gate.pass();
            async move {
                pass.await;
                Ok(batch.into_vec())
            }
        })
    }

    /// Enters a batch.
    pub(crate) fn pass(&self) -> Pass {
        let running = self.0.running.fetch_add(1, SeqCst) + 1;
        self.0.max_running.fetch_max(running, SeqCst);
        let mut state = self.0.state.lock().unwrap();
        let receiver = match state.open.checked_sub(1) {
            Some(open) => {
                state.open = open;
                None
            }
            None => {
                let (sender, receiver) = oneshot();
                state.waiting.push_back(sender);
                Some(receiver)
            }
        };
        Pass { receiver, held: Arc::clone(&self.0) }
    }

    /// Lets the oldest waiting batch through, or else the next one that arrives.
    pub(crate) fn open_next(&self) {
        let mut state = self.0.state.lock().unwrap();
        while let Some(sender) = state.waiting.pop_front() {
            if !sender.is_closed() {
                drop(state);
                return sender.send(()).unwrap();
            }
        }
        state.open += 1;
    }

    pub(crate) fn running(&self) -> usize {
        self.0.running.load(SeqCst)
    }

    pub(crate) fn max_running(&self) -> usize {
        self.0.max_running.load(SeqCst)
    }

    /// Returns the items of all batches, in order.
    pub(crate) fn items(&self) -> Vec<u32> {
        self.0.state.lock().unwrap().items.clone()
    }
}

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.receiver {
            Some(receiver) => Pin::new(receiver).poll(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.held.running.fetch_sub(1, SeqCst);
    }
}
