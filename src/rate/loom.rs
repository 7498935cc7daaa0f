//! Models of the limiter: every interleaving of a few calls on its core. Time is passed in.

use super::answer::Answer;
use super::core::Core;
use super::gcra::Plan;
use super::line::{Look, Turn};
use super::{Keyed, Quota};
use crate::sync::thread::Parker;
use crate::time::ManualClock;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::SeqCst};
use loom::thread;
use std::hash::{BuildHasherDefault, DefaultHasher};

const SECOND: u64 = 1_000_000_000;

fn core(per_second: u32, burst: u32) -> Arc<Core> {
    Arc::new(Core::new(plan(per_second, burst)))
}

fn plan(per_second: u32, burst: u32) -> Plan {
    Plan::new(&Quota::per_second(per_second).burst(burst)).unwrap()
}

fn aside<R: 'static>(
    core: &Arc<Core>,
    act: impl FnOnce(&Core) -> R + 'static,
) -> thread::JoinHandle<R> {
    let core = core.clone();
    thread::spawn(move || act(&core))
}

/// As the limiter does.
fn take(core: &Core, n: u32, now: u64) -> Result<Answer, Answer> {
    core.take_at_once(n, now).unwrap_or_else(|| core.take(n, now))
}

fn reconfigure(core: &Core, plan: Plan, now: u64) {
    let head = loop {
        if let Some(head) = core.reconfigure(core.word(), plan, now) {
            break head;
        }
    };
    head.wake();
}

fn left(core: &Core, now: u64) -> u32 {
    core.peek(1, now).remaining()
}

/// Waits in line, parked between looks, with the time that `clock` says.
fn wait(core: &Core, n: u32, clock: &AtomicU64) -> bool {
    let parker = Parker::current();
    let mut turn = Turn::new(core, n);
    loop {
        match turn.look(clock.load(SeqCst), None, parker.waker()) {
            Look::Granted(_) => return true,
            Look::Refused(_) => return false,
            Look::Wait(_) => parker.park(),
        }
    }
}

/// Room for one of two.
#[test]
fn two_race_for_the_last_token() {
    loom::model(|| {
        let core = core(1, 3);
        let other = aside(&core, |core| take(core, 2, SECOND).is_ok());
        let here = take(&core, 2, SECOND).is_ok();
        let there = other.join().unwrap();
        assert!(here != there);
        assert_eq!(left(&core, SECOND), 1);
    });
}

/// One with an old reading of the clock, at the edge.
#[test]
fn a_stale_reading_takes_from_the_same_bucket() {
    loom::model(|| {
        let core = core(1, 1);
        let other = aside(&core, |core| take(core, 1, 5 * SECOND).is_ok());
        let here = take(&core, 1, 4 * SECOND).is_ok();
        let there = other.join().unwrap();
        // Both, if the stale one came first: then a second lies between what they read.
        assert!(there);
        assert_eq!(core.word().arrival(), plan(1, 1).units(6 * SECOND), "{here}");
    });
}

/// A reservation is dropped while somebody else makes one: no time is given away twice, and none is lost
/// where it could be given back.
#[test]
fn a_dropped_reservation_against_another() {
    loom::model(|| {
        let core = core(1, 1);
        let due = |answer: Answer| answer.plan.nanos(answer.plan.due(answer.ahead, 0)).unwrap();
        let first = core.promise(1, 0).unwrap();
        let other = aside(&core, move |core| due(core.promise(1, 0).unwrap()));
        core.withdraw(&first);
        let other = other.join().unwrap();
        let last = due(core.promise(1, 0).unwrap());
        assert!(matches!((other, last), (0, SECOND)) || (other, last) == (SECOND, 2 * SECOND));
    });
}

/// Two give back what they took, while a third takes.
#[test]
fn refunds_against_a_taking() {
    loom::model(|| {
        let core = core(1, 3);
        let (first, second) = (take(&core, 1, 0).unwrap(), take(&core, 1, 0).unwrap());
        let refund = aside(&core, move |core| core.refund(&first, 1, || 0));
        let taking = aside(&core, |core| {
            take(core, 1, 0).map(|answer| core.refund(&answer, 1, || 0)).is_ok()
        });
        core.refund(&second, 1, || 0);
        refund.join().unwrap();
        assert!(taking.join().unwrap());
        // A refund may be smaller for one that it met, but no token is given back twice.
        assert!(left(&core, 0) >= 2);
        assert!(take(&core, 4, 0).is_err());
        assert!(core.word().arrival() <= plan(1, 3).cost(1));
    });
}

