//! Tests of the engine's decisions, and loom models of its interleavings.

#[cfg(mainstay_loom)]
pub(crate) mod loom;
#[cfg(not(mainstay_loom))]
mod state;
#[cfg(not(mainstay_loom))]
mod word;
