//! The events of a circuit breaker, and user code that calls back into the breaker.
#![cfg(not(mainstay_loom))]

mod breaker_support;

use breaker_support::{builder, calls};
use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerCallFuture,
    CircuitBreakerControl as Control, CircuitBreakerMode as Mode, CircuitBreakerPermit,
    CircuitBreakerSnapshot, CircuitBreakerState as State, CircuitBreakerTransition,
    ClassifiedCircuitBreaker, KeyedCircuitBreaker, KeyedCircuitBreakerBuilder,
    KeyedCircuitBreakerView, OwnedCircuitBreakerPermit, TransitionCause as Cause, TripStats,
};
use mainstay::error::Error;
use mainstay::event::{Event, EventValue};
use mainstay::outcome::{FailOnError, Outcome};
use mainstay::time::ManualClock;
use std::future::Ready;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Opens for 10 s. The outcome of a single probe closes or reopens the breaker.
fn simple(time: &ManualClock) -> CircuitBreakerBuilder {
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
fn an_observer_receives_each_transition_in_order() {
    let time = ManualClock::new();
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let delivered = delivered.clone();
        move |event: &Event<'_>| {
            let label = |name| match event.field(name) {
                Some(EventValue::Label(word)) => word,
                other => panic!("{other:?}"),
            };
            let wait = event.field("open_duration");
            delivered.lock().unwrap().push((
                event.sequence,
                label("from"),
                label("to"),
                label("cause"),
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
        *delivered.lock().unwrap(),
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
fn a_subscription_receives_each_transition_until_it_is_dropped() {
    let time = ManualClock::new();
    let breaker = simple(&time).build().unwrap();
    let received = Arc::new(Mutex::new(Vec::new()));
    let events = received.clone();
    let subscription =
        breaker.on_transition(move |transition| events.lock().unwrap().push(*transition));
    fail(&breaker, 5);
    let opened = received.lock().unwrap()[0];
    assert_eq!((opened.sequence, opened.cause, opened.at), (1, Cause::FailureRate, time.now()));
    assert_eq!(
        (opened.counts.total, opened.counts.failed, opened.open_duration),
        (4, 4, Some(10 * SECOND))
    );
    drop(subscription);
    breaker.reset();
    assert_eq!(received.lock().unwrap().len(), 1);
    assert_eq!(breaker.history().len(), 2, "the history needs no subscription");
}

#[test]
fn the_history_is_bounded_and_contains_causes() {
    let breaker = simple(&ManualClock::new()).build().unwrap();
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

/// A call that the observer itself makes is numbered and not reported, because an observer is not
/// called again before it has returned.
#[test]
fn calls_that_would_be_rejected_are_numbered() {
    let time = ManualClock::new();
    let breaker = simple(&time).build().unwrap();
    breaker.set_mode(Mode::Shadow);
    fail(&breaker, 4);
    time.advance(10 * SECOND);
    let _lost = breaker.try_acquire().unwrap();
    time.advance(30 * SECOND);
    let received = Arc::new(Mutex::new(Vec::new()));
    let (events, again) = (received.clone(), breaker.clone());
    let _subscription = breaker.observe(move |event: &Event<'_>| match event.kind {
        "transition" => drop(again.try_acquire().unwrap()),
        _ => events.lock().unwrap().push(event.sequence),
    });
    assert!(breaker.try_acquire().unwrap().would_reject(), "a probe that timed out reopens it");
    assert!(breaker.try_acquire().unwrap().would_reject());
    assert_eq!((breaker.snapshot().shadow_rejected, &*received.lock().unwrap()), (3, &vec![1, 3]));
}

/// The other observers receive the event, and no event is lost or delivered twice.
#[test]
fn an_observer_that_panics_leaves_the_breaker_usable() {
    let time = ManualClock::new();
    let received = Arc::new(Mutex::new(Vec::new()));
    let breaker = simple(&time).build().unwrap();
    let _panics = breaker.on_transition(|_| resume_unwind(Box::new("observer")));
    let events = received.clone();
    let _receives = breaker.on_transition(move |t| events.lock().unwrap().push(t.sequence));
    let panicked = |act: &dyn Fn()| catch_unwind(AssertUnwindSafe(act)).is_err();
    assert!(panicked(&|| fail(&breaker, 4)));
    assert!(panicked(&|| breaker.force_close()));
    assert!(panicked(&|| breaker.set_mode(Mode::Automatic)));
    fail(&breaker, 3);
    assert!(panicked(&|| fail(&breaker, 1)));
    time.advance(10 * SECOND);
    // The admission of the first probe delivers a transition; the panic drops its permit.
    assert!(panicked(&|| drop(breaker.try_acquire())));
    assert_eq!((breaker.state(), breaker.snapshot().active_probes), (State::HalfOpen, 0));
    assert!(panicked(&|| breaker.try_acquire().unwrap().success()));
    assert_eq!(breaker.state(), State::Closed);
    let delivered = received.lock().unwrap();
    assert_eq!(*delivered, (1..=breaker.history().last().unwrap().sequence).collect::<Vec<_>>());
}

/// Neither single nor keyed breakers stay in the old mode.
#[test]
fn a_control_reaches_all_breakers_even_if_an_observer_panics() {
    let control = Control::new();
    let panics = || {
        let observer = |_: &Event<'_>| resume_unwind(Box::new("observer"));
        simple(&ManualClock::new()).control(&control).observer(observer)
    };
    let keyed: KeyedCircuitBreaker<u32> = KeyedCircuitBreaker::builder(panics()).build().unwrap();
    let mut all: Vec<_> = (0..5).map(|key| keyed.breaker(&key).unwrap()).collect();
    all.extend((0..2).map(|_| panics().build().unwrap()));
    all.push(simple(&ManualClock::new()).control(&control).build().unwrap());
    for mode in [Mode::ForcedOpen, Mode::Shadow] {
        let panic = catch_unwind(AssertUnwindSafe(|| control.set_mode(mode))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"observer"));
        assert!(all.iter().all(|breaker| breaker.mode() == mode), "{mode}");
    }
}

#[test]
fn an_observer_may_use_the_breaker_and_its_control() {
    let time = ManualClock::new();
    let control = Control::new();
    let breaker = simple(&time).control(&control).build().unwrap();
    let (inside, switch) = (breaker.clone(), control.clone());
    breaker
        .on_transition(move |transition| {
            let _ = (inside.snapshot(), inside.history(), inside.try_acquire().is_ok());
            drop(inside.on_transition(|_| ()));
            if transition.cause == Cause::FailureRate {
                switch.set_mode(Mode::Disabled);
            }
        })
        .detach();
    fail(&breaker, 4);
    assert_eq!((breaker.mode(), control.mode()), (Mode::Disabled, Mode::Disabled));
}

/// No lock is held while user code runs.
#[test]
fn user_code_may_use_the_breaker_that_calls_it() {
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
    assert_eq!((breaker.state(), breaker.snapshot().stale_outcomes), (State::Closed, 1));
    *inside.lock().unwrap() = None;
}

/// A panic leaves every structure usable, so handles may be used on both sides of `catch_unwind`.
#[test]
fn the_public_types_are_unwind_safe() {
    fn safe<T: UnwindSafe + RefUnwindSafe>() {}
    safe::<CircuitBreaker>();
    safe::<CircuitBreakerBuilder>();
    safe::<Control>();
    safe::<CircuitBreakerPermit<'_>>();
    safe::<OwnedCircuitBreakerPermit>();
    safe::<ClassifiedCircuitBreaker<FailOnError>>();
    safe::<CircuitBreakerCallFuture<'_, FailOnError, fn(), Ready<Result<(), ()>>>>();
    safe::<CircuitBreakerSnapshot>();
    safe::<TripStats>();
    safe::<CircuitBreakerTransition>();
    safe::<KeyedCircuitBreaker<String>>();
    safe::<KeyedCircuitBreakerBuilder<String>>();
    safe::<KeyedCircuitBreakerView<String>>();
}
