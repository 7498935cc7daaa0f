//! A stream and the permits that it carries: [`PermitStream`], [`StreamPermits`].

use crate::outcome::Outcome;
use crate::sync::PlainMutex;
use futures_core::Stream;
use pin_project::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A stream that carries the permits of the call that returned it.
///
/// | the stream | the permits record |
/// |---|---|
/// | ends, or yields the item that its `size_hint` states to be the last | [`Outcome::Success`] |
/// | yields an error | [`Outcome::Failure`] |
/// | is dropped before that | no outcome, as for a call that is dropped |
///
/// A [`StreamGuard`](super::StreamGuard) adds its permit. Other permits are added by
/// [`StreamPermits::add`].
///
/// The items are results. A response body of axum or hyper becomes such a stream by
/// `into_data_stream`, and axum's `Body::from_stream` converts it back; trailers are lost.
#[pin_project]
pub struct PermitStream<S> {
    // Declared first, so that the stream is dropped before its permits are released.
    #[pin]
    stream: S,
    permits: StreamPermits,
}

/// The permits that a [`PermitStream`] carries.
#[derive(Default)]
pub struct StreamPermits(PlainMutex<Vec<Settle>>);

/// A function that records the outcome of one permit. Dropping the function drops the permit.
type Settle = Box<dyn FnOnce(Outcome) + Send>;

impl<S> PermitStream<S> {
    /// Creates a stream that carries no permit yet.
    ///
    /// ```
    /// # use mainstay::policy::PermitStream;
    /// let rows = futures::stream::iter([Ok::<u32, std::io::Error>(1)]);
    /// let rows = PermitStream::new(rows);
    /// assert!(rows.permits().is_empty());
    /// ```
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self { stream, permits: StreamPermits::default() }
    }

    /// Returns the permits that the stream carries.
    #[must_use]
    pub const fn permits(&self) -> &StreamPermits {
        &self.permits
    }
}

impl StreamPermits {
    /// Adds a permit. `record` records the outcome when the stream has ended or failed. If the
    /// stream is dropped before that, the permit is dropped too. Allocates once.
    ///
    /// ```
    /// use mainstay::CircuitBreaker;
    /// use mainstay::policy::PermitStream;
    ///
    /// let breaker = CircuitBreaker::new();
    /// let rows = futures::stream::iter([Err::<u32, _>("connection lost")]);
    /// let mut rows = PermitStream::new(rows);
    /// let permit = breaker.try_acquire_owned()?;
    /// rows.permits().add(permit, |permit, outcome| permit.record_outcome(outcome));
    /// # use futures::StreamExt;
    /// # futures::executor::block_on(async {
    /// assert!(rows.next().await.unwrap().is_err());
    /// # });
    /// assert_eq!(breaker.snapshot().counts.failed, 1);
    /// # Ok::<(), mainstay::Rejection>(())
    /// ```
    pub fn add<P, F>(&self, permit: P, record: F)
    where
        P: Send + 'static,
        F: FnOnce(P, Outcome) + Send + 'static,
    {
        self.0.lock().push(Box::new(move |outcome| record(permit, outcome)));
    }

    /// Returns whether the stream holds no permit: none was added, or the outcome of all was
    /// recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Records the outcome of all permits.
    fn settle(&self, outcome: Outcome) {
        // Recording runs user code, so the lock is released first.
        let permits = std::mem::take(&mut *self.0.lock());
        permits.into_iter().for_each(|settle| settle(outcome));
    }
}

impl<S, T, E> Stream for PermitStream<S>
where
    S: Stream<Item = Result<T, E>>,
{
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let item = ready!(this.stream.as_mut().poll_next(task));
        match &item {
            // The consumer may stop after the last item, and not poll for the end.
            Some(Ok(_)) if this.stream.size_hint().1 != Some(0) => {}
            Some(Ok(_)) | None => this.permits.settle(Outcome::Success),
            Some(Err(_)) => this.permits.settle(Outcome::Failure),
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S> fmt::Debug for PermitStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitStream").field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPermits").field("len", &self.0.lock().len()).finish()
    }
}
