//! A ring whose users wait.

mod receiver;
mod sender;
mod stream;

#[cfg(all(test, mainstay_loom))]
mod loom;

use crate::sync::Arc;
use crate::sync::SpinWait;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::wait::{Attempt, Condition, Wait, WaitQueue};

use super::batch::Batch;
use super::core::{Claim, Core};
use super::error::{ForcePushError, PopError, PushError, RecvError, SendError};
pub use receiver::{Receiver, Recv, RecvBatch};
pub use sender::{Send, SendBatch, Sender};
pub use stream::{RecvStream, SendSink};

/// A bounded channel for many senders and many receivers, threads and tasks alike, on a
/// [`Ring`](super::Ring) of `capacity`.
///
/// # Waiting
///
/// Sending waits while the ring is full, receiving while it is empty: `send` and `recv` are futures,
/// `send_blocking` and `recv_blocking` spin briefly, yield a few times, then park the thread. The larger
/// the ring, the longer the first spin, up to about half a microsecond: it lets the other side fill, or
/// empty, a stretch of slots without being disturbed, instead of handing over one item at a time. Waiters
/// are woken in order of arrival, one for each item or each free slot. Somebody who does not wait may
/// get ahead of one who was just woken, who then goes back to the front of the queue. While nobody waits,
/// waiting costs nothing: the flag that says so is part of the word that every operation changes anyway.
///
/// # Disconnecting
///
/// When the last [`Sender`] is dropped, receivers get what is inside, then an error. When the last
/// [`Receiver`] is dropped, senders get their items back in an error, and what was inside is dropped.
///
/// # Cancel safety
///
/// Every future can be dropped at any time: it leaves the queue, and what it was woken for goes to the
/// next in line. A [`Send`] drops its item with it; a [`Recv`] has taken none.
///
/// # Panics
///
/// If `capacity` is 0, or more than fits into memory.
///
/// # Examples
///
/// ```
/// use mainstay::ring::channel;
///
/// let (sender, receiver) = channel(16);
/// let worker = std::thread::spawn(move || {
///     let mut sum = 0;
///     while let Ok(number) = receiver.recv_blocking() {
///         sum += number;
///     }
///     sum
/// });
/// for number in 1..=100 {
///     sender.send_blocking(number).unwrap();
/// }
/// drop(sender);
/// assert_eq!(worker.join().unwrap(), 5050);
/// ```
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        core: Core::new(capacity),
        for_items: WaitQueue::new(),
        for_room: WaitQueue::new(),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender::new(Arc::clone(&shared)), Receiver::new(shared))
}

struct Shared<T> {
    core: Core<T>,
    for_items: WaitQueue,
    for_room: WaitQueue,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

struct Items<'a, T>(&'a Core<T>);

impl<T> Condition for Items<'_, T> {
    fn set_waiting(&self) -> bool {
        self.0.wait_for_items()
    }

    fn clear_waiting(&self) {
        self.0.nobody_waits_for_items();
    }

    fn spin_wait(&self) -> SpinWait {
        SpinWait::for_capacity(self.0.capacity())
    }
}

struct Room<'a, T>(&'a Core<T>);

impl<T> Condition for Room<'_, T> {
    fn set_waiting(&self) -> bool {
        self.0.wait_for_room()
    }

    fn clear_waiting(&self) {
        self.0.nobody_waits_for_room();
    }

    fn spin_wait(&self) -> SpinWait {
        SpinWait::for_capacity(self.0.capacity())
    }
}

/// The channel is closed.
struct Closed;

impl<T> Shared<T> {
    #[inline]
    fn wait_for_items(&self) -> Wait<'_, Items<'_, T>> {
        Wait::new(&self.for_items, Items(&self.core))
    }

    #[inline]
    fn wait_for_room(&self) -> Wait<'_, Room<'_, T>> {
        Wait::new(&self.for_room, Room(&self.core))
    }

    #[inline(always)]
    fn try_send(&self, value: T) -> Result<(), PushError<T>> {
        match self.core.claim_push() {
            Ok(claim) => {
                self.fulfil(&claim, value);
                Ok(())
            }
            Err(refusal) => Err(refusal.about(value)),
        }
    }

    #[inline(always)]
    fn fulfil(&self, claim: &Claim, value: T) {
        self.core.publish(claim, value);
        self.sent(1, claim.waited_for);
    }

    #[inline]
    fn try_send_batch(&self, batch: &mut impl Batch<T>) -> Result<usize, PushError<()>> {
        if batch.len() == 0 {
            return Ok(0);
        }
        let claim = self.core.claim_push_batch(batch.len())?;
        self.core.publish_batch(&claim, batch);
        self.sent(claim.count(), claim.waited_for);
        Ok(claim.count())
    }

    fn force_send(&self, value: T) -> Result<Option<T>, ForcePushError<T>> {
        let (evicted, waited) = self.core.force_push(value)?;
        self.sent(1, waited.0);
        Ok(evicted)
    }

