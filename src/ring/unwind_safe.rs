//! Unwind safety: a panic cannot leave a ring or a channel in an inconsistent state.
//!
//! No user code runs while a slot is claimed, and a wait queue is changed under a lock that no user
//! code runs under. The compiler cannot infer this, because of the cells in the slots and in the
//! lock.

use std::panic::{RefUnwindSafe, UnwindSafe};

use super::broadcast::Shared as BroadcastShared;
use super::channel::Shared;
use super::{
    BroadcastClosedFuture, BroadcastSender, BroadcastSubscriber, ClosedFuture, Receiver,
    ReceiverIntoIter, ReceiverIter, ReceiverStream, RecvFuture, RecvTimeoutFuture, Ring, RingDrain,
    SendFuture, SendTimeoutFuture, Sender, SenderSink,
};

macro_rules! unwind_safe {
    ($($name:ident<$($lifetime:lifetime,)? T>;)*) => {$(
        impl<T> UnwindSafe for $name<$($lifetime,)? T> {}
        impl<T> RefUnwindSafe for $name<$($lifetime,)? T> {}
    )*};
}

unwind_safe! {
    Ring<T>;
    RingDrain<'_, T>;
    Shared<T>;
    Sender<T>;
    Receiver<T>;
    ReceiverIter<'_, T>;
    ReceiverIntoIter<T>;
    ReceiverStream<T>;
    RecvFuture<'_, T>;
    RecvTimeoutFuture<'_, T>;
    ClosedFuture<'_, T>;
    BroadcastShared<T>;
    BroadcastSender<T>;
    BroadcastSubscriber<T>;
    BroadcastClosedFuture<'_, T>;
}

// These hold an item that the caller can still observe after a panic.
impl<T: UnwindSafe> UnwindSafe for SendFuture<'_, T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for SendFuture<'_, T> {}
impl<T: UnwindSafe> UnwindSafe for SendTimeoutFuture<'_, T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for SendTimeoutFuture<'_, T> {}
impl<T: UnwindSafe> UnwindSafe for SenderSink<T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for SenderSink<T> {}
