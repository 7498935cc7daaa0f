use super::config::Settings;
use crate::error::Error;
use crate::outcome::{Classify, Outcome};
use crate::policy::Context;
use crate::time::Instant;
use std::time::Duration;

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// The result stands.
    Stop,
    /// Try again after the usual wait.
    Retry,
    /// Try again after this wait, which the server asked for: it takes the place of the backoff, and no
    /// cap shortens it.
    After(Duration),
}

/// `true`: try again.
impl From<bool> for Directive {
    fn from(again: bool) -> Self {
        if again { Self::Retry } else { Self::Stop }
    }
}

/// Decides whether an attempt was the last. Closures from a result to a [`Directive`] do.
pub trait Decide<T, E>: Send + Sync {
    /// What to do after `result`.
    fn decide(&self, result: &Result<T, Error<E>>) -> Directive;
}

impl<T, E, F> Decide<T, E> for F
where
    F: Fn(&Result<T, Error<E>>) -> Directive + Send + Sync,
{
    fn decide(&self, result: &Result<T, Error<E>>) -> Directive {
        self(result)
    }
}

/// The default: the operation's own errors and timeouts are tried again, rejections are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnFailure;

impl<T, E> Decide<T, E> for OnFailure {
    #[inline]
    fn decide(&self, result: &Result<T, Error<E>>) -> Directive {
        Directive::from(matches!(result, Err(Error::Operation(_) | Error::Timeout(_))))
    }
}

/// What a classifier calls a failure is tried again; made by [`Retry::classified_by`](super::Retry::classified_by).
#[derive(Clone, Copy, Debug, Default)]
pub struct Failed<C>(pub(super) C);

impl<T, E, C: Classify<T, E>> Decide<T, E> for Failed<C> {
    #[inline]
    fn decide(&self, result: &Result<T, Error<E>>) -> Directive {
        match self.0.classify(result, None) {
            Outcome::Unavailable(pause) => Directive::After(pause),
            outcome => Directive::from(outcome.is_failure()),
        }
    }
}

/// Where one call stands: how often it was tried, since when, and what follows.
#[derive(Debug)]
pub(super) struct Plan {
    cx: Context,
    started: Instant,
    previous_wait: Duration,
    attempt: u32,
}

impl Plan {
    #[inline]
    pub(super) fn new(settings: &Settings, cx: Context) -> Self {
        // Time matters only where something is limited by it.
        let limited = settings.max_elapsed.is_some() || cx.remaining().is_some();
        let cx = if limited { cx.on(&settings.clock) } else { cx };
        Self { cx, started: cx.now(), previous_wait: Duration::ZERO, attempt: 1 }
    }

    /// What the coming attempt is told.
    #[inline]
    pub(super) fn context(&self, settings: &Settings) -> Context {
        // Policies on other clocks are told what is left of the deadline: that is less after a wait, and only
        // by this clock can it be known.
        let waited = self.attempt > 1 && self.cx.remaining().is_some();
        let cx = if waited { self.cx.on(&settings.clock) } else { self.cx };
        cx.with_attempt(self.attempt)
    }

    /// How long to wait before the next attempt; `None` if there is none.
    #[inline]
    pub(super) fn wait_after(
        &mut self,
        directive: Directive,
        settings: &Settings,
    ) -> Option<Duration> {
        if directive == Directive::Stop || self.attempt >= settings.max_attempts {
            return None;
        }
        self.next_wait(directive, settings)
    }