/// The quota changes at the moment of a decision: it is one of the old quota or one of the new, and what
/// is in use is so in either.
#[test]
fn reconfiguring_against_a_taking() {
    loom::model(|| {
        let core = core(1, 1);
        let other = aside(&core, |core| [take(core, 1, 0).is_ok(), take(core, 1, 0).is_ok()]);
        reconfigure(&core, plan(7, 4), 0);
        assert!(take(&core, 1, 0).is_ok(), "at most two are in use by then");
        let took = other.join().unwrap().into_iter().filter(|took| *took).count() as u32;
        assert!(took >= 1);
        assert_eq!(left(&core, 0), 3 - took);
    });
}

/// Two changes, so that a plan is rewritten while it is read: every one of the three would grant, but one
/// that is half of the first and half of the third would not.
#[test]
fn no_verdict_of_a_mixture() {
    loom::model(|| {
        let (core, now) = (core(1, 2), 100 * SECOND);
        take(&core, 1, now).unwrap();
        let other = aside(&core, move |core| take(core, 1, now));
        reconfigure(&core, plan(2, 2), now);
        reconfigure(&core, plan(1_000_000_000, 2), now);
        assert_eq!(other.join().unwrap().unwrap().remaining(), 0);
    });
}

/// A waiter enters the line while what it waits for is given back: it hears of it.
#[test]
fn a_refund_is_not_missed() {
    loom::model(|| {
        let core = core(1, 1);
        let answer = take(&core, 1, 0).unwrap();
        let waiter = aside(&core, |core| wait(core, 1, &AtomicU64::new(0)));
        core.refund(&answer, 1, || 0);
        assert!(waiter.join().unwrap());
        assert!(!core.word().is_waiting());
        assert_eq!(left(&core, 0), 0);
    });
}

/// And while the quota changes in its favour, or so that it can never be served.
#[test]
fn a_new_quota_is_not_missed() {
    for (plan, served) in [(Plan::UNLIMITED, true), (Plan::NOTHING, false)] {
        loom::model(move || {
            let core = core(1, 1);
            take(&core, 1, 0).unwrap();
            let waiter = aside(&core, |core| wait(core, 1, &AtomicU64::new(0)));
            reconfigure(&core, plan, 0);
            assert_eq!(waiter.join().unwrap(), served);
            assert!(!core.word().is_waiting());
        });
    }
}

/// The head goes away while its tokens come back: whoever stands behind gets them.
#[test]
fn a_cancelled_head_hands_on() {
    loom::model(|| {
        let core = core(1, 1);
        let answer = take(&core, 1, 0).unwrap();
        let mut head = Turn::new(&*core, 1);
        assert!(matches!(head.look(0, None, Parker::current().waker()), Look::Wait(Some(SECOND))));
        let next = aside(&core, |core| wait(core, 1, &AtomicU64::new(0)));
        let refund = aside(&core, move |core| core.refund(&answer, 1, || 0));
        drop(head);
        refund.join().unwrap();
        assert!(next.join().unwrap());
        assert!(!core.word().is_waiting());
        assert_eq!((core.line.queued(), core.line.len()), (0, 0));
    });
}

/// Somebody tries while somebody waits: the line is not passed, and no token is lost or doubled.
#[test]
fn trying_against_waiting() {
    loom::model(|| {
        let core = core(1, 2);
        take(&core, 1, 0).unwrap();
        let entered = Arc::new(AtomicU64::new(0));
        let waiter = {
            let (core, entered) = (core.clone(), entered.clone());
            thread::spawn(move || {
                let parker = Parker::current();
                let mut turn = Turn::new(&*core, 2);
                if let Look::Wait(due) = turn.look(0, None, parker.waker()) {
                    entered.store(1, SeqCst);
                    // When its time has come.
                    let granted =
                        matches!(turn.look(due.unwrap(), None, parker.waker()), Look::Granted(_));
                    assert!(granted, "somebody got past");
                }
            })
        };
        let in_line = entered.load(SeqCst) == 1;
        let here = take(&core, 1, 0).is_ok();
        assert!(!(in_line && here));
        waiter.join().unwrap();
        assert!(!core.word().is_waiting());
        assert_eq!(core.word().arrival(), plan(1, 2).cost(if here { 4 } else { 3 }));
    });
}

/// A quota for all keys changes while one of them takes: no state is read in the wrong units.
#[test]
fn a_keyed_quota_changes_against_a_taking() {
    loom::model(|| {
        let keyed: Keyed<u8, _> = Keyed::builder(Quota::per_second(1).burst(2))
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
