//! The circuit breaker's rules, as tables on a manual clock.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::{Backoff, Jitter};
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerPermit as Permit,
    CircuitBreakerState as State,
};
use mainstay::error::{Error, Reason};
use mainstay::event::{Event, EventValue};
use mainstay::outcome::{Outcome, Timed};
use mainstay::time::{Clock, ManualClock};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Waits 10 s, then twice as long each time, up to 60 s; two probes at once, four decide.
fn builder(time: &ManualClock) -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .clock(time.clock())
        .count_window(10)
        .min_calls(4)
        .open_duration(Backoff::exponential(10 * SECOND).cap(60 * SECOND).jitter(Jitter::None))
        .half_open_concurrency(2)
        .half_open_calls(4)
        .probe_timeout(100 * SECOND)
}

/// Makes calls: `.` succeeds, `x` fails, `i` is ignored, `d` is dropped, `r` must be rejected.
fn calls(breaker: &CircuitBreaker, script: &str) {
    for (i, call) in script.chars().filter(|c| !c.is_whitespace()).enumerate() {
        let permit = breaker.try_acquire();
        match (call, permit) {
            ('.', Ok(permit)) => permit.success(),
            ('x', Ok(permit)) => permit.failure(),
            ('i', Ok(permit)) => permit.ignore(),
            ('d', Ok(permit)) => drop(permit),
            ('r', Err(rejection)) => assert_eq!(rejection.reason(), Reason::CircuitOpen),
            (call, permit) => panic!("call {i} {call:?} of {script:?}: {permit:?} {breaker:?}"),
        }
    }
}

fn tripped(time: &ManualClock) -> CircuitBreaker {
    let breaker = builder(time).build().unwrap();
    calls(&breaker, "xxxx");
    assert_eq!(breaker.state(), State::Open);
    breaker
}

#[test]
fn trips_by_its_rules() {
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
        (rate, "xx..", false),   // half, but judged on failures only …
        (rate, "xx..x", true),   // … with the next one
        (rate, "iixxdd", false), // ignored and dropped calls are no calls
        (rate, "xxxii", false),
        (rate, "..........xxxx", false), // the window slides
        (rate, "..........xxxxx", true),
        (rate, "xxx.............xx", false), // failures slide out too
        (all, "xxx.xxxxxxxxx", false),
        (all, "xxx.xxxxxxxxxx", true),
        (run, "xx.xx.xx.xx", false),
        (run, "xx.xx.xxx", true),
        (run, "xxiidx", true), // a run is not broken by calls that say nothing
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
fn slow_calls_trip_by_their_own_rate_and_minimum() {
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
    assert_eq!(breaker.state(), State::Closed, "judged after slow or failed calls only");
    assert_eq!((breaker.snapshot().counts.total, breaker.snapshot().counts.slow), (2, 1));
    call(SECOND);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_time_window_forgets() {
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

#[test]
fn rejects_until_the_wait_is_over_and_waits_longer_each_time() {
    let time = ManualClock::new();
    let breaker = tripped(&time);
    for wait in [10, 20, 40, 60, 60] {
        let wait = wait * SECOND;
        assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(wait));
        time.advance(wait - Duration::from_nanos(1));
        let rejection = breaker.try_acquire().unwrap_err();
        assert_eq!(rejection.retry_after(), Some(Duration::from_nanos(1)));
        time.advance(Duration::from_nanos(1));
        assert_eq!(breaker.snapshot().retry_after, Some(Duration::ZERO));
        calls(&breaker, "xx"); // two of four are half
    }
    assert_eq!(breaker.snapshot().openings, 6);
    time.advance(60 * SECOND);
    calls(&breaker, "...");
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().openings, 0);
    calls(&breaker, "xxxx");
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(10 * SECOND), "starts anew");
}

#[test]
fn a_trial_is_decided_as_soon_as_it_is_certain() {
    use State::{Closed, HalfOpen, Open};
    //  calls, state after each
    let table: &[(&str, &[State])] = &[
        ("...", &[HalfOpen, HalfOpen, Closed]), // the fourth could not make it half
        ("xx", &[HalfOpen, Open]),
        ("x..x", &[HalfOpen, HalfOpen, HalfOpen, Open]),
        ("x...", &[HalfOpen, HalfOpen, HalfOpen, Closed]),
        ("idid...", &[HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen, Closed]),
    ];
    for (script, states) in table {
        let time = ManualClock::new();
        let breaker = tripped(&time);
        time.advance(10 * SECOND);
        for (call, state) in script.chars().zip(*states) {
            calls(&breaker, &call.to_string());
            assert_eq!(breaker.state(), *state, "{script}");
        }
    }
}

