//! A deterministic simulator of a server under load, on virtual time.

mod policy;
mod report;
mod run;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;
mod trace;

pub use policy::{CallEnd, ControlledLimit, FixedLimit, SimulatedPolicy, Unlimited};
pub use report::{Point, SimulationResult};
pub use run::simulate;
pub use trace::{Client, Limiters, ServiceTime, Steps, Trace};
