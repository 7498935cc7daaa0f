//! Tests of the latency window.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

proptest! {
    /// Compares quantiles of random durations with those of the sorted list.
    #[test]
    fn a_quantile_is_within_a_sixteenth_of_the_exact_value(
        mut took in prop::collection::vec(1024_u64..1 << 42, 1..200),
        quantile in 0.0_f64..=1.0,
    ) {
        let latencies = LatencyWindow::over_time(1000 * MS);
        for nanos in &took {
            latencies.record(at(0), Duration::from_nanos(*nanos));
        }
        took.sort_unstable();
        let rank = ((quantile * took.len() as f64).ceil() as usize).clamp(1, took.len());
        let exact = took[rank - 1] as f64;
        let quantile = latencies.histogram(at(0)).quantile(quantile).unwrap().as_nanos() as f64;
        prop_assert!((quantile - exact).abs() <= exact / 16.0 + 1.0, "{quantile} for {exact}");
    }

    /// Compares the count with a list of call times: the window covers the current quarter and the
    /// three before it.
    #[test]
    fn a_window_over_time_slides_by_quarters(steps in prop::collection::vec((0_u64..40, 0_u8..30), 0..100)) {
        let latencies = LatencyWindow::over_time(40 * MS);
        let (mut seen, mut now) = (Vec::new(), 1000);
        for (pause, dice) in steps {
            now += pause;
            if dice == 0 {
                latencies.reset();
                seen.clear();
            } else {
                latencies.record(at(now), MS);
                seen.push(now);
            }
            let begin = (now / 10 - 3) * 10;
            let expected = seen.iter().filter(|at| **at >= begin).count() as u64;
            prop_assert_eq!(latencies.histogram(at(now)).count(), expected);
        }
    }

    /// The window holds at most four quarters of calls, and lacks less than one quarter of them.
    #[test]
    fn a_window_over_calls_slides_by_quarters(size in 1_u32..40, calls in 0_u64..200) {
        let latencies = LatencyWindow::over_calls(size);
        for _ in 0..calls {
            latencies.record(at(0), MS);
        }
        let quarter = u64::from(size.div_ceil(4));
        let held = latencies.histogram(at(0)).count();
        prop_assert!(held <= calls.min(4 * quarter));
        prop_assert!(held + quarter > calls.min(4 * quarter), "{held} of {calls}");
    }
}

/// A cell that was last written very long ago has a lap that appears to be in the future.
#[test]
fn a_cell_of_two_billion_laps_ago_is_used_again() {
    let latencies = LatencyWindow::over_calls(100);
    let Pace::Calls { quarter, recorded } = &latencies.pace else { unreachable!() };
    for laps in [1 << 31, (1 << 31) + 10, (1 << 32) - 8] {
        recorded.store(quarter * laps, Relaxed);
        for _ in 0..100 {
            latencies.record(at(0), MS);
        }
        assert_eq!(latencies.histogram(at(0)).count(), 100, "{laps} laps");
        latencies.reset();
    }
}

#[test]
fn a_call_that_is_one_round_late_is_counted_in_the_current_round() {
    let latencies = LatencyWindow::over_time(4 * MS);
    latencies.record(at(8), MS);
    latencies.record(at(4), MS);
    assert_eq!(latencies.histogram(at(8)).count(), 2);
}

#[test]
fn an_empty_histogram_and_an_invalid_quantile_return_none() {
    let latencies = LatencyWindow::over_calls(4);
    assert_eq!(latencies.histogram(at(0)).quantile(0.5), None);
    latencies.record(at(0), 10 * MS);
    let latency = latencies.histogram(at(0));
    assert_eq!([f64::NAN, -0.1, 1.1].map(|q| latency.quantile(q)), [None; 3]);
    assert_eq!(latency.quantile(0.0), latency.quantile(1.0));
}

#[test]
fn a_clock_that_jumps_causes_no_panic() {
    let latencies = LatencyWindow::over_time(4 * MS);
    for now in [at(1000), at(0), Instant::FAR_FUTURE, at(1000)] {
        latencies.record(now, MS);
        let _ = latencies.histogram(now).quantile(0.5);
    }
}

#[test]
fn a_quarter_of_calls_ends_with_its_last_call() {
    let latencies = LatencyWindow::over_calls(8);
    let count = || latencies.histogram(at(0)).count();
    // Quarters of two calls: the ninth call begins the fifth quarter and removes the first.
    let counts: Vec<_> = (0..11)
        .map(|_| {
            latencies.record(at(0), MS);
            count()
        })
        .collect();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8, 7, 8, 7]);
    latencies.reset();
    assert_eq!(count(), 0);
    latencies.record(at(0), MS);
    assert_eq!(count(), 1);
}

#[test]
fn a_quarter_of_time_ends_with_its_last_nanosecond() {
    let latencies = LatencyWindow::over_time(40 * MS);
    let end = |ms: u64| Instant::from_nanos(ms * 1_000_000 - 1);
    latencies.record(at(100), MS);
    latencies.record(end(110), MS);
    latencies.record(at(110), MS);
    for (now, expected) in [(at(110), 3), (end(140), 3), (at(140), 1), (end(150), 1), (at(150), 0)]
    {
        assert_eq!(latencies.histogram(now).count(), expected, "{now:?}");
    }
}
