//! Primitives for waiting: a semaphore and a channel for one value.
//!
//! - [`Semaphore`]: a limited number of permits. It is fair by default, and can be resized and
//!   closed.
//! - [`oneshot`]: a channel for one value.
//!
//! # How it works
//!
//! Threads and tasks wait in the same queues: a thread polls the same future as a task, and parks
//! between polls. No runtime is needed.
//!
//! # Panics
//!
//! If a waker panics, the other waiters are still woken. The panic propagates to the caller that
//! woke it, after the shared state is consistent again.

mod oneshot;
mod permits;
mod semaphore;
mod wait_queue;
mod waiter_list;

#[cfg(all(test, mainstay_loom))]
#[allow(unsafe_code)]
mod loom;

pub use oneshot::{OneshotClosed, OneshotReceiver, OneshotSender, oneshot};
pub(crate) use permits::{Permits, TakeOrWait};
pub use semaphore::{
    OwnedSemaphoreAcquireFuture, OwnedSemaphorePermit, QueueOrder, Semaphore,
    SemaphoreAcquireFuture, SemaphoreClosed, SemaphoreError, SemaphorePermit,
};
pub(crate) use wait_queue::{Attempt, Condition, Wait, WaitQueue, WaitState};
pub(crate) use waiter_list::{WaiterKey, WaiterList};