    #[inline(always)]
    fn try_recv(&self) -> Result<T, PopError> {
        let claim = self.core.claim_pop()?;
        let value = self.core.take(&claim);
        self.received(1, claim.waited_for);
        Ok(value)
    }

    #[inline]
    fn try_recv_batch(&self, into: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        if max == 0 {
            return Ok(0);
        }
        let claim = self.core.claim_pop_batch(max, |count| into.reserve(count))?;
        self.core.take_batch(&claim, into);
        self.received(claim.count(), claim.waited_for);
        Ok(claim.count())
    }

    #[inline(always)]
    fn sent(&self, count: usize, waited_for: bool) {
        if waited_for {
            self.wake_receivers(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_receivers(&self, count: usize) {
        self.for_items.notify(count, &Items(&self.core));
    }

    #[inline(always)]
    fn received(&self, count: usize, waited_for: bool) {
        if waited_for {
            self.wake_senders(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_senders(&self, count: usize) {
        self.for_room.notify(count, &Room(&self.core));
    }

    /// One attempt of a send that waits; takes the value only if it succeeds.
    #[inline]
    fn attempt_send(&self, value: &mut Option<T>) -> Attempt<Result<(), Closed>> {
        let claim = match self.core.claim_push() {
            Ok(claim) => claim,
            Err(refusal) => return refused_push(refusal),
        };
        if let Some(value) = value.take() {
            self.fulfil(&claim, value);
        } else {
            unreachable!("a send ends when its value is taken");
        }
        Attempt::Done(Ok(()))
    }

    #[inline]
    fn attempt_recv(&self) -> Attempt<Result<T, Closed>> {
        self.try_recv().map_or_else(refused_pop, |value| Attempt::Done(Ok(value)))
    }

    #[inline]
    fn attempt_send_batch(&self, batch: &mut impl Batch<T>) -> Attempt<Result<(), Closed>> {
        while batch.len() > 0 {
            if let Err(refusal) = self.try_send_batch(batch) {
                return refused_push(refusal);
            }
        }
        Attempt::Done(Ok(()))
    }

    #[inline]
    fn attempt_recv_batch(&self, into: &mut Vec<T>, max: usize) -> Attempt<Result<usize, Closed>> {
        self.try_recv_batch(into, max).map_or_else(refused_pop, |count| Attempt::Done(Ok(count)))
    }

    // What threads do after a first attempt, which stands in the caller's code and has its registers for
    // itself, was refused.

    #[cold]
    #[inline(never)]
    fn send_after(&self, refusal: PushError<()>, value: T) -> Result<(), SendError<T>> {
        let mut value = Some(value);
        let first = refused_push(refusal);
        let sent = self.wait_for_room().block_after(first, || self.attempt_send(&mut value));
        sent.or_else(|_| value.map_or(Ok(()), |value| Err(SendError(value))))
    }

    #[cold]
    #[inline(never)]
    fn send_batch_after(
        &self,
        refusal: PushError<()>,
        batch: &mut impl Batch<T>,
    ) -> Result<(), SendError<()>> {
        let first = refused_push(refusal);
        let sent = self.wait_for_room().block_after(first, || self.attempt_send_batch(batch));
        sent.map_err(|_| SendError(()))
    }

    #[cold]
    #[inline(never)]
    fn recv_after(&self, refusal: PopError) -> Result<T, RecvError> {
        let first = refused_pop(refusal);
        self.wait_for_items().block_after(first, || self.attempt_recv()).map_err(|_| RecvError)
    }

    #[cold]
    #[inline(never)]
    fn recv_batch_after(
        &self,
        refusal: PopError,
        into: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, RecvError> {
        let first = refused_pop(refusal);
        let received =
            self.wait_for_items().block_after(first, || self.attempt_recv_batch(into, max));
        received.map_err(|_| RecvError)
    }

    fn close(&self) -> bool {
        let closed = self.core.close();
        if closed {
            self.for_items.notify_all(&Items(&self.core));
            self.for_room.notify_all(&Room(&self.core));
        }
        closed
    }
}

fn refused_push<R>(refusal: PushError<()>) -> Attempt<Result<R, Closed>> {
    match refusal {
        PushError::Full(()) => Attempt::NotReady,
        PushError::Busy(()) => Attempt::Busy,
        PushError::Closed(()) => Attempt::Done(Err(Closed)),
    }
}

fn refused_pop<R>(refusal: PopError) -> Attempt<Result<R, Closed>> {
    match refusal {
        PopError::Empty => Attempt::NotReady,
        PopError::Busy => Attempt::Busy,
        PopError::Closed => Attempt::Done(Err(Closed)),
    }
}

/// Counts one handle more.
fn join(handles: &AtomicUsize) {
    // Ordering: relaxed; whoever clones a handle keeps the count above zero meanwhile.
    handles.fetch_add(1, Ordering::Relaxed);
}

/// Counts one handle less; true for the last.
fn part(handles: &AtomicUsize) -> bool {
    // Ordering: acquire and release, so that the last sees what the others did.
    handles.fetch_sub(1, Ordering::AcqRel) == 1
}
