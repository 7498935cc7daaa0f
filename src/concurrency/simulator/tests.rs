//! Every controller over every trace.

use super::*;
use crate::concurrency::controller::*;
use crate::random::Random;

#[test]
fn table() {
    let only = std::env::var("TRACE").ok();
    let policy = std::env::var("POLICY").ok();
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    for mut trace in Trace::all() {
        trace.seed = seed;
        if only.as_deref().is_some_and(|only| only != trace.name) {
            continue;
        }
        let run = |name: &str| policy.as_deref().is_none_or(|only| only == name);
        if run("none") {
            println!("{}", simulate(&trace, "none", || Unlimited));
        }
        if run("fixed") {
            println!(
                "{}",
                simulate(&trace, "fixed30", || FixedLimit::new(match trace.limiters {
                    Limiters::AtServer => 30,
                    Limiters::PerClient => 4,
                }))
            );
        }
        if run("aimd") {
            println!(
                "{}",
                simulate(&trace, "aimd", || ControlledLimit::new(AimdController::new()))
            );
        }
        if run("vegas") {
            println!(
                "{}",
                simulate(&trace, "vegas", || ControlledLimit::new(
                    VegasController::new().random(Random::seeded(1))
                ))
            );
        }
        if run("gradient2") {
            println!(
                "{}",
                simulate(&trace, "gradient2", || ControlledLimit::new(Gradient2Controller::new()))
            );
        }
        if run("bbr") {
            println!("{}", simulate(&trace, "bbr", || ControlledLimit::new(BbrController::new())));
        }
        if run("baseline") {
            println!(
                "{}",
                simulate(&trace, "baseline", || ControlledLimit::new(
                    BaselineController::new().random(Random::seeded(1))
                ))
            );
        }
    }
}