#[test]
fn slow_probes_count_against_a_slow_rate() {
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
fn where_only_runs_trip_one_failed_probe_goes_on_with_the_run() {
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
fn never_more_probes_than_allowed_nor_than_wanted() {
    let time = ManualClock::new();
    let breaker = tripped(&time);
    time.advance(10 * SECOND);
    let first = breaker.try_acquire().unwrap();
    let second = breaker.try_acquire().unwrap();
    let rejection = breaker.try_acquire().unwrap_err();
    assert_eq!(rejection.retry_after(), None, "nobody knows when a probe will end");
    assert_eq!(breaker.snapshot().active_probes, 2);
    first.success();
    let third = breaker.try_acquire().unwrap();
    drop(second);
    let fourth = breaker.try_acquire().unwrap();
    third.failure();
    fourth.success();
    // Three of four outcomes are known: only one more probe is wanted.
    let last = breaker.try_acquire().unwrap();
    calls(&breaker, "r");
    last.success();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_hanging_dependency_does_not_wedge_the_breaker_and_is_not_probed_for_ever() {
    let time = ManualClock::new();
    let breaker = tripped(&time);
    time.advance(10 * SECOND);
    let hung = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    time.advance(100 * SECOND - Duration::from_nanos(1));
    calls(&breaker, "r");
    time.advance(Duration::from_nanos(1));
    // The leases are over: two lost of four are half, so this caller finds it open again.
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(20 * SECOND));
    let [first, second] = hung;
    first.success();
    second.failure();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.snapshot().stale, 2);
}

#[test]
fn a_lost_probe_was_slow_too() {
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
fn a_lost_probe_makes_room_for_the_next() {
    let time = ManualClock::new();
    let breaker = tripped(&time);
    time.advance(10 * SECOND);
    let hung = breaker.try_acquire().unwrap();
    calls(&breaker, ".");
    let young = breaker.try_acquire().unwrap();
    time.advance(50 * SECOND);
    calls(&breaker, "r");
    drop(young);
    let younger = breaker.try_acquire().unwrap();
    time.advance(99 * SECOND);
    // The youngest lease counts: nobody is given up before his own is over.
    calls(&breaker, "r");
    time.advance(SECOND);
    // One success, two lost.
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.try_acquire().is_err());
    assert_eq!(breaker.state(), State::Open);
    drop((hung, younger));
}

#[test]
fn a_call_admitted_while_closed_decides_nothing_later() {
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
    assert_eq!(breaker.snapshot().stale, 7);
}

#[test]
fn a_clock_that_goes_back_or_far_ahead_is_survived() {
    let time = ManualClock::new();
    let start = time.now();
    let breaker =
        builder(&time).time_window(10 * SECOND, 10).slow_calls(SECOND, 1.0).build().unwrap();
    let permit = breaker.try_acquire().unwrap();
    time.set(start - 1000 * SECOND);
    permit.success(); // took no time at all
    assert_eq!(breaker.snapshot().counts.slow, 0);
    calls(&breaker, "xxx");
    assert_eq!(breaker.state(), State::Open);
    time.set(mainstay::time::Instant::ORIGIN);
    assert!(breaker.try_acquire().unwrap_err().retry_after() >= Some(10 * SECOND));
    time.set(mainstay::time::Instant::FAR_FUTURE);
    calls(&breaker, "...");
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn reset_closes_and_forgets() {
    let time = ManualClock::new();
    let breaker = tripped(&time);
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

#[test]
fn reconfigure_keeps_window_and_state() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    calls(&breaker, "......xxx");
    breaker.reconfigure(breaker.config().failure_rate(0.4)).unwrap();
    assert_eq!(breaker.snapshot().counts.failed, 3);
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
    breaker
        .reconfigure(
            breaker.config().open_duration(Backoff::constant(SECOND)).half_open_concurrency(1),
        )
        .unwrap();
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(10 * SECOND), "as it opened");
    time.advance(10 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    calls(&breaker, "r");
    probe.failure();
    // Fewer outcomes are wanted now than there are already: the next caller decides.
    breaker.reconfigure(breaker.config().half_open_calls(1)).unwrap();
    calls(&breaker, "r");
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(SECOND));
}

#[test]
fn reconfigure_turns_rules_on_and_off() {
    let time = ManualClock::new();
    let breaker = builder(&time).failure_rate(None).consecutive_failures(3).build().unwrap();
    calls(&breaker, "xx");
    breaker.reconfigure(breaker.config().failure_rate(1.0).consecutive_failures(None)).unwrap();
    calls(&breaker, ".x");
    breaker.reconfigure(breaker.config().failure_rate(None).consecutive_failures(2)).unwrap();
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Closed, "runs are counted from when the rule is on");
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn reconfigure_refuses_what_is_fixed_and_what_is_wrong() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let error = |builder| breaker.reconfigure(builder).unwrap_err().field();
    assert_eq!(error(breaker.config().count_window(11)), "window");
    assert_eq!(error(breaker.config().time_window(SECOND, 10)), "window");
    assert_eq!(error(breaker.config().clock(Clock::system())), "clock");
    assert_eq!(error(breaker.config().name("other")), "name");
    assert_eq!(error(breaker.config().failure_rate(f64::NAN)), "failure_rate");
    calls(&breaker, "xxxx");
    assert_eq!(breaker.state(), State::Open, "nothing has changed");
}

