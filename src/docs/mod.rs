//! Guides to choosing and composing primitives, to cancellation, and to costs.
//!
//! * [`choosing`]: which primitive solves which problem
//! * [`composing`]: the order of policies in a pipeline, and what each of them counts
//! * [`patterns`]: counterparts of the patterns of Go, Java and .NET
//! * [`cancellation`]: what happens when a future, a permit or a handle is dropped
//! * [`performance`]: measured costs compared with other crates, and where mainstay is slower
//! * [`internals`]: the layers of the crate and the ideas that they share

pub mod cancellation;
pub mod choosing;
pub mod composing;
pub mod internals;
pub mod patterns;
pub mod performance;
