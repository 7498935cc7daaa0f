//! Waiting: for permits, for one value, for a word to change.
//!
//! Everything here serves threads and tasks alike, from one queue: a thread waits by polling the same
//! future and parking in between. No runtime is needed and none is assumed.
//!
//! - [`Semaphore`]: permits in limited number, fair, weighted, resizable, closable;
//! - [`oneshot`]: one value, handed over once.

mod blocking;
mod list;
pub mod oneshot;
mod queue;
mod semaphore;
mod spin;
mod wakers;

#[cfg(all(test, mainstay_loom))]
#[allow(unsafe_code)]
mod loom;

pub(crate) use blocking::{block_on, block_on_for};
pub(crate) use list::{Key, List};
pub(crate) use queue::{Attempt, Condition, Ticket, Wait, WaitQueue};
pub use semaphore::{
    Acquire, AcquireError, AcquireOwned, Closed, Order, OwnedPermit, Permit, Semaphore,
};
pub(crate) use spin::{Spin, StepAside};
