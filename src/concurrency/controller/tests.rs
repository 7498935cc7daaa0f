//! Tests of the controllers: tables of windows, and faults reported in other projects.

use super::*;
use crate::random::Random;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns a window of one second with a mean latency of `latency`, in which the limit was reached.
fn window(latency: Duration, limit: f64) -> LimitWindow {
    LimitWindow {
        duration: Duration::from_secs(1),
        succeeded: 400,
        rejected: 10,
        peak_in_flight: limit as u32,
        min: latency / 10,
        mean: latency,
        p50: latency * 7 / 10,
        p90: latency * 2,
        p99: latency * 4,
        ..LimitWindow::default()
    }
}

/// Returns the same window, with every call delayed by `wait` in a queue.
fn queued(latency: Duration, wait: Duration, limit: f64) -> LimitWindow {
    let window = window(latency, limit);
    LimitWindow {
        min: window.min + wait,
        mean: window.mean + wait,
        p50: window.p50 + wait,
        p90: window.p90 + wait,
        p99: window.p99 + wait,
        ..window
    }
}

fn idle(latency: Duration) -> LimitWindow {
    LimitWindow { rejected: 0, peak_in_flight: 3, ..window(latency, 3.0) }
}

fn baseline() -> BaselineController {
    BaselineController::new().random(Random::seeded(1))
}

/// Passes `windows` windows to the controller, each made from the current limit. Returns the last
/// update.
fn feed(
    controller: &mut impl LimitController,
    windows: u32,
    mut window: impl FnMut(f64) -> LimitWindow,
) -> LimitUpdate {
    let mut last = LimitUpdate { limit: controller.limit(), reason: LimitReason::Set };
    for _ in 0..windows {
        last = controller.update(&window(controller.limit()));
    }
    last
}

/// Returns windows of a server with `workers` workers. The latency grows when the limit exceeds the
/// number of workers.
fn server(workers: f64, latency: Duration) -> impl FnMut(f64) -> LimitWindow {
    move |limit| {
        let wait = latency.mul_f64((limit.floor() / workers - 1.0).max(0.0));
        queued(latency, wait, limit.floor())
    }
}

/// Returns a controller whose limit has converged on a server with 20 workers.
fn settled() -> BaselineController {
    let mut controller = baseline();
    feed(&mut controller, 10, |_| idle(ms(50)));
    feed(&mut controller, 60, server(20.0, ms(50)));
    controller
}

#[test]
fn aimd_adds_one_when_saturated_and_decreases_by_a_tenth_on_drops() {
    let dropped = LimitWindow { dropped: 3, ..window(ms(50), 20.0) };
    let table = [
        (window(ms(50), 20.0), 21.0, LimitReason::Growth),
        (window(ms(50), 10.0), 21.0, LimitReason::ApplicationLimited),
        (window(ms(50), 11.0), 22.0, LimitReason::Growth),
        (dropped, 19.8, LimitReason::Dropped),
        (dropped, 17.82, LimitReason::Dropped),
    ];
    let mut controller = AimdController::new();
    for (row, (window, limit, reason)) in table.into_iter().enumerate() {
        let update = controller.update(&window);
        assert!((update.limit - limit).abs() < 1e-9, "row {row}: {update:?}");
        assert_eq!(update.reason, reason, "row {row}");
    }
}

#[test]
fn limits_stay_within_their_bounds() {
    let dropped = |_| LimitWindow { dropped: 400, succeeded: 0, ..LimitWindow::default() };
    let mut all: Vec<Box<dyn LimitController>> = vec![
        Box::new(AimdController::new().min_limit(5.0).max_limit(30.0)),
        Box::new(VegasController::new().min_limit(5.0).max_limit(30.0)),
        Box::new(Gradient2Controller::new().min_limit(5.0).max_limit(30.0)),
        Box::new(baseline().min_limit(5.0).max_limit(30.0)),
        Box::new(BbrController::new().initial_limit(30.0).min_limit(5.0).max_limit(30.0)),
    ];
    for controller in &mut all {
        assert_eq!(controller.validate(), Ok(()));
        let low = feed(controller, 100, dropped).limit;
        assert!((5.0..=30.0).contains(&low));
        let high = feed(controller, 200, |limit| window(ms(50), limit)).limit;
        assert!((5.0..=30.0).contains(&high));
    }
}

