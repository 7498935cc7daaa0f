//! Tests of the decisions of [`BaselineController`]: tables of windows and limits.

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns a window with the given median and p90, in milliseconds.
fn window(p50: u64, p90: u64) -> LimitWindow {
    LimitWindow { succeeded: 100, p50: ms(p50), p90: ms(p90), p99: ms(p90 * 2), ..<_>::default() }
}

/// Returns a controller in its steady phase. Without load, the p90 is 100 ms and the median is
/// 50 ms.
fn steady(limit: f64) -> BaselineController {
    let mut controller = BaselineController::new().random(Random::seeded(1)).initial_limit(limit);
    controller.phase = Phase::Steady;
    controller.shape = Some(0.5);
    controller.baseline.set(0.1);
    controller
}

#[track_caller]
fn assert_close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-6 * expected.abs(), "{actual}, not {expected}");
}

#[track_caller]
fn assert_decision(actual: (f64, LimitReason), expected: (f64, LimitReason)) {
    assert_eq!(actual.1, expected.1, "{actual:?}, not {expected:?}");
    assert_close(actual.0, expected.0);
}

#[test]
fn thresholds_follow_the_logarithm_of_a_small_limit_and_a_share_of_a_large_one() {
    for (limit, alpha, beta) in [
        (0.6, 0.05, 0.12),
        (1.0, 1.0 / 12.0, 0.2),
        (2.0, 0.44, 0.9), // at most 22 % and 45 % of the limit
        (10.0, 2.2, 4.5),
        (20.0, 3.903_09, 7.806_18),
        (60.0, 5.334_453_75, 12.0),
        (120.0, 10.0, 24.0),
    ] {
        let thresholds = BaselineController::thresholds(limit);
        assert_close(thresholds.0, alpha);
        assert_close(thresholds.1, beta);
    }
}

#[test]
fn a_peak_counts_for_thirty_windows() {
    let mut peaks = Peaks::new();
    assert_eq!(peaks.add(3), 3);
    assert_eq!(peaks.add(9), 9);
    for _ in 0..29 {
        assert_eq!(peaks.add(1), 9);
    }
    assert_eq!(peaks.add(1), 1);
}

/// A queue of 100 ms raises the median from 50 ms to 150 ms, and the p90 from 100 ms to 200 ms. A
/// server that is half as fast doubles both.
#[test]
fn a_queue_delays_all_calls_by_the_same_time_and_not_by_the_same_factor() {
    for (shape, p50, p90, queued) in [
        (Some(0.5), 150, 200, true),
        (Some(0.5), 100, 200, false),
        (Some(0.5), 141, 200, true),
        (Some(0.5), 139, 200, false),
        // A latency within a tenth of the baseline shows no queue.
        (Some(0.5), 90, 111, true),
        (Some(0.5), 90, 109, false),
        (Some(0.69), 99, 100, false),
        // If all calls take the same time, a queue and a slower server look the same.
        (Some(0.69), 198, 200, true),
        (Some(0.7), 198, 200, false),
        (None, 150, 200, false),
    ] {
        let controller = BaselineController { shape, ..steady(20.0) };
        let window = window(p50, p90);
        assert_eq!(controller.is_queued(&window), queued, "{shape:?} {p50} {p90}");
    }
    let unknown = BaselineController { baseline: Ema::over(10), ..steady(20.0) };
    assert!(!unknown.is_queued(&window(150, 200)));
}

#[test]
fn a_server_is_unhealthy_above_the_maximum_healthy_latency() {
    let controller = steady(20.0).max_healthy_latency(ms(300));
    assert!(!controller.is_unhealthy(&window(100, 300)));
    assert!(controller.is_unhealthy(&window(100, 301)));
}

