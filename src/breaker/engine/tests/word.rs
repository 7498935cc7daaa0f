//! Tests of the questions that the state word answers.

use crate::breaker::CircuitBreaker;
use crate::breaker::engine::word::{Phase, Trial, Word};
use crate::breaker::mode::CircuitBreakerMode;
use std::time::Duration;

fn word(streaks: bool, timed: bool) -> Word {
    let mut builder = CircuitBreaker::builder();
    if streaks {
        builder = builder.consecutive_failures(9);
    }
    if timed {
        builder = builder.slow_calls(Duration::from_secs(1), 0.5);
    }
    Word::new(&builder.validated().unwrap(), CircuitBreakerMode::Automatic)
}

fn closed(consecutive_failures: u32, ramping: bool) -> Phase {
    Phase::Closed { consecutive_failures, ramping }
}

#[test]
fn a_word_is_plain_if_it_is_closed_not_ramping_and_not_timed() {
    for (timed, phase, is_plain, admits_all) in [
        (false, closed(0, false), true, true),
        (false, closed(3, false), true, true),
        (true, closed(0, false), false, true),
        (false, closed(0, true), false, false),
        (false, Phase::Open, false, false),
        (false, Phase::HalfOpen(Trial::default()), false, false),
        (false, Phase::Bypass, false, false),
    ] {
        let word = word(false, timed).with_phase(phase);
        assert_eq!((word.is_plain(), word.admits_all()), (is_plain, admits_all), "{word:?}");
    }
}

#[test]
fn a_streak_is_known_only_if_consecutive_failures_are_counted() {
    for (streaks, failures, has_streak, streak) in
        [(true, 0, false, 0), (true, 3, true, 3), (false, 3, false, 0)]
    {
        let word = word(streaks, false).with_phase(closed(failures, false));
        assert_eq!((word.has_streak(), word.streak()), (has_streak, streak), "{word:?}");
    }
    assert_eq!(word(true, false).with_phase(Phase::Open).streak(), 0);
}

#[test]
fn only_a_shadowed_call_has_a_sequence_number() {
    assert_eq!(Word::shadowed(7).shadow_sequence(), Some(7));
    assert_eq!(Word::UNCOUNTED.shadow_sequence(), None);
    assert_eq!(word(false, false).shadow_sequence(), None);
}

#[test]
fn an_uncounted_call_belongs_to_no_closed_breaker() {
    for word in [Word::UNCOUNTED, Word::shadowed(7)] {
        assert!(word.is_bypass() && !word.is_closed() && !word.is_plain(), "{word:?}");
    }
}

#[test]
fn debug_shows_the_parts_of_the_word() {
    let shown = format!("{:?}", word(true, true).with_phase(Phase::Open));
    assert_eq!(shown, "Automatic Open WindowGeneration(1) epoch 0");
}