#[test]
fn settings_out_of_range_are_named() {
    let b = CircuitBreaker::builder;
    let table = [
        (b().failure_rate(0.0), "failure_rate"),
        (b().failure_rate(-0.5), "failure_rate"),
        (b().failure_rate(1.01), "failure_rate"),
        (b().failure_rate(f64::NAN), "failure_rate"),
        (b().failure_rate(f64::INFINITY), "failure_rate"),
        (b().failure_rate(None), "failure_rate"),
        (b().min_calls(0), "min_calls"),
        (b().min_calls(101), "min_calls"),
        (b().min_calls(u32::MAX), "min_calls"),
        (b().slow_calls(SECOND, f64::NAN), "slow_calls"),
        (b().slow_calls(Duration::ZERO, 0.5), "slow_calls"),
        (b().slow_calls(SECOND, 0.5).slow_min_calls(0), "slow_min_calls"),
        (b().consecutive_failures(0), "consecutive_failures"),
        (b().consecutive_failures(u32::MAX), "consecutive_failures"),
        (b().half_open_concurrency(0), "half_open_concurrency"),
        (b().half_open_concurrency(128), "half_open_concurrency"),
        (b().half_open_calls(0), "half_open_calls"),
        (b().half_open_calls(u32::MAX), "half_open_calls"),
        (b().probe_timeout(Duration::ZERO), "probe_timeout"),
        (b().open_duration(Backoff::exponential(SECOND).factor(f64::NAN)), "backoff.factor"),
        (b().count_window(u32::MAX), "count_window"),
        (b().count_window(0), "min_calls"),
        (b().time_window(SECOND, 0), "time_window"),
        (b().time_window(SECOND, u32::MAX), "time_window"),
        (b().time_window(Duration::ZERO, 1), "time_window"),
        (b().time_window(Duration::MAX, 10), "time_window"),
    ];
    for (builder, field) in table {
        let shown = format!("{builder:?}");
        assert_eq!(builder.build().expect_err(&shown).field(), field, "{shown}");
    }
}

#[test]
fn a_small_window_is_judged_when_it_is_full() {
    let breaker = CircuitBreaker::builder().count_window(3).build().unwrap();
    calls(&breaker, "xx");
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn zero_and_endless_waits_are_defined() {
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
fn events_tell_each_transition_in_order() {
    let time = ManualClock::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = told.clone();
        move |event: &Event<'_>| {
            let word = |name| match event.field(name) {
                Some(EventValue::Label(word)) => word,
                other => panic!("{other:?}"),
            };
            let wait = event.field("open_duration");
            told.lock().unwrap().push((
                event.sequence,
                word("from"),
                word("to"),
                word("cause"),
                wait,
            ));
        }
    };
    let breaker = builder(&time).name("search").observer(observer).build().unwrap();
    calls(&breaker, "xxxx");
    time.advance(10 * SECOND);
    calls(&breaker, "xx");
    time.advance(20 * SECOND);
    calls(&breaker, "...");
    breaker.reset();
    assert_eq!(
        *told.lock().unwrap(),
        [
            (1, "closed", "open", "failure rate", Some(EventValue::Duration(10 * SECOND))),
            (2, "open", "half-open", "open duration elapsed", None),
            (3, "half-open", "open", "probes failed", Some(EventValue::Duration(20 * SECOND))),
            (4, "open", "half-open", "open duration elapsed", None),
            (5, "half-open", "closed", "probes succeeded", None),
            (6, "closed", "closed", "reset", None),
        ]
    );
}

