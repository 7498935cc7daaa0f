//! Loom models of the limiter. Each explores the interleavings of a few calls on the engine. The
//! models pass the time as an argument, without a clock.

use super::engine::{Engine, Gcra, Waiter, WaiterPoll};
use super::grant::{Grant, RateLimitStatus};
use super::timeline::Nanos;
use super::{KeyedRateLimiter, Quota};
use crate::sync::thread::Parker;
use crate::time::ManualClock;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::SeqCst};
use loom::thread;
use std::hash::{BuildHasherDefault, DefaultHasher};

const SECOND: u64 = 1_000_000_000;

/// Creates the engine of a limiter with the given rate and burst.
fn engine(per_second: u32, burst: u32) -> Arc<Engine> {
    Arc::new(Engine::new(gcra(per_second, burst)))
}

fn gcra(per_second: u32, burst: u32) -> Gcra {
    Gcra::new(&Quota::per_second(per_second).burst(burst)).unwrap()
}

fn spawn<R: 'static>(
    engine: &Arc<Engine>,
    act: impl FnOnce(&Engine) -> R + 'static,
) -> thread::JoinHandle<R> {
    let engine = engine.clone();
    thread::spawn(move || act(&engine))
}

/// Takes `n` tokens, as `RateLimiter::try_acquire_n` does.
fn take(engine: &Engine, n: u32, now: u64) -> Result<Grant, RateLimitStatus> {
    let now = Nanos::new(now);
    engine.take_fast(n, now).unwrap_or_else(|| engine.take(n, now))
}

fn reconfigure(engine: &Engine, gcra: Gcra, now: u64) {
    let first_waiter = loop {
        let now = Nanos::new(now);
        if let Some(first_waiter) = engine.reconfigure(engine.word(), gcra, now) {
            break first_waiter;
        }
    };
    first_waiter.wake();
}

fn left(engine: &Engine, now: u64) -> u32 {
    engine.peek(1, Nanos::new(now)).remaining()
}

/// Waits for `n` tokens. `clock` contains the time. Returns whether the tokens were granted.
fn wait(engine: &Engine, n: u32, clock: &AtomicU64) -> bool {
    let parker = Parker::current();
    let mut waiter = Waiter::new(engine, n);
    loop {
        match waiter.poll(Nanos::new(clock.load(SeqCst)), None, parker.waker()) {
            WaiterPoll::Granted(_) => return true,
            WaiterPoll::Denied(_) => return false,
            WaiterPoll::Pending(_) => parker.park(),
        }
    }
}

#[test]
fn two_requests_race_for_the_last_tokens() {
    loom::model(|| {
        let engine = engine(1, 3);
        let other = spawn(&engine, |engine| take(engine, 2, SECOND).is_ok());
        let granted = take(&engine, 2, SECOND).is_ok();
        let other_granted = other.join().unwrap();
        assert!(granted != other_granted);
        assert_eq!(left(&engine, SECOND), 1);
    });
}

#[test]
fn requests_with_an_old_and_a_new_reading_of_the_clock_use_one_state() {
    loom::model(|| {
        let engine = engine(1, 1);
        let other = spawn(&engine, |engine| take(engine, 1, 5 * SECOND).is_ok());
        let granted = take(&engine, 1, 4 * SECOND).is_ok();
        let other_granted = other.join().unwrap();
        // Both requests are granted if the old reading came first, because the readings are a
        // second apart.
        assert!(other_granted);
        assert_eq!(engine.word().tat(), gcra(1, 1).units(Nanos::new(6 * SECOND)), "{granted}");
    });
}

/// No two reservations receive the same time, and the canceled reservation's time is not lost if it
/// can be returned.
#[test]
fn a_reservation_is_canceled_while_another_is_made() {
    loom::model(|| {
        let engine = engine(1, 1);
        let due = |grant: Grant| {
            let RateLimitStatus { gcra, ahead, .. } = grant.status();
            gcra.nanos(gcra.due(ahead, 0)).unwrap().get()
        };
        let first = engine.reserve(1, Nanos::new(0)).unwrap();
        let other = spawn(&engine, move |engine| due(engine.reserve(1, Nanos::new(0)).unwrap()));
        engine.cancel_reservation(&first);
        let other = other.join().unwrap();
        let last = due(engine.reserve(1, Nanos::new(0)).unwrap());
        assert!(matches!((other, last), (0, SECOND)) || (other, last) == (SECOND, 2 * SECOND));
    });
}

