//! Windows through their public API: sizes, limits, latencies.
#![cfg(not(mainstay_loom))]

use mainstay::time::Clock;
use mainstay::window::{Sample, Window, WindowGeneration};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_window_reports_its_size() {
    for calls in [1, 2, 100, Window::MAX_CALLS] {
        let window = Window::count_window(calls).unwrap();
        assert_eq!((window.calls(), window.span(), window.is_timed()), (Some(calls), None, false));
    }
    for (span, buckets) in [(MS, 1), (10 * MS, 10), (Duration::from_secs(60), 7)] {
        let window = Window::time_window(span, buckets).unwrap();
        assert_eq!((window.calls(), window.is_timed()), (None, true));
        assert!(span - window.span().unwrap() < Duration::from_nanos(buckets.into()));
    }
}

#[test]
fn a_size_out_of_range_is_rejected() {
    const YEAR: Duration = Duration::from_secs(366 * 86_400);
    for calls in [0, Window::MAX_CALLS + 1, u32::MAX] {
        assert_eq!(Window::count_window(calls).unwrap_err().field(), "count_window", "{calls}");
    }
    for (span, buckets, accepted) in [
        (MS, 0, false),
        (MS, 1, true),
        (MS - Duration::from_nanos(1), 1, false),
        (MS, 2, false),
        (1024 * MS, Window::MAX_BUCKETS, true),
        (2000 * MS, Window::MAX_BUCKETS + 1, false),
        (YEAR, 1, true),
        (YEAR + Duration::from_nanos(1), 1, false),
    ] {
        let window = Window::time_window(span, buckets);
        assert_eq!(window.as_ref().map(|_| ()).is_ok(), accepted, "{span:?}, {buckets}");
        if let Err(error) = window {
            assert_eq!(error.field(), "time_window");
        }
    }
}

#[test]
fn a_histogram_covers_as_many_calls_as_its_window() {
    let now = Clock::system().now();
    let window = Window::count_window(8).unwrap();
    assert_eq!(window.latency(now), None);
    let window = window.with_latency();
    for millis in 1..=100 {
        window.record(WindowGeneration::FIRST, now, Sample::SUCCESS);
        window.record_latency(now, millis * MS);
    }
    let latency = window.latency(now).unwrap();
    assert_eq!((window.counts(now).total, latency.count()), (8, 8));
    let summary = latency.summary().unwrap();
    assert_eq!(summary.count, 8);
    assert_eq!(Some(summary.p50), latency.quantile(0.5));
    assert!(summary.p50 > 85 * MS && summary.p50 < 105 * MS, "{summary:?}");
}
