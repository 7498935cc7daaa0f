//! The rules of a circuit breaker, as tables on a manual clock.
#![cfg(not(mainstay_loom))]

mod breaker_support;

use breaker_support::{builder, calls};
use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerPermit as Permit,
    CircuitBreakerState as State,
};
use mainstay::error::Error;
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn open_breaker(time: &ManualClock) -> CircuitBreaker {
    let breaker = builder(time).build().unwrap();
    calls(&breaker, "xxxx");
    assert_eq!(breaker.state(), State::Open);
    breaker
}

// Closed

#[test]
fn a_breaker_opens_by_its_rules() {
    type Setup = fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder;
    let rate: Setup = |b| b;
    let run: Setup = |b| b.failure_rate(None).consecutive_failures(3);
    let both: Setup = |b| b.consecutive_failures(3);
    let all: Setup = |b| b.failure_rate(1.0);
    //  setup, calls, opens with the last of them
    let table: &[(Setup, &str, bool)] = &[
        (rate, "xxx", false), // fewer calls than the minimum
        (rate, "xxxx", true),
        (rate, "..xx", true), // half is enough
        (rate, "...xx", false),
        (rate, "...xxx", true),
        (rate, "xx..", false),   // half, but evaluated after failures only …
        (rate, "xx..x", true),   // … with the next one
        (rate, "iixxdd", false), // ignored and dropped calls do not count
        (rate, "xxxii", false),
        (rate, "..........xxxx", false), // the window slides
        (rate, "..........xxxxx", true),
        (rate, "xxx.............xx", false), // failures slide out too
        (all, "xxx.xxxxxxxxx", false),
        (all, "xxx.xxxxxxxxxx", true),
        (run, "xx.xx.xx.xx", false),
        (run, "xx.xx.xxx", true),
        (run, "xxiidx", true), // calls that are not counted do not end a run
        (both, "xxx", true),   // a run needs no minimum
        (both, "x.x.x", true),
    ];
    for (setup, script, opens) in table {
        let breaker = setup(builder(&ManualClock::new())).build().unwrap();
        let (before, last) = script.split_at(script.len() - 1);
        calls(&breaker, before);
        assert_eq!(breaker.state(), State::Closed, "{before}");
        calls(&breaker, last);
        assert_eq!(breaker.state() == State::Open, *opens, "{script}");
    }
}

#[test]
fn a_count_window_slides_after_ten_thousand_successes() {
    let breaker = builder(&ManualClock::new()).count_window(100).min_calls(20).build().unwrap();
    calls(&breaker, &".".repeat(10_000));
    calls(&breaker, &"x".repeat(49));
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn slow_calls_open_by_their_own_rate_and_minimum() {
    let time = ManualClock::new();
    let breaker = builder(&time)
        .failure_rate(None)
        .slow_calls(SECOND, 0.5)
        .slow_min_calls(2)
        .build()
        .unwrap();
    let call = |takes: Duration| {
        let permit = breaker.try_acquire().unwrap();
        time.advance(takes);
        permit.success();
    };
    call(SECOND);
    assert_eq!(breaker.state(), State::Closed, "below the minimum");
    call(SECOND - Duration::from_nanos(1));
    assert_eq!(breaker.state(), State::Closed, "evaluated after slow or failed calls only");
    assert_eq!((breaker.snapshot().counts.total, breaker.snapshot().counts.slow), (2, 1));
    call(SECOND);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_time_window_forgets_old_failures() {
    let time = ManualClock::new();
    let breaker = builder(&time).time_window(10 * SECOND, 10).build().unwrap();
    calls(&breaker, "xxx");
    time.advance(10 * SECOND);
    calls(&breaker, "xxx");
    assert_eq!(breaker.state(), State::Closed);
    time.advance(9 * SECOND);
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The verdict of a time window differs from an exact model by at most one bucket.
    #[test]
    fn a_time_window_opens_within_one_bucket_of_the_exact_answer(
        buckets in 1_u32..8,
        width_ms in 1_u64..20,
        minimum in 1_u32..8,
        rate in 0.1_f64..=1.0,
        schedule in prop::collection::vec(
            (prop_oneof![10 => 0_u64..5, 3 => 0_u64..100, 1 => 0_u64..20_000], any::<bool>()), 1..100),
    ) {
        let time = ManualClock::new();
        let ms = Duration::from_millis;
        let span = width_ms * u64::from(buckets);
        let breaker = CircuitBreaker::builder()
            .clock(time.clock())
            .time_window(ms(span), buckets)
            .failure_rate(rate)
            .min_calls(minimum)
            .build()
            .unwrap();
        let mut seen: Vec<(u64, bool)> = Vec::new();
        let mut now = 0;
        for (pause, failed) in schedule {
            now += pause;
            time.advance(ms(pause));
            let permit = breaker.try_acquire().unwrap();
            seen.push((now, failed));
            if failed { permit.failure() } else { permit.success() }
            // The exact verdict for every length of the window that the buckets allow for.
            let verdict = |reach: u64| {
                let recent = seen.iter().filter(|(at, _)| at + reach > now);
                let (total, bad) = recent.fold((0_u32, 0_u32), |(n, bad), (_, f)| (n + 1, bad + u32::from(*f)));
                failed && total >= minimum && f64::from(bad) / f64::from(total) >= rate
            };
            let verdicts: Vec<bool> = (span - width_ms + 1..=span).map(verdict).collect();
            if breaker.state() == State::Open {
                prop_assert!(verdicts.contains(&true), "opened at {now} ms without reason: {seen:?}");
                break;
            }
            prop_assert!(verdicts.contains(&false), "did not open at {now} ms: {seen:?}");
        }
    }
}

#[test]
fn a_window_smaller_than_the_minimum_is_evaluated_when_it_is_full() {
    let breaker = CircuitBreaker::builder().count_window(3).build().unwrap();
    calls(&breaker, "xx");
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
}

// Open

#[test]
fn an_open_breaker_rejects_for_a_duration_that_grows_with_each_opening() {
    let time = ManualClock::new();
    let breaker = open_breaker(&time);
    for wait in [10, 20, 40, 60, 60] {
        let wait = wait * SECOND;
        assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(wait));
        time.advance(wait - Duration::from_nanos(1));
        let rejection = breaker.try_acquire().unwrap_err();
        assert_eq!(rejection.retry_after(), Some(Duration::from_nanos(1)));
        time.advance(Duration::from_nanos(1));
        assert_eq!(breaker.snapshot().retry_after, Some(Duration::ZERO));
        calls(&breaker, "xx"); // two failures of four calls are half
    }
    assert_eq!(breaker.snapshot().openings, 6);
    time.advance(60 * SECOND);
    calls(&breaker, "...");
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().openings, 0);
    calls(&breaker, "xxxx");
    assert_eq!(
        breaker.try_acquire().unwrap_err().retry_after(),
        Some(10 * SECOND),
        "the first duration again"
    );
}

