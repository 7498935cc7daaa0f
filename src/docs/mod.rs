//! Guides: what to take, and how to put it together.
//!
//! * [`choosing`]: which policy, or which building block, for what
//! * [`composing`]: in which order, and who counts what

pub mod choosing;
pub mod composing;
