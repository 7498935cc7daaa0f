//! Models of the breaker: every interleaving of a few calls on its core.
//!
//! Time is passed in, so that a model says which wait or lease is over.

use super::admit::{Refused, Ticket};
use super::class::CallClass;
use super::config::CircuitBreakerBuilder;
use super::core::Core;
use super::in_flight::{InFlight, Start};
use super::keyed::KeyedCircuitBreaker;
use super::manual::CircuitBreakerMode;
use super::rule::{Closures, Laws};
use super::transition::CircuitBreakerState;
use super::word::Phase;
use crate::backoff::Backoff;
use crate::outcome::Outcome;
use crate::random::Random;
use crate::time::{Clock, Instant, Reading};
use crate::window::Window;
use loom::sync::Arc;
use loom::thread;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

const WAIT: u64 = 10;
const LEASE: u64 = 100;

/// Trips on a first failure, not on one after a success; one probe at a time, two that agree decide.
fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerBuilder::default()
        .count_window(2)
        .min_calls(1)
        .failure_rate(0.6)
        .open_duration(Backoff::constant(Duration::from_secs(WAIT)))
        .half_open_concurrency(1)
        .half_open_calls(3)
        .probe_timeout(Duration::from_secs(LEASE))
}

fn core(builder: &CircuitBreakerBuilder) -> Arc<Core> {
    core_with(Window::count_window(2).unwrap(), builder)
}

fn core_with(window: Window, builder: &CircuitBreakerBuilder) -> Arc<Core> {
    let settings = builder.settings().unwrap();
    let laws = Arc::new(Laws::new(&settings, Closures::default(), Random::seeded(1)));
    Arc::new(Core::new(window, &settings, CircuitBreakerMode::Automatic, laws))
}

