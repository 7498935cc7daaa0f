//! Simulates all built-in policies with one trace.

use super::{ControlledLimit, SimulationResult, Trace, Unlimited, simulate};
use crate::concurrency::controller::{
    AimdController, BaselineController, BbrController, Gradient2Controller, VegasController,
};
use crate::random::Random;

/// Simulates `trace` without a limit, and with every controller in its default settings.
///
/// The last result is that of the default controller.
///
/// ```
/// use mainstay::concurrency::simulator::{Trace, compare};
///
/// let results = compare(&Trace::low_traffic());
/// assert!(results.iter().all(|result| result.goodput > 0.99));
/// ```
#[must_use]
pub fn compare(trace: &Trace) -> Vec<SimulationResult> {
    let random = || Random::seeded(1);
    let controlled = ControlledLimit::new;
    vec![
        simulate(trace, "none", || Unlimited),
        simulate(trace, "aimd", || ControlledLimit::new(AimdController::new())),
        simulate(trace, "vegas", || ControlledLimit::new(VegasController::new().random(random()))),
        simulate(trace, "gradient2", || ControlledLimit::new(Gradient2Controller::new())),
        simulate(trace, "bbr", || ControlledLimit::new(BbrController::new())),
        simulate(trace, "baseline", || controlled(BaselineController::new().random(random()))),
    ]
}
