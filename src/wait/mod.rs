//! Waiting: for permits, for one value, for a word to change.
//!
//! Everything here serves threads and tasks alike, from one queue: a thread waits by polling the same
//! future and parking in between. No runtime is needed and none is assumed.
//!
//! - [`Semaphore`]: permits in limited number, fair, weighted, resizable, closable;
//! - [`oneshot`]: one value, handed over once.

pub mod oneshot;
mod semaphore;
mod wait_queue;
mod waiter_list;

#[cfg(all(test, mainstay_loom))]
#[allow(unsafe_code)]
mod loom;

pub use semaphore::{
    Acquire, AcquireError, AcquireOwned, Closed, Order, OwnedPermit, Permit, Semaphore,
};
pub(crate) use wait_queue::{Attempt, Condition, Wait, WaitQueue, WaitState};
pub(crate) use waiter_list::{WaiterKey, WaiterList};