/// Calls that end at a timeout take the same time. Other calls do not.
#[test]
fn a_server_is_unhealthy_if_all_calls_take_the_same_long_time() {
    for (shape, p50, p99, unhealthy) in [
        (Some(0.5), 1000, 1000, true),
        (Some(0.5), 1000, 1130, true),
        (Some(0.5), 1000, 1131, false),
        (Some(0.5), 201, 201, true),
        (Some(0.5), 200, 200, false),
        // If all calls of a healthy server take the same time, this indicates nothing.
        (Some(0.7), 1000, 1000, false),
        (None, 1000, 1000, false),
    ] {
        let controller = BaselineController { shape, ..steady(20.0) };
        let window = LimitWindow { p99: ms(p99), ..window(p50, p99) };
        assert_eq!(controller.is_unhealthy(&window), unhealthy, "{shape:?} {p50} {p99}");
    }
}

/// A client that starts under overload measures a baseline that includes the queue.
#[test]
fn two_consecutive_faster_windows_lower_the_baseline_to_the_slower_one() {
    let mut controller = steady(20.0);
    let known = controller.baseline.get().unwrap();
    for (share, expected) in [(0.9, 1.0), (0.7, 0.9), (1.5, 0.9), (0.5, 0.9), (0.6, 0.6)] {
        controller.lower_baseline(share * known);
        assert_close(controller.baseline.get().unwrap(), expected * known);
    }
}

#[test]
fn the_shape_is_lowered_by_a_fifth_and_raised_by_a_two_hundredth_of_the_difference() {
    for (p50, p90, learned) in [
        (20, 100, 0.5 - 0.2 * 0.3),
        (200, 1000, 0.5 - 0.2 * 0.3),
        (50, 100, 0.5),
        (90, 100, 0.5 + 0.005 * 0.4),
        (108, 120, 0.5 + 0.005 * 0.4),
        // A slow window may be queued, and does not raise it.
        (117, 130, 0.5),
        (125, 125, 0.5),
    ] {
        let mut controller = steady(20.0);
        controller.learn_shape(&window(p50, p90));
        assert_close(controller.shape.unwrap(), learned);
    }
    let mut first = BaselineController { shape: None, ..steady(20.0) };
    first.learn_shape(&window(60, 80));
    assert_eq!(first.shape, Some(0.75));
}

/// Passes two equal windows to a controller with a limit that is not used up.
fn unsaturated(calls: u32, p50: u64, p90: u64) -> [(f64, LimitReason); 2] {
    let mut controller = steady(100.0);
    let window = LimitWindow { peak_in_flight: calls, ..window(p50, p90) };
    [(); 2].map(|()| controller.steer_unsaturated(&window, 0.1, p90 as f64 / 1000.0))
}

/// With 20 calls in flight, the upper threshold is a queue of 7.8 calls: a latency of 164 ms
/// instead of 100 ms.
#[test]
fn an_unused_limit_is_lowered_if_two_windows_have_a_queue() {
    let kept = (100.0, LimitReason::ApplicationLimited);
    let lowered = (18.0, LimitReason::Queueing);
    for (calls, p50, p90, decisions) in [
        (20, 130, 165, [kept, lowered]),
        (20, 130, 163, [kept, kept]),
        // The latency of a slower server does not indicate a queue.
        (20, 82, 165, [kept, kept]),
        // Of 100 calls, 20 may queue: a latency of 125 ms.
        (100, 110, 126, [kept, (90.0, LimitReason::Queueing)]),
        (150, 110, 126, [kept, (90.0, LimitReason::Queueing)]),
        (100, 110, 124, [kept, kept]),
        (20, 50, 90, [kept, kept]),
    ] {
        let actual = unsaturated(calls, p50, p90);
        assert_decision(actual[0], decisions[0]);
        assert_decision(actual[1], decisions[1]);
    }
}

/// Returns the latency in seconds at which `queue` of `limit` calls queue.
fn latency(limit: f64, queue: f64) -> f64 {
    0.1 / (1.0 - queue / limit)
}

