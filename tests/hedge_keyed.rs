//! One hedge per key: each learns its own delay; the bound on keys.
#![cfg(not(mainstay_loom))]

use mainstay::budget::Budget;
use mainstay::error::Reason;
use mainstay::event::Event;
use mainstay::hedge::{Hedge, HedgeBuilder, KeyedHedge};
use mainstay::keyed::KeyOverflowRule;
use mainstay::time::ManualClock;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn keyed(each: HedgeBuilder, max_keys: usize) -> KeyedHedge<String> {
    KeyedHedge::builder(each).max_keys(max_keys).build().unwrap()
}

#[test]
fn each_key_learns_its_own_delay() {
    let time = ManualClock::new();
    let hedges = keyed(Hedge::builder().clock(time.clock()).without_budget(), 10);
    let clock = time.clock();
    for _ in 0..200 {
        for (key, latency) in [("fast", 4 * MS), ("slow", 60 * MS)] {
            let hedge = hedges.hedge(key).unwrap();
            let result = time.drive(hedge.call(|| async {
                clock.sleep(latency).await;
                Ok::<_, ()>(())
            }));
            assert_eq!(result, Ok(()));
        }
    }
    let delay = |key| hedges.hedge(key).unwrap().snapshot().delay;
    assert!(delay("fast").abs_diff(4 * MS) < MS, "{:?}", delay("fast"));
    assert!(delay("slow").abs_diff(60 * MS) < 8 * MS, "{:?}", delay("slow"));
    assert_eq!(delay("new"), 100 * MS);
}

#[test]
fn a_hedge_in_use_is_not_removed_and_an_unused_one_is() {
    let hedges = keyed(Hedge::builder(), 2);
    let (a, b) = (hedges.hedge("a").unwrap(), hedges.hedge("b").unwrap());
    let rejection = hedges.hedge("c").unwrap_err();
    assert_eq!((rejection.reason(), rejection.policy()), (Reason::Exhausted, "hedge"));
    drop(b);
    assert!(hedges.hedge("c").is_ok());
    let snapshot = hedges.snapshot();
    assert_eq!((snapshot.keys, snapshot.evicted, snapshot.rejected), (2, 1, 1));
    assert!(hedges.remove("a"));
    assert!(!hedges.remove("a"));
    drop(a);
    let rejecting = KeyedHedge::<u8>::builder(Hedge::builder()).max_keys(1);
    let rejecting = rejecting.when_full(KeyOverflowRule::Reject).build().unwrap();
    assert!(rejecting.hedge(&1).is_ok());
    assert!(rejecting.hedge(&2).is_err());
}

#[test]
fn keys_share_a_budget_that_is_given_and_have_their_own_by_default() {
    let own = keyed(Hedge::builder(), 10);
    let spent = own.hedge("a").unwrap();
    let _permit = spent.budget().unwrap().try_acquire_n(10).unwrap();
    assert_eq!(own.hedge("a").unwrap().budget().unwrap().snapshot().available, 0);
    assert_eq!(own.hedge("b").unwrap().budget().unwrap().snapshot().available, 10);

    let budget = Budget::builder().of_all_calls(3).build().unwrap();
    let shared = keyed(Hedge::builder().budget(&budget), 10);
    let _permit = shared.hedge("a").unwrap().budget().unwrap().try_acquire().unwrap();
    assert_eq!(shared.hedge("b").unwrap().budget().unwrap().snapshot().available, 2);
}

#[test]
fn events_are_marked_as_those_of_one_key() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let each = Hedge::builder()
        .delay(10 * MS)
        .clock(time.clock())
        .observer(move |event: &Event<'_>| log.lock().unwrap().push((event.keyed, event.kind)));
    let hedge = keyed(each, 10).hedge("a").unwrap();
    let result = time.drive(hedge.call_with(|cx| async move {
        match cx.attempt() {
            1 => pending().await,
            number => Ok::<_, ()>(number),
        }
    }));
    assert_eq!(result, Ok(2));
    assert_eq!(*seen.lock().unwrap(), [(true, "hedge"), (true, "won")]);
}

#[test]
fn a_setting_that_is_out_of_range_is_named_and_those_of_a_key_are_fixed() {
    let attempts = KeyedHedge::<u8>::builder(Hedge::builder().max_attempts(0)).build();
    assert_eq!(attempts.unwrap_err().field(), "max_attempts");
    let keys = KeyedHedge::<u8>::builder(Hedge::builder()).max_keys(0).build();
    assert_eq!(keys.unwrap_err().field(), "max_keys");
    let hedge = keyed(Hedge::builder(), 1).hedge("a").unwrap();
    assert_eq!(hedge.reconfigure(&Hedge::builder()).unwrap_err().field(), "reconfigure");
}
