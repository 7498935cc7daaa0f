//! Waiting for a permit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::permit::{AcquireError, Closed, OwnedPermit, Permit};
use super::{Entered, Semaphore};
use crate::sync::PlainArc;
use crate::wait::waiter_list::WaiterKey;

/// The future of [`Semaphore::acquire`].
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a> {
    pub(super) semaphore: &'a Semaphore,
    pub(super) turn: Turn,
}

/// The future of [`Semaphore::acquire_owned`].
#[must_use = "futures do nothing unless polled"]
pub struct AcquireOwned {
    pub(super) semaphore: PlainArc<Semaphore>,
    pub(super) turn: Turn,
}

/// One wait for permits.
#[derive(Debug)]
pub(super) struct Turn {
    weight: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New,
    /// In the queue, or served without knowing it yet.
    Waiting(WaiterKey),
    Done,
}

impl Turn {
    #[inline]
    pub(super) fn new(weight: u32) -> Self {
        Self { weight, stage: Stage::New }
    }

    #[inline]
    fn poll(&mut self, semaphore: &Semaphore, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let came = match self.stage {
            Stage::New => match semaphore.take(self.weight) {
                Ok(()) => Entered::Served,
                Err(AcquireError::Closed) => Entered::Closed,
                Err(AcquireError::Exhausted) => semaphore.enter(self.weight, cx.waker()),
            },
            Stage::Waiting(key) => semaphore.look(key, cx.waker()),
            Stage::Done => panic!("a permit was polled for after it was there"),
        };
        let (stage, answer) = match came {
            Entered::Served => (Stage::Done, Poll::Ready(Ok(()))),
            Entered::Closed => (Stage::Done, Poll::Ready(Err(Closed))),
            Entered::Waiting(key) => (Stage::Waiting(key), Poll::Pending),
        };
        self.stage = stage;
        answer
    }

    #[inline]
    fn cancel(&mut self, semaphore: &Semaphore) {
        if let Stage::Waiting(key) = self.stage
            && !semaphore.withdraw(key)
        {
            semaphore.give_back(self.weight);
        }
    }
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<Permit<'a>, Closed>;

    /// # Panics
    ///
    /// If polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, turn } = &mut *self;
        turn.poll(semaphore, cx).map_ok(|()| Permit { semaphore, weight: turn.weight })
    }
}

impl Future for AcquireOwned {
    type Output = Result<OwnedPermit, Closed>;

    /// # Panics
    ///
    /// If polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, turn } = &mut *self;
        turn.poll(semaphore, cx)
            .map_ok(|()| OwnedPermit { semaphore: PlainArc::clone(semaphore), weight: turn.weight })
    }
}

impl Drop for Acquire<'_> {
    #[inline]
    fn drop(&mut self) {
        self.turn.cancel(self.semaphore);
    }
}

impl Drop for AcquireOwned {
    #[inline]
    fn drop(&mut self) {
        self.turn.cancel(&self.semaphore);
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl fmt::Debug for AcquireOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireOwned").field("turn", &self.turn).finish_non_exhaustive()
    }
}