#[test]
fn an_open_duration_may_be_zero_or_endless() {
    let time = ManualClock::new();
    let breaker = builder(&time).open_duration(Backoff::constant(Duration::ZERO)).build().unwrap();
    calls(&breaker, "xxxx");
    calls(&breaker, "...");
    assert_eq!(breaker.state(), State::Closed);

    let breaker = builder(&time).open_duration(Backoff::constant(Duration::MAX)).build().unwrap();
    calls(&breaker, "xxxx");
    time.advance(1_000_000 * SECOND);
    calls(&breaker, "r");
}

#[test]
fn rejections_are_counted_and_carry_the_name() {
    let time = ManualClock::new();
    let breaker = builder(&time).name("search").build().unwrap();
    calls(&breaker, "xxxx rrr");
    assert_eq!(breaker.snapshot().rejected, 3);
    let error = breaker.call_blocking(|| Ok::<(), ()>(())).unwrap_err();
    let Error::Rejected(rejection) = error else { panic!("{error:?}") };
    assert_eq!(rejection.policy(), "search");
    assert_eq!(rejection.retry_after(), Some(10 * SECOND));
}

#[test]
fn reset_closes_and_empties_the_window() {
    let time = ManualClock::new();
    let breaker = open_breaker(&time);
    breaker.reset();
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, "xxx");
    let late = breaker.try_acquire().unwrap();
    breaker.reset();
    late.failure();
    assert_eq!(breaker.snapshot().counts.total, 0);
    calls(&breaker, "xxx");
    assert_eq!(breaker.state(), State::Closed);
}

// Half-open

#[test]
fn a_trial_ends_when_the_remaining_outcomes_cannot_change_its_result() {
    use State::{Closed, HalfOpen, Open};
    //  calls, state after each
    let table: &[(&str, &[State])] = &[
        ("...", &[HalfOpen, HalfOpen, Closed]), // a fourth call could only make it a quarter
        ("xx", &[HalfOpen, Open]),
        ("x..x", &[HalfOpen, HalfOpen, HalfOpen, Open]),
        ("x...", &[HalfOpen, HalfOpen, HalfOpen, Closed]),
        ("idid...", &[HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen, Closed]),
    ];
    for (script, states) in table {
        let time = ManualClock::new();
        let breaker = open_breaker(&time);
        time.advance(10 * SECOND);
        for (call, state) in script.chars().zip(*states) {
            calls(&breaker, &call.to_string());
            assert_eq!(breaker.state(), *state, "{script}");
        }
    }
}

