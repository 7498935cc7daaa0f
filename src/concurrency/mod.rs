//! Limits on the number of calls under way.

mod adaptive;
mod controller;
mod meter;
pub mod simulator;

pub use adaptive::{
    AdaptiveLimiter, AdaptiveLimiterAcquireFuture, AdaptiveLimiterBuilder, AdaptiveLimiterPermit,
    AdaptiveLimiterSnapshot, ClassifiedAdaptiveLimiter, DropOnTimeout,
    OwnedAdaptiveLimiterAcquireFuture, OwnedAdaptiveLimiterPermit,
};
pub use controller::{
    AimdController, BaselineController, BbrController, Gradient2Controller, LearnedLimit,
    LimitController, LimitReason, LimitUpdate, LimitWindow, VegasController, WindowRule,
};
