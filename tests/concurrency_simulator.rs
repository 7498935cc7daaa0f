//! The documented guarantees of the default controller, checked on the traces of the simulator.

use mainstay::concurrency::BaselineController;
use mainstay::concurrency::simulator::{
    ControlledLimit, FixedLimit, SimulationResult, Trace, Unlimited, compare, simulate,
};
use mainstay::random::Random;
use std::time::Duration;

fn ours(trace: &Trace) -> SimulationResult {
    simulate(trace, "baseline", || {
        ControlledLimit::new(BaselineController::new().random(Random::seeded(1)))
    })
}

/// A trace with many small limiters in front of one server. Latencies alone do not show that
/// overload, so weaker bounds apply.
const EXCEPTION: &str = "nine_clients";

#[test]
fn the_default_controller_keeps_its_guarantees_on_every_trace() {
    for trace in Trace::all() {
        let results = compare(&trace);
        let [others @ .., ours] = &results[..] else { unreachable!() };
        let best = others.iter().map(|other| other.goodput).fold(0.0, f64::max);
        if trace.name == EXCEPTION {
            assert!(ours.goodput > 0.8 && ours.goodput > best - 0.05, "{ours}");
            continue;
        }
        assert!(ours.goodput > 0.95, "{ours}");
        assert!(ours.goodput > best - 0.05, "{ours}; the best of the others: {best:.3}");
        assert!(ours.p99_ratio < 2.0, "{ours}");
        if trace.recovers_from.is_some() {
            assert!(ours.recovery.is_some_and(|after| after < Duration::from_secs(10)), "{ours}");
        }
    }
}

#[test]
fn every_seed_nearly_keeps_the_guarantees() {
    for mut trace in Trace::all().into_iter().filter(|trace| trace.name != EXCEPTION) {
        for seed in 2..6 {
            trace.seed = seed;
            let result = ours(&trace);
            assert!(result.goodput > 0.9 && result.p99_ratio < 2.0, "seed {seed}: {result}");
        }
    }
}

#[test]
fn the_limit_is_back_within_ten_windows_of_a_long_incident() {
    let trace = Trace::incident();
    let end = trace.recovers_from.unwrap() + Duration::from_secs(10);
    let result = ours(&trace);
    let point = result.points.iter().find(|point| point.at >= end).unwrap();
    assert!(point.limit >= point.workers, "{point:?}");
    assert!(point.goodput > 0.8 * point.optimal, "{point:?}");
}

#[test]
fn a_simulation_with_the_same_seed_has_the_same_result() {
    let trace = Trace::deploy();
    let (one, other) = (ours(&trace), ours(&trace));
    assert_eq!(one.points, other.points);
    assert_eq!(one.to_string(), other.to_string());
    let mut reseeded = trace.clone();
    reseeded.seed = 2;
    assert_ne!(ours(&reseeded).points, one.points);
}

/// Compares the simulator with queueing theory: a limit that equals the number of workers is an
/// Erlang loss system.
#[test]
fn a_loss_system_rejects_the_share_of_the_erlang_b_formula() {
    let trace = Trace { duration: Duration::from_secs(600), ..Trace::new("loss", 1.0) };
    let result = simulate(&trace, "fixed", || FixedLimit::new(20));
    // The Erlang B formula for 20 servers and 20 erlang, by recursion.
    let blocked = (1..=20).fold(1.0, |b: f64, n| 20.0 * b / (f64::from(n) + 20.0 * b));
    assert!((result.goodput - (1.0 - blocked)).abs() < 0.01, "{result}, lost {blocked}");
    assert!((result.p99_ratio - 1.0).abs() < 0.01, "nothing queues: {result}");
}

#[test]
fn without_a_limit_the_server_collapses() {
    let result = simulate(&Trace::new("overload", 2.0), "none", || Unlimited);
    assert!(result.goodput < 0.1, "{result}");
}