#[test]
fn slow_probes_count_towards_the_slow_call_rate() {
    let time = ManualClock::new();
    let breaker = builder(&time).failure_rate(None).slow_calls(SECOND, 0.5).build().unwrap();
    let slow = |permit: Permit<'_>| {
        time.advance(SECOND);
        permit.success();
    };
    for _ in 0..4 {
        slow(breaker.try_acquire().unwrap());
    }
    assert_eq!(breaker.state(), State::Open);
    time.advance(10 * SECOND);
    slow(breaker.try_acquire().unwrap());
    slow(breaker.try_acquire().unwrap());
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn one_failed_probe_opens_a_breaker_that_has_no_failure_rate() {
    let time = ManualClock::new();
    let breaker = builder(&time).failure_rate(None).consecutive_failures(2).build().unwrap();
    calls(&breaker, "xx");
    time.advance(10 * SECOND);
    calls(&breaker, "..x");
    assert_eq!(breaker.state(), State::Open);
    time.advance(20 * SECOND);
    calls(&breaker, "....");
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn no_more_probes_are_admitted_than_allowed_or_needed() {
    let time = ManualClock::new();
    let breaker = open_breaker(&time);
    time.advance(10 * SECOND);
    let first = breaker.try_acquire().unwrap();
    let second = breaker.try_acquire().unwrap();
    let rejection = breaker.try_acquire().unwrap_err();
    assert_eq!(rejection.retry_after(), None, "it is not known when a probe will end");
    assert_eq!(breaker.snapshot().active_probes, 2);
    first.success();
    let third = breaker.try_acquire().unwrap();
    drop(second);
    let fourth = breaker.try_acquire().unwrap();
    third.failure();
    fourth.success();
    // Three of four outcomes are known: only one more probe is needed.
    let last = breaker.try_acquire().unwrap();
    calls(&breaker, "r");
    last.success();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn probes_that_hang_time_out_and_open_the_breaker() {
    let time = ManualClock::new();
    let breaker = open_breaker(&time);
    time.advance(10 * SECOND);
    let hung = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    time.advance(100 * SECOND - Duration::from_nanos(1));
    calls(&breaker, "r");
    time.advance(Duration::from_nanos(1));
    // Both probes have timed out. Two failures of four calls are half: the breaker opens again.
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(20 * SECOND));
    let [first, second] = hung;
    first.success();
    second.failure();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.snapshot().stale_outcomes, 2);
}

#[test]
fn a_probe_that_times_out_counts_as_slow() {
    let time = ManualClock::new();
    let breaker = builder(&time).failure_rate(None).slow_calls(SECOND, 0.5).build().unwrap();
    for _ in 0..4 {
        let permit = breaker.try_acquire().unwrap();
        time.advance(SECOND);
        permit.success();
    }
    time.advance(10 * SECOND);
    let _hung = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    time.advance(100 * SECOND);
    calls(&breaker, "r");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_probe_that_times_out_frees_its_slot() {
    let time = ManualClock::new();
    let breaker = open_breaker(&time);
    time.advance(10 * SECOND);
    let hung = breaker.try_acquire().unwrap();
    calls(&breaker, ".");
    let young = breaker.try_acquire().unwrap();
    time.advance(50 * SECOND);
    calls(&breaker, "r");
    drop(young);
    let younger = breaker.try_acquire().unwrap();
    time.advance(99 * SECOND);
    // The timeout runs from the admission of the newest probe, so no probe times out early.
    calls(&breaker, "r");
    time.advance(SECOND);
    // One success, two probes that timed out.
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.try_acquire().is_err());
    assert_eq!(breaker.state(), State::Open);
    drop((hung, younger));
}

// Late outcomes

#[test]
fn a_call_admitted_while_closed_does_not_count_in_a_later_state() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let early: Vec<_> = (0..8).map(|_| breaker.try_acquire().unwrap()).collect();
    let mut early = early.into_iter();
    calls(&breaker, "xxxx");
    early.next().unwrap().success();
    assert_eq!(breaker.state(), State::Open);
    time.advance(10 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    early.next().unwrap().failure();
    early.next().unwrap().failure();
    early.next().unwrap().success();
    assert_eq!((breaker.state(), breaker.snapshot().trial.total), (State::HalfOpen, 0));
    probe.success();
    calls(&breaker, "..");
    assert_eq!(breaker.state(), State::Closed);
    early.by_ref().take(3).for_each(Permit::failure);
    drop(early);
    assert_eq!(breaker.snapshot().counts.total, 0);
    assert_eq!(breaker.snapshot().stale_outcomes, 7);
}

#[test]
fn a_success_of_before_a_reset_is_not_counted() {
    let breaker = CircuitBreaker::builder().build().unwrap();
    let permit = breaker.try_acquire().unwrap();
    breaker.reset();
    permit.success();
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.counts.total, snapshot.stale_outcomes), (0, 1));
}