#[test]
fn invalid_settings_name_their_field() {
    let field = |controller: &dyn LimitController| controller.validate().unwrap_err().field();
    assert_eq!(field(&AimdController::new().min_limit(0.0)), "min_limit");
    assert_eq!(field(&AimdController::new().max_limit(f64::NAN)), "max_limit");
    assert_eq!(field(&VegasController::new().initial_limit(500.0)), "initial_limit");
    assert_eq!(field(&AimdController::new().decrease_factor(1.0)), "decrease_factor");
    assert_eq!(field(&Gradient2Controller::new().tolerance(0.5)), "tolerance");
    assert_eq!(field(&Gradient2Controller::new().queue(-1.0)), "queue");
    assert_eq!(field(&baseline().max_healthy_latency(Duration::ZERO)), "max_healthy_latency");
    assert_eq!(field(&baseline().probe_limit(0.5)), "probe_limit");
    assert_eq!(field(&baseline().headroom_factor(0.0)), "headroom_factor");
}

#[test]
fn vegas_keeps_a_short_queue() {
    let mut controller = VegasController::new().random(Random::seeded(1));
    feed(&mut controller, 3, |_| idle(ms(50)));
    let mut server = server(20.0, ms(50));
    // Few calls per window, so that the baseline is not measured again during the test.
    feed(&mut controller, 50, |limit| LimitWindow { succeeded: 5, ..server(limit) });
    let queue = controller.limit() - 20.0;
    assert!((2.0..=10.0).contains(&queue), "a queue of {queue}");
}

/// tower-resilience never measures the minimum latency again, and halves the limit at every
/// failure.
#[test]
fn vegas_measures_its_baseline_again_and_steps_down_once_per_window() {
    let mut controller = VegasController::new().random(Random::seeded(1));
    controller.update(&window(ms(5), 20.0)); // an exceptionally fast window
    feed(&mut controller, 40, |limit| window(ms(50), limit));
    let learned = controller.learned().baseline.unwrap();
    assert_eq!(learned, ms(50), "the baseline is measured again after at most 30 · 20 calls");

    let before = controller.limit();
    controller.update(&LimitWindow { dropped: 100, ..window(ms(50), before) });
    assert!(controller.limit() > 0.8 * before, "the limit was lowered by more than one step");
}

/// Netflix#134: under a moderate overload, each window added the queue to the limit, so that the
/// limit grew without bound.
#[test]
fn gradient2_does_not_grow_under_a_moderate_overload() {
    let mut controller = Gradient2Controller::new();
    feed(&mut controller, 100, |_| idle(ms(50)));
    let before = controller.limit();
    // Twice the latency: a gradient of about 0.75.
    let after = feed(&mut controller, 20, |limit| window(ms(100), limit)).limit;
    assert!(after < before, "{before} became {after}");
}

#[test]
fn gradient2_lowers_its_baseline_when_the_latency_recovers() {
    let mut controller = Gradient2Controller::new();
    feed(&mut controller, 700, |limit| window(ms(500), limit));
    feed(&mut controller, 60, |limit| window(ms(50), limit));
    let long = controller.learned().baseline.unwrap();
    assert!(long < ms(150), "{long:?}");
}

#[test]
fn bbr_lowers_the_limit_while_the_server_is_overloaded_and_for_a_second_after() {
    let mut controller = BbrController::new();
    let tenth = |overloaded| LimitWindow {
        duration: ms(100),
        succeeded: 40,
        overloaded,
        ..window(ms(50), 200.0)
    };
    assert_eq!(controller.update(&tenth(false)).limit, 200.0);
    let shed = controller.update(&tenth(true));
    assert_eq!((shed.limit, shed.reason), (20.0, LimitReason::Overloaded)); // 400 per s · 50 ms
    for _ in 0..9 {
        assert_eq!(controller.update(&tenth(false)).limit, 20.0);
    }
    assert_eq!(controller.update(&tenth(false)).limit, 200.0);
}

