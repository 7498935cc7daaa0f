//! Recorded traces: the updates of each controller over one sequence of windows, in which calls
//! saturate the server, are dropped, time out, queue behind other clients, and the server changes.
//!
//! A change of any constant or comparison in a controller changes its trace. If the change is
//! intended, compare both versions in the simulator, then record the trace anew.

use super::*;
use crate::random::Random;

/// Returns the `step`th window, for a controller with `limit`.
fn window(step: u32, limit: f64, random: &Random) -> LimitWindow {
    let (workers, service) = match step {
        0..100 => (20.0, 0.05),
        100..175 => (20.0, 0.08),
        _ => (60.0, 0.05),
    };
    let calls = match step {
        0..20 => limit.min(3.0),
        // Load comes and goes.
        60..75 | 190..200 => limit * 0.85,
        150..170 => limit * 0.5,
        _ => limit,
    };
    let noise = 0.9 + 0.2 * random.unit();
    // Other clients use the same server.
    let others = if (150..170).contains(&step) { 30.0 } else { 0.0 };
    let latency = service * noise * ((calls.floor() + others) / workers).max(1.0);
    let succeeded = (calls.floor().max(1.0) / latency) as u64;
    let (succeeded, dropped) = match step {
        90..94 => (succeeded * 9 / 10, succeeded / 10),
        94..97 => (succeeded * 3 / 10, succeeded * 7 / 10),
        170..173 => (0, 10),
        173..175 => (0, 0),
        _ => (succeeded, 0),
    };
    let is_saturated = calls >= limit && !(240..245).contains(&step);
    let shape = match step {
        // Nearly all calls time out after the same time.
        230..236 => [20.0, 20.5, 20.8, 21.0, 21.2],
        _ => [0.6, 1.0, 0.9, 1.6, 2.4 + random.unit()],
    };
    let latencies = match succeeded {
        0 => [Duration::ZERO; 5],
        _ => shape.map(|factor| Duration::from_secs_f64(latency * factor)),
    };
    let [min, mean, p50, p90, p99] = latencies;
    LimitWindow {
        duration: Duration::from_millis(500 + u64::from(step % 3) * 250),
        succeeded,
        dropped,
        rejected: if is_saturated { 5 } else { 0 },
        peak_in_flight: calls.floor().max(1.0) as u32,
        min,
        mean,
        p50,
        p90,
        p99,
        overloaded: (210..214).contains(&step),
    }
}

/// Returns the limit after every 20th window, and a checksum of all updates.
fn trace(mut controller: impl LimitController) -> (Vec<f64>, u64) {
    let random = Random::seeded(7);
    let (mut limits, mut checksum) = (Vec::new(), 0xcbf2_9ce4_8422_2325_u64);
    let mut add = |text: &str| {
        for byte in text.bytes() {
            checksum = (checksum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    controller.adopt(LearnedLimit { limit: 12.0, baseline: None });
    for step in 0..260 {
        let update = controller.update(&window(step, controller.limit(), &random));
        add(&format!("{:.3} {} ", update.limit, update.reason));
        if step % 20 == 19 {
            limits.push((update.limit * 10.0).round() / 10.0);
        }
    }
    let rule = controller.window_rule();
    add(&format!("{rule:?}"));
    if let Some(baseline) = controller.learned().baseline {
        add(&format!("{}", baseline.as_micros()));
    }
    let invalid = controller.validate().is_err();
    assert!(!invalid);
    (limits, checksum)
}

#[test]
fn the_trace_of_aimd_is_as_recorded() {
    let expected = (
        vec![12.0, 32.0, 52.0, 72.0, 42.2, 62.2, 82.2, 93.2, 75.0, 95.0, 115.0, 135.0, 155.0],
        4_314_900_123_932_755_927,
    );
    assert_eq!(trace(AimdController::new()), expected);
}

#[test]
fn the_trace_of_the_baseline_controller_is_as_recorded() {
    let expected = (
        vec![12.0, 26.4, 26.4, 14.5, 9.8, 28.1, 28.1, 28.1, 22.7, 53.5, 71.2, 69.9, 69.9],
        12_710_784_883_799_204_562,
    );
    assert_eq!(trace(BaselineController::new().random(Random::seeded(3))), expected);
}

#[test]
fn the_trace_of_bbr_is_as_recorded() {
    let expected = (
        vec![
            200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0,
            200.0,
        ],
        8_873_100_069_527_117_655,
    );
    assert_eq!(trace(BbrController::new()), expected);
}

#[test]
fn the_trace_of_gradient2_is_as_recorded() {
    let expected = (
        vec![12.0, 28.0, 37.7, 43.4, 24.6, 32.7, 34.4, 24.3, 18.2, 34.2, 50.2, 34.1, 50.1],
        8_396_059_545_305_579_042,
    );
    assert_eq!(trace(Gradient2Controller::new()), expected);
}

#[test]
fn the_trace_of_vegas_is_as_recorded() {
    let expected = (
        vec![
            12.0, 47.3, 90.2, 124.1, 138.5, 153.2, 155.3, 197.7, 200.0, 200.0, 200.0, 200.0, 200.0,
        ],
        16_647_840_436_294_736_004,
    );
    assert_eq!(trace(VegasController::new().random(Random::seeded(3))), expected);
}

#[test]
fn the_elasticity_is_that_of_a_power_law() {
    for (exponent, expected) in [(1.0, 1.0), (0.5, 0.52), (0.0, 0.0)] {
        let mut covariance = smoothing::Covariance::new();
        for step in 0..60 {
            let x = 10.0 + f64::from(step % 10);
            covariance.add(x, 3.0 * f64::powf(x, exponent));
            let known = covariance.elasticity();
            assert_eq!(known.is_some(), step >= 9, "{step}");
        }
        let elasticity = covariance.elasticity().unwrap();
        assert!((elasticity - expected).abs() < 0.03, "{exponent}: {elasticity}");
    }
}

#[test]
fn the_elasticity_is_unknown_if_a_mean_is_zero_or_the_first_series_hardly_varies() {
    for (x, spread, y) in [
        (0.0, 0.0, 1.0),
        (0.0, 5.0, 1.0),
        (10.0, 0.5, 1.0),
        (10.0, 1.0, 1.0), // a tenth of the mean
        (10.0, 5.0, 0.0),
        (-10.0, 5.0, 1.0),
    ] {
        let mut covariance = smoothing::Covariance::new();
        for step in 0..20 {
            covariance.add(if step % 2 == 0 { x + spread } else { x - spread }, y);
        }
        assert_eq!(covariance.elasticity(), None, "{x} {spread} {y}");
    }
}

#[test]
fn every_controller_rejects_crossed_bounds() {
    let crossed = [
        AimdController::new().min_limit(9.0).max_limit(5.0).validate(),
        BaselineController::new().min_limit(9.0).max_limit(5.0).validate(),
        BbrController::new().min_limit(9.0).max_limit(5.0).validate(),
        Gradient2Controller::new().min_limit(9.0).max_limit(5.0).validate(),
        VegasController::new().min_limit(9.0).max_limit(5.0).validate(),
    ];
    assert!(crossed.iter().all(Result::is_err), "{crossed:?}");
}