    #[cold]
    fn next_wait(&mut self, directive: Directive, settings: &Settings) -> Option<Duration> {
        let wait = match directive {
            Directive::After(wait) => wait,
            _ => settings.backoff.delay(self.attempt, self.previous_wait, &settings.random),
        };
        let begins = settings.clock.now() + wait;
        let too_late = |limit: Duration| begins - self.started > limit;
        if self.cx.deadline().has_passed(begins) || settings.max_elapsed.is_some_and(too_late) {
            return None;
        }
        self.previous_wait = wait;
        self.attempt += 1;
        self.cx = self.cx.after_waiting();
        Some(wait)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::Retry;
    use super::*;
    use crate::backoff::{Backoff, Jitter};
    use crate::error::{Reason, Rejection, TimedOut};
    use crate::policy::Repeat;
    use crate::time::{Deadline, ManualClock};
    use std::sync::Mutex;

    const MS: Duration = Duration::from_millis(1);

    /// When the attempts of a call that always fails begin, in ms after the first.
    fn attempts(
        time: &ManualClock,
        retry: &Retry,
        deadline: Deadline,
        decide: impl Fn(&Result<(), Error<()>>) -> Directive + Send + Sync,
    ) -> Vec<u64> {
        let start = time.now();
        let begun = Mutex::new(Vec::new());
        let cx = Context::new().on(&time.clock()).with_deadline(deadline);
        let result: Result<(), Error<()>> =
            time.drive(Repeat::call(&retry.when(decide), cx, |cx| {
                let mut begun = begun.lock().unwrap();
                begun.push((time.now() - start).as_millis() as u64);
                assert_eq!(cx.attempt() as usize, begun.len());
                std::future::ready(Err(Error::Operation(())))
            }));
        assert_eq!(result, Err(Error::Operation(())));
        begun.into_inner().unwrap()
    }

    #[test]
    fn attempts_begin_when_the_rules_say() {
        let time = ManualClock::new();
        let retry = |attempts: u32, elapsed: Option<Duration>| {
            Retry::builder()
                .clock(time.clock())
                .max_attempts(attempts)
                .max_elapsed(elapsed)
                .backoff(Backoff::exponential(100 * MS).jitter(Jitter::None))
                .build()
                .unwrap()
        };
        let always = |_: &Result<(), Error<()>>| Directive::Retry;
        let never = Deadline::NEVER;
        let within = |ms: u32| Deadline::after(time.now(), ms * MS);

        assert_eq!(attempts(&time, &retry(1, None), never, always), [0]);
        assert_eq!(attempts(&time, &retry(4, None), never, always), [0, 100, 300, 700]);
        // The third attempt would begin at 300: allowed by a limit of 300, not by one of 299.
        assert_eq!(attempts(&time, &retry(9, Some(300 * MS)), never, always), [0, 100, 300]);
        assert_eq!(attempts(&time, &retry(9, Some(299 * MS)), never, always), [0, 100]);
        // … and at a deadline it would be dropped at once.
        assert_eq!(attempts(&time, &retry(9, None), within(301), always), [0, 100, 300]);
        assert_eq!(attempts(&time, &retry(9, None), within(300), always), [0, 100]);

        assert_eq!(attempts(&time, &retry(9, None), never, |_| Directive::Stop), [0]);
        let server = |_: &Result<(), Error<()>>| Directive::After(7 * MS);
        assert_eq!(attempts(&time, &retry(3, None), never, server), [0, 7, 14]);
        let server = |_: &Result<(), Error<()>>| Directive::After(Duration::MAX);
        assert_eq!(attempts(&time, &retry(3, Some(MS)), never, server), [0]);
    }

    #[test]
    fn decorrelated_waits_build_on_one_another() {
        let time = ManualClock::new();
        let backoff = Backoff::exponential(MS).max_delay(1000 * MS).jitter(Jitter::Decorrelated);
        let retry = Retry::builder().clock(time.clock()).max_attempts(20).backoff(backoff);
        let retry = retry.random(crate::random::Random::seeded(1)).build().unwrap();
        let begun = attempts(&time, &retry, Deadline::NEVER, |_| Directive::Retry);
        let longest = begun.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(
            longest > 3,
            "without the wait before it, none would be longer than 3 ms: {longest} ms"
        );
    }

    #[test]
    fn gives_up_without_waiting_for_nothing() {
        let time = ManualClock::new();
        let retry = Retry::builder()
            .clock(time.clock())
            .backoff(Backoff::constant(10 * MS))
            .build()
            .unwrap();
        let before = time.now();
        attempts(&time, &retry, Deadline::after(before, 5 * MS), |_| Directive::Retry);
        assert_eq!(time.now(), before);
    }

    /// Below stands a policy on another clock.
    #[test]
    fn a_wait_leaves_less_until_the_deadline_by_any_clock() {
        let (time, other) = (ManualClock::new(), ManualClock::new());
        let retry = Retry::builder()
            .clock(time.clock())
            .backoff(Backoff::constant(900 * MS))
            .build()
            .unwrap();
        let cx =
            Context::new().on(&time.clock()).with_deadline(Deadline::after(time.now(), 2000 * MS));
        let retry = retry.when(|_: &Result<(), Error<()>>| Directive::Retry);
        let left = Mutex::new(Vec::new());
        let look = |cx: Context| {
            other.set(time.now());
            left.lock().unwrap().push(cx.on(&other.clock()).remaining());
            Err(Error::Operation(()))
        };
        let result: Result<(), Error<()>> = Repeat::call_blocking(&retry, cx, look);
        assert_eq!(result, Err(Error::Operation(())));
        let cx =
            Context::new().on(&time.clock()).with_deadline(Deadline::after(time.now(), 2000 * MS));
        let result = time.drive(Repeat::call(&retry, cx, |cx| std::future::ready(look(cx))));
        assert_eq!(result, Err(Error::Operation(())));
        let each = [2000, 1100, 200].map(|ms| Some(ms * MS));
        assert_eq!(*left.lock().unwrap(), [each, each].concat());
    }

    #[test]
    fn rejections_are_not_retried_by_default() {
        let rejection = Rejection::new(Reason::CircuitOpen, "x");
        let decide = |result: Result<(), Error<()>>| OnFailure.decide(&result);
        assert_eq!(decide(Err(rejection.into())), Directive::Stop);
        assert_eq!(decide(Err(TimedOut::new("x", MS).into())), Directive::Retry);
        assert_eq!(decide(Err(Error::Operation(()))), Directive::Retry);
        assert_eq!(decide(Ok(())), Directive::Stop);
    }

    #[test]
    fn an_ok_may_be_retried_and_the_last_one_is_returned() {
        let time = ManualClock::new();
        let retry = Retry::builder().clock(time.clock()).build().unwrap();
        let count = std::cell::Cell::new(0);
        let busy = retry.when(|status: &Result<u32, Error<()>>| Directive::from(status.is_ok()));
        let result = busy.call_blocking(|| {
            count.set(count.get() + 1);
            Ok(500 + count.get())
        });
        assert_eq!(result, Ok(503));
    }

    #[test]
    fn a_classifier_says_what_is_tried_again() {
        let time = ManualClock::new();
        let retry = Retry::builder().clock(time.clock()).build().unwrap();
        let retry = retry.classified_by(|result: &Result<u16, Error<()>>| match result {
            Ok(500..) => Outcome::Failure,
            Ok(400..) => Outcome::Ignore,
            _ => Outcome::Success,
        });
        for (status, attempts) in [(200, 1), (404, 1), (503, 3)] {
            let count = std::cell::Cell::new(0);
            let result = retry.call_blocking(|| {
                count.set(count.get() + 1);
                Ok(status)
            });
            assert_eq!((result, count.get()), (Ok(status), attempts));
        }
    }

    #[test]
    fn zero_attempts_are_a_config_error() {
        assert_eq!(Retry::builder().max_attempts(0).build().unwrap_err().field(), "max_attempts");
        let backoff = Backoff::exponential(MS).factor(f64::NAN);
        assert_eq!(Retry::builder().backoff(backoff).build().unwrap_err().field(), "backoff");
    }
}
