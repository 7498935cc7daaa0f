//! A call that waits for the result of a flight, and the removal of flights that have ended:
//! [`Participant`].

use super::flight::{Departure, Flight, Turn};
use super::{Ending, Group};
use crate::error::{Error, Reason, Rejection};
use crate::sync::{PlainArc, discard_panic};
use crate::time::Instant;
use crate::wait::WaiterKey;
use std::any::Any;
use std::borrow::Borrow;
use std::future::Future;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The future of an operation. The flight owns the future, so the future cannot borrow from the
/// call that created it.
pub(super) type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, Error<E>>> + Send>>;

/// A call that waits for the result of a flight. If the operation was woken when the participant is
/// polled, the participant polls the operation. A dropped participant leaves the flight.
pub(crate) struct Participant<'a, K, Q, T, E, M>
where
    K: Borrow<Q> + Eq,
    Q: Hash + Eq + ?Sized,
{
    group: &'a Group<K, T, E, M>,
    key: &'a Q,
    flight: PlainArc<Flight<T, E>>,
    waiting: Option<WaiterKey>,
    is_leader: bool,
}

impl<'a, K, Q, T, E, M> Participant<'a, K, Q, T, E, M>
where
    K: Borrow<Q> + Eq,
    Q: Hash + Eq + ?Sized,
{
    pub(super) fn leader(
        group: &'a Group<K, T, E, M>,
        key: &'a Q,
        flight: PlainArc<Flight<T, E>>,
    ) -> Self {
        Self { group, key, flight, waiting: None, is_leader: true }
    }

    pub(super) fn follower(
        group: &'a Group<K, T, E, M>,
        key: &'a Q,
        flight: PlainArc<Flight<T, E>>,
    ) -> Self {
        Self { group, key, flight, waiting: None, is_leader: false }
    }

    pub(super) fn is_of(&self, flight: &PlainArc<Flight<T, E>>) -> bool {
        PlainArc::ptr_eq(&self.flight, flight)
    }

    /// Starts the operation. Only the leader calls this.
    pub(crate) fn start(
        &self,
        operation: impl Future<Output = Result<T, Error<E>>> + Send + 'static,
    ) {
        self.flight.start(Box::pin(operation));
    }
}

impl<K, Q, T, E, M> Participant<'_, K, Q, T, E, M>
where
    K: Borrow<Q> + Eq,
    Q: Hash + Eq + ?Sized,
{
    /// Ends the flight with `result`, and removes it from the map unless later calls may use the
    /// result.
    pub(crate) fn end(&self, result: Result<T, Error<E>>) {
        // A flight whose result must not be reused is removed before it ends, so that no later call
        // finds the result. The removal runs user code: the clock, and `Hash` and `Eq` of the key.
        // The flight must end even if that code panics.
        let until = catch_unwind(AssertUnwindSafe(|| {
            let until = self.group.reusable_until(&result);
            if until == Instant::ORIGIN {
                self.remove();
            }
            until
        }));
        let (until, panic) = match until {
            Ok(until) => (until, None),
            Err(panic) => (Instant::ORIGIN, Some(panic)),
        };
        self.flight.end(Ending { result, reusable_until: until });
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Ends the flight with a rejection, because the operation panicked.
    fn end_panicked(&self) {
        let rejection = Rejection::new(Reason::Panicked, self.group.name);
        self.end(Err(rejection.into()));
    }

    /// Removes the flight from the map, unless another one has taken its place.
    fn remove(&self) {
        self.group.remove_flight(self.key, &self.flight);
    }
}

impl<K, Q, T, E, M> Participant<'_, K, Q, T, E, M>
where
    K: Borrow<Q> + Eq,
    Q: Hash + Eq + ?Sized,
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Polls the operation, and ends the flight if the operation has completed or panicked.
    fn poll_operation(&mut self, cx: &Context<'_>, mut future: Pending<T, E>) -> Poll<()> {
        let waker = Waker::from(PlainArc::clone(&self.flight));
        let mut operation_cx = Context::from_waker(&waker);
        let poll = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut operation_cx)));
        match poll {
            Ok(Poll::Pending) => {
                if !self.flight.put_back(future, &mut self.waiting, cx.waker()) {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            // The future is dropped before the flight ends, because the drop may panic.
            Ok(Poll::Ready(result)) => match catch_unwind(AssertUnwindSafe(|| drop(future))) {
                Ok(()) => self.end(result),
                Err(panic) => self.panicked(panic),
            },
            Err(panic) => {
                discard_panic(|| drop(future));
                self.panicked(panic);
            }
        }
        Poll::Ready(())
    }

    /// Ends the flight after a panic of the operation. The panic unwinds the leader; in a follower,
    /// it is discarded.
    fn panicked(&self, panic: Box<dyn Any + Send>) {
        self.end_panicked();
        match self.is_leader {
            true => resume_unwind(panic),
            false => discard_panic(|| drop(panic)),
        }
    }
}

impl<K, Q, T, E, M> Future for Participant<'_, K, Q, T, E, M>
where
    K: Borrow<Q> + Eq,
    Q: Hash + Eq + ?Sized,
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    type Output = Result<T, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(ending) = this.flight.ending() {
                return Poll::Ready(ending.result.clone());
            }
            match this.flight.turn(&mut this.waiting, cx.waker()) {
                Turn::Wait => return Poll::Pending,
                Turn::Ended => {}
                Turn::Poll(future) => {
                    if this.poll_operation(cx, future).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<K, Q, T, E, M> Drop for Participant<'_, K, Q, T, E, M>
where
    K: Borrow<Q> + Eq,
    Q: Hash + Eq + ?Sized,
{
    fn drop(&mut self) {
        match self.flight.leave(self.waiting.take(), self.is_leader) {
            Departure::Nothing => {}
            // The leader's closure is unwinding. A second panic, in `Hash` or `Eq` of the key,
            // would abort the process.
            Departure::NotStarted => discard_panic(|| self.end_panicked()),
            Departure::Abandoned(future) => {
                // If the removal panics, the next call with the key removes the flight.
                discard_panic(|| self.remove());
                drop(future);
            }
        }
    }
}
