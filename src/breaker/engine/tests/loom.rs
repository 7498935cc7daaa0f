//! Loom models of the engine: all interleavings of a few calls on two threads.
//!
//! The time is an argument, so that each model determines which durations have elapsed.

use crate::backoff::Backoff;
use crate::breaker::config::{CallClass, CircuitBreakerBuilder, Closures, SharedConfig};
use crate::breaker::engine::admit::Refusal;
use crate::breaker::engine::in_flight::{InFlight, Start};
use crate::breaker::engine::{Engine, EngineSnapshot, Phase, Ticket};
use crate::breaker::mode::CircuitBreakerMode as Mode;
use crate::breaker::transition::CircuitBreakerState as State;
use crate::outcome::Outcome;
use crate::random::Random;
use crate::time::{Clock, Instant, Reading};
use crate::window::Window;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

/// The open duration in seconds.
pub(crate) const OPEN: u64 = 10;
/// The timeout of a probe in seconds.
const PROBE: u64 = 100;

/// Returns a builder of a breaker that trips if the first call fails, but not if one of two calls
/// fails. It admits one probe at a time, and two equal outcomes decide a trial.
pub(crate) fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerBuilder::default()
        .count_window(2)
        .min_calls(1)
        .failure_rate(0.6)
        .open_duration(Backoff::constant(Duration::from_secs(OPEN)))
        .half_open_concurrency(1)
        .half_open_calls(3)
        .probe_timeout(Duration::from_secs(PROBE))
}

pub(crate) fn engine(builder: &CircuitBreakerBuilder) -> Arc<Engine> {
    engine_with(Window::count_window(2).unwrap(), builder)
}

fn engine_with(window: Window, builder: &CircuitBreakerBuilder) -> Arc<Engine> {
    let config = builder.validated().unwrap();
    let shared = SharedConfig::new(&config, Closures::default(), Random::seeded(1));
    Arc::new(Engine::new(window, &config, Mode::Automatic, Arc::new(shared)))
}

