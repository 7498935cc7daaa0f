//! Tests that need access to the core, and loom models.

#[cfg(mainstay_loom)]
mod histories;
#[cfg(mainstay_loom)]
mod loom;
#[cfg(not(mainstay_loom))]
mod stalled;

#[cfg(mainstay_loom)]
use super::{ForcePushError, PopError, PushError, Ring};
