//! Tests that need access to the core of the ring, and loom models.

#[cfg(not(mainstay_loom))]
mod compact;
#[cfg(mainstay_loom)]
mod compact_loom;
#[cfg(mainstay_loom)]
mod histories;
#[cfg(mainstay_loom)]
mod loom;
#[cfg(not(mainstay_loom))]
mod stalled;

use super::Ring;
#[cfg(mainstay_loom)]
use super::{ForcePushError, PopError, PushError};
