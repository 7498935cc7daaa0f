//! The futures that wait for permits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::engine::{Engine, Progress};
use super::error::{SemaphoreClosed, SemaphoreError};
use super::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use crate::sync::PlainArc;
use crate::wait::waiter_list::WaiterKey;

/// The future returned by [`Semaphore::acquire`] and [`Semaphore::acquire_n`].
#[must_use = "futures do nothing unless polled"]
pub struct SemaphoreAcquireFuture<'a> {
    semaphore: &'a Semaphore,
    acquisition: Acquisition,
}

/// The future returned by [`Semaphore::acquire_owned`] and [`Semaphore::acquire_n_owned`].
#[must_use = "futures do nothing unless polled"]
pub struct OwnedSemaphoreAcquireFuture {
    semaphore: PlainArc<Semaphore>,
    acquisition: Acquisition,
}

/// The state of one acquisition.
#[derive(Debug)]
struct Acquisition {
    count: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New,
    /// Entered the queue. The permits may have been granted since the last poll.
    Queued(WaiterKey),
    Done,
}

impl Acquisition {
    #[inline]
    fn new(count: u32) -> Self {
        Self { count, stage: Stage::New }
    }

    #[inline]
    fn poll(&mut self, engine: &Engine, cx: &mut Context<'_>) -> Poll<Result<(), SemaphoreClosed>> {
        let progress = match self.stage {
            Stage::New => match engine.take(self.count) {
                Ok(()) => Progress::Granted,
                Err(SemaphoreError::Closed) => Progress::Closed,
                Err(SemaphoreError::Exhausted) => engine.enter(self.count, cx.waker()),
            },
            Stage::Queued(key) => engine.check(key, cx.waker()),
            Stage::Done => panic!("an acquire future was polled after it was ready"),
        };
        let (stage, result) = match progress {
            Progress::Granted => (Stage::Done, Poll::Ready(Ok(()))),
            Progress::Closed => (Stage::Done, Poll::Ready(Err(SemaphoreClosed))),
            Progress::Queued(key) => (Stage::Queued(key), Poll::Pending),
        };
        self.stage = stage;
        result
    }

    #[inline]
    fn cancel(&mut self, engine: &Engine) {
        if let Stage::Queued(key) = self.stage
            && !engine.leave(key)
        {
            engine.give_back(self.count);
        }
    }
}

impl<'a> SemaphoreAcquireFuture<'a> {
    #[inline]
    pub(super) fn new(semaphore: &'a Semaphore, count: u32) -> Self {
        Self { semaphore, acquisition: Acquisition::new(count) }
    }
}

impl OwnedSemaphoreAcquireFuture {
    #[inline]
    pub(super) fn new(semaphore: PlainArc<Semaphore>, count: u32) -> Self {
        Self { semaphore, acquisition: Acquisition::new(count) }
    }
}

impl<'a> Future for SemaphoreAcquireFuture<'a> {
    type Output = Result<SemaphorePermit<'a>, SemaphoreClosed>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, acquisition } = &mut *self;
        acquisition
            .poll(&semaphore.engine, cx)
            .map_ok(|()| SemaphorePermit::new(semaphore, acquisition.count))
    }
}

impl Future for OwnedSemaphoreAcquireFuture {
    type Output = Result<OwnedSemaphorePermit, SemaphoreClosed>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { semaphore, acquisition } = &mut *self;
        acquisition
            .poll(&semaphore.engine, cx)
            .map_ok(|()| OwnedSemaphorePermit::new(PlainArc::clone(semaphore), acquisition.count))
    }
}

impl Drop for SemaphoreAcquireFuture<'_> {
    #[inline]
    fn drop(&mut self) {
        self.acquisition.cancel(&self.semaphore.engine);
    }
}

impl Drop for OwnedSemaphoreAcquireFuture {
    #[inline]
    fn drop(&mut self) {
        self.acquisition.cancel(&self.semaphore.engine);
    }
}

impl fmt::Debug for SemaphoreAcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphoreAcquireFuture")
            .field("acquisition", &self.acquisition)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedSemaphoreAcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSemaphoreAcquireFuture")
            .field("acquisition", &self.acquisition)
            .finish_non_exhaustive()
    }
}
