//! The modes of a circuit breaker, and controls that set the mode of several breakers.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerControl as Control,
    CircuitBreakerMode as Mode, CircuitBreakerPermit as Permit, CircuitBreakerState as State,
    TransitionCause as Cause,
};
use mainstay::event::{Event, EventValue};
use mainstay::outcome::Outcome;
use mainstay::time::ManualClock;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MODES: [Mode; 5] =
    [Mode::Automatic, Mode::Shadow, Mode::ForcedClosed, Mode::ForcedOpen, Mode::Disabled];

fn builder(time: &ManualClock) -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .clock(time.clock())
        .count_window(10)
        .min_calls(4)
        .open_duration(Backoff::constant(10 * SECOND))
        .half_open_concurrency(1)
        .half_open_calls(1)
}

fn fail(breaker: &CircuitBreaker, times: usize) {
    for _ in 0..times {
        if let Ok(permit) = breaker.try_acquire() {
            permit.failure();
        }
    }
}

#[test]
fn each_mode_rejects_counts_and_opens_as_documented() {
    //  mode, passes, counts, trips
    let table = [
        (Mode::Automatic, true, true, true),
        (Mode::Shadow, true, true, true),
        (Mode::ForcedClosed, true, true, false),
        (Mode::ForcedOpen, false, false, false),
        (Mode::Disabled, true, false, false),
    ];
    for (mode, passes, counts, trips) in table {
        let breaker = builder(&ManualClock::new()).build().unwrap();
        breaker.set_mode(mode);
        assert_eq!(breaker.mode(), mode);
        assert_eq!(breaker.try_acquire().map(Permit::failure).is_ok(), passes, "{mode}");
        assert_eq!(breaker.snapshot().counts.failed, u64::from(counts), "{mode}");
        fail(&breaker, 9);
        let open = breaker.state() == State::Open;
        assert_eq!(open, trips || mode == Mode::ForcedOpen, "{mode}");
        assert_eq!(
            breaker.try_acquire().is_ok(),
            passes && mode != Mode::Automatic,
            "{mode} after failures"
        );
        assert_eq!(breaker.snapshot().mode, mode);
    }
}

/// Every change of mode leads to the state of the new mode and is one transition.
#[test]
fn every_mode_can_follow_every_other() {
    for from in MODES {
        for to in MODES {
            let time = ManualClock::new();
            let breaker = builder(&time).build().unwrap();
            breaker.set_mode(from);
            fail(&breaker, 10);
            let before = breaker.history().len();
            let tripped = matches!(from, Mode::Automatic | Mode::Shadow);
            breaker.set_mode(to);
            let history = breaker.history();
            assert_eq!(history.len() - before, usize::from(from != to), "{from} to {to}");
            if from != to {
                let last = history.last().unwrap();
                assert_eq!((last.cause, last.mode), (Cause::ModeChanged, to));
            }
            let expected = match to {
                Mode::ForcedOpen => State::Open,
                Mode::Automatic | Mode::Shadow if tripped => State::Open, // by the rules
                _ => State::Closed,
            };
            assert_eq!(breaker.state(), expected, "{from} to {to}");
            if matches!(from, Mode::ForcedOpen | Mode::Disabled) && from != to {
                assert_eq!(breaker.snapshot().counts.total, 0, "{from} to {to}");
            }
            // The rules apply again afterwards.
            breaker.set_mode(Mode::Automatic);
            breaker.reset();
            fail(&breaker, 4);
            assert_eq!(breaker.state(), State::Open);
            time.advance(10 * SECOND);
            breaker.try_acquire().unwrap().success();
            assert_eq!(breaker.state(), State::Closed);
        }
    }
}

#[test]
fn forced_open_stays_open_without_a_retry_time() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let late = breaker.try_acquire().unwrap();
    breaker.force_open();
    time.advance(1_000_000 * SECOND);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), None);
    assert_eq!(breaker.snapshot().retry_after, None);
    late.success();
    breaker.reset();
    assert_eq!(
        (breaker.state(), breaker.snapshot().stale_outcomes),
        (State::Open, 1),
        "a mode has priority over a reset"
    );
    breaker.reconfigure(breaker.config().min_calls(1)).unwrap();
    assert_eq!(breaker.mode(), Mode::ForcedOpen);
}

