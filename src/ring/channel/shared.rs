//! The state that both sides of a channel share: the ring, the wait queues, and the handle counts.

use super::closed_future::IsClosed;
use super::pace::Pace;
use crate::ring::batch_source::BatchSource;
use crate::ring::core::{Claim, Core};
use crate::ring::error::{ForcePushError, PopError, PushError, RecvError, SendError};
use crate::sync::SpinWait;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::wait::{Attempt, Condition, Wait, WaitQueue};

pub(in crate::ring) struct Shared<T> {
    pub(super) core: Core<T>,
    pub(super) waiting_receivers: WaitQueue,
    pub(super) waiting_senders: WaitQueue,
    pub(super) waiting_for_close: WaitQueue,
    receiver_pace: Pace,
    sender_pace: Pace,
    pub(super) senders: HandleCount,
    pub(super) receivers: HandleCount,
}

/// The condition that receivers wait for.
pub(super) struct NotEmpty<'a, T>(pub(super) &'a Shared<T>);

impl<T> Condition for NotEmpty<'_, T> {
    fn set_waiting(&self) -> bool {
        self.0.core.flag_waiting_consumers()
    }

    fn clear_waiting(&self) {
        self.0.core.clear_waiting_consumers();
    }

    fn spin_wait(&self) -> SpinWait {
        let Shared { core, receiver_pace, .. } = self.0;
        receiver_pace.spin_wait(core.items_popped(), core.capacity())
    }
}

/// The condition that senders wait for.
pub(super) struct NotFull<'a, T>(pub(super) &'a Shared<T>);

impl<T> Condition for NotFull<'_, T> {
    fn set_waiting(&self) -> bool {
        self.0.core.flag_waiting_producers()
    }

    fn clear_waiting(&self) {
        self.0.core.clear_waiting_producers();
    }

    fn spin_wait(&self) -> SpinWait {
        let Shared { core, sender_pace, .. } = self.0;
        sender_pace.spin_wait(core.items_pushed(), core.capacity())
    }
}

/// The result of an attempt on a closed channel.
pub(super) struct Closed;

impl<T> Shared<T> {
    pub(super) fn new(core: Core<T>) -> Self {
        Self {
            core,
            waiting_receivers: WaitQueue::new(),
            waiting_senders: WaitQueue::new(),
            waiting_for_close: WaitQueue::new(),
            receiver_pace: Pace::new(),
            sender_pace: Pace::new(),
            senders: HandleCount::one(),
            receivers: HandleCount::one(),
        }
    }

    #[inline]
    pub(super) fn wait_for_item(&self) -> Wait<'_, NotEmpty<'_, T>> {
        Wait::new(&self.waiting_receivers, NotEmpty(self))
    }

    #[inline]
    pub(super) fn wait_for_free_slot(&self) -> Wait<'_, NotFull<'_, T>> {
        Wait::new(&self.waiting_senders, NotFull(self))
    }

    #[inline(always)]
    pub(super) fn try_send(&self, value: T) -> Result<(), PushError<T>> {
        match self.core.claim_push() {
            Ok(claim) => {
                self.publish(&claim, value);
                Ok(())
            }
            Err(error) => Err(error.with_value(value)),
        }
    }

    /// Fills the claimed slot and wakes a receiver.
    #[inline(always)]
    pub(super) fn publish(&self, claim: &Claim, value: T) {
        self.core.publish(claim, value);
        self.sent(1, claim.has_waiters);
    }

    #[inline]
    pub(super) fn try_send_batch(
        &self,
        batch: &mut impl BatchSource<T>,
    ) -> Result<usize, PushError<()>> {
        if batch.len() == 0 {
            return Ok(0);
        }
        let claim = self.core.claim_push_batch(batch.len())?;
        self.core.publish_batch(&claim, batch);
        self.sent(claim.count(), claim.has_waiters);
        Ok(claim.count())
    }

    pub(super) fn force_send(&self, value: T) -> Result<Option<T>, ForcePushError<T>> {
        let pushed = self.core.force_push(value)?;
        self.sent(1, pushed.has_waiters);
        Ok(pushed.evicted)
    }

    #[inline(always)]
    pub(super) fn try_recv(&self) -> Result<T, PopError> {
        let claim = self.core.claim_pop()?;
        let value = self.core.take(&claim);
        self.received(1, claim.has_waiters);
        Ok(value)
    }

    #[inline]
    pub(super) fn try_recv_batch(&self, into: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        if max == 0 {
            return Ok(0);
        }
        let claim = self.core.claim_pop_batch(max, |count| into.reserve(count))?;
        self.core.take_batch(&claim, into);
        self.received(claim.count(), claim.has_waiters);
        Ok(claim.count())
    }

