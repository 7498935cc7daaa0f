//! One budget per key: independence, the bound on keys, and exact amounts under concurrency.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::{Backoff, Jitter};
use mainstay::budget::{Budget, BudgetBuilder, KeyedBudget};
use mainstay::error::{Error, Reason};
use mainstay::event::Event;
use mainstay::retry::Retry;
use mainstay::time::ManualClock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

fn keyed(each: BudgetBuilder, max_keys: usize) -> KeyedBudget<String> {
    KeyedBudget::builder(each).max_keys(max_keys).build().unwrap()
}

#[test]
fn each_key_has_its_own_budget() {
    let budgets = keyed(Budget::builder().percent(1).of_all_calls(2), 10);
    let acquire = |key: &str| budgets.budget(key).unwrap().try_acquire().is_ok();
    assert_eq!(["a", "a", "a", "b", "b", "b"].map(acquire), [true, true, false, true, true, false]);
    assert_eq!(budgets.budget("a").unwrap().snapshot().denials, 1);
    assert!(budgets.remove("a"));
    assert!(acquire("a"));
    assert!(!budgets.remove("c"));
    assert_eq!(budgets.snapshot().keys, 2);
}

#[test]
fn a_budget_in_use_is_not_removed_and_an_unused_one_is() {
    // A call or a repeat in flight holds the budget. A budget without any equals a new one.
    let budgets = keyed(Budget::builder().of_calls_in_flight(1), 1);
    let call = budgets.budget("a").unwrap().start_call();
    let rejection = budgets.budget("b").unwrap_err();
    assert_eq!((rejection.reason(), rejection.policy()), (Reason::Exhausted, "budget"));
    drop(call);
    let permit = budgets.budget("b").unwrap().try_acquire().unwrap();
    assert!(budgets.budget("a").is_err());
    drop(permit);
    assert!(budgets.budget("a").is_ok());
    let snapshot = budgets.snapshot();
    assert_eq!((snapshot.keys, snapshot.max_keys, snapshot.rejected), (1, 1, 2));
}

#[test]
fn a_budget_that_is_partly_spent_is_evicted_only_for_want_of_space() {
    let time = ManualClock::new();
    let second = Duration::from_secs(1);
    let each = Budget::builder().of_recent_calls(10 * second, 1).clock(time.clock());
    for (spends, waits, disposable) in [(0, 0, true), (1, 0, false), (1, 10, true)] {
        let rule = mainstay::KeyOverflowRule::Reject;
        let budgets = KeyedBudget::<u32>::builder(each.clone()).max_keys(1).when_full(rule);
        let budgets = budgets.build().unwrap();
        for _ in 0..spends {
            drop(budgets.budget(&1).unwrap().try_acquire().unwrap());
        }
        budgets.budget(&1).unwrap();
        time.advance(waits * second);
        assert_eq!(budgets.budget(&2).is_ok(), disposable, "{spends} {waits}");
    }
}

#[test]
fn a_retry_draws_from_the_budget_of_the_dependency_that_is_called() {
    let time = ManualClock::new();
    let budgets = keyed(Budget::builder().of_calls_in_flight(0), 10);
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::constant(Duration::from_secs(1)).jitter(Jitter::None))
        .clock(time.clock())
        .build()
        .unwrap();
    let attempts = AtomicU64::new(0);
    let fails = || {
        attempts.fetch_add(1, SeqCst);
        Err::<(), _>("down")
    };
    let starved = retry.with_budget(budgets.budget("a").unwrap());
    assert_eq!(starved.call_blocking(fails), Err(Error::Operation("down")));
    assert_eq!(attempts.swap(0, SeqCst), 1);
    let healthy = budgets.budget("b").unwrap();
    let calls: Vec<_> = (0..5).map(|_| healthy.start_call()).collect();
    assert!(retry.with_budget(&healthy).call_blocking(fails).is_err());
    assert_eq!(attempts.into_inner(), 3);
    drop(calls);
    // All views share the counters.
    let snapshot = retry.snapshot();
    assert_eq!((snapshot.retries, snapshot.suppressed), (2, 1));
}

#[test]
fn events_are_marked_as_those_of_one_key() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let each = Budget::builder().of_all_calls(1).observer(move |event: &Event<'_>| {
        log.lock().unwrap().push((event.keyed, event.sequence));
    });
    let budgets = keyed(each, 10);
    for key in ["a", "a", "b", "b", "a"] {
        let _ = budgets.budget(key).unwrap().try_acquire();
    }
    assert_eq!(*seen.lock().unwrap(), [(true, 1), (true, 1), (true, 2)]);
}

#[test]
fn a_setting_of_the_budgets_or_the_table_that_is_out_of_range_is_named() {
    let percent = KeyedBudget::<u8>::builder(Budget::builder().percent(0)).build();
    assert_eq!(percent.unwrap_err().field(), "percent");
    let keys = KeyedBudget::<u8>::builder(Budget::builder()).max_keys(0).build();
    assert_eq!(keys.unwrap_err().field(), "max_keys");
}

#[test]
fn the_settings_of_the_budget_of_a_key_are_fixed() {
    let budgets = keyed(Budget::builder(), 10);
    let budget = budgets.budget("a").unwrap();
    let error = budget.reconfigure(&Budget::builder().percent(10)).unwrap_err();
    assert_eq!(error.field(), "reconfigure");
}

#[test]
fn eight_threads_never_spend_more_than_the_budget_of_each_key() {
    const THREADS: u64 = 8;
    const CAPACITY: u32 = 100;
    let budgets = KeyedBudget::<u64>::builder(Budget::builder().percent(1).of_all_calls(CAPACITY));
    // More than in use: a key that two threads insert at the same time counts twice until one gives
    // up.
    let budgets = budgets.max_keys(100).build().unwrap();
    let granted = [const { AtomicU64::new(0) }; 4];
    let start = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (budgets, granted, start) = (&budgets, &granted, &start);
            scope.spawn(move || {
                start.wait();
                for i in 0..400_u64 {
                    let key = (i + thread) % 4;
                    if budgets.budget(&key).unwrap().try_acquire().is_ok() {
                        granted[key as usize].fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(granted.map(AtomicU64::into_inner), [u64::from(CAPACITY); 4]);
}