#[test]
fn a_classifier_sees_the_ok_value_and_the_elapsed_time() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let by_status = breaker.classified_by(|result: &Result<u16, Error<()>>| match result {
        Ok(500..) => Outcome::Failure,
        Ok(400..) => Outcome::Ignore,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    });
    for status in [200, 404, 404, 503] {
        assert_eq!(by_status.call_blocking(|| Ok(status)), Ok(status));
    }
    let counts = breaker.snapshot().counts;
    assert_eq!((counts.total, counts.failed), (2, 1));

    let by_time = breaker.classified_with(Timed(|_: &Result<(), Error<()>>, elapsed| {
        if elapsed > SECOND { Outcome::Failure } else { Outcome::Success }
    }));
    let _ = time.drive(by_time.call(|| async {
        time.clock().sleep(2 * SECOND).await;
        Ok(())
    }));
    assert_eq!(breaker.snapshot().counts.failed, 2);
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

/// No lock is held, and no guard pinned, while user code runs: it may use the breaker it is called by.
#[test]
fn user_code_may_use_the_breaker_that_runs_it() {
    let time = ManualClock::new();
    let inside: Arc<Mutex<Option<CircuitBreaker>>> = Arc::default();
    let breaker_use = {
        let inside = inside.clone();
        move || {
            let breaker = inside.lock().unwrap().clone().unwrap();
            assert!(format!("{:?}", breaker.snapshot()).contains("stale"));
            drop(breaker.try_acquire());
            breaker
        }
    };
    let (in_wait, in_observer) = (breaker_use.clone(), breaker_use.clone());
    let breaker = builder(&time)
        .open_duration(Backoff::custom(move |_| {
            in_wait();
            SECOND
        }))
        .observer(move |_: &Event<'_>| {
            let breaker = in_observer();
            breaker.reconfigure(breaker.config()).unwrap();
        })
        .build()
        .unwrap();
    *inside.lock().unwrap() = Some(breaker.clone());
    let in_classifier = breaker_use.clone();
    let view = breaker.classified_by(move |result: &Result<(), Error<()>>| {
        let breaker = in_classifier();
        breaker.reconfigure(breaker.config()).unwrap();
        if result.is_ok() { Outcome::Success } else { Outcome::Failure }
    });
    for _ in 0..2 {
        let _ = view.call_blocking(|| {
            breaker_use();
            Err(())
        });
    }
    calls(&breaker, "xx");
    assert_eq!(breaker.state(), State::Open);
    time.advance(SECOND);
    let _ = view.call_blocking(|| {
        breaker_use().reset();
        Ok(())
    });
    assert_eq!((breaker.state(), breaker.snapshot().stale), (State::Closed, 1));
    *inside.lock().unwrap() = None;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A time window's verdict lies within one bucket of that of a model which looks at every call.
    #[test]
    fn a_time_window_trips_within_one_bucket_of_the_exact_answer(
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
            // The exact verdict for every reach of the window that the buckets allow for.
            let verdict = |reach: u64| {
                let recent = seen.iter().filter(|(at, _)| at + reach > now);
                let (total, bad) = recent.fold((0_u32, 0_u32), |(n, bad), (_, f)| (n + 1, bad + u32::from(*f)));
                failed && total >= minimum && f64::from(bad) / f64::from(total) >= rate
            };
            let verdicts: Vec<bool> = (span - width_ms + 1..=span).map(verdict).collect();
            if breaker.state() == State::Open {
                prop_assert!(verdicts.contains(&true), "tripped at {now} ms without reason: {seen:?}");
                break;
            }
            prop_assert!(verdicts.contains(&false), "did not trip at {now} ms: {seen:?}");
        }
    }
}

/// A lost probe holds its slot for one lease at most: by the settings in force, and by the clock as it is.
#[test]
fn a_lease_is_never_longer_than_the_settings_say() {
    let wedge = |lease: Duration| {
        let time = ManualClock::new();
        let breaker = builder(&time)
            .half_open_concurrency(1)
            .probe_timeout(lease)
            .open_duration(Backoff::constant(SECOND))
            .build()
            .unwrap();
        for _ in 0..4 {
            breaker.try_acquire().unwrap().failure();
        }
        time.advance(SECOND);
        std::mem::forget(breaker.try_acquire().unwrap());
        assert!(breaker.try_acquire().is_err());
        (time, breaker)
    };
    let is_free_after_one_lease = |time: &ManualClock, breaker: &CircuitBreaker| {
        assert!(breaker.try_acquire().is_err());
        time.advance(30 * SECOND);
        breaker.try_acquire().unwrap().success();
    };

    let (time, breaker) = wedge(Duration::MAX);
    breaker.reconfigure(breaker.config().probe_timeout(30 * SECOND)).unwrap();
    is_free_after_one_lease(&time, &breaker);

    let (time, breaker) = wedge(30 * SECOND);
    time.set(time.now() - 1000 * SECOND);
    is_free_after_one_lease(&time, &breaker);
}