    #[inline(always)]
    fn sent(&self, count: usize, has_waiters: bool) {
        self.core.discard_if_abandoned();
        if has_waiters {
            self.wake_receivers(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_receivers(&self, count: usize) {
        self.waiting_receivers.notify(count, &NotEmpty(self));
    }

    #[inline(always)]
    fn received(&self, count: usize, has_waiters: bool) {
        if has_waiters {
            self.wake_senders(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_senders(&self, count: usize) {
        self.waiting_senders.notify(count, &NotFull(self));
    }

    /// Makes one attempt to send for a waiting caller. Takes the value only if it can be sent.
    #[inline]
    pub(super) fn attempt_send(&self, value: &mut Option<T>) -> Attempt<Result<(), Closed>> {
        let claim = match self.core.claim_push() {
            Ok(claim) => claim,
            Err(error) => return push_attempt(error),
        };
        if let Some(value) = value.take() {
            self.publish(&claim, value);
        } else {
            unreachable!("a send ends when its value is taken");
        }
        Attempt::Done(Ok(()))
    }

    #[inline]
    pub(super) fn attempt_recv(&self) -> Attempt<Result<T, Closed>> {
        self.try_recv().map_or_else(pop_attempt, |value| Attempt::Done(Ok(value)))
    }

    #[inline]
    pub(super) fn attempt_send_batch(
        &self,
        batch: &mut impl BatchSource<T>,
    ) -> Attempt<Result<(), Closed>> {
        while batch.len() > 0 {
            if let Err(error) = self.try_send_batch(batch) {
                return push_attempt(error);
            }
        }
        Attempt::Done(Ok(()))
    }

    #[inline]
    pub(super) fn attempt_recv_batch(
        &self,
        into: &mut Vec<T>,
        max: usize,
    ) -> Attempt<Result<usize, Closed>> {
        self.try_recv_batch(into, max).map_or_else(pop_attempt, |count| Attempt::Done(Ok(count)))
    }

    // The rest of a blocking call whose first attempt failed. These functions are not inlined, so
    // that the inlined first attempt does not share its registers with them.

    #[cold]
    #[inline(never)]
    pub(super) fn send_after(&self, error: PushError<()>, value: T) -> Result<(), SendError<T>> {
        let mut value = Some(value);
        let first = push_attempt(error);
        let sent = self.wait_for_free_slot().block_after(first, || self.attempt_send(&mut value));
        sent.or_else(|_| value.map_or(Ok(()), |value| Err(SendError(value))))
    }

    #[cold]
    #[inline(never)]
    pub(super) fn send_batch_after(
        &self,
        error: PushError<()>,
        batch: &mut impl BatchSource<T>,
    ) -> Result<(), SendError<()>> {
        let first = push_attempt(error);
        let sent = self.wait_for_free_slot().block_after(first, || self.attempt_send_batch(batch));
        sent.map_err(|_| SendError(()))
    }

    #[cold]
    #[inline(never)]
    pub(super) fn recv_after(&self, error: PopError) -> Result<T, RecvError> {
        let first = pop_attempt(error);
        self.wait_for_item().block_after(first, || self.attempt_recv()).map_err(|_| RecvError)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn recv_batch_after(
        &self,
        error: PopError,
        into: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, RecvError> {
        let first = pop_attempt(error);
        let received =
            self.wait_for_item().block_after(first, || self.attempt_recv_batch(into, max));
        received.map_err(|_| RecvError)
    }

    pub(super) fn close(&self) -> bool {
        let closed = self.core.close();
        if closed {
            self.waiting_receivers.notify_all(&NotEmpty(self));
            self.waiting_senders.notify_all(&NotFull(self));
            self.waiting_for_close.notify_all(&IsClosed(&self.core));
        }
        closed
    }
}

fn push_attempt<R>(error: PushError<()>) -> Attempt<Result<R, Closed>> {
    match error {
        PushError::Full(()) => Attempt::NotReady,
        PushError::Busy(()) => Attempt::Busy,
        PushError::Closed(()) => Attempt::Done(Err(Closed)),
    }
}

fn pop_attempt<R>(error: PopError) -> Attempt<Result<R, Closed>> {
    match error {
        PopError::Empty => Attempt::NotReady,
        PopError::Busy => Attempt::Busy,
        PopError::Closed => Attempt::Done(Err(Closed)),
    }
}

/// The number of handles on one side of the channel.
pub(in crate::ring) struct HandleCount(AtomicUsize);

impl HandleCount {
    pub(in crate::ring) fn one() -> Self {
        Self(AtomicUsize::new(1))
    }

    pub(in crate::ring) fn none() -> Self {
        Self(AtomicUsize::new(0))
    }

    pub(in crate::ring) fn add(&self) {
        // Ordering: relaxed; the handle that is being cloned keeps the count above zero.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a handle. Returns whether it was the last one.
    pub(in crate::ring) fn remove(&self) -> bool {
        // Ordering: acquire and release, so that the accesses through all other handles happen
        // before the removal of the last one.
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns the number of handles, which may change at any moment.
    pub(in crate::ring) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