#[test]
fn forced_closed_closes_an_open_breaker_and_continues_to_count() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    fail(&breaker, 4);
    assert_eq!(breaker.state(), State::Open);
    breaker.force_close();
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 9);
    assert_eq!(breaker.snapshot().counts.failed, 9);
    // The window is kept when the rules apply again, and the next failure opens the breaker.
    breaker.set_mode(Mode::Automatic);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn an_unavailable_dependency_does_not_open_a_breaker_that_is_forced_closed() {
    let breaker = builder(&ManualClock::new()).build().unwrap();
    breaker.force_close();
    breaker.try_acquire().unwrap().record_outcome(Outcome::Unavailable(SECOND));
    assert_eq!(breaker.state(), State::Closed);
}

/// A call that would have been rejected is not counted, so that both breakers are always in the
/// same state.
#[test]
fn shadow_mode_decides_as_automatic_mode_and_rejects_nothing() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let (real, shadow) = (builder(&time).build().unwrap(), builder(&time).build().unwrap());
    shadow.set_mode(Mode::Shadow);
    let received = events.clone();
    let _subscription = shadow.observe(move |event: &Event<'_>| {
        received.lock().unwrap().push((event.kind, event.sequence, event.field("state")));
    });
    let mut dice = 7_u32;
    let mut rejected = 0;
    for _ in 0..2_000 {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let failed = dice >> 30 == 0 || dice >> 24 & 3 == 0;
        if dice >> 20 & 7 == 0 {
            time.advance(Duration::from_millis(u64::from(dice >> 8 & 0xfff)));
        }
        let would = shadow.try_acquire().unwrap();
        match real.try_acquire() {
            Ok(permit) => {
                assert!(!would.would_reject());
                if failed { permit.failure() } else { permit.success() }
            }
            Err(_) => {
                assert!(would.would_reject());
                rejected += 1;
            }
        }
        if failed {
            would.failure();
        } else {
            would.success();
        }
        assert_eq!(
            (real.state(), real.snapshot().counts),
            (shadow.state(), shadow.snapshot().counts)
        );
    }
    assert!(rejected > 10, "{rejected}");
    assert_eq!((shadow.snapshot().shadow_rejected, shadow.snapshot().rejected), (rejected, 0));
    let events = events.lock().unwrap();
    let would: Vec<_> = events.iter().filter(|event| event.0 == "would_reject").collect();
    assert_eq!(would.len() as u64, rejected);
    assert_eq!(
        would.last().unwrap(),
        &&("would_reject", rejected, Some(EventValue::Label("open")))
    );
}

#[test]
fn a_control_sets_the_mode_of_present_and_later_breakers() {
    let time = ManualClock::new();
    let control = Control::new();
    let mut breakers: Vec<_> =
        (0..3).map(|_| builder(&time).control(&control).build().unwrap()).collect();
    let alone = builder(&time).build().unwrap();
    control.set_mode(Mode::ForcedOpen);
    breakers.push(builder(&time).control(&control).build().unwrap());
    assert!(breakers.iter().all(|breaker| breaker.try_acquire().is_err()));
    assert!(alone.try_acquire().is_ok());
    assert!(breakers[3].history().is_empty(), "starting in a mode is no transition");
    breakers[0].set_mode(Mode::Disabled);
    assert!(breakers[0].try_acquire().is_ok() && breakers[1].try_acquire().is_err());
    drop(breakers.split_off(2));
    control.set_mode(Mode::Automatic);
    assert!(
        breakers
            .iter()
            .all(|breaker| breaker.mode() == Mode::Automatic && breaker.try_acquire().is_ok())
    );
}

#[test]
fn a_control_and_its_breakers_agree_after_concurrent_changes() {
    let time = ManualClock::new();
    let control = Control::new();
    let breakers: Vec<_> =
        (0..8).map(|_| builder(&time).control(&control).build().unwrap()).collect();
    for round in 0..200 {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let control = &control;
                scope.spawn(move || control.set_mode(MODES[(round + thread) % MODES.len()]));
            }
        });
        for breaker in &breakers {
            assert_eq!(breaker.mode(), control.mode());
        }
    }
}
