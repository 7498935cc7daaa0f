//! The documented guarantees of the default controller, checked on the traces of the simulator.

use mainstay::concurrency::simulator::{
    ControlledLimit, FixedLimit, PrioritizedLimit, SimulationResult, Trace, Unlimited, compare,
    simulate,
};
use mainstay::concurrency::{BaselineController, Prioritizer};
use mainstay::random::Random;
use std::sync::OnceLock;
use std::time::Duration;

/// Returns the results of all policies, by trace.
fn all() -> &'static [Vec<SimulationResult>] {
    static RESULTS: OnceLock<Vec<Vec<SimulationResult>>> = OnceLock::new();
    RESULTS.get_or_init(|| Trace::all().iter().map(compare).collect())
}

fn ours(trace: &Trace) -> SimulationResult {
    simulate(trace, "baseline", || {
        ControlledLimit::new(BaselineController::new().random(Random::seeded(1)))
    })
}

/// Simulates the default controller below a prioritizer that is fair among clients.
fn fair(trace: &Trace) -> SimulationResult {
    simulate(trace, "fair", || {
        let controller = BaselineController::new().random(Random::seeded(1));
        let settings = Prioritizer::builder().random(Random::seeded(1));
        PrioritizedLimit::new(ControlledLimit::new(controller), settings).unwrap()
    })
}

/// The row of the documentation's table for this trace and these columns.
fn row(trace: &str, columns: impl Iterator<Item = String>) -> String {
    let columns = columns.fold(String::new(), |row, column| row + " | " + &column);
    format!("//! | `{trace}`{columns} |")
}

const DOCS: &str = include_str!("../src/concurrency/simulator/mod.rs");

#[test]
fn the_documentation_contains_the_results_of_every_trace() {
    // Another platform may round logarithms and exponentials differently.
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return;
    }
    let mut missing = Vec::new();
    for results in all() {
        let figures =
            results.iter().map(|one| format!("{:.1}, {:.2}", 100.0 * one.goodput, one.p99_ratio));
        missing.push(row(results[0].trace, figures));
    }
    for trace in [Trace::tenant_flood(), Trace::user_flood()] {
        let results = all().iter().find(|results| results[0].trace == trace.name).unwrap();
        let fair = fair(&trace).fairness;
        let fairness = results.iter().map(|one| one.fairness).chain([fair]);
        missing.push(row(trace.name, fairness.map(|index| format!("{index:.3}"))));
    }
    missing.retain(|row| !DOCS.lines().any(|line| line == row));
    assert!(missing.is_empty(), "missing in the documentation:\n{}", missing.join("\n"));
}

/// A single limit serves each call alike, so that clients receive the server in proportion to their
/// calls. With a prioritizer, they receive equal shares.
#[test]
fn a_prioritizer_is_fair_among_the_clients_of_a_limit() {
    for trace in [Trace::tenant_flood(), Trace::user_flood()] {
        let (single, fair) = (ours(&trace), fair(&trace));
        assert!(single.fairness < 0.95, "{single}");
        assert!(fair.fairness > 0.98, "{fair}");
        assert!(fair.goodput > 0.95 && fair.p99_ratio < 2.0, "{fair}");
    }
}

/// A trace with many small limiters in front of one server, for which a weaker bound applies; see
/// [`no_constant_limit_per_client_reaches_the_goal`].
const EXCEPTION: &str = "nine_clients";

#[test]
fn the_default_controller_keeps_its_guarantees_on_every_trace() {
    for (trace, results) in Trace::all().iter().zip(all()) {
        let [others @ .., ours] = &results[..] else { unreachable!() };
        let best = others.iter().map(|other| other.goodput).fold(0.0, f64::max);
        let goal = if trace.name == EXCEPTION { 0.9 } else { 0.95 };
        assert!(ours.goodput > goal, "{ours}");
        assert!(ours.goodput > best - 0.05, "{ours}; the best of the others: {best:.3}");
        assert!(ours.p99_ratio < 2.0, "{ours}");
        if trace.recovers_from.is_some() {
            assert!(ours.recovery.is_some_and(|after| after < Duration::from_secs(10)), "{ours}");
        }
    }
}

/// With nine separate limits, a low limit rejects calls while few clients are active, and a high
/// one lets the server collapse when all are. No constant limit reaches 95 % of the optimum, and the
/// default controller comes close to the best one.
#[test]
fn no_constant_limit_per_client_reaches_the_goal() {
    let trace = Trace::nine_clients();
    let goodput = |limit| simulate(&trace, "fixed", || FixedLimit::new(limit)).goodput;
    let best = (1..=20).map(goodput).fold(0.0, f64::max);
    assert!((0.91..0.93).contains(&best), "{best}");
    assert!(ours(&trace).goodput > best - 0.02, "{}", ours(&trace));
}

#[test]
fn every_seed_nearly_keeps_the_guarantees() {
    for mut trace in Trace::all() {
        let (goodput, p99_ratio) = if trace.name == EXCEPTION { (0.8, 3.2) } else { (0.9, 2.0) };
        for seed in 2..6 {
            trace.seed = seed;
            let result = ours(&trace);
            let kept = result.goodput > goodput && result.p99_ratio < p99_ratio;
            assert!(kept, "seed {seed}: {result}");
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