fn at<R>(seconds: u64, f: impl FnOnce(&mut Reading<'_>) -> R) -> R {
    let now = Instant::ORIGIN + Duration::from_secs(seconds);
    f(&mut Reading::known(&Clock::system(), now))
}

fn admit(core: &Core, seconds: u64) -> Result<Ticket, Refused> {
    at(seconds, |now| core.admit(false, now).0)
}

fn settle(core: &Core, ticket: Ticket, failed: Option<bool>, seconds: u64) {
    let outcome = match failed {
        None => Outcome::Ignore,
        Some(true) => Outcome::Failure,
        Some(false) => Outcome::Success,
    };
    at(seconds, |now| core.settle(ticket, outcome, &CallClass::ORDINARY, now));
}

/// Open since the origin.
fn opened(core: &Core) {
    let ticket = admit(core, 0).unwrap();
    settle(core, ticket, Some(true), 0);
    assert_eq!(core.state(), CircuitBreakerState::Open);
}

fn trial(core: &Core) -> (u32, u32, u32) {
    match at(0, |now| core.look(now.now())).phase {
        Phase::HalfOpen(trial) => (trial.leased, trial.total, trial.failed),
        other => panic!("{other:?}"),
    }
}

/// A probe's success comes at the very moment at which its lease is over and somebody else asks.
fn next_caller_while_a_probe_comes_late(core: &Arc<Core>) -> Result<Ticket, Refused> {
    opened(core);
    let probe = admit(core, WAIT).unwrap();
    let late = {
        let core = core.clone();
        thread::spawn(move || settle(&core, probe, Some(false), WAIT + LEASE))
    };
    let next = admit(core, WAIT + LEASE);
    late.join().unwrap();
    next
}

/// A call that fails and trips, against one that is admitted and succeeds.
#[test]
fn admission_against_tripping() {
    loom::model(|| {
        let core = core(&builder());
        let other = {
            let core = core.clone();
            thread::spawn(move || {
                if let Ok(ticket) = admit(&core, 0) {
                    settle(&core, ticket, Some(false), 0);
                }
            })
        };
        let ticket = admit(&core, 0).unwrap();
        settle(&core, ticket, Some(true), 0);
        let tripped = core.state() == CircuitBreakerState::Open;
        other.join().unwrap();
        // One failure of one or of two calls: which it was depends on who came first, but what it was
        // it stays, for a success that comes late changes nothing.
        assert_eq!(core.state() == CircuitBreakerState::Open, tripped);
        let look = at(0, |now| core.look(now.now()));
        if tripped {
            assert_eq!(look.open_until, Some(Instant::ORIGIN + Duration::from_secs(WAIT)));
        } else {
            assert_eq!((look.counts.total, look.counts.failed), (2, 1));
        }
    });
}

/// Two callers after the wait, room for one probe.
#[test]
fn one_of_two_callers_is_the_probe() {
    loom::model(|| {
        let core = core(&builder());
        opened(&core);
        let other = {
            let core = core.clone();
            thread::spawn(move || admit(&core, WAIT).is_ok())
        };
        let here = admit(&core, WAIT).is_ok();
        let there = other.join().unwrap();
        assert!(here != there);
        assert_eq!(trial(&core), (1, 0, 0));
    });
}

/// A probe that gives up its slot, against two callers who want it.
#[test]
fn a_slot_is_handed_on_once() {
    loom::model(|| {
        let core = core(&builder());
        opened(&core);
        let probe = admit(&core, WAIT).unwrap();
        let other = {
            let core = core.clone();
            thread::spawn(move || admit(&core, WAIT).is_ok())
        };
        settle(&core, probe, None, WAIT);
        let here = admit(&core, WAIT).is_ok();
        let there = other.join().unwrap();
        assert!(here != there);
        assert_eq!(trial(&core), (1, 0, 0));
    });
}

/// A probe that comes back at the very moment at which it is given up.
#[test]
fn a_late_probe_counts_once() {
    loom::model(|| {
        let core = core(&builder());
        let next = next_caller_while_a_probe_comes_late(&core);
        // Of the outcomes wanted there is one: it came back, or it was lost; never both.
        match next {
            Ok(_) => assert!(matches!(trial(&core), (1, 1, 0 | 1)), "{:?}", trial(&core)),
            Err(_) => unreachable!("either the slot is free or its lease is over"),
        }
        let stale = at(0, |now| core.look(now.now())).stale;
        assert_eq!(stale, u64::from(trial(&core).2));
    });
}

/// The same with a probe whose success would close: it closes, or it came too late.
#[test]
fn a_late_probe_decides_or_is_stale() {
    loom::model(|| {
        let core = core(&builder().half_open_calls(2));
        let next = next_caller_while_a_probe_comes_late(&core);
        assert!(next.is_ok());
        let stale = at(0, |now| core.look(now.now())).stale;
        match core.state() {
            CircuitBreakerState::Closed => assert_eq!(stale, 0),
            _ => assert_eq!((stale, trial(&core)), (1, (1, 1, 1))),
        }
    });
}

/// Two calls fail at different times, and each would open: the wait is that of the one who did.
#[test]
fn it_opens_once_and_tells_the_wait_that_holds() {
    loom::model(|| {
        let core = core(&builder());
        let fail = |core: &Core, seconds| {
            if let Ok(ticket) = admit(core, 0) {
                settle(core, ticket, Some(true), seconds);
            }
        };
        let other = {
            let core = core.clone();
            thread::spawn(move || fail(&core, 5))
        };
        fail(&core, 0);
        other.join().unwrap();
        let open_until = at(0, |now| core.look(now.now())).open_until;
        let mut told = Vec::new();
        core.outbox.deliver(|transition| told.push(transition));
        assert_eq!(told.len(), 1);
        assert_eq!(open_until, told[0].wait.map(|wait| told[0].at + wait));
    });
}

/// Two callers find a lease over: the probe is counted as lost once, and one of them takes its place.
#[test]
fn a_lost_probe_is_counted_once() {
    loom::model(|| {
        let core = core(&builder());
        opened(&core);
        let _lost = admit(&core, WAIT).unwrap();
        let other = {
            let core = core.clone();
            thread::spawn(move || admit(&core, WAIT + LEASE).is_ok())
        };
        let here = admit(&core, WAIT + LEASE).is_ok();
        let there = other.join().unwrap();
        assert!(here != there);
        assert_eq!(trial(&core), (1, 1, 1));
    });
}

/// A call from before the breaker opened fails while a probe is decided.
#[test]
fn a_call_of_another_generation_changes_nothing() {
    loom::model(|| {
        let core = core(&builder());
        let old = admit(&core, 0).unwrap();
        opened(&core);
        let late = {
            let core = core.clone();
            thread::spawn(move || settle(&core, old, Some(true), WAIT))
        };
        for _ in 0..2 {
            let probe = admit(&core, WAIT).unwrap();
            settle(&core, probe, Some(false), WAIT);
        }
        late.join().unwrap();
        let look = at(0, |now| core.look(now.now()));
        assert_eq!(core.state(), CircuitBreakerState::Closed);
        assert_eq!((look.counts.total, look.stale), (0, 1));
    });
}

/// A failure that would trip by the old settings, against settings that never trip.
#[test]
fn no_decision_outlives_its_settings() {
    loom::model(|| {
        let core = core(&builder());
        let calls = {
            let core = core.clone();
            thread::spawn(move || {
                let ticket = admit(&core, 0).unwrap();
                settle(&core, ticket, Some(true), 0);
            })
        };
        let never = builder().min_calls(2).settings().unwrap();
        core.reconfigure(&never, Closures::default());
        let then = core.state();
        calls.join().unwrap();
        assert_eq!(core.state(), then, "tripped by settings that were no longer in force");
        let look = at(0, |now| core.look(now.now()));
        assert_eq!((look.counts.total, look.counts.failed), (1, 1), "the window is kept");
    });
}

/// The settings change twice while a decision is being taken: its copy is a mixture, and must not stand.
#[test]
fn no_decision_by_a_mixture_of_settings() {
    // Bounded, for eleven words are read one by one while eleven are written twice: unbounded it takes hours.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let core = core(&builder().failure_rate(1.0).min_calls(2));
        let calls = {
            let core = core.clone();
            thread::spawn(move || {
                let ticket = admit(&core, 0).unwrap();
                settle(&core, ticket, Some(true), 0);
            })
        };
        // None of the three trips on one failure among one call, but halves of them would.
        core.reconfigure(
            &builder().failure_rate(1.0).min_calls(2).settings().unwrap(),
            Closures::default(),
        );
        core.reconfigure(
            &builder().failure_rate(None).consecutive_failures(2).min_calls(1).settings().unwrap(),
            Closures::default(),
        );
        calls.join().unwrap();
        assert_eq!(core.state(), CircuitBreakerState::Closed);
    });
}