#[test]
fn two_refunds_race_with_a_grant() {
    loom::model(|| {
        let engine = engine(1, 3);
        let (first, second) = (take(&engine, 1, 0).unwrap(), take(&engine, 1, 0).unwrap());
        let refund = spawn(&engine, move |engine| engine.refund(&first, 1, || Nanos::new(0)));
        let taking = spawn(&engine, |engine| {
            take(engine, 1, 0).map(|grant| engine.refund(&grant, 1, || Nanos::new(0))).is_ok()
        });
        engine.refund(&second, 1, || Nanos::new(0));
        refund.join().unwrap();
        assert!(taking.join().unwrap());
        // A refund may return less if it races with another, but no token is returned twice.
        assert!(left(&engine, 0) >= 2);
        assert!(take(&engine, 4, 0).is_err());
        assert!(engine.word().tat() <= gcra(1, 3).cost(1));
    });
}

/// Each decision uses the old quota or the new one. Used tokens stay used.
#[test]
fn the_quota_changes_during_a_decision() {
    loom::model(|| {
        let engine = engine(1, 1);
        let other =
            spawn(&engine, |engine| [take(engine, 1, 0).is_ok(), take(engine, 1, 0).is_ok()]);
        reconfigure(&engine, gcra(7, 4), 0);
        assert!(take(&engine, 1, 0).is_ok(), "at most two of four tokens are in use");
        let granted = other.join().unwrap().into_iter().filter(|granted| *granted).count() as u32;
        assert!(granted >= 1);
        assert_eq!(left(&engine, 0), 3 - granted);
    });
}

/// Two changes of the quota overwrite the first quota while it may be read. Each of the three
/// quotas would grant the request; a mixture of the first and the third would not.
#[test]
fn no_decision_uses_a_mixture_of_two_quotas() {
    loom::model(|| {
        let (engine, now) = (engine(1, 2), 100 * SECOND);
        take(&engine, 1, now).unwrap();
        let other = spawn(&engine, move |engine| take(engine, 1, now));
        reconfigure(&engine, gcra(2, 2), now);
        reconfigure(&engine, gcra(1_000_000_000, 2), now);
        assert_eq!(other.join().unwrap().unwrap().remaining(), 0);
    });
}

#[test]
fn a_waiter_that_enters_the_queue_does_not_miss_a_refund() {
    loom::model(|| {
        let engine = engine(1, 1);
        let grant = take(&engine, 1, 0).unwrap();
        let waiter = spawn(&engine, |engine| wait(engine, 1, &AtomicU64::new(0)));
        engine.refund(&grant, 1, || Nanos::new(0));
        assert!(waiter.join().unwrap());
        assert!(!engine.word().is_slow());
        assert_eq!(left(&engine, 0), 0);
    });
}

/// The waiter is granted its tokens by the new quota, or denied because the new quota grants
/// nothing.
#[test]
fn a_waiter_that_enters_the_queue_does_not_miss_a_new_quota() {
    for (gcra, granted) in [(Gcra::UNLIMITED, true), (Gcra::NOTHING, false)] {
        loom::model(move || {
            let engine = engine(1, 1);
            take(&engine, 1, 0).unwrap();
            let waiter = spawn(&engine, |engine| wait(engine, 1, &AtomicU64::new(0)));
            reconfigure(&engine, gcra, 0);
            assert_eq!(waiter.join().unwrap(), granted);
            assert!(!engine.word().is_slow());
        });
    }
}

#[test]
fn the_first_waiter_gives_up_while_tokens_are_refunded_and_the_next_is_granted_them() {
    loom::model(|| {
        let engine = engine(1, 1);
        let grant = take(&engine, 1, 0).unwrap();
        let mut first = Waiter::new(&*engine, 1);
        let polled = first.poll(Nanos::new(0), None, Parker::current().waker());
        let WaiterPoll::Pending(due) = polled else { panic!("{polled:?}") };
        assert_eq!(due, Some(Nanos::new(SECOND)));
        let next = spawn(&engine, |engine| wait(engine, 1, &AtomicU64::new(0)));
        let refund = spawn(&engine, move |engine| engine.refund(&grant, 1, || Nanos::new(0)));
        drop(first);
        refund.join().unwrap();
        assert!(next.join().unwrap());
        assert!(!engine.word().is_slow());
        assert_eq!(engine.queued(), (0, 0));
    });
}