#[test]
fn the_default_limit_converges_on_the_number_of_workers() {
    let limit = settled().limit();
    assert!((20.0..=36.0).contains(&limit), "{limit}");
}

/// Netflix#37: the fastest call of all became the baseline, and the limit fell permanently.
#[test]
fn one_fast_window_does_not_move_the_limit() {
    let mut controller = settled();
    let before = controller.limit();
    controller.update(&window(ms(10), before));
    feed(&mut controller, 60, server(20.0, ms(50)));
    let after = controller.limit();
    assert!(after > 0.8 * before, "{before} became {after}");
}

/// Netflix#176: a refused call ends within a millisecond, and lowered the measured latency.
#[test]
fn refused_calls_lower_the_limit_and_do_not_change_the_baseline() {
    let mut controller = settled();
    let (limit, known) = (controller.limit(), controller.baseline().unwrap());
    let refused = LimitWindow { succeeded: 300, dropped: 100, ..window(ms(50), limit) };
    let update = controller.update(&refused);
    assert_eq!(update.reason, LimitReason::Dropped);
    assert!(update.limit < limit);
    assert_eq!(controller.baseline(), Some(known));
}

/// go-concurrency-limits#141: a window without a success did not change the limit.
#[test]
fn each_window_without_a_success_lowers_the_limit_once() {
    let mut controller = settled();
    let before = controller.limit();
    let all = LimitWindow { dropped: 10_000, peak_in_flight: 30, ..LimitWindow::default() };
    let update = controller.update(&all);
    assert!((update.limit - 0.7 * before).abs() < 1e-9, "one decrease for 10,000 drops");
    for _ in 0..100 {
        controller.update(&all);
    }
    assert_eq!(controller.limit(), 1.0);
}

/// Netflix#137: when every call took as long as the client's timeout, the constant latency counted
/// as healthy.
#[test]
fn a_constant_latency_of_all_calls_at_the_timeout_is_unhealthy() {
    let mut controller = settled();
    let before = controller.limit();
    let constant = |limit: f64| LimitWindow {
        min: ms(4900),
        mean: ms(5000),
        p50: ms(5000),
        p90: ms(5050),
        p99: ms(5100),
        ..window(ms(5000), limit)
    };
    let update = feed(&mut controller, 100, constant);
    assert_eq!(update.reason, LimitReason::Unhealthy);
    assert_eq!(update.limit, 1.0, "from {before}");
}

/// failsafe-go#127: in a long overload the baseline drifted upwards until the limit grew again.
#[test]
fn the_baseline_does_not_drift_in_a_long_overload() {
    let mut controller = settled();
    let known = controller.baseline().unwrap();
    // For two hours, other clients cause a queue of ten times the service time.
    let mut highest = 0.0_f64;
    for n in 0..7200 {
        let limit = controller.update(&queued(ms(50), ms(500), controller.limit())).limit;
        if n > 100 {
            highest = highest.max(limit);
        }
    }
    let drifted = controller.baseline().unwrap();
    assert!(drifted < known * 5 / 4, "{known:?} became {drifted:?}");
    assert!(highest <= 6.0, "grew to {highest}");
}

#[test]
fn above_the_maximum_healthy_latency_the_limit_falls_to_its_minimum() {
    let mut controller = settled();
    controller = controller.max_healthy_latency(ms(400)).min_limit(0.25);
    // All calls are equally slow, so only the absolute bound detects the overload.
    let update = feed(&mut controller, 2000, |limit| window(ms(500), limit));
    assert_eq!((update.limit, update.reason), (0.25, LimitReason::Unhealthy));
}

/// envoy#38338: a baseline that was once measured too low kept the limit low permanently.
#[test]
fn the_limit_recovers_when_a_server_stays_slower() {
    let mut controller = settled();
    let before = controller.limit();
    feed(&mut controller, 60, server(20.0, ms(500)));
    let after = controller.limit();
    assert!(after > 0.8 * before, "{before} became {after}");
    assert!(controller.baseline().unwrap() > ms(800));
}

