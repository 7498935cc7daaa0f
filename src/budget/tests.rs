//! Tables of the transitions of a budget, and a property test against a simple model.

use super::state::{MAX_BALANCE, REPEAT, Rule};
use super::{Budget, BudgetBuilder};
use crate::time::{Instant, ManualClock};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

/// Starts repeats until one is denied, and returns their number.
fn drain(budget: &Budget) -> usize {
    let permits: Vec<_> = std::iter::from_fn(|| budget.try_acquire().ok()).collect();
    permits.len()
}

#[test]
fn repeats_in_flight_are_a_share_of_the_calls_in_flight_and_at_least_the_minimum() {
    //     percent, min, calls, repeats
    let table = [
        (20, 3, 0, 3),
        (20, 3, 15, 3),
        (20, 3, 19, 3), // failsafe-go#139: the minimum applies
        (20, 3, 20, 4),
        (20, 3, 24, 4),
        (20, 3, 25, 5),
        (20, 0, 4, 0),
        (20, 0, 5, 1),
        (60, 0, 10, 6), // tower#857: 60 % is not 100 %
        (100, 0, 10, 10),
        (1, 0, 99, 0),
        (1, 0, 100, 1),
    ];
    for (percent, min, calls, expected) in table {
        let builder = Budget::builder().percent(percent).of_calls_in_flight(min);
        let budget = builder.build().unwrap();
        let calls: Vec<_> = (0..calls).map(|_| budget.start_call()).collect();
        assert_eq!(budget.snapshot().available, expected as u64);
        assert_eq!(drain(&budget), expected, "{percent} % of {} calls", calls.len());
        drop(calls);
        assert_eq!(budget.snapshot().available, u64::from(min));
    }
}

/// tower#857: `TpsBudget` computed `1 / 0.6` as an integer, so 60 % granted 100 %.
#[test]
fn a_share_of_deposits_is_exact() {
    for percent in 1..=100 {
        for builder in [
            Budget::builder().of_recent_calls(10 * SECOND, 0),
            Budget::builder().of_all_calls(1000),
        ] {
            let budget = builder.percent(percent).clock(ManualClock::new().clock());
            let budget = budget.build().unwrap();
            drain(&budget); // the initial balance
            (0..1000).for_each(|_| drop(budget.start_call()));
            assert_eq!(drain(&budget), 10 * percent as usize, "{percent} %");
        }
    }
}

#[test]
fn a_deposit_expires_at_the_end_of_the_next_half_of_the_window() {
    //     deposit at, withdrawal at, granted
    let table = [
        (0, 0, 1),
        (0, 4, 1),
        (0, 9, 1),
        (0, 10, 0), // expired
        (4, 5, 1),
        (4, 9, 1),
        (4, 10, 0),
        (5, 14, 1),
        (5, 15, 0),
        (0, 1_000_000, 0),
    ];
    for (deposit, withdrawal, granted) in table {
        let rule = Rule::Deposits { percent: 100, reserve: 0, half_nanos: 5_000_000_000 };
        let word = rule.start_call(rule.initial(at(0)), at(deposit));
        assert_eq!(rule.available(word, at(withdrawal)), granted, "{deposit}, {withdrawal}");
        let granted = granted == 1;
        assert_eq!(rule.start_repeat(word, at(withdrawal), 1).is_some(), granted);
    }
}

#[test]
fn each_half_of_the_window_grants_its_reserve_once() {
    let rule = Rule::Deposits { percent: 20, reserve: 2 * REPEAT, half_nanos: 5_000_000_000 };
    let mut word = rule.initial(at(0));
    //     time, granted
    let table = [
        (0, 4), // the current half, and one before it
        (4, 0),
        (5, 2),
        (4, 0), // the reading of a late thread
        (5, 0),
        (9, 0),
        (10, 2),
        (25, 4),   // two halves without calls
        (3600, 4), // an hour
        (0, 0),    // a clock that was set back for half an hour
        (3600, 0),
        (20_000, 4),
    ];
    for (time, expected) in table {
        let mut granted = 0;
        while let Some(next) = rule.start_repeat(word, at(time), 1) {
            word = next;
            granted += 1;
        }
        assert_eq!(granted, expected, "{time}");
    }
}

#[test]
fn a_call_that_reads_the_clock_late_does_not_grant_a_reserve_again() {
    let rule = Rule::Deposits { percent: 1, reserve: REPEAT, half_nanos: 5_000_000_000 };
    let mut word = rule.start_call(rule.initial(at(0)), at(5));
    while let Some(next) = rule.start_repeat(word, at(5), 1) {
        word = next;
    }
    word = rule.start_call(word, at(4));
    assert_eq!(rule.available(word, at(5)), 0);
}