/// No request overtakes the queued waiter, and no token is lost or granted twice.
#[test]
fn a_request_races_with_a_waiter() {
    loom::model(|| {
        let engine = engine(1, 2);
        take(&engine, 1, 0).unwrap();
        let entered = Arc::new(AtomicU64::new(0));
        let waiter = {
            let (engine, entered) = (engine.clone(), entered.clone());
            thread::spawn(move || {
                let parker = Parker::current();
                let mut waiter = Waiter::new(&*engine, 2);
                if let WaiterPoll::Pending(due) = waiter.poll(Nanos::new(0), None, parker.waker()) {
                    entered.store(1, SeqCst);
                    // Poll at the time at which the tokens are available.
                    let granted = matches!(
                        waiter.poll(due.unwrap(), None, parker.waker()),
                        WaiterPoll::Granted(_)
                    );
                    assert!(granted, "a request overtook the waiter");
                }
            })
        };
        let is_queued = entered.load(SeqCst) == 1;
        let granted = take(&engine, 1, 0).is_ok();
        assert!(!(is_queued && granted));
        waiter.join().unwrap();
        assert!(!engine.word().is_slow());
        assert_eq!(engine.word().tat(), gcra(1, 2).cost(if granted { 4 } else { 3 }));
    });
}

/// The queue becomes empty while the TAT is in the past, so that decisions take the lock until the
/// TAT has caught up.
#[test]
fn a_late_waiter_is_granted_tokens_while_another_request_is_decided() {
    const MS: u64 = 1_000_000;
    loom::model(|| {
        // One token becomes available every millisecond. The waiter's token is available at 1 ms,
        // but the waiter polls at 3 ms.
        let engine = engine(1000, 1);
        take(&engine, 1, 0).unwrap();
        let mut waiter = Waiter::new(&*engine, 1);
        let waker = Parker::current();
        assert!(matches!(waiter.poll(Nanos::new(0), None, waker.waker()), WaiterPoll::Pending(_)));
        let other = spawn(&engine, |engine| take(engine, 1, 3 * MS).is_ok());
        let polled = waiter.poll(Nanos::new(3 * MS), None, waker.waker());
        assert!(matches!(polled, WaiterPoll::Granted(_)));
        let other_granted = u32::from(other.join().unwrap());
        // The tokens of 2 and 3 ms remain, minus the one that the other request may have taken.
        let granted = (0..3).filter(|_| take(&engine, 1, 3 * MS).is_ok()).count() as u32;
        assert_eq!(granted + other_granted, 2);
        assert!(
            !engine.word().is_slow()
                || engine.word().tat() < gcra(1000, 1).units(Nanos::new(3 * MS))
        );
    });
}

#[test]
fn the_clock_is_set_back_while_a_request_is_decided() {
    loom::model(|| {
        let engine = engine(1, 2);
        take(&engine, 2, 100 * SECOND).unwrap();
        let request = |engine: &Engine| {
            let now = engine.check_clock(Nanos::new(0), || Nanos::new(0));
            engine.take(1, now).is_ok()
        };
        let other = spawn(&engine, request);
        assert!(!request(&engine) && !other.join().unwrap());
        // The limiter is empty at the earlier time, and still empty at the later time.
        assert!(take(&engine, 1, SECOND).is_ok() && take(&engine, 1, SECOND).is_err());
        assert!(take(&engine, 1, 100 * SECOND).is_err());
        assert!(take(&engine, 2, 102 * SECOND).is_ok());
        assert!(!engine.word().is_slow());
    });
}

/// No state is read in the units of another quota.
#[test]
fn the_quota_of_all_keys_changes_during_a_decision() {
    loom::model(|| {
        let keyed: KeyedRateLimiter<u8, _> =
            KeyedRateLimiter::builder(Quota::per_second(1).burst(2))
                .hasher(BuildHasherDefault::<DefaultHasher>::default())
                .clock(ManualClock::new().clock())
                .shards(2)
                .build()
                .unwrap();
        let keyed = Arc::new(keyed);
        keyed.try_acquire(&1).unwrap();
        let other = {
            let keyed = keyed.clone();
            thread::spawn(move || [keyed.try_acquire(&1).is_ok(), keyed.try_acquire(&2).is_ok()])
        };
        keyed.reconfigure(Quota::per_second(3).burst(5)).unwrap();
        assert_eq!(other.join().unwrap(), [true, true]);
        keyed.reconfigure(Quota::per_second(9).burst(7)).unwrap();
        assert_eq!((keyed.peek(&1).remaining(), keyed.peek(&2).remaining()), (5, 6));
    });
}
