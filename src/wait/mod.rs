//! Waiting: a semaphore and a channel for one value.
//!
//! - [`Semaphore`]: a limited number of permits; fair, resizable, closable.
//! - [`oneshot`]: a channel for one value.
//!
//! # How it works
//!
//! Threads and tasks wait in the same queues: a thread polls the same future as a task, and parks
//! between polls. No runtime is needed.
//!
//! # Panics
//!
//! A waker that panics does not keep other waiters from being woken. Its panic reaches the caller
//! that woke it, after all structures are consistent again.

mod oneshot;
mod semaphore;
mod wait_queue;
mod waiter_list;

#[cfg(all(test, mainstay_loom))]
#[allow(unsafe_code)]
mod loom;

pub use oneshot::{OneshotClosed, OneshotReceiver, OneshotSender, oneshot};
pub use semaphore::{
    OwnedSemaphoreAcquireFuture, OwnedSemaphorePermit, QueueOrder, Semaphore,
    SemaphoreAcquireFuture, SemaphoreClosed, SemaphoreError, SemaphorePermit,
};
pub(crate) use wait_queue::{Attempt, Condition, Wait, WaitQueue, WaitState};
pub(crate) use waiter_list::{WaiterKey, WaiterList};
