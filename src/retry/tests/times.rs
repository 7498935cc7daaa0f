//! Tests of the times at which attempts begin.

use super::*;
use crate::random::Random;
use crate::sync::PlainMutex;

/// Returns the times at which the attempts of a call that always fails begin, in ms after the first
/// attempt.
fn attempts<D: Into<RetryDecision>>(
    time: &ManualClock,
    retry: &Retry,
    deadline: Deadline,
    rule: impl Fn(&Outcome) -> D + Send + Sync,
) -> Vec<u64> {
    let start = time.now();
    let begun = PlainMutex::new(Vec::new());
    let cx = Context::new().on(&time.clock()).with_deadline(deadline);
    let result: Outcome = time.drive(Repeat::call(&retry.when(rule), cx, |cx| {
        let mut begun = begun.lock();
        begun.push((time.now() - start).as_millis() as u64);
        assert_eq!(cx.attempt() as usize, begun.len());
        std::future::ready(Err(Error::Operation(())))
    }));
    assert_eq!(result, Err(Error::Operation(())));
    begun.into_inner()
}

/// Creates a retry with a backoff of 100, 200, 400 … ms.
fn doubling(time: &ManualClock, max_attempts: u32, max_elapsed: Option<Duration>) -> Retry {
    let backoff = Backoff::exponential(100 * MS).jitter(Jitter::None);
    let mut builder =
        Retry::builder().clock(time.clock()).max_attempts(max_attempts).backoff(backoff);
    if let Some(elapsed) = max_elapsed {
        builder = builder.max_elapsed(elapsed);
    }
    builder.build().unwrap()
}

#[test]
fn a_retry_stops_at_max_attempts_max_elapsed_and_the_deadline() {
    let time = ManualClock::new();
    //  max_attempts, max_elapsed, deadline, attempts begin at
    type Row = (u32, Option<u32>, Option<u32>, &'static [u64]);
    let table: [Row; 6] = [
        (1, None, None, &[0]),
        (4, None, None, &[0, 100, 300, 700]),
        (9, Some(300), None, &[0, 100, 300]),
        (9, Some(299), None, &[0, 100]),
        (9, None, Some(301), &[0, 100, 300]),
        (9, None, Some(300), &[0, 100]), // an attempt at the deadline would be dropped immediately
    ];
    for (max_attempts, max_elapsed, deadline, expected) in table {
        let retry = doubling(&time, max_attempts, max_elapsed.map(|ms| ms * MS));
        let deadline = deadline.map_or(NEVER, |ms| Deadline::after(time.now(), ms * MS));
        assert_eq!(attempts(&time, &retry, deadline, |_| true), expected);
    }
    assert_eq!(attempts(&time, &doubling(&time, 9, None), NEVER, |_| false), [0]);
}

/// dotnet/extensions#7001: a retry began up to 11 ms before the time that the server had requested.
#[test]
fn a_retry_waits_for_the_longer_of_the_servers_wait_and_the_backoff() {
    let time = ManualClock::new();
    //  server's wait, attempts begin at
    let table: [(u32, &[u64]); 4] = [
        (0, &[0, 100, 300, 700]),
        (150, &[0, 150, 350, 750]),
        (1000, &[0, 1000, 2000, 3000]),
        (60_000, &[0, 60_000, 120_000, 180_000]),
    ];
    for (wait, expected) in table {
        let rule = |_: &Outcome| RetryDecision::RetryAfter(wait * MS);
        assert_eq!(attempts(&time, &doubling(&time, 4, None), NEVER, rule), expected, "{wait}");
    }
}

/// dotnet/extensions#7701: a wait that the server requested and that exceeded the timeout of the call
/// was begun nevertheless, and the call failed only at the timeout.
#[test]
fn a_retry_stops_if_the_servers_wait_exceeds_a_limit() {
    let time = ManualClock::new();
    let rule = |wait: Duration| move |_: &Outcome| RetryDecision::RetryAfter(wait);
    let retry = doubling(&time, 3, None);
    assert_eq!(attempts(&time, &retry, NEVER, rule(60_001 * MS)), [0]);
    assert_eq!(attempts(&time, &retry, NEVER, rule(Duration::MAX)), [0]);

    let unlimited = Retry::builder().clock(time.clock()).max_retry_after(Duration::MAX);
    let unlimited = unlimited.max_elapsed(1000 * MS).build().unwrap();
    assert_eq!(attempts(&time, &unlimited, NEVER, rule(1001 * MS)), [0]);
    assert_eq!(attempts(&time, &unlimited, NEVER, rule(Duration::MAX)), [0]);
    let deadline = Deadline::after(time.now(), 1000 * MS);
    assert_eq!(attempts(&time, &unlimited, deadline, rule(1000 * MS)), [0]);
}

#[test]
fn a_decorrelated_wait_depends_on_the_previous_wait() {
    let time = ManualClock::new();
    let backoff = Backoff::exponential(MS).max_delay(1000 * MS).jitter(Jitter::Decorrelated);
    let retry = Retry::builder().clock(time.clock()).max_attempts(20).backoff(backoff);
    let retry = retry.random(Random::seeded(1)).build().unwrap();
    let begun = attempts(&time, &retry, NEVER, |_| true);
    let longest = begun.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest > 3, "no wait depends on the previous wait: {longest} ms");
}

#[test]
fn a_retry_does_not_wait_for_an_attempt_that_would_begin_too_late() {
    let time = ManualClock::new();
    let retry = Retry::builder().clock(time.clock()).backoff(Backoff::constant(10 * MS));
    let before = time.now();
    attempts(&time, &retry.build().unwrap(), Deadline::after(before, 5 * MS), |_| true);
    assert_eq!(time.now(), before);
}

/// The policy below uses another clock.
#[test]
fn a_wait_shortens_the_remaining_time_on_every_clock() {
    let (time, other) = (ManualClock::new(), ManualClock::new());
    let retry = Retry::builder().clock(time.clock()).backoff(Backoff::constant(900 * MS));
    let retry = retry.build().unwrap().when(|_: &Outcome| true);
    let left = PlainMutex::new(Vec::new());
    let context =
        || Context::new().on(&time.clock()).with_deadline(Deadline::after(time.now(), 2000 * MS));
    let attempt = |cx: Context| -> Outcome {
        other.set(time.now());
        left.lock().push(cx.on(&other.clock()).remaining());
        Err(Error::Operation(()))
    };
    assert!(Repeat::call_blocking(&retry, context(), attempt).is_err());
    let op = |cx| std::future::ready(attempt(cx));
    assert!(time.drive(Repeat::call(&retry, context(), op)).is_err());
    let each = [2000, 1100, 200].map(|ms| Some(ms * MS));
    assert_eq!(left.into_inner(), [each, each].concat());
}

#[test]
fn a_servers_wait_up_to_max_retry_after_is_followed() {
    let time = ManualClock::new();
    let retry = Retry::builder().clock(time.clock()).max_attempts(2);
    let retry = retry.max_retry_after(90_000 * MS).build().unwrap();
    for (wait, expected) in [(90_000, &[0, 90_000][..]), (90_001, &[0])] {
        let rule = |_: &Outcome| RetryDecision::RetryAfter(wait * MS);
        assert_eq!(attempts(&time, &retry, NEVER, rule), expected, "{wait}");
    }
}
