//! The state that the senders and subscribers of a broadcast share, and their operations.

use super::core::{Core, Reader};
use super::error::{BroadcastRecvError, BroadcastTryRecvError};
use super::waiters::{Operation, Waiters};
use crate::ring::channel::HandleCount;
use crate::ring::error::PushError;
use crate::sync::{discard_panic, keep_panic, plain_thread};
use crate::wait::Attempt;
use std::panic::resume_unwind;

pub(in crate::ring) struct Shared<T> {
    pub(super) core: Core<T>,
    pub(super) waiting_subscribers: Waiters,
    waiting_senders: Waiters,
    waiting_for_close: Waiters,
    pub(super) senders: HandleCount,
    /// The subscribers that are not weak.
    pub(super) subscribers: HandleCount,
}

/// A guard that wakes the waiting senders when it is dropped, if `has_waiters` is set, also if the
/// clone of an item panics.
struct WakeSenders<'a> {
    waiters: &'a Waiters,
    has_waiters: bool,
}

impl Drop for WakeSenders<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cold]
        fn wake(waiters: &Waiters) {
            match plain_thread::panicking() {
                true => discard_panic(|| waiters.wake_all()),
                false => waiters.wake_all(),
            }
        }
        if self.has_waiters {
            wake(self.waiters);
        }
    }
}

impl<T> Shared<T> {
    pub(super) fn new(core: Core<T>) -> Self {
        Self {
            core,
            waiting_subscribers: Waiters::new(),
            waiting_senders: Waiters::new(),
            waiting_for_close: Waiters::new(),
            senders: HandleCount::one(),
            subscribers: HandleCount::none(),
        }
    }

    #[inline(always)]
    pub(super) fn try_send(&self, value: T) -> Result<(), PushError<T>> {
        let mut has_waiters = false;
        let sent = self.core.try_send(value, &mut has_waiters);
        // A send that found the ring closed may have marked the end after `close` had woken the
        // subscribers, so it wakes them again.
        if has_waiters || matches!(sent, Err(PushError::Closed(_))) {
            self.waiting_subscribers.wake_all();
        }
        // Last, because dropping the item that was overwritten runs user code.
        sent.map(drop)
    }

    #[inline(always)]
    pub(super) fn try_recv(&self, reader: &mut Reader) -> Result<T, BroadcastTryRecvError>
    where
        T: Clone,
    {
        let mut wake = WakeSenders { waiters: &self.waiting_senders, has_waiters: false };
        self.core.try_recv(reader, &mut wake.has_waiters)
    }

    /// Receives up to `max` items. Returns an error only if it has received no item.
    pub(super) fn try_recv_batch(
        &self,
        reader: &mut Reader,
        into: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, BroadcastTryRecvError>
    where
        T: Clone,
    {
        let mut wake = WakeSenders { waiters: &self.waiting_senders, has_waiters: false };
        self.core.try_recv_batch(reader, &mut wake.has_waiters, into, max)
    }

    /// Removes `reader`, which is dropped or becomes weak, from the readers that senders wait for.
    pub(super) fn release(&self, reader: &mut Reader) {
        if self.core.release(reader) {
            self.waiting_senders.wake_all();
        }
    }

    pub(super) fn close(&self) -> bool {
        let closed = self.core.close();
        if closed {
            let mut panic = None;
            for waiters in
                [&self.waiting_subscribers, &self.waiting_senders, &self.waiting_for_close]
            {
                keep_panic(&mut panic, || waiters.wake_all());
            }
            if let Some(panic) = panic {
                resume_unwind(panic);
            }
        }
        closed
    }
}

/// Converts the result of one receive into that of an attempt of a waiting operation.
pub(super) fn recv_attempt<R>(
    result: Result<R, BroadcastTryRecvError>,
) -> Attempt<Result<R, BroadcastRecvError>> {
    match result {
        Ok(received) => Attempt::Done(Ok(received)),
        Err(BroadcastTryRecvError::Empty) => Attempt::NotReady,
        Err(BroadcastTryRecvError::Busy) => Attempt::Busy,
        Err(BroadcastTryRecvError::Missed(count)) => {
            Attempt::Done(Err(BroadcastRecvError::Missed(count)))
        }
        Err(BroadcastTryRecvError::Closed) => Attempt::Done(Err(BroadcastRecvError::Closed)),
    }
}

/// The result of a send to a closed broadcast.
pub(super) struct Closed;

/// The operation of sending a value.
pub(super) struct Send<'a, T> {
    pub(super) shared: &'a Shared<T>,
    pub(super) value: Option<T>,
}

impl<T> Operation for Send<'_, T> {
    type Output = Result<(), Closed>;

    #[inline]
    fn attempt(&mut self) -> Attempt<Self::Output> {
        let value = self.value.take().expect("a send was polled after it was ready");
        match self.shared.try_send(value) {
            Ok(()) => Attempt::Done(Ok(())),
            Err(PushError::Full(value)) => {
                self.value = Some(value);
                Attempt::NotReady
            }
            Err(PushError::Busy(value)) => {
                self.value = Some(value);
                Attempt::Busy
            }
            Err(PushError::Closed(value)) => {
                self.value = Some(value);
                Attempt::Done(Err(Closed))
            }
        }
    }

    fn set_waiting(&mut self) -> bool {
        self.shared.core.flag_waiting_sender()
    }

    fn waiters(&self) -> &Waiters {
        &self.shared.waiting_senders
    }
}

/// The operation of waiting until the broadcast is closed.
pub(super) struct UntilClosed<'a, T>(pub(super) &'a Shared<T>);

impl<T> Operation for UntilClosed<'_, T> {
    type Output = ();

    fn attempt(&mut self) -> Attempt<()> {
        match self.0.core.is_closed() {
            true => Attempt::Done(()),
            false => Attempt::NotReady,
        }
    }

    /// No flag is needed: `close` always wakes the waiters after it has closed the broadcast.
    fn set_waiting(&mut self) -> bool {
        !self.0.core.is_closed()
    }

    fn waiters(&self) -> &Waiters {
        &self.0.waiting_for_close
    }
}
