//! Tests of the count window.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

pub(crate) fn any_sample() -> impl Strategy<Value = Sample> {
    (any::<bool>(), any::<bool>()).prop_map(|(failed, slow)| Sample { failed, slow })
}

fn count<'a>(samples: impl Iterator<Item = &'a Sample>) -> WindowCounts {
    samples.fold(WindowCounts::default(), |sum, sample| WindowCounts {
        total: sum.total + 1,
        failed: sum.failed + u64::from(sample.failed),
        slow: sum.slow + u64::from(sample.slow),
    })
}

#[derive(Clone, Debug)]
enum Step {
    Record(Sample),
    Reset,
    /// Moves the cursor close to half of its range, or to its end.
    Near(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => any_sample().prop_map(Step::Record),
        1 => Just(Step::Reset),
        1 => Just(Step::Near(HALF as u32)),
        1 => Just(Step::Near(u32::MAX)),
    ]
}

proptest! {
    #[test]
    fn the_window_counts_the_last_n_samples(calls in 1_u32..40, steps in prop::collection::vec(any_step(), 0..400)) {
        let window = CountWindow::new(calls);
        let mut generation = WindowGeneration::FIRST;
        let mut model = VecDeque::new();
        for step in steps {
            match step {
                Step::Record(sample) => {
                    prop_assert!(window.record(generation, sample));
                    model.push_back(sample);
                    if model.len() > calls as usize {
                        model.pop_front();
                    }
                }
                Step::Reset => {
                    generation = generation.next();
                    window.reset(generation);
                    model.clear();
                }
                Step::Near(end) => {
                    let position = window.cursor.load(Relaxed) as u32;
                    let rounds = (end - 2 * calls) / calls * calls;
                    if position < calls {
                        window.set_next_position(generation, position + rounds);
                    }
                }
            }
            prop_assert_eq!(window.counts(), count(model.iter()));
            prop_assert_eq!(window.recount(generation), window.counts());
        }
    }

    #[test]
    fn packed_counts_may_be_negative(total in 0_i64..32768, failed in -64_i64..32768, slow in -64_i64..32768,
                               generation in 1_u32..1 << 24) {
        let generation = WindowGeneration::from_bits(generation);
        let word = [(total, PackedCounts::TOTAL), (failed, PackedCounts::FAILED), (slow, PackedCounts::SLOW)]
            .iter()
            .fold(PackedCounts::empty(generation).0, |sum, (n, shift)| sum.wrapping_add((*n as u64) << shift));
        prop_assert_eq!(PackedCounts(word).split().1, [slow, failed, total]);
        prop_assert!(PackedCounts(word).are_of(generation));
        prop_assert!(!PackedCounts(word).are_of(generation.next()));
    }
}

#[test]
fn a_late_sample_changes_no_count() {
    let window = CountWindow::new(4);
    let old = WindowGeneration::FIRST;
    let new = old.next();
    window.record(old, Sample::FAILED);
    window.reset(new);
    assert!(!window.record(old, Sample::FAILED));
    assert!(window.record(new, Sample::SLOW));
    assert_eq!(window.counts(), WindowCounts { total: 1, failed: 0, slow: 1 });
    // A thread that was suspended between taking a position and writing its slot:
    assert!(!window.replace(&window.slots[1], old, Slot::new(old, Sample::FAILED)));
    assert_eq!(window.counts(), window.recount(new));
}

/// Two threads can find the cursor past half its range; the second must not set it back again.
#[test]
fn the_cursor_is_set_back_once() {
    let half = HALF as u32;
    let generation = WindowGeneration::FIRST;
    for (calls, position, expected) in [
        (10, half, half % 10),
        (10, half + 13, half % 10 + 13),
        (10, half - 1, half - 1),
        (10, 7, 7),
        (1, half, 0),
        (1, 0, 0),
    ] {
        let window = CountWindow::new(calls);
        window.set_next_position(generation, position);
        window.set_cursor_back();
        let cursor = window.cursor.load(Relaxed);
        assert_eq!((generation_of(cursor), cursor as u32), (generation, expected), "{position}");
    }
}