/// envoy#46532: one setting was both the limit during a probe and the minimum limit.
#[test]
fn the_minimum_limit_and_the_probe_limit_are_separate_settings() {
    let mut controller = settled().probe_limit(10.0).min_limit(2.0);
    let mut lowest_probe = f64::INFINITY;
    for _ in 0..100 {
        let mut server = server(20.0, ms(50));
        let update = controller.update(&server(controller.limit()));
        if update.reason == LimitReason::Probe {
            lowest_probe = lowest_probe.min(update.limit);
        }
    }
    assert!((10.0..20.0).contains(&lowest_probe), "{lowest_probe}");
    let all = LimitWindow { dropped: 100, peak_in_flight: 30, ..LimitWindow::default() };
    assert_eq!(feed(&mut controller, 100, |_| all).limit, 2.0);
}

/// envoy#8337: all clients probed at the same time, because probes had no jitter.
#[test]
fn probes_are_jittered() {
    let probes = |seed| {
        let mut controller = settled().random(Random::seeded(seed));
        let mut server = server(20.0, ms(50));
        (0..200)
            .filter(|_| {
                let window = server(controller.limit());
                controller.update(&window).reason == LimitReason::Probe
            })
            .collect::<Vec<_>>()
    };
    let (one, other) = (probes(1), probes(2));
    assert!((3..=9).contains(&one.len()), "{one:?}");
    assert_ne!(one, other);
}

/// envoy#18152: a probe caused rejections although the load was far below the capacity of the
/// server.
#[test]
fn a_limit_that_is_not_used_up_is_never_lowered_for_a_probe() {
    let mut controller = settled();
    for _ in 0..500 {
        let update = controller.update(&LimitWindow { peak_in_flight: 10, ..idle(ms(50)) });
        assert_ne!(update.reason, LimitReason::Probe);
        assert!(update.limit >= 20.0, "{update:?}");
    }
}

#[test]
fn a_limit_that_is_not_used_up_does_not_grow() {
    let mut controller = settled();
    let before = controller.limit();
    let update = feed(&mut controller, 500, |_| LimitWindow { peak_in_flight: 10, ..idle(ms(50)) });
    assert_eq!((update.limit, update.reason), (before, LimitReason::ApplicationLimited));
}

#[test]
fn the_limit_is_capped_at_five_times_the_calls_in_flight() {
    let mut controller = settled();
    let update = feed(&mut controller, 200, |_| LimitWindow { peak_in_flight: 2, ..idle(ms(50)) });
    assert_eq!(update.limit, 10.0);
}

#[test]
fn slow_start_doubles_the_limit_until_the_first_congestion() {
    let mut controller = baseline();
    let mut server = server(160.0, ms(50));
    let mut limits = Vec::new();
    for _ in 0..4 {
        let window = server(controller.limit());
        limits.push((controller.update(&window).limit, controller.limit()));
    }
    assert_eq!(limits.iter().map(|limit| limit.0).collect::<Vec<_>>(), [40.0, 80.0, 160.0, 200.0]);
}

#[test]
fn learned_limits_are_adopted() {
    let learned = settled().learned();
    let mut restarted = baseline();
    restarted.adopt(learned);
    assert_eq!(restarted.limit(), learned.limit);
    assert_eq!(restarted.baseline(), learned.baseline);
    let update = feed(&mut restarted, 1, server(20.0, ms(50)));
    assert_ne!(update.reason, LimitReason::SlowStart);
}

#[test]
fn an_adopted_limit_is_clamped() {
    let mut controller = AimdController::new();
    for (learned, adopted) in [(1e9, 200.0), (0.0, 1.0), (-3.0, 1.0), (f64::NAN, 1.0)] {
        controller.adopt(LearnedLimit { limit: learned, baseline: None });
        let limit = controller.limit();
        assert!((1.0..=200.0).contains(&limit), "{learned} became {limit}");
        if learned.is_finite() {
            assert_eq!(limit, adopted);
        }
    }
}

