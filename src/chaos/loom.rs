//! Loom models of a chaos policy: call numbers are unique, and a run that has ended injects
//! nothing.

use super::{Chaos, Fault};
use crate::policy::Context;
use crate::time::ManualClock;
use loom::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn chaos() -> Chaos {
    let time = ManualClock::new();
    Chaos::builder().clock(time.clock()).fault(Fault::rejection()).build().unwrap()
}

#[test]
fn two_calls_receive_different_numbers() {
    loom::model(|| {
        let chaos = chaos();
        chaos.switch().turn_on_for(SECOND).unwrap();
        let take = |chaos: &Chaos| chaos.shared.numbers.lock().take(1);
        let other = thread::spawn({
            let chaos = chaos.clone();
            move || take(&chaos)
        });
        let mut numbers = [take(&chaos), other.join().unwrap()];
        numbers.sort();
        assert_eq!(numbers, [Some(0), Some(1)]);
    });
}

#[test]
fn a_call_after_the_switch_was_turned_off_is_not_affected() {
    loom::model(|| {
        let chaos = chaos();
        let other = thread::spawn({
            let chaos = chaos.clone();
            move || {
                // Runs before, between or after `turn_on_for` and `turn_off`.
                _ = chaos.shared.inject(None, Context::new());
            }
        });
        chaos.switch().turn_on_for(SECOND).unwrap();
        chaos.switch().turn_off();
        assert!(chaos.shared.inject(None, Context::new()).is_none());
        assert!(!chaos.switch().is_on());
        chaos.switch().turn_on_for(SECOND).unwrap();
        other.join().unwrap();
        assert!(chaos.shared.inject(None, Context::new()).is_some());
    });
}