/// Runs of failures are exact: two failures in a row trip, whoever makes them.
#[test]
fn a_run_of_failures_is_counted_exactly() {
    loom::model(|| {
        let core = core(&builder().failure_rate(None).consecutive_failures(2));
        let fail = |core: &Core| {
            if let Ok(ticket) = admit(core, 0) {
                settle(core, ticket, Some(true), 0);
            }
        };
        let other = {
            let core = core.clone();
            thread::spawn(move || fail(&core))
        };
        fail(&core);
        other.join().unwrap();
        assert_eq!(core.state(), CircuitBreakerState::Open);
    });
}

/// Two failures, each of which trips, with runs of failures counted too: the one changes the word while
/// the other is opening. It opens once, with the first wait.
#[test]
fn an_opening_that_must_be_tried_again_counts_once() {
    loom::model(|| {
        let core = core(&builder().consecutive_failures(9));
        let fail = |core: &Core| {
            if let Ok(ticket) = admit(core, 0) {
                settle(core, ticket, Some(true), 0);
            }
        };
        let other = {
            let core = core.clone();
            thread::spawn(move || fail(&core))
        };
        fail(&core);
        other.join().unwrap();
        assert_eq!(core.state(), CircuitBreakerState::Open);
        assert_eq!(at(0, |now| core.look(now.now())).openings, 1);
    });
}

/// A probe that would close comes back at the very moment at which it is given up: if it came too late,
/// nothing of the closing stays.
#[test]
fn a_closing_that_came_too_late_leaves_the_openings() {
    loom::model(|| {
        let core = core(&builder().half_open_calls(2));
        let _next = next_caller_while_a_probe_comes_late(&core);
        let closed = core.state() == CircuitBreakerState::Closed;
        assert_eq!(at(0, |now| core.look(now.now())).openings, u32::from(!closed));
    });
}

