//! Tables of windows at the thresholds of AIMD, Vegas, Gradient2 and BBR.

use super::*;
use crate::random::Random;

const MS: Duration = Duration::from_millis(1);

/// Returns a window that used up a limit of 20.
fn window() -> LimitWindow {
    LimitWindow {
        duration: 1000 * MS,
        succeeded: 400,
        peak_in_flight: 20,
        mean: 50 * MS,
        p90: 100 * MS,
        ..LimitWindow::default()
    }
}

#[test]
fn aimd_decreases_if_the_p90_reaches_the_timeout() {
    for (p90, reason) in [
        (299 * MS, LimitReason::Growth),
        (300 * MS, LimitReason::Dropped),
        (301 * MS, LimitReason::Dropped),
    ] {
        let mut controller = AimdController::new().latency_timeout(300 * MS);
        let update = controller.update(&LimitWindow { p90, ..window() });
        assert_eq!(update.reason, reason, "{p90:?}");
    }
}

#[test]
fn aimd_accepts_factors_between_zero_and_one() {
    for (factor, accepted) in [(0.0, false), (0.01, true), (0.99, true), (1.0, false)] {
        let controller = AimdController::new().decrease_factor(factor);
        assert_eq!(controller.validate().is_ok(), accepted, "{factor}");
    }
}

/// At a limit of 10, a step is one call, and the thresholds are queues of 1, 3 and 6 calls.
#[test]
fn vegas_compares_the_queue_with_three_thresholds() {
    for (queue, limit, reason) in [
        (0.5, 16.0, LimitReason::SlowStart),
        (1.5, 11.0, LimitReason::Growth),
        (2.5, 10.0, LimitReason::Steady), // rounded up to a queue of 3
        (5.5, 10.0, LimitReason::Steady),
        (6.5, 9.0, LimitReason::Queueing),
    ] {
        let mut controller = VegasController::new().random(Random::seeded(1));
        controller.adopt(LearnedLimit { limit: 10.0, baseline: Some(50 * MS) });
        let mean = (50 * MS).div_f64(1.0 - queue / 10.0);
        let update = controller.update(&LimitWindow { mean, ..window() });
        assert_eq!((update.limit, update.reason), (limit, reason), "{queue}");
    }
}

/// The baseline of Gradient2 is an average over 600 windows. After an adopted value, the first
/// window moves it halfway.
#[test]
fn gradient2_lowers_a_baseline_of_more_than_twice_the_latency_by_a_twentieth() {
    for (adopted, latency, baseline) in [(375, 125, 250.0), (385, 125, 242.25), (225, 125, 175.0)] {
        let mut controller = Gradient2Controller::new();
        let limit = controller.limit();
        controller.adopt(LearnedLimit { limit, baseline: Some(adopted * MS) });
        controller.update(&LimitWindow { mean: latency * MS, ..window() });
        let learned = controller.learned().baseline.unwrap().as_secs_f64() * 1000.0;
        assert!((learned - baseline).abs() < 1e-3, "{adopted}: {learned}");
    }
}

#[test]
fn gradient2_grows_only_if_half_of_the_limit_is_in_flight() {
    for (peak_in_flight, reason) in
        [(9, LimitReason::ApplicationLimited), (10, LimitReason::Growth), (11, LimitReason::Growth)]
    {
        let mut controller = Gradient2Controller::new();
        let update = controller.update(&LimitWindow { peak_in_flight, ..window() });
        assert_eq!(update.reason, reason, "{peak_in_flight}");
    }
}

/// The limit is the highest throughput times the shortest latency: 800 per second times 50 ms.
#[test]
fn bbr_remembers_the_best_of_the_last_hundred_windows() {
    let mut controller = BbrController::new();
    let overloaded = LimitWindow { overloaded: true, ..window() };
    controller.update(&LimitWindow { succeeded: 800, ..overloaded });
    for _ in 0..99 {
        assert_eq!(controller.update(&overloaded).limit, 40.0);
    }
    assert_eq!(controller.update(&overloaded).limit, 20.0);
}

#[test]
fn bbr_adopts_a_learned_limit() {
    let mut controller = BbrController::new();
    controller.adopt(LearnedLimit { limit: 30.0, baseline: None });
    assert_eq!(controller.limit(), 30.0);
}
