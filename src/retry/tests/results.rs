//! Tests of the results that are retried and the results that the caller receives.

use super::*;
use crate::outcome::Outcome as Class;
use crate::retry::{RetryAttempt, RetryOnFailure, RetryRule};
use crate::sync::PlainMutex;

/// Creates a retry with three attempts and a constant backoff of 10 ms.
fn retry(time: &ManualClock) -> Retry {
    Retry::builder().clock(time.clock()).backoff(Backoff::constant(10 * MS)).build().unwrap()
}

#[test]
fn by_default_failures_are_retried_and_rejections_are_not() {
    let attempt = RetryAttempt { number: 1, max_attempts: 3 };
    let decide = |result: Outcome| RetryOnFailure.decide(&result, attempt);
    assert_eq!(decide(Err(rejection().into())), RetryDecision::Stop);
    assert_eq!(decide(Err(TimedOut::new("call", MS).into())), RetryDecision::Retry);
    assert_eq!(decide(Err(Error::Operation(()))), RetryDecision::Retry);
    assert_eq!(decide(Ok(())), RetryDecision::Stop);
}

#[test]
fn a_rule_may_retry_an_ok_and_the_last_ok_is_returned() {
    let time = ManualClock::new();
    let count = Cell::new(0);
    let busy = retry(&time).when(Result::is_ok);
    let result = busy.call_blocking(|| {
        count.set(count.get() + 1);
        Ok::<u32, ()>(500 + count.get())
    });
    assert_eq!(result, Ok(503));
}

#[test]
fn a_classifier_selects_the_results_that_are_retried() {
    let time = ManualClock::new();
    let retry = retry(&time).classified_by(|result| match result {
        Ok(500..) => Class::Failure,
        Ok(400..) => Class::Ignore,
        _ => Class::Success,
    });
    for (status, attempts) in [(200, 1), (404, 1), (503, 3)] {
        let count = Cell::new(0);
        let result = retry.call_blocking(|| {
            count.set(count.get() + 1);
            Ok::<u16, ()>(status)
        });
        assert_eq!((result, count.get()), (Ok(status), attempts));
    }
}

/// backon#242: a caller could not find out whether retries preceded a success.
#[test]
fn every_form_of_call_passes_the_attempt_number() {
    let time = ManualClock::new();
    let retry = retry(&time);
    let third = |cx: Context| if cx.attempt() == 3 { Ok(cx.attempt()) } else { Err(()) };
    let async_third = |cx| std::future::ready(third(cx));
    assert_eq!(retry.call_with_blocking(third), Ok(3));
    assert_eq!(time.drive(retry.call_with(async_third)), Ok(3));
    let view = retry.when(Result::is_err);
    assert_eq!(view.call_with_blocking(third), Ok(3));
    assert_eq!(time.drive(view.call_with(async_third)), Ok(3));
}

/// backon#49: an operation could not change what it captures.
#[test]
fn an_operation_may_change_what_it_captures() {
    let time = ManualClock::new();
    let retry = retry(&time);
    let mut attempts = Vec::new();
    let last = |attempts: &[u32]| if attempts.len() == 3 { Ok(()) } else { Err(()) };
    let result = retry.call_with_blocking(|cx| {
        attempts.push(cx.attempt());
        last(&attempts)
    });
    assert_eq!((result, attempts), (Ok(()), vec![1, 2, 3]));
    let mut attempts = Vec::new();
    let call = retry.call_with(|cx| {
        attempts.push(cx.attempt());
        std::future::ready(last(&attempts))
    });
    assert_eq!(time.drive(call), Ok(()));
    assert_eq!(attempts, [1, 2, 3]);
}

/// A rule may withdraw from a budget, and must not do so for an attempt that is never made.
#[test]
fn a_rule_is_called_only_if_another_attempt_is_possible() {
    let time = ManualClock::new();
    let called = PlainMutex::new(Vec::new());
    let rule = |_: &Outcome, attempt: RetryAttempt| {
        called.lock().push((attempt.number(), attempt.max_attempts()));
        true
    };
    let view = retry(&time).when_with(rule);
    let context = |within: Option<Duration>| {
        let deadline = within.map_or(NEVER, |within| Deadline::after(time.now(), within));
        Context::new().on(&time.clock()).with_deadline(deadline)
    };
    let fail = |_| Err::<(), _>(Error::Operation(()));
    let calls = |within| {
        let result = Repeat::call_blocking(&view, context(within), fail);
        assert_eq!(result, Err(Error::Operation(())));
        let blocking = std::mem::take(&mut *called.lock());
        let op = |cx| std::future::ready(fail(cx));
        let result = time.drive(Repeat::call(&view, context(within), op));
        assert_eq!(result, Err(Error::Operation(())));
        assert_eq!(std::mem::take(&mut *called.lock()), blocking);
        blocking
    };
    // The rule is not called after the third attempt, which is the last.
    assert_eq!(calls(None), [(1, 3), (2, 3)]);
    // It is not called after the second attempt if the third would begin after the deadline.
    assert_eq!(calls(Some(15 * MS)), [(1, 3)]);
    assert_eq!(calls(Some(5 * MS)), []);
}

#[test]
fn a_rejection_after_a_failure_returns_the_failure() {
    let failed = || Err(Error::Operation("no route"));
    let timed_out = || Err(TimedOut::new("attempt", MS).into());
    let rejected = || Err(rejection().into());
    //  attempts, whether rejections are retried, result
    type Row = (Vec<Result<u8, Error<&'static str>>>, bool, Result<u8, Error<&'static str>>);
    let table: [Row; 8] = [
        (vec![failed(), rejected()], false, failed()),
        (vec![timed_out(), rejected()], false, timed_out()),
        (vec![failed(), timed_out(), rejected()], false, timed_out()),
        (vec![rejected()], false, rejected()),
        (vec![rejected(), rejected(), rejected()], true, rejected()),
        (vec![failed(), rejected(), rejected()], true, failed()),
        (vec![rejected(), failed(), Ok(1)], true, Ok(1)),
        (vec![failed(), rejected(), timed_out()], true, timed_out()),
    ];
    let time = ManualClock::new();
    for (attempts, retries_rejections, expected) in table {
        let retry = retry(&time).when(move |result: &Result<u8, Error<&str>>| match result {
            Err(error) => retries_rejections || !error.is_rejected(),
            Ok(_) => false,
        });
        let op = |cx: Context| attempts[cx.attempt() as usize - 1];
        assert_eq!(Repeat::call_blocking(&retry, Context::new(), op), expected, "{attempts:?}");
        let op = |cx| std::future::ready(op(cx));
        assert_eq!(time.drive(Repeat::call(&retry, Context::new(), op)), expected, "{attempts:?}");
    }
}