#[test]
fn the_figures_of_a_window_follow_from_its_counts() {
    let window = LimitWindow {
        duration: Duration::from_secs(2),
        succeeded: 300,
        dropped: 100,
        mean: ms(20),
        ..LimitWindow::default()
    };
    assert_eq!((window.calls(), window.drop_rate()), (400, 0.25));
    assert_eq!((window.throughput(), window.mean_in_flight()), (150.0, 3.0));
    let empty = LimitWindow::default();
    assert_eq!((empty.drop_rate(), empty.throughput(), empty.mean_in_flight()), (0.0, 0.0, 0.0));
}

#[test]
fn a_window_saturates_a_limit_if_calls_waited_or_nine_tenths_were_in_flight() {
    for (rejected, peak_in_flight, limit, saturates) in [
        (0, 17, 20.0, false),
        (0, 18, 20.0, true),
        (1, 0, 20.0, true),
        (0, 0, 0.25, false),
        (0, 1, 0.25, true),
    ] {
        let window = LimitWindow { rejected, peak_in_flight, ..LimitWindow::default() };
        assert_eq!(window.saturates(limit), saturates, "{rejected} {peak_in_flight} {limit}");
    }
}

#[test]
fn a_controller_of_the_user_has_the_documented_defaults_boxed_or_not() {
    struct Fixed;
    impl LimitController for Fixed {
        fn limit(&self) -> f64 {
            8.0
        }

        fn update(&mut self, _: &LimitWindow) -> LimitUpdate {
            LimitUpdate { limit: 8.0, reason: LimitReason::Steady }
        }
    }

    fn check(mut controller: impl LimitController) {
        let rule = WindowRule { min_duration: ms(1000), min_calls: 50, min_latencies: 2 };
        assert_eq!(controller.window_rule(), rule);
        controller.adopt(LearnedLimit { limit: 99.0, baseline: None });
        assert_eq!(controller.learned(), LearnedLimit { limit: 8.0, baseline: None });
        assert_eq!(controller.validate(), Ok(()));
    }
    check(Fixed);
    check(Box::new(Fixed));
    assert_eq!(LimitReason::SlowStart.to_string(), "slow_start");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn any_window() -> impl Strategy<Value = LimitWindow> {
        let counts = (0_u64..1000, 0_u64..1000, 0_u64..100, 0_u32..300);
        (counts, 0_u64..10_000_000, 1_u64..4, any::<bool>()).prop_map(
            |((succeeded, dropped, rejected, peak_in_flight), micros, spread, overloaded)| {
                let p50 = Duration::from_micros(if succeeded == 0 { 0 } else { micros });
                LimitWindow {
                    duration: Duration::from_secs(1),
                    succeeded,
                    dropped,
                    rejected,
                    peak_in_flight,
                    min: p50 / 2,
                    mean: p50,
                    p50,
                    p90: p50 * spread as u32,
                    p99: p50 * 2 * spread as u32,
                    overloaded,
                }
            },
        )
    }

    proptest! {
        /// For any windows, the limit is finite and within its bounds, and equal controllers return
        /// equal limits.
        #[test]
        fn limits_are_deterministic_and_within_their_bounds(
            windows in prop::collection::vec(any_window(), 0..200),
        ) {
            let make = || -> Vec<Box<dyn LimitController>> {
                vec![
                    Box::new(AimdController::new()),
                    Box::new(VegasController::new().random(Random::seeded(3))),
                    Box::new(Gradient2Controller::new()),
                    Box::new(BbrController::new()),
                    Box::new(baseline().min_limit(0.1).max_healthy_latency(ms(3000))),
                ]
            };
            for (mut one, mut other) in make().into_iter().zip(make()) {
                for window in &windows {
                    let update = one.update(window);
                    prop_assert!(update.limit >= 0.1 && update.limit <= 200.0, "{update:?}");
                    prop_assert_eq!(update.limit, one.limit());
                    prop_assert_eq!(update, other.update(window));
                }
            }
        }
    }
}