pub(crate) fn at<R>(seconds: u64, f: impl FnOnce(&mut Reading<'_>) -> R) -> R {
    let now = Instant::ORIGIN + Duration::from_secs(seconds);
    f(&mut Reading::known(&Clock::system(), now))
}

pub(crate) fn enter(engine: &Engine, seconds: u64) -> Result<Ticket, Refusal> {
    at(seconds, |now| engine.enter(false, now).result)
}

pub(crate) fn complete(engine: &Engine, ticket: Ticket, failed: Option<bool>, seconds: u64) {
    let outcome = match failed {
        None => Outcome::Ignore,
        Some(true) => Outcome::Failure,
        Some(false) => Outcome::Success,
    };
    at(seconds, |now| {
        let _ = engine.complete(ticket, outcome, &CallClass::DEFAULT, now);
    });
}

pub(crate) fn snapshot(engine: &Engine) -> EngineSnapshot {
    snapshot_at(engine, 0)
}

fn snapshot_at(engine: &Engine, seconds: u64) -> EngineSnapshot {
    engine.snapshot(Instant::ORIGIN + Duration::from_secs(seconds))
}

/// Opens the breaker at the origin of the clock.
fn open(engine: &Engine) {
    let ticket = enter(engine, 0).unwrap();
    complete(engine, ticket, Some(true), 0);
    assert_eq!(engine.state(), State::Open);
}

fn trial(engine: &Engine) -> (u32, u32, u32) {
    match snapshot(engine).phase {
        Phase::HalfOpen(trial) => (trial.active, trial.total, trial.failed),
        other => panic!("{other:?}"),
    }
}

/// Completes a probe at the moment at which it times out, while another call requests admission.
/// Returns the result of that call.
fn next_call_while_a_probe_ends_late(engine: &Arc<Engine>) -> Result<Ticket, Refusal> {
    open(engine);
    let probe = enter(engine, OPEN).unwrap();
    let late = {
        let engine = engine.clone();
        thread::spawn(move || complete(&engine, probe, Some(false), OPEN + PROBE))
    };
    let next = enter(engine, OPEN + PROBE);
    late.join().unwrap();
    next
}

/// A call fails and trips the breaker while another call is admitted and succeeds.
#[test]
fn a_concurrent_success_does_not_close_a_tripped_breaker() {
    loom::model(|| {
        let engine = engine(&builder());
        let other = {
            let engine = engine.clone();
            thread::spawn(move || {
                if let Ok(ticket) = enter(&engine, 0) {
                    complete(&engine, ticket, Some(false), 0);
                }
            })
        };
        let ticket = enter(&engine, 0).unwrap();
        complete(&engine, ticket, Some(true), 0);
        let tripped = engine.state() == State::Open;
        other.join().unwrap();
        // The order decides whether the window holds one call or two when the failure is counted. A
        // later success does not change the state.
        assert_eq!(engine.state() == State::Open, tripped);
        let after = snapshot(&engine);
        if tripped {
            assert_eq!(after.open_until, Some(Instant::ORIGIN + Duration::from_secs(OPEN)));
        } else {
            assert_eq!((after.counts.total, after.counts.failed), (2, 1));
        }
    });
}

/// Two calls arrive after the open duration, and one probe slot is free.
#[test]
fn one_of_two_callers_becomes_the_probe() {
    loom::model(|| {
        let engine = engine(&builder());
        open(&engine);
        let other = {
            let engine = engine.clone();
            thread::spawn(move || enter(&engine, OPEN).is_ok())
        };
        let this_thread = enter(&engine, OPEN).is_ok();
        let other_thread = other.join().unwrap();
        assert!(this_thread != other_thread);
        assert_eq!(trial(&engine), (1, 0, 0));
    });
}

/// A probe ends without an outcome while two calls request its slot.
#[test]
fn a_released_slot_is_taken_by_one_call() {
    loom::model(|| {
        let engine = engine(&builder());
        open(&engine);
        let probe = enter(&engine, OPEN).unwrap();
        let other = {
            let engine = engine.clone();
            thread::spawn(move || enter(&engine, OPEN).is_ok())
        };
        complete(&engine, probe, None, OPEN);
        let this_thread = enter(&engine, OPEN).is_ok();
        let other_thread = other.join().unwrap();
        assert!(this_thread != other_thread);
        assert_eq!(trial(&engine), (1, 0, 0));
    });
}

/// A probe ends at the moment at which it times out.
#[test]
fn a_probe_that_ends_as_it_times_out_counts_once() {
    loom::model(|| {
        let engine = engine(&builder());
        let next = next_call_while_a_probe_ends_late(&engine);
        // The probe either ended or timed out, never both.
        assert!(next.is_ok(), "either the slot is free or the probe has timed out");
        assert!(matches!(trial(&engine), (1, 1, 0 | 1)), "{:?}", trial(&engine));
        let stale = snapshot(&engine).stale;
        assert_eq!(stale, u64::from(trial(&engine).2));
    });
}

/// A probe whose success closes the breaker ends at the moment at which it times out: either the
/// breaker closes, or the outcome is stale.
#[test]
fn a_late_probe_closes_the_breaker_or_is_stale() {
    loom::model(|| {
        let engine = engine(&builder().half_open_calls(2));
        let next = next_call_while_a_probe_ends_late(&engine);
        assert!(next.is_ok());
        let stale = snapshot(&engine).stale;
        match engine.state() {
            State::Closed => assert_eq!(stale, 0),
            _ => assert_eq!((stale, trial(&engine)), (1, (1, 1, 1))),
        }
    });
}

/// Two calls find that a probe has timed out: it is counted once, and one of them takes its slot.
#[test]
fn a_probe_that_times_out_is_counted_once() {
    loom::model(|| {
        let engine = engine(&builder());
        open(&engine);
        let _hung = enter(&engine, OPEN).unwrap();
        let other = {
            let engine = engine.clone();
            thread::spawn(move || enter(&engine, OPEN + PROBE).is_ok())
        };
        let this_thread = enter(&engine, OPEN + PROBE).is_ok();
        let other_thread = other.join().unwrap();
        assert!(this_thread != other_thread);
        assert_eq!(trial(&engine), (1, 1, 1));
    });
}

/// A call that was admitted before the breaker opened fails while the probes decide the trial.
#[test]
fn a_call_of_an_earlier_generation_changes_nothing() {
    loom::model(|| {
        let engine = engine(&builder());
        let old = enter(&engine, 0).unwrap();
        open(&engine);
        let late = {
            let engine = engine.clone();
            thread::spawn(move || complete(&engine, old, Some(true), OPEN))
        };
        for _ in 0..2 {
            let probe = enter(&engine, OPEN).unwrap();
            complete(&engine, probe, Some(false), OPEN);
        }
        late.join().unwrap();
        let after = snapshot(&engine);
        assert_eq!(engine.state(), State::Closed);
        assert_eq!((after.counts.total, after.stale), (0, 1));
    });
}

/// Two calls fail at different times, and each would open the breaker.
#[test]
fn two_failures_open_once_and_the_event_reports_the_stored_duration() {
    loom::model(|| {
        let engine = engine(&builder());
        let [first, second] = [(); 2].map(|()| enter(&engine, 0).unwrap());
        let other = {
            let engine = engine.clone();
            thread::spawn(move || complete(&engine, second, Some(true), 5))
        };
        complete(&engine, first, Some(true), 0);
        other.join().unwrap();
        let open_until = snapshot_at(&engine, 5).open_until;
        let mut delivered = Vec::new();
        engine.outbox.deliver(|transition| delivered.push(transition));
        assert_eq!(delivered.len(), 1);
        assert_eq!(open_until, delivered[0].open_duration.map(|open| delivered[0].at + open));
    });
}

/// Two consecutive failures trip the breaker, even on different threads.
#[test]
fn consecutive_failures_are_counted_exactly() {
    loom::model(|| {
        let engine = engine(&builder().failure_rate(None).consecutive_failures(2));
        let fail = |engine: &Engine| {
            if let Ok(ticket) = enter(engine, 0) {
                complete(engine, ticket, Some(true), 0);
            }
        };
        let other = {
            let engine = engine.clone();
            thread::spawn(move || fail(&engine))
        };
        fail(&engine);
        other.join().unwrap();
        assert_eq!(engine.state(), State::Open);
    });
}

/// Each of two failures trips the breaker, and consecutive failures are counted too: one thread
/// changes the word while the other opens the breaker. It opens once, with the first open duration.
#[test]
fn an_opening_that_is_retried_counts_once() {
    loom::model(|| {
        let engine = engine(&builder().consecutive_failures(9));
        let fail = |engine: &Engine| {
            if let Ok(ticket) = enter(engine, 0) {
                complete(engine, ticket, Some(true), 0);
            }
        };
        let other = {
            let engine = engine.clone();
            thread::spawn(move || fail(&engine))
        };
        fail(&engine);
        other.join().unwrap();
        assert_eq!(engine.state(), State::Open);
        assert_eq!(snapshot(&engine).openings, 1);
    });
}

/// A probe whose success closes the breaker ends at the moment at which it times out. If the
/// timeout comes first, the number of openings is unchanged.
#[test]
fn a_failed_close_keeps_the_number_of_openings() {
    loom::model(|| {
        let engine = engine(&builder().half_open_calls(2));
        let _next = next_call_while_a_probe_ends_late(&engine);
        let closed = engine.state() == State::Closed;
        assert_eq!(snapshot(&engine).openings, u32::from(!closed));
    });
}

/// Two failures in two buckets of a time window trip the breaker: one of the two calls reads both.
#[test]
fn failures_in_two_buckets_trip_the_breaker() {
    loom::model(|| {
        let window = Window::time_window(Duration::from_secs(2), 2).unwrap();
        let engine = engine_with(window, &builder().min_calls(2));
        let fail = |engine: &Engine, seconds| {
            let ticket = enter(engine, 0).unwrap();
            complete(engine, ticket, Some(true), seconds);
        };
        let other = {
            let engine = engine.clone();
            thread::spawn(move || fail(&engine, 0))
        };
        fail(&engine, 1);
        other.join().unwrap();
        assert_eq!(engine.state(), State::Open);
    });
}

/// A ramp ends while a failure of the same generation trips the breaker. It opens once, and the
/// number of openings restarts only if the ramp ended first.
#[test]
fn a_failure_at_the_end_of_a_ramp_opens_once() {
    loom::model(|| {
        let engine =
            engine(&builder().half_open_calls(1).ramp_up_duration(Duration::from_secs(100)));
        open(&engine);
        let probe = enter(&engine, OPEN).unwrap();
        complete(&engine, probe, Some(false), OPEN);
        let ticket = enter(&engine, OPEN).unwrap();
        let later = {
            let engine = engine.clone();
            thread::spawn(move || enter(&engine, OPEN + 100).is_ok())
        };
        complete(&engine, ticket, Some(true), OPEN + 100);
        later.join().unwrap();
        assert_eq!(engine.state(), State::Open);
        let mut delivered = Vec::new();
        engine.outbox.deliver(|transition| delivered.push(transition));
        let last = delivered.last().unwrap();
        assert_eq!((delivered.len(), last.to), (4, State::Open));
        assert_eq!(snapshot(&engine).openings, last.openings);
        assert!(matches!(last.openings, 1 | 2));
    });
}

/// A call ends while another call reuses its bucket for a later time step. The ended call is
/// subtracted from the counter that includes it.
#[test]
fn a_call_that_ends_while_its_bucket_is_reused_is_subtracted_once() {
    loom::model(|| {
        let word = engine(&builder()).word();
        let in_flight = Arc::new(InFlight::new(word));
        let start = move |step: u64| Start {
            admitted: word,
            at: Instant::ORIGIN + Duration::from_secs(step),
            slow_after: Duration::from_secs(8),
        };
        let _ = in_flight.enter(&start(0));
        let _ = in_flight.enter(&start(0));
        let other = {
            let in_flight = in_flight.clone();
            thread::spawn(move || in_flight.leave(&start(0)))
        };
        let _ = in_flight.enter(&start(10));
        other.join().unwrap();
        let overdue = |step| in_flight.overdue(word, start(step).at, start(step).slow_after);
        assert_eq!((overdue(10), overdue(1000)), (1, 2));
        in_flight.leave(&start(0));
        in_flight.leave(&start(10));
        assert_eq!(overdue(1000), 0);
    });
}

/// Calls of an earlier era start and end while the next era begins.
#[test]
fn calls_of_an_earlier_era_change_nothing() {
    loom::model(|| {
        let word = engine(&builder()).word();
        let next = word.next_generation(Phase::CLOSED);
        let in_flight = Arc::new(InFlight::new(word));
        let start = |admitted, step: u64| Start {
            admitted,
            at: Instant::ORIGIN + Duration::from_secs(step),
            slow_after: Duration::from_secs(8),
        };
        let _ = in_flight.enter(&start(word, 0));
        let other = {
            let in_flight = in_flight.clone();
            thread::spawn(move || {
                in_flight.leave(&start(word, 0));
                let _ = in_flight.enter(&start(word, 10));
            })
        };
        in_flight.begin_era(next);
        let _ = in_flight.enter(&start(next, 10));
        other.join().unwrap();
        let overdue = |step| in_flight.overdue(next, start(next, step).at, Duration::from_secs(8));
        assert_eq!((overdue(10), overdue(1000)), (0, 1));
        in_flight.leave(&start(next, 10));
        assert_eq!(overdue(1000), 0);
    });
}
