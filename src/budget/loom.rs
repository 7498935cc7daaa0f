//! Loom models of the budget: concurrent repeats never exceed it.

use super::Budget;
use loom::thread;

#[test]
fn only_one_of_two_concurrent_repeats_is_granted_the_last_permit() {
    loom::model(|| {
        let budget = Budget::builder().of_calls_in_flight(1).build().unwrap();
        let other = thread::spawn({
            let budget = budget.clone();
            move || budget.try_acquire().ok()
        });
        let this = budget.try_acquire().ok();
        let other = other.join().unwrap();
        assert!(this.is_some() ^ other.is_some());
        drop((this, other));
        assert_eq!(budget.snapshot().available, 1);
    });
}

#[test]
fn a_deposit_concurrent_with_a_withdrawal_does_not_exceed_the_capacity() {
    loom::model(|| {
        let budget = Budget::builder().percent(100).of_all_calls(1).build().unwrap();
        let other = thread::spawn({
            let budget = budget.clone();
            move || drop(budget.start_call())
        });
        let spent = budget.try_acquire().is_ok();
        other.join().unwrap();
        // A deposit before the withdrawal is discarded, because the bucket is full.
        let left = budget.snapshot().available;
        assert!(spent && left <= 1, "{left}");
    });
}

#[test]
fn a_decision_does_not_use_settings_that_were_replaced() {
    loom::model(|| {
        let builder = |capacity| Budget::builder().percent(100).of_all_calls(capacity);
        let budget = builder(2).build().unwrap();
        drop(budget.try_acquire()); // 1 of 2 is left
        let other = thread::spawn({
            let budget = budget.clone();
            move || drop(budget.start_call())
        });
        budget.reconfigure(&builder(1)).unwrap();
        other.join().unwrap();
        // A deposit by the old settings after the change would exceed the new capacity.
        assert_eq!(budget.snapshot().available, 1);
    });
}

#[test]
fn a_repeat_that_is_granted_while_the_settings_change_is_counted_once() {
    loom::model(|| {
        let builder = |min| Budget::builder().of_calls_in_flight(min);
        let budget = builder(1).build().unwrap();
        let other = thread::spawn({
            let budget = budget.clone();
            move || budget.try_acquire().ok()
        });
        budget.reconfigure(&builder(2)).unwrap();
        let permits = [budget.try_acquire().ok(), budget.try_acquire().ok()];
        let granted = permits.iter().flatten().count();
        let other = other.join().unwrap();
        assert_eq!(granted + usize::from(other.is_some()), 2);
        drop((permits, other));
        assert_eq!(budget.snapshot().available, 2);
    });
}
