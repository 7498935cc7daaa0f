//! A breaker in somebody's hand, in shadow, and watched by somebody.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerControl as Control,
    CircuitBreakerMode as Mode, CircuitBreakerPermit as Permit, CircuitBreakerState as State,
    KeyedCircuitBreaker, Transition, TransitionCause as Cause,
};
use mainstay::event::{Event, EventValue};
use mainstay::outcome::Outcome;
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
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

/// What each mode does, whatever state the breaker was in.
#[test]
fn each_mode_rejects_counts_and_moves_as_its_table_says() {
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

/// Every change of mode, from every state, ends where the new mode says and is told once.
#[test]
fn every_mode_follows_every_other() {
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
                Mode::Automatic | Mode::Shadow if tripped => State::Open, // its own verdict stands
                _ => State::Closed,
            };
            assert_eq!(breaker.state(), expected, "{from} to {to}");
            if matches!(from, Mode::ForcedOpen | Mode::Disabled) && from != to {
                assert_eq!(breaker.snapshot().counts.total, 0, "{from} to {to}");
            }
            // The rules work again afterwards.
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
fn forced_open_stays_open_and_cannot_say_until_when() {
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
        (breaker.state(), breaker.snapshot().stale),
        (State::Open, 1),
        "a hand is stronger than a reset"
    );
    breaker.reconfigure(breaker.config().min_calls(1)).unwrap();
    assert_eq!(breaker.mode(), Mode::ForcedOpen);
}

#[test]
fn forced_closed_ends_an_opening_and_goes_on_counting() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    fail(&breaker, 4);
    assert_eq!(breaker.state(), State::Open);
    breaker.force_close();
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 9);
    assert_eq!(breaker.snapshot().counts.failed, 9);
    // The window is there when the rules take over, and the next failure trips.
    breaker.set_mode(Mode::Automatic);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn an_unavailable_dependency_does_not_open_what_is_forced_closed() {
    let breaker = builder(&ManualClock::new()).build().unwrap();
    breaker.force_close();
    breaker.try_acquire().unwrap().record_outcome(Outcome::Unavailable(SECOND));
    assert_eq!(breaker.state(), State::Closed);
}

/// In shadow the state machine is that of a breaker in force: what would have been rejected is not counted.
#[test]
fn a_shadow_decides_as_a_breaker_in_force_and_rejects_nothing() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let (real, shadow) = (builder(&time).build().unwrap(), builder(&time).build().unwrap());
    shadow.set_mode(Mode::Shadow);
    let heard = events.clone();
    let _subscription = shadow.observe(move |event: &Event<'_>| {
        heard.lock().unwrap().push((event.kind, event.sequence, event.field("state")));
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
    assert_eq!((shadow.snapshot().shadowed, shadow.snapshot().rejected), (rejected, 0));
    let events = events.lock().unwrap();
    let would: Vec<_> = events.iter().filter(|event| event.0 == "would_reject").collect();
    assert_eq!(would.len() as u64, rejected);
    assert_eq!(
        would.last().unwrap(),
        &&("would_reject", rejected, Some(EventValue::Label("open")))
    );
}