#[test]
fn a_clock_that_is_set_back_far_grants_nothing_until_the_next_half() {
    let rule = Rule::Deposits { percent: 100, reserve: REPEAT, half_nanos: 5_000_000_000 };
    let word = rule.start_call(rule.initial(at(1_000_000)), at(1_000_000));
    let word = rule.start_call(word, at(0));
    assert_eq!(rule.available(word, at(0)), 1); // the call itself
    assert_eq!(rule.available(word, at(5)), 2); // and the reserve of the half
}

/// The state keeps 16 bits of the half, so a longer pause looks like a clock that was set back.
#[test]
fn a_clock_that_is_set_back_by_1024_halves_is_followed() {
    let rule = Rule::Deposits { percent: 0, reserve: REPEAT, half_nanos: 1_000_000_000 };
    let start = 3_000_000;
    let spent = [1, 2]
        .into_iter()
        .fold(rule.initial(at(start)), |word, _| rule.start_repeat(word, at(start), 1).unwrap());
    //     the time of a call, available then, available one half later
    let table = [
        (start, 0, 1),
        (start + 1, 1, 2),
        (start + 2, 2, 2),
        (start - 1, 0, 0), // late: the half that was spent
        (start - 1023, 0, 0),
        (start - 1024, 0, 1), // followed
        (start - 1025, 0, 1),
        (start + (1 << 15), 2, 2),
        (start + (1 << 15) + 1, 0, 1),
    ];
    for (time, then, later) in table {
        let word = rule.start_call(spent, at(time));
        assert_eq!(rule.available(word, at(time)), then, "at {time}");
        assert_eq!(rule.available(word, at(time + 1)), later, "one half after {time}");
    }
}

/// A keyed budget may forget a budget in this state.
#[test]
fn a_budget_is_as_new_if_nothing_is_in_flight_spent_or_deposited() {
    let half_nanos = 5_000_000_000;
    for (rule, after_call, after_repeat, later) in [
        (Rule::InFlight { percent: 20, min: 3 }, false, false, false),
        (Rule::Bucket { percent: 100, capacity: 10 * REPEAT }, true, false, false),
        (Rule::Deposits { percent: 20, reserve: REPEAT, half_nanos }, false, false, true),
    ] {
        let new = rule.initial(at(0));
        assert!(rule.is_as_new(new, at(0)), "{rule:?}");
        assert_eq!(rule.is_as_new(rule.start_call(new, at(0)), at(0)), after_call, "{rule:?}");
        let spent = rule.start_repeat(new, at(0), 1).unwrap();
        assert_eq!(rule.is_as_new(spent, at(0)), after_repeat, "{rule:?}");
        assert_eq!(rule.is_as_new(spent, at(10)), later, "{rule:?} after two halves");
    }
}

#[test]
fn a_half_of_the_window_holds_a_bounded_balance() {
    let rule = Rule::Deposits { percent: 100, reserve: 0, half_nanos: 5_000_000_000 };
    let mut word = rule.initial(at(0));
    for _ in 0..MAX_BALANCE + 10 {
        word = rule.start_call(word, at(0));
    }
    assert_eq!(rule.available(word, at(0)), MAX_BALANCE);
    assert_eq!(rule.available(word, at(5)), MAX_BALANCE);
}

#[test]
fn a_bucket_starts_full_and_never_exceeds_its_capacity() {
    let rule = Rule::Bucket { percent: 5, capacity: 10 * REPEAT };
    let now = Instant::ORIGIN;
    let mut word = rule.initial(now);
    assert_eq!(rule.available(rule.start_call(word, now), now), 10);
    for _ in 0..10 {
        word = rule.start_repeat(word, now, 1).unwrap();
    }
    assert_eq!(rule.start_repeat(word, now, 1), None);
    // One repeat for each 20 calls.
    for _ in 0..19 {
        word = rule.start_call(word, now);
    }
    assert_eq!(rule.start_repeat(word, now, 1), None);
    assert!(rule.start_repeat(rule.start_call(word, now), now, 1).is_some());
}

