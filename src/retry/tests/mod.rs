//! Tests of the times of attempts and of the results that the caller receives.

mod results;
mod times;

use super::{Retry, RetryDecision};
use crate::backoff::{Backoff, Jitter};
use crate::error::{Error, Reason, Rejection, TimedOut};
use crate::policy::{Context, Repeat};
use crate::time::{Deadline, ManualClock};
use std::cell::Cell;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const NEVER: Deadline = Deadline::NEVER;

type Outcome = Result<(), Error<()>>;

fn rejection() -> Rejection {
    Rejection::new(Reason::CircuitOpen, "search")
}

#[test]
fn a_retry_of_one_attempt_needs_no_repeat_safety() {
    for (max_attempts, repeats) in [(1, false), (2, true)] {
        let retry = Retry::builder().max_attempts(max_attempts).build().unwrap();
        let facts = crate::policy::Policy::facts(&retry);
        assert_eq!(facts.repeat_safety.is_some(), repeats, "{max_attempts}");
    }
}

#[test]
fn debug_of_a_view_shows_the_settings_of_its_retry() {
    let retry = Retry::builder().name("mail").build().unwrap().when(|_: &Outcome| true);
    assert!(format!("{retry:?}").contains("mail"), "{retry:?}");
}

#[test]
fn settings_out_of_range_are_rejected() {
    let field = |builder: super::RetryBuilder| builder.build().unwrap_err().field();
    assert_eq!(field(Retry::builder().max_attempts(0)), "max_attempts");
    assert_eq!(field(Retry::builder().name("")), "name");
    assert!(Retry::builder().backoff(Backoff::exponential(MS).factor(f64::NAN)).build().is_err());
}