/// A limit of 100 grows below a queue of 8.3 calls and is lowered above 20.
#[test]
fn a_limit_that_is_used_up_follows_the_queue() {
    let steady_at = |limit| (limit, LimitReason::Steady);
    for (queue, decisions) in [
        (-5.0, [steady_at(100.0), (110.0, LimitReason::Growth)]),
        (8.0, [steady_at(100.0), (110.0, LimitReason::Growth)]),
        (8.6, [steady_at(100.0); 2]),
        (19.9, [steady_at(100.0); 2]),
        // To the middle between the thresholds, in the second window.
        (20.1, [steady_at(100.0), (100.0 - 20.1 + 14.166_666, LimitReason::Queueing)]),
        (40.0, [steady_at(100.0), (74.166_666, LimitReason::Queueing)]),
        (49.9, [steady_at(100.0), (70.0, LimitReason::Queueing)]),
        (50.0, [steady_at(100.0), (70.0, LimitReason::Queueing)]),
        // The latency has more than doubled: in the first window, and by 30 % at most.
        (50.1, [(70.0, LimitReason::Queueing), (70.0, LimitReason::Queueing)]),
    ] {
        let mut controller = steady(100.0);
        for (saturated, expected) in [1, 2].into_iter().zip(decisions) {
            controller.saturated = saturated;
            let decision = controller.steer(&window(50, 100), 0.1, latency(100.0, queue));
            assert_decision(decision, expected);
        }
    }
}

#[test]
fn a_decrease_ends_at_the_limit_of_a_probe() {
    for (limit, probe_limit, lowered) in [(10.0, 3.0, 7.0), (4.0, 3.0, 3.0), (2.0, 3.0, 2.0)] {
        let mut controller = steady(limit).probe_limit(probe_limit);
        let decision = controller.steer(&window(50, 100), 0.1, latency(limit, 0.9 * limit));
        assert_decision(decision, (lowered, LimitReason::Queueing));
    }
}

#[test]
fn in_slow_start_the_limit_doubles_until_there_is_a_queue() {
    for (queue, decision, phase) in [
        (3.0, (40.0, LimitReason::SlowStart), Phase::SlowStart),
        (5.0, (20.0, LimitReason::Steady), Phase::Steady),
        // The first window lowers it.
        (8.0, (20.0 - 8.0 + 5.854_635, LimitReason::Queueing), Phase::Steady),
    ] {
        let mut controller = BaselineController { phase: Phase::SlowStart, ..steady(20.0) };
        let actual = controller.steer(&window(50, 100), 0.1, latency(20.0, queue));
        assert_decision(actual, decision);
        assert_eq!(controller.phase, phase);
    }
}

/// In the steady phase, the latency is averaged. In slow start, the limit doubles in each window, so
/// that an average would lag behind.
#[test]
fn slow_start_ends_with_the_first_slow_window() {
    for (phase, decision) in [
        (Phase::SlowStart, (28.0, LimitReason::Queueing)),
        (Phase::Steady, (40.0, LimitReason::Steady)),
    ] {
        let mut controller = BaselineController { phase, ..steady(40.0) };
        for _ in 0..4 {
            let (_, reason) = controller.decide(&window(50, 100));
            assert_eq!(reason, LimitReason::ApplicationLimited);
        }
        let slow = LimitWindow { rejected: 1, ..window(350, 400) };
        assert_decision(controller.decide(&slow), decision);
    }
}

#[test]
fn after_a_decrease_the_limit_grows_by_half_to_four_fifths_of_its_earlier_level() {
    for (ceiling, limit, grown) in [
        (100.0, 20.0, 30.0),
        (100.0, 60.0, 80.0),
        (100.0, 79.5, 80.5),
        (2.0, 1.5, 2.5),
        (1.2, 0.8, 1.8),
    ] {
        let mut controller = BaselineController { ceiling, ..steady(limit) };
        let decision = controller.steer(&window(50, 100), 0.1, 0.1);
        assert_decision(decision, (grown, LimitReason::Growth));
    }
    // At its earlier level, the limit grows only if the second window in a row has used it up.
    let mut controller = BaselineController { ceiling: 100.0, saturated: 1, ..steady(80.0) };
    assert_decision(controller.steer(&window(50, 100), 0.1, 0.1), (80.0, LimitReason::Steady));
    controller.saturated = 2;
    assert_decision(controller.steer(&window(50, 100), 0.1, 0.1), (88.0, LimitReason::Growth));
}

