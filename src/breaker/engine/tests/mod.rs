//! Tests of the engine: its decisions, and models of its interleavings.

#[cfg(mainstay_loom)]
pub(crate) mod loom;
#[cfg(not(mainstay_loom))]
mod state;