/// Two failures trip, in two buckets of a time window: one of the two calls sees both.
#[test]
fn failures_in_two_buckets_trip() {
    loom::model(|| {
        let window = Window::time_window(Duration::from_secs(2), 2).unwrap();
        let core = core_with(window, &builder().min_calls(2));
        let fail = |core: &Core, seconds| {
            let ticket = admit(core, 0).unwrap();
            settle(core, ticket, Some(true), seconds);
        };
        let other = {
            let core = core.clone();
            thread::spawn(move || fail(&core, 0))
        };
        fail(&core, 1);
        other.join().unwrap();
        assert_eq!(core.state(), CircuitBreakerState::Open);
    });
}

/// Somebody opens it by hand while a call succeeds, and lets go of it: the success is of before.
#[test]
fn forced_open_against_a_late_success() {
    loom::model(|| {
        let core = core(&builder());
        let ticket = admit(&core, 0).unwrap();
        let late = {
            let core = core.clone();
            thread::spawn(move || settle(&core, ticket, Some(false), 0))
        };
        let now = Instant::ORIGIN;
        assert!(core.set_mode(CircuitBreakerMode::ForcedOpen, now));
        assert!(admit(&core, WAIT).is_err());
        assert!(core.set_mode(CircuitBreakerMode::Automatic, now));
        late.join().unwrap();
        let look = at(0, |now| core.look(now.now()));
        assert_eq!((core.state(), look.counts.total), (CircuitBreakerState::Closed, 0));
        // It counted before it was opened, or it came too late. Where it counted as the window was emptied,
        // neither is known.
        assert!(look.stale <= 1);
    });
}

/// Somebody opens it by hand while a failure is about to trip it, in either order: it stays open, for as
/// long as nobody lets go of it.
#[test]
fn forced_open_against_tripping() {
    loom::model(|| {
        let core = core(&builder());
        let ticket = admit(&core, 0).unwrap();
        let fails = {
            let core = core.clone();
            thread::spawn(move || settle(&core, ticket, Some(true), 0))
        };
        assert!(core.set_mode(CircuitBreakerMode::ForcedOpen, Instant::ORIGIN));
        fails.join().unwrap();
        assert!(matches!(admit(&core, 1_000 * WAIT), Err(Refused { until: None, .. })));
    });
}

/// Two set different modes at once: both are told, in an order that ends with the one that stays.
#[test]
fn modes_are_told_in_the_order_in_which_they_came() {
    loom::model(|| {
        let core = core(&builder());
        let other = {
            let core = core.clone();
            thread::spawn(move || core.set_mode(CircuitBreakerMode::Disabled, Instant::ORIGIN))
        };
        core.set_mode(CircuitBreakerMode::ForcedClosed, Instant::ORIGIN);
        other.join().unwrap();
        let mut told = Vec::new();
        core.outbox.deliver(|transition| told.push(transition.mode));
        assert_eq!(told.len(), 2);
        assert_eq!(told.last(), Some(&core.word().mode()));
    });
}

/// A ramp ends while a failure of the same generation trips: it opens once, and goes on counting openings
/// only if it had not closed for good before.
#[test]
fn the_end_of_a_ramp_against_tripping() {
    loom::model(|| {
        let core = core(&builder().half_open_calls(1).ramp_up_duration(Duration::from_secs(100)));
        opened(&core);
        let probe = admit(&core, WAIT).unwrap();
        settle(&core, probe, Some(false), WAIT);
        let ticket = admit(&core, WAIT).unwrap();
        let later = {
            let core = core.clone();
            thread::spawn(move || admit(&core, WAIT + 100).is_ok())
        };
        settle(&core, ticket, Some(true), WAIT + 100);
        later.join().unwrap();
        assert_eq!(core.state(), CircuitBreakerState::Open);
        let mut told = Vec::new();
        core.outbox.deliver(|transition| told.push(transition));
        let last = told.last().unwrap();
        assert_eq!((told.len(), last.to), (4, CircuitBreakerState::Open));
        assert_eq!(at(0, |now| core.look(now.now())).openings, last.openings);
        assert!(matches!(last.openings, 1 | 2));
    });
}