#[test]
fn a_probe_is_due_sooner_below_half_of_the_earlier_limit() {
    for (limit, ceiling, since_probe, probes) in [
        (49.0, 100.0, 6, true),
        (49.0, 100.0, 5, false),
        (50.0, 100.0, 6, false),
        (100.0, 100.0, 29, false),
        (100.0, 100.0, 30, true),
    ] {
        let mut controller =
            BaselineController { ceiling, since_probe, probe_due: 30, ..steady(limit) };
        let (_, reason) = controller.steer(&window(50, 100), 0.1, 0.1);
        assert_eq!(reason == LimitReason::Probe, probes, "{limit} {since_probe}");
    }
}

/// In a long queue, the limit is lowered. A probe replaces the decrease if two decreases have not
/// shortened the queue, or if the throughput follows the limit.
#[test]
fn a_probe_replaces_a_decrease_that_does_not_help() {
    for (falling, elasticity, since_probe, probes) in [
        (0, 0.0, 4, false),
        (1, 0.0, 4, false),
        (2, 0.0, 4, true),
        (2, 0.0, 3, false),
        (0, 1.0, 4, true),
        (0, 1.0, 3, false),
    ] {
        let mut controller = BaselineController { falling, since_probe, ..steady(100.0) };
        for step in 0..20 {
            let calls = 10.0 + f64::from(step % 10);
            controller.response.add(calls, calls.powf(elasticity));
        }
        let (_, reason) = controller.steer(&window(50, 100), 0.1, latency(100.0, 60.0));
        let expected = if probes { LimitReason::Probe } else { LimitReason::Queueing };
        assert_eq!(reason, expected, "{falling} {elasticity} {since_probe}");
    }
}

#[test]
fn a_probe_halves_the_limit_and_ends_after_one_window() {
    for (limit, probe) in [(40.0, 20.0), (5.0, 3.0), (2.0, 2.0)] {
        let mut controller = BaselineController { since_probe: 7, ..steady(limit) };
        let decision = controller.begin_probe(&window(60, 120));
        assert_decision(decision, (probe, LimitReason::Probe));
        assert_eq!(controller.phase, Phase::Probing { limit, p90: 0.12, p50: 0.06 });
        assert_eq!(controller.since_probe, 0);
        let (_, reason) = controller.decide(&window(50, 100));
        assert_eq!(reason, LimitReason::ProbeEnd);
        assert_eq!(controller.phase, Phase::Steady);
    }
}

#[test]
fn probes_begin_every_22_to_37_windows() {
    let mut controller = steady(40.0);
    let due: Vec<_> = (0..200)
        .map(|_| {
            controller.begin_probe(&window(60, 120));
            controller.probe_due
        })
        .collect();
    assert_eq!(due.iter().min(), Some(&22));
    assert_eq!(due.iter().max(), Some(&37));
}

