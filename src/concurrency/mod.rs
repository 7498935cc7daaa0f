//! Limits on the number of calls under way.

mod controller;
mod meter;
pub mod simulator;

pub use controller::{
    AimdController, BaselineController, BbrController, Gradient2Controller, LearnedLimit,
    LimitController, LimitReason, LimitUpdate, LimitWindow, VegasController, WindowRule,
};