#[test]
fn a_control_moves_all_and_those_that_come_later() {
    let time = ManualClock::new();
    let control = Control::new();
    let mut breakers: Vec<_> =
        (0..3).map(|_| builder(&time).control(&control).build().unwrap()).collect();
    let alone = builder(&time).build().unwrap();
    control.set_mode(Mode::ForcedOpen);
    breakers.push(builder(&time).control(&control).build().unwrap());
    assert!(breakers.iter().all(|breaker| breaker.try_acquire().is_err()));
    assert!(alone.try_acquire().is_ok());
    assert!(breakers[3].history().is_empty(), "it began so");
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

/// Two threads set modes on one control; when both are done all breakers are in its mode.
#[test]
fn a_control_and_its_breakers_agree_in_the_end() {
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

#[test]
fn a_subscription_hears_each_transition_until_it_is_dropped() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let subscription =
        breaker.on_transition(move |transition: &Transition| ear.lock().unwrap().push(*transition));
    fail(&breaker, 5);
    let opened = heard.lock().unwrap()[0];
    assert_eq!((opened.sequence, opened.cause, opened.at), (1, Cause::FailureRate, time.now()));
    assert_eq!(
        (opened.counts.total, opened.counts.failed, opened.open_duration),
        (4, 4, Some(10 * SECOND))
    );
    drop(subscription);
    breaker.reset();
    assert_eq!(heard.lock().unwrap().len(), 1);
    assert_eq!(breaker.history().len(), 2, "the history goes on");
}

#[test]
fn the_history_is_bounded_and_says_why() {
    let breaker = builder(&ManualClock::new()).build().unwrap();
    for _ in 0..20 {
        fail(&breaker, 4);
        breaker.reset();
    }
    let history = breaker.history();
    assert_eq!(history.len(), 16);
    assert_eq!(
        history.iter().map(|t| t.sequence).collect::<Vec<_>>(),
        (25..=40).collect::<Vec<_>>()
    );
    let why = history.iter().rfind(|transition| transition.to == State::Open).unwrap();
    assert_eq!((why.cause, why.counts.failed), (Cause::FailureRate, 4));
}

/// Whoever panics, the others hear, the breaker works, and nothing is told twice or lost.
#[test]
fn a_panicking_observer_leaves_all_usable() {
    let time = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let breaker = builder(&time).build().unwrap();
    let _panics = breaker.on_transition(|_: &Transition| resume_unwind(Box::new("observer")));
    let ear = heard.clone();
    let _hears = breaker.on_transition(move |t: &Transition| ear.lock().unwrap().push(t.sequence));
    let panicked = |act: &dyn Fn()| catch_unwind(AssertUnwindSafe(act)).is_err();
    assert!(panicked(&|| fail(&breaker, 4)));
    assert!(panicked(&|| breaker.force_close()));
    assert!(panicked(&|| breaker.set_mode(Mode::Automatic)));
    fail(&breaker, 3);
    assert!(panicked(&|| fail(&breaker, 1)));
    time.advance(10 * SECOND);
    // The first probe's admission tells of a transition, and the panic takes its permit along.
    assert!(panicked(&|| drop(breaker.try_acquire())));
    assert_eq!((breaker.state(), breaker.snapshot().active_probes), (State::HalfOpen, 0));
    assert!(panicked(&|| breaker.try_acquire().unwrap().success()));
    assert_eq!(breaker.state(), State::Closed);
    let told = heard.lock().unwrap();
    assert_eq!(*told, (1..=breaker.history().last().unwrap().sequence).collect::<Vec<_>>());
}

/// An observer may do anything with the breaker that tells it.
#[test]
fn an_observer_may_use_the_breaker_and_its_control() {
    let time = ManualClock::new();
    let control = Control::new();
    let breaker = builder(&time).control(&control).build().unwrap();
    let (inside, hand) = (breaker.clone(), control.clone());
    breaker
        .on_transition(move |transition: &Transition| {
            let _ = (inside.snapshot(), inside.history(), inside.try_acquire().is_ok());
            drop(inside.on_transition(|_: &Transition| ()));
            if transition.cause == Cause::FailureRate {
                hand.set_mode(Mode::Disabled);
            }
        })
        .detach();
    fail(&breaker, 4);
    assert_eq!((breaker.mode(), control.mode()), (Mode::Disabled, Mode::Disabled));
}

/// Nobody is left behind in the old mode, neither breakers of their own nor those of a family.
#[test]
fn a_control_reaches_all_in_spite_of_panics() {
    let control = Control::new();
    let panics = || {
        let observer = |_: &Event<'_>| resume_unwind(Box::new("observer"));
        builder(&ManualClock::new()).control(&control).observer(observer)
    };
    let family: KeyedCircuitBreaker<u32> = KeyedCircuitBreaker::builder(panics()).build().unwrap();
    let mut all: Vec<_> = (0..5).map(|key| family.breaker(&key).unwrap()).collect();
    all.extend((0..2).map(|_| panics().build().unwrap()));
    all.push(builder(&ManualClock::new()).control(&control).build().unwrap());
    for mode in [Mode::ForcedOpen, Mode::Shadow] {
        let panic = catch_unwind(AssertUnwindSafe(|| control.set_mode(mode))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"observer"));
        assert!(all.iter().all(|breaker| breaker.mode() == mode), "{mode}");
    }
}

/// A call by the observer is numbered and not reported: an observer is not called again before it has
/// returned.
#[test]
fn each_call_that_would_be_rejected_has_a_number_of_its_own() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    breaker.set_mode(Mode::Shadow);
    fail(&breaker, 4);
    time.advance(10 * SECOND);
    let _lost = breaker.try_acquire().unwrap();
    time.advance(30 * SECOND);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (ear, again) = (heard.clone(), breaker.clone());
    let _subscription = breaker.observe(move |event: &Event<'_>| match event.kind {
        "transition" => drop(again.try_acquire().unwrap()),
        _ => ear.lock().unwrap().push(event.sequence),
    });
    assert!(breaker.try_acquire().unwrap().would_reject(), "the lost probe opens it");
    assert!(breaker.try_acquire().unwrap().would_reject());
    assert_eq!((breaker.snapshot().shadowed, &*heard.lock().unwrap()), (3, &vec![1, 3]));
}