/// Before the probe the limit is 40, the median 200 ms and the p90 400 ms; during the probe the
/// limit is 20.
#[test]
fn a_probe_distinguishes_a_queue_from_a_slower_server() {
    let end = LimitReason::ProbeEnd;
    for (p50, p90, decision, baseline) in [
        // The latency is near the baseline, which is averaged.
        (50, 120, (40.0, end), 110),
        (50, 80, (40.0, end), 90),
        // The latency does not respond: the server is slower.
        (200, 400, (40.0, end), 400),
        (140, 390, (40.0, end), 390),
        // The latency responds a little: the cause is unknown.
        (150, 300, (40.0, end), 100),
        // The latency does not respond, but the calls queue.
        (300, 400, (40.0, end), 100),
        // The latency is halved: the server has a queue.
        (100, 200, (24.0, LimitReason::Queueing), 100),
        (139, 276, (24.0, LimitReason::Queueing), 100),
        (141, 284, (40.0, end), 100),
        (55, 126, (24.0, LimitReason::Queueing), 100),
    ] {
        let mut controller = steady(20.0);
        controller.phase = Phase::Probing { limit: 40.0, p90: 0.4, p50: 0.2 };
        let actual = controller.end_probe(&window(p50, p90), 40.0, (0.4, 0.2));
        assert_decision(actual, decision);
        assert_eq!(controller.baseline(), Some(ms(baseline)), "{p50} {p90}");
    }
}

#[test]
fn a_slower_server_restores_the_limit_before_the_decreases() {
    for (falling, ceiling, restored) in [(0, 100.0, 40.0), (1, 100.0, 80.0), (1, 30.0, 40.0)] {
        let mut controller = BaselineController { falling, ceiling, ..steady(20.0) };
        let actual = controller.end_probe(&window(200, 400), 40.0, (0.4, 0.2));
        assert_decision(actual, (restored, LimitReason::ProbeEnd));
        assert_eq!(controller.falling, 0);
    }
}

#[test]
fn the_first_of_several_decreases_sets_the_level_to_return_to() {
    let probing = Phase::Probing { limit: 60.0, p90: 0.1, p50: 0.1 };
    for (phase, falling, ceiling) in [
        (Phase::Steady, 0, 40.0),
        (Phase::SlowStart, 0, 20.0), // the limit before it was doubled
        (probing, 0, 60.0),
        (Phase::Steady, 1, 70.0),
    ] {
        let mut controller = BaselineController { phase, falling, ceiling: 70.0, ..steady(40.0) };
        controller.lower(30.0, LimitReason::Queueing);
        assert_eq!(controller.ceiling, ceiling, "{phase:?}");
        assert_eq!(controller.phase, Phase::Steady);
    }
}

#[test]
fn drops_lower_the_limit_by_a_tenth_and_many_drops_by_three() {
    for (succeeded, dropped, decision) in [
        (95, 5, (40.0, LimitReason::ApplicationLimited)),
        (94, 6, (36.0, LimitReason::Dropped)),
        (50, 50, (36.0, LimitReason::Dropped)),
        (49, 51, (28.0, LimitReason::Dropped)),
        (0, 0, (40.0, LimitReason::Steady)),
    ] {
        let window = LimitWindow { succeeded, dropped, ..window(50, 100) };
        assert_decision(steady(40.0).decide(&window), decision);
    }
}

#[test]
fn the_baseline_is_averaged_only_without_a_queue() {
    for (p50, p90, rejected, baseline) in [
        (50, 120, 0, 110),
        (50, 80, 0, 90),
        // The limit is used up, so that a latency above the baseline may be due to it.
        (50, 120, 1, 100),
        (50, 80, 1, 90),
        (100, 120, 0, 100),
    ] {
        let mut controller = steady(40.0);
        controller.decide(&LimitWindow { rejected, ..window(p50, p90) });
        assert_eq!(controller.baseline(), Some(ms(baseline)), "{p50} {p90} {rejected}");
    }
}

#[test]
fn the_limit_is_capped_at_five_times_the_peak_of_calls_in_flight() {
    for (peak, limit, reason) in [
        (0, 36.0, LimitReason::Headroom), // by a tenth per window
        (7, 36.0, LimitReason::Headroom),
        (8, 40.0, LimitReason::ApplicationLimited),
    ] {
        let update = steady(40.0).update(&LimitWindow { peak_in_flight: peak, ..window(50, 100) });
        assert_decision((update.limit, update.reason), (limit, reason));
    }
    let mut low = steady(10.4).min_limit(10.0);
    assert_eq!(low.update(&window(50, 100)).limit, 10.0);
}
