//! Tests of the time window.

use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * MS)
}

fn window(span_ms: u64, buckets: u32) -> TimeWindow {
    TimeWindow::new(Duration::from_millis(span_ms), buckets)
}

/// A reference model that stores every sample with its time and counts by scanning all of them.
#[derive(Default)]
struct Model(Vec<(u64, Sample)>);

impl Model {
    fn counts(&self, from_ms: u64) -> WindowCounts {
        self.0.iter().filter(|(at, _)| *at >= from_ms).fold(
            WindowCounts::default(),
            |sum, (_, sample)| WindowCounts {
                total: sum.total + 1,
                failed: sum.failed + u64::from(sample.failed),
                slow: sum.slow + u64::from(sample.slow),
            },
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Random schedules with bursts, pauses, idle gaps of whole laps, and resets.
    #[test]
    fn counts_agree_with_a_model_to_within_one_bucket(
        buckets in 1_u32..9,
        width in 1_u64..20,
        steps in prop::collection::vec(
            (
                prop_oneof![8 => 0_u64..3, 4 => 0_u64..40, 1 => 0_u64..5000],
                any::<(bool, bool)>(),
                0_u8..40,
            ),
            0..120,
        ),
    ) {
        let span = width * u64::from(buckets);
        let window = window(span, buckets);
        let mut model = Model::default();
        let mut generation = WindowGeneration::FIRST;
        let mut now = span;
        for (pause, (failed, slow), dice) in steps {
            now += pause;
            if dice == 0 {
                generation = generation.next();
                window.reset(generation, at(now));
                model.0.clear();
            } else {
                let sample = Sample { failed, slow };
                prop_assert!(window.record(generation, at(now), sample));
                model.0.push((now, sample));
            }
            // The window begins `buckets - 1` epochs before the current one.
            let begin = (now / width + 1).saturating_sub(u64::from(buckets)) * width;
            prop_assert_eq!(window.counts(at(now)), model.counts(begin), "at {}", now);
            // That start differs from the exact start by at most one bucket.
            prop_assert!(begin + span > now && begin + span <= now + width);
        }
    }
}

#[test]
fn an_idle_gap_of_any_length_leaves_no_counts() {
    for buckets in [1, 2, 10] {
        let lap = u64::from(buckets);
        for gap in [
            lap,
            lap + 1,
            2 * lap,
            3 * lap,
            65_535 * lap,
            65_536 * lap,
            65_537 * lap,
            131_072 * lap,
        ] {
            let window = window(lap, buckets);
            for ms in 0..lap {
                window.record(
                    WindowGeneration::FIRST,
                    at(1000 * lap + ms),
                    Sample::SLOW_AND_FAILED,
                );
            }
            let later = at(1000 * lap + lap - 1 + gap);
            assert_eq!(
                window.counts(later),
                WindowCounts::default(),
                "before, {buckets} buckets, gap {gap}"
            );
            window.record(WindowGeneration::FIRST, later, Sample::SUCCESS);
            let one = WindowCounts { total: 1, failed: 0, slow: 0 };
            assert_eq!(window.counts(later), one, "after, {buckets} buckets, gap {gap}");
        }
    }
}

#[test]
fn a_bucket_without_records_stays_empty_while_the_tags_repeat() {
    for buckets in [2, 3, 10] {
        let size = u64::from(buckets);
        let window = window(size, buckets);
        window.record(WindowGeneration::FIRST, at(size - 1), Sample::SLOW_AND_FAILED);
        // Each lap records only in the first bucket. If the last bucket kept its tag, the tag
        // would be valid again after 65,536 laps.
        for lap in 1..=70_000 {
            window.record(WindowGeneration::FIRST, at(size * lap), Sample::SUCCESS);
            // The window begins directly after the first bucket of the previous lap.
            let failed = u64::from(lap == 1);
            let counts = WindowCounts { total: 1 + failed, failed, slow: failed };
            assert_eq!(window.counts(at(size * lap)), counts, "{buckets} buckets, lap {lap}");
        }
    }
}

#[test]
fn resets_without_records_do_not_restore_old_counts() {
    let window = window(10, 10);
    let mut generation = WindowGeneration::FIRST;
    window.record(generation, at(5), Sample::FAILED);
    for _ in 0..70_000 {
        generation = generation.next();
        window.reset(generation, at(5));
        assert_eq!(window.counts(at(5)), WindowCounts::default());
    }
}

#[test]
fn a_time_before_the_latest_is_counted_as_the_latest() {
    let window = window(10, 10);
    window.record(WindowGeneration::FIRST, at(100), Sample::SUCCESS);
    window.record(WindowGeneration::FIRST, at(3), Sample::FAILED);
    assert_eq!(window.counts(at(100)), WindowCounts { total: 2, failed: 1, slow: 0 });
    assert_eq!(window.counts(at(3)), WindowCounts { total: 2, failed: 1, slow: 0 });
    assert!(window.record(WindowGeneration::FIRST, Instant::FAR_FUTURE, Sample::SUCCESS));
    assert_eq!(window.counts(Instant::FAR_FUTURE), WindowCounts { total: 1, failed: 0, slow: 0 });
}

#[test]
fn a_clock_that_is_set_back_restarts_the_window() {
    const MINUTE: u64 = 60_000;
    for buckets in [1, 10] {
        let window = window(10, buckets);
        let generation = WindowGeneration::FIRST;
        let one_failed = WindowCounts { total: 1, failed: 1, slow: 0 };
        for (ahead, now) in [(Instant::FAR_FUTURE, 2 * MINUTE), (at(1000 * MINUTE), 900 * MINUTE)] {
            window.record(generation, ahead, Sample::FAILED);
            assert!(window.record(generation, at(now), Sample::FAILED));
            assert_eq!(window.counts(at(now)), one_failed, "samples recorded ahead are discarded");
            assert_eq!(
                window.counts(at(now + 20)),
                WindowCounts::default(),
                "the window slides again"
            );
        }
    }
}

#[test]
fn a_thread_that_is_late_by_a_minute_does_not_restart_the_window() {
    let window = window(10, 10);
    window.record(WindowGeneration::FIRST, at(60_000), Sample::SUCCESS);
    window.record(WindowGeneration::FIRST, at(0), Sample::SUCCESS);
    assert_eq!(window.counts(at(60_000)).total, 2);
    window.record(WindowGeneration::FIRST, at(60_001), Sample::SUCCESS);
    window.record(WindowGeneration::FIRST, at(0), Sample::SUCCESS);
    assert_eq!(window.counts(at(0)).total, 1, "one more millisecond restarts the window");
}

#[test]
fn a_reset_moves_back_a_window_that_is_ahead_of_the_clock() {
    let window = window(10, 10);
    window.record(WindowGeneration::FIRST, Instant::FAR_FUTURE, Sample::FAILED);
    let new = WindowGeneration::FIRST.next();
    window.reset(new, at(100));
    window.record(new, at(100), Sample::SUCCESS);
    assert_eq!(window.counts(at(100)).total, 1);
    assert_eq!(window.counts(at(110)).total, 0, "the window slides again");
}

#[test]
fn a_full_bucket_is_halved() {
    let window = window(10, 10);
    let record = |sample| window.record(WindowGeneration::FIRST, at(0), sample);
    record(Sample::SLOW);
    record(Sample::SLOW);
    window.preload(HALF, HALF / 2);
    record(Sample::SUCCESS);
    let counts = window.counts(at(0));
    assert_eq!((counts.total, counts.failed, counts.slow), (HALF * 3 / 4, HALF / 4, 1));
    window.preload(0, HALF - 1);
    record(Sample::FAILED);
    assert_eq!(window.counts(at(0)).failed, HALF / 2);
}

#[test]
fn a_reader_between_the_two_words_of_a_slow_call_reads_no_more_slow_calls_than_calls() {
    let window = window(10, 10);
    window.record(WindowGeneration::FIRST, at(0), Sample::SLOW);
    window.preload(0, 0);
    assert_eq!(window.counts(at(0)), WindowCounts::default());
}

#[test]
fn a_sample_of_an_earlier_generation_is_not_recorded() {
    let window = window(10, 10);
    let old = WindowGeneration::FIRST;
    window.record(old, at(0), Sample::FAILED);
    window.reset(old.next(), at(0));
    assert!(!window.record(old, at(1), Sample::FAILED));
    assert_eq!(window.counts(at(1)), WindowCounts::default());
}

#[test]
fn a_sample_that_is_slightly_late_does_not_restart_a_window_of_a_large_time() {
    let window = window(10, 10);
    window.record(WindowGeneration::FIRST, at(1_000_000), Sample::SUCCESS);
    window.record(WindowGeneration::FIRST, at(999_995), Sample::FAILED);
    assert_eq!(window.counts(at(1_000_000)), WindowCounts { total: 2, failed: 1, slow: 0 });
}

#[test]
fn a_reset_begins_the_window_at_its_own_time() {
    let window = window(10, 10);
    let new = WindowGeneration::FIRST.next();
    window.reset(new, at(100));
    // Late by one epoch, so it is counted at 100 ms.
    window.record(new, at(99), Sample::SUCCESS);
    assert_eq!(window.counts(at(109)).total, 1);
    assert_eq!(window.counts(at(110)).total, 0);
}

#[test]
fn a_bucket_of_a_later_lap_is_never_moved_back() {
    for (tag, lap, before) in
        [(4, 5, true), (5, 5, false), (6, 5, false), (u16::MAX, 0, true), (0, u16::MAX, false)]
    {
        assert_eq!(is_before(tag, lap), before, "{tag} before {lap}");
    }
    let bucket = Bucket { calls: AtomicU64::new(empty(6)), slow: AtomicU64::new(empty(6)) };
    assert!(!bucket.add_success(5) && !bucket.add_failure(5));
    assert_eq!(bucket.calls.into_inner(), empty(6));
}

#[test]
fn the_oldest_buckets_leave_the_window_as_time_passes_without_records() {
    let window = window(10, 10);
    for (ms, sample) in [(100, Sample::FAILED), (103, Sample::SUCCESS), (105, Sample::SUCCESS)] {
        window.record(WindowGeneration::FIRST, at(ms), sample);
    }
    for (ms, total, failed) in [(109, 3, 1), (110, 2, 0), (112, 2, 0), (113, 1, 0), (115, 0, 0)] {
        assert_eq!(window.counts(at(ms)), WindowCounts { total, failed, slow: 0 }, "{ms}");
    }
}