#[test]
fn new_settings_keep_what_was_deposited_and_what_is_in_flight() {
    let bucket = |capacity| Rule::Bucket { percent: 50, capacity: capacity * REPEAT };
    let in_flight = |min| Rule::InFlight { percent: 20, min };
    let deposits = |reserve, half_nanos: u64| Rule::Deposits {
        percent: 100,
        reserve: reserve * REPEAT,
        half_nanos: half_nanos * 1_000_000_000,
    };
    //     old rule, spent, new rule, available then, and after 5 s and 10 s
    let table = [
        (bucket(10), 4, bucket(20), [6, 6, 6]), // fills with later calls
        (bucket(10), 4, bucket(5), [5, 5, 5]),
        (bucket(10), 6, bucket(5), [4, 4, 4]),
        (in_flight(10), 4, in_flight(20), [16, 16, 16]),
        (in_flight(10), 4, in_flight(5), [1, 1, 1]),
        (in_flight(10), 4, in_flight(3), [0, 0, 0]),
        (deposits(2, 5), 1, deposits(2, 5), [3, 4, 4]),
        (deposits(2, 5), 3, deposits(3, 5), [1, 4, 6]), // from the next half on
        (deposits(2, 5), 3, deposits(0, 5), [1, 1, 0]),
        (deposits(2, 5), 1, deposits(2, 100), [3, 3, 3]),
        (deposits(2, 5), 1, deposits(2, 1), [3, 4, 4]),
    ];
    for (old, spent, new, available) in table {
        let state = old.start_repeat(old.initial(at(100)), at(100), spent).unwrap();
        let state = new.convert(old, state, at(100));
        let then = [100, 105, 110].map(|time| new.available(state, at(time)));
        assert_eq!(then, available, "{old:?} -> {new:?}");
    }
}

#[test]
fn settings_that_are_replaced_late_do_not_grant_a_reserve_again() {
    let rule = |seconds: u64| Rule::Deposits {
        percent: 1,
        reserve: REPEAT,
        half_nanos: seconds * 1_000_000_000,
    };
    let spent = rule(5).start_repeat(rule(5).initial(at(5)), at(5), 2).unwrap();
    for (new, later) in [(rule(5), 5), (rule(1), 5), (rule(2), 5)] {
        // The thread read the clock at 4 s, before the half that was spent.
        let state = new.convert(rule(5), spent, at(4));
        assert_eq!(new.available(state, at(later)), 0, "{new:?}");
    }
}

#[test]
fn settings_out_of_range_are_rejected() {
    let field = |builder: BudgetBuilder| builder.build().unwrap_err().field();
    let builder = Budget::builder;
    assert_eq!(field(builder().name("")), "name");
    assert_eq!(field(builder().percent(0)), "percent");
    assert_eq!(field(builder().percent(101)), "percent");
    assert_eq!(field(builder().timeout_cost(0)), "timeout_cost");
    assert_eq!(field(builder().timeout_cost(1001)), "timeout_cost");
    assert_eq!(field(builder().of_calls_in_flight(40_001)), "of_calls_in_flight");
    assert_eq!(field(builder().of_recent_calls(SECOND / 11, 1)), "of_recent_calls");
    assert_eq!(field(builder().of_recent_calls(3601 * SECOND, 1)), "of_recent_calls");
    assert_eq!(field(builder().of_recent_calls(10 * SECOND, 8001)), "of_recent_calls");
    assert!(builder().of_recent_calls(10 * SECOND, 8000).build().is_ok());
    assert_eq!(field(builder().of_all_calls(0)), "of_all_calls");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Call,
    Repeat(u32),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Call),
        3 => (1_u32..4).prop_map(Step::Repeat),
        1 => (0_u64..4).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// The model is a list of all deposits, each with its half of the window, oldest first.
    #[test]
    fn two_balances_behave_like_a_list_of_deposits(
        steps in steps(), percent in 1_u32..=100, reserve in 0_u64..5
    ) {
        let reserve = reserve * REPEAT;
        let rule = Rule::Deposits { percent, reserve, half_nanos: 2_000_000_000 };
        let mut now = 100;
        let mut word = rule.initial(at(now));
        let mut deposits = vec![(now / 2 - 1, reserve), (now / 2, reserve)];
        for step in steps {
            match step {
                Step::Wait(seconds) => {
                    for half in now / 2 + 1..=(now + seconds) / 2 {
                        deposits.push((half, reserve));
                    }
                    now += seconds;
                    deposits.retain(|(half, _)| half + 1 >= now / 2);
                }
                Step::Call => {
                    word = rule.start_call(word, at(now));
                    deposits.push((now / 2, percent.into()));
                }
                Step::Repeat(cost) => {
                    let mut price = u64::from(cost) * REPEAT;
                    let total: u64 = deposits.iter().map(|(_, amount)| amount).sum();
                    let started = rule.start_repeat(word, at(now), cost);
                    prop_assert_eq!(started.is_some(), total >= price);
                    if let Some(started) = started {
                        word = started;
                        for (_, amount) in &mut deposits {
                            let spent = price.min(*amount);
                            (*amount, price) = (*amount - spent, price - spent);
                        }
                    }
                }
            }
            let total: u64 = deposits.iter().map(|(_, amount)| amount).sum();
            prop_assert_eq!(rule.available(word, at(now)), total / REPEAT);
        }
    }
}