/// Two transitions, an observer that panics, and another thread that delivers: whatever the order, each is
/// told once, and nothing stays behind for ever.
#[test]
fn delivery_against_an_observer_that_panics() {
    loom::model(|| {
        let core = core(&builder());
        let told = Arc::new(crate::sync::Mutex::new(Vec::new()));
        let deliver = |core: &Core, told: &crate::sync::Mutex<Vec<u64>>, fatal: u64| {
            let delivered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                core.outbox.deliver(|transition| {
                    told.lock().push(transition.sequence);
                    if transition.sequence == fatal {
                        std::panic::resume_unwind(Box::new(()));
                    }
                });
            }));
            drop(delivered);
        };
        let other = {
            let (core, told) = (core.clone(), told.clone());
            thread::spawn(move || {
                core.set_mode(CircuitBreakerMode::Disabled, Instant::ORIGIN);
                deliver(&core, &told, 1);
            })
        };
        core.set_mode(CircuitBreakerMode::ForcedOpen, Instant::ORIGIN);
        deliver(&core, &told, 1);
        other.join().unwrap();
        core.set_mode(CircuitBreakerMode::Automatic, Instant::ORIGIN);
        deliver(&core, &told, 0);
        assert_eq!(*told.lock(), [1, 2, 3]);
    });
}

/// A key's breaker opens while another key wants its place, of which there is one: whoever was there with a
/// call under way, and then open, is still there.
#[test]
fn eviction_against_admission() {
    loom::model(|| {
        let each = builder().clock(crate::time::ManualClock::new().clock());
        let keyed: KeyedCircuitBreaker<u8, BuildHasherDefault<DefaultHasher>> =
            KeyedCircuitBreaker::builder(each)
                .max_keys(1)
                .hasher(BuildHasherDefault::default())
                .build()
                .unwrap();
        let keyed = Arc::new(keyed);
        let opens = {
            let keyed = keyed.clone();
            thread::spawn(move || {
                let Ok(breaker) = keyed.breaker(&1) else { return false };
                breaker.try_acquire().unwrap().failure();
                true
            })
        };
        let other = keyed.breaker(&2).is_ok();
        let opened = opens.join().unwrap();
        assert!(opened || other);
        let snapshot = keyed.snapshot();
        assert_eq!((snapshot.keys, snapshot.shut), (1, usize::from(opened)));
        assert_eq!(keyed.totals().open, usize::from(opened));
    });
}

/// A call ends while another one turns its bucket over: it is deducted where it is counted.
#[test]
fn a_call_that_ends_against_one_that_turns_its_bucket() {
    loom::model(|| {
        let word = core(&builder()).word();
        let in_flight = Arc::new(InFlight::new(word));
        let start = move |step: u64| Start {
            admitted: word,
            at: Instant::ORIGIN + Duration::from_secs(step),
            slow_after: Duration::from_secs(8),
        };
        in_flight.enter(&start(0));
        in_flight.enter(&start(0));
        let other = {
            let in_flight = in_flight.clone();
            thread::spawn(move || in_flight.leave(&start(0)))
        };
        in_flight.enter(&start(10));
        other.join().unwrap();
        let overdue = |step| in_flight.overdue(word, start(step).at, start(step).slow_after);
        assert_eq!((overdue(10), overdue(1000)), (1, 2));
        in_flight.leave(&start(0));
        in_flight.leave(&start(10));
        assert_eq!(overdue(1000), 0);
    });
}

/// Calls of an era that is over begin and end while the next one has begun: they change nothing in it.
#[test]
fn calls_of_an_era_that_is_over_change_nothing() {
    loom::model(|| {
        let word = core(&builder()).word();
        let next = word.moved_to(Phase::CLOSED);
        let in_flight = Arc::new(InFlight::new(word));
        let start = |admitted, step: u64| Start {
            admitted,
            at: Instant::ORIGIN + Duration::from_secs(step),
            slow_after: Duration::from_secs(8),
        };
        in_flight.enter(&start(word, 0));
        let other = {
            let in_flight = in_flight.clone();
            thread::spawn(move || {
                in_flight.leave(&start(word, 0));
                in_flight.enter(&start(word, 10));
            })
        };
        in_flight.begin_era(next);
        in_flight.enter(&start(next, 10));
        other.join().unwrap();
        let overdue = |step| in_flight.overdue(next, start(next, step).at, Duration::from_secs(8));
        assert_eq!((overdue(10), overdue(1000)), (0, 1));
        in_flight.leave(&start(next, 10));
        assert_eq!(overdue(1000), 0);
    });
}
