//! The configuration of a breaker: builder, validation, and the validated settings that decisions
//! read.

mod assemble;
mod builder;
mod call_class;
mod live;
mod shared;
mod trip_rule;
mod validate;

pub(super) use assemble::WindowMemory;
pub use builder::CircuitBreakerBuilder;
pub use call_class::CallClass;
pub(super) use live::Config;
#[cfg(all(test, not(mainstay_loom)))]
pub(super) use live::SlowCalls;
pub(super) use shared::{Closures, SharedConfig};
pub use trip_rule::TripStats;
