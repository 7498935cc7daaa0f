//! What a pipeline says of its own faults: for every rule a stack that breaks it, and a near miss.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerBuilder, TripStats};
use mainstay::error::{Error, Rejection};
use mainstay::pipeline::{Lint, Pipeline};
use mainstay::policy::{Context, Facts, Guard, Policy, kind};
use mainstay::rate::{Quota, RateLimiter};
use mainstay::retry::{self, Directive, Retry};
use mainstay::timeout::Timeout;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Three attempts, 100 ms between them, idempotent.
fn retry(setup: impl FnOnce(retry::Builder) -> retry::Builder) -> Retry {
    let sound =
        Retry::builder().idempotent(true).max_attempts(3).backoff(Backoff::constant(100 * MS));
    setup(sound).build().unwrap()
}

fn breaker(setup: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder) -> CircuitBreaker {
    setup(CircuitBreaker::builder().name("search")).build().unwrap()
}

fn rules(lints: &[Lint]) -> String {
    lints.iter().map(|lint| lint.rule.as_str()).collect::<Vec<_>>().join(" ")
}

/// A stack, and the names of the rules that it breaks.
macro_rules! stacks {
    ($($expected:literal: $(.$verb:ident($policy:expr))+;)+) => {
        vec![$({
            let pipeline = Pipeline::builder()$(.$verb($policy))+.build();
            (format!("{pipeline:?}"), pipeline.check(), $expected)
        }),+]
    };
}

#[test]
fn each_rule_has_a_stack_that_breaks_it_and_one_that_just_does_not() {
    let r = || retry(|r| r);
    let b = || breaker(|b| b);
    let timed = |span| breaker(|b| b.time_window(span, 10));
    let slow = |b: CircuitBreakerBuilder| b.failure_rate(None).slow_calls(100 * MS, 0.5);
    let ruled = |b: CircuitBreakerBuilder| {
        b.failure_rate(None).trip_when(|figures: &TripStats| figures.counts.failed > 3)
    };
    let limiter = || RateLimiter::new(Quota::per_second(10)).unwrap();
    let unnamed = limiter();
    let table = stacks![
        // Sound.
        "": .timeout(2 * SECOND).retry(r()).breaker(b()).timeout(300 * MS);
        "": .retry(r()).breaker(b());
        "": .breaker(b()).timeout(SECOND);
        "": .timeout(SECOND);

        "attempt-outlives-call": .timeout(SECOND).breaker(b()).timeout(1001 * MS);
        "": .timeout(SECOND).breaker(b()).timeout(999 * MS);
        // The shortest around it counts.
        "attempt-outlives-call": .timeout(SECOND).timeout(900 * MS).breaker(b()).timeout(950 * MS);
        // And it alone is told, not what follows from it.
        "attempt-outlives-call": .timeout(SECOND).retry(r()).timeout(2 * SECOND);

        "equal-timeouts": .timeout(SECOND).breaker(b()).timeout(SECOND);
        "equal-timeouts": .timeout(SECOND).retry(r()).timeout(SECOND);

        // 3 * 300 + 2 * 100 = 1100.
        "attempts-exceed-call": .timeout(1099 * MS).retry(r()).timeout(300 * MS);
        "": .timeout(1100 * MS).retry(r()).timeout(300 * MS);
        "attempts-exceed-call": .timeout(1099 * MS).retry(r()).breaker(b()).timeout(300 * MS);
        // No attempt begins after 500 ms, so that the last one ends at 800.
        "": .timeout(800 * MS).retry(retry(|r| r.max_elapsed(500 * MS))).timeout(300 * MS);
        "attempts-exceed-call": .timeout(799 * MS).retry(retry(|r| r.max_elapsed(500 * MS))).timeout(300 * MS);
        // Waits without a bound.
        "attempts-exceed-call":
            .timeout(9 * SECOND).retry(retry(|r| r.backoff(Backoff::custom(|_| MS)))).timeout(MS);
        "": .timeout(9 * SECOND).retry(retry(|r| r.backoff(Backoff::custom(|_| MS).cap(MS)))).timeout(MS);

        "unlimited-attempt": .timeout(SECOND).retry(r());
        "": .timeout(SECOND).retry(r()).timeout(250 * MS);
        "": .timeout(SECOND).retry(retry(|r| r.max_attempts(1)));

        "retries-multiply": .retry(r()).guard(Gate("quota")).retry(r());
        "": .retry(r()).guard(Gate("quota")).retry(retry(|r| r.max_attempts(1)));

        "blind-retry": .retry(retry(|r| r.idempotent(false)));
        "blind-retry": .retry(retry(|r| r.idempotent(false)).classified_by(()));
        "": .retry(retry(|r| r.idempotent(true)).classified_by(()));
        "": .retry(retry(|r| r.idempotent(false)).when(|_: &Result<(), Error<()>>| Directive::Stop));
        "": .retry(retry(|r| r.idempotent(false).max_attempts(1)));

        "retry-inside-breaker": .breaker(b()).timeout(SECOND).retry(r()).timeout(200 * MS);
        "": .timeout(SECOND).retry(r()).breaker(b()).timeout(200 * MS);
        "": .breaker(b()).retry(retry(|r| r.max_attempts(1)));
        // Whatever makes it open.
        "retry-inside-breaker": .breaker(breaker(slow)).retry(r());
        "retry-inside-breaker": .breaker(breaker(ruled)).retry(r());

        "one-call-trips": .retry(r()).breaker(breaker(|b| b.min_calls(3)));
        "": .retry(r()).breaker(breaker(|b| b.min_calls(4)));
        "one-call-trips": .retry(r()).breaker(breaker(|b| b.consecutive_failures(3)));
        "": .retry(r()).breaker(breaker(|b| b.consecutive_failures(4)));
        "": .retry(r()).breaker(breaker(|b| b.min_calls(2).failure_rate(None).slow_calls(SECOND, 0.5)));

        "unseen-timeout": .timeout(SECOND).breaker(b());
        "": .timeout(SECOND).breaker(b()).timeout(900 * MS);
        "unseen-timeout": .timeout(SECOND).breaker(breaker(slow));
        "unseen-timeout": .timeout(SECOND).breaker(breaker(ruled));
        "": .timeout(SECOND).breaker(breaker(|b| slow(b).track_in_flight()));

        "short-window": .breaker(timed(SECOND)).timeout(1001 * MS);
        "": .breaker(timed(SECOND)).timeout(SECOND);
        "": .breaker(timed(SECOND)).timeout(2 * SECOND).guard(Gate("quota")).timeout(SECOND);
        // It counts whole calls, 3 * 400 + 2 * 100 = 1400.
        "retry-inside-breaker short-window": .breaker(timed(1399 * MS)).retry(r()).timeout(400 * MS);
        "retry-inside-breaker": .breaker(timed(1400 * MS)).retry(r()).timeout(400 * MS);

        "same-twice": .breaker(b()).breaker(b());
        "": .breaker(b()).breaker(breaker(|b| b.name("everything")));
        "same-twice": .rate_limit(&unnamed).retry(r()).rate_limit(unnamed.cost(2));
        "": .rate_limit(limiter()).rate_limit(limiter());
        "": .breaker(breaker(|b| b.name("circuit_breaker"))).breaker(breaker(|b| b.name("circuit_breaker")));
        "same-twice": .guard(Gate("quota")).retry(r()).guard(Gate("quota"));
        "": .guard(Gate("quota")).retry(r()).guard(Gate("other"));
    ];
    for (stack, lints, expected) in table {
        assert_eq!(rules(&lints), expected, "{stack}");
    }
}

struct Gate(&'static str);

impl Policy for Gate {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new("gate", self.0)
    }
}

impl<T: Send, E: Send> Guard<T, E> for Gate {
    type Permit<'a> = ();
    async fn admit(&self, _: Context) -> Result<(), Rejection> {
        Ok(())
    }
    fn admit_blocking(&self, _: Context) -> Result<(), Rejection> {
        Ok(())
    }
    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

#[test]
fn the_standard_order_is_sound_with_the_default_settings() {
    let breaker = CircuitBreaker::builder().build().unwrap();
    let retry = Retry::builder().idempotent(true).build().unwrap();
    let pipeline = Pipeline::standard(2 * SECOND, &retry, &breaker, 300 * MS);
    assert_eq!(pipeline.check(), []);
    assert_eq!(pipeline.clone().boxed::<(), ()>().check(), []);
    let kinds: Vec<_> = pipeline.facts().iter().map(|facts| facts.policy).collect();
    assert_eq!(kinds, ["timeout", "retry", "circuit_breaker", "timeout"]);
}

#[test]
fn a_lint_is_a_sentence_with_names_and_figures() {
    let call = Timeout::new(SECOND).name("call");
    let searching = |retry: &Retry| {
        Pipeline::builder()
            .timeout(&call)
            .retry(retry)
            .breaker(breaker(|b| b))
            .timeout(300 * MS)
            .build()
    };
    let table = [
        (
            searching(&retry(|r| r)),
            "attempts-exceed-call: retry makes 3 attempts that may take 1.1s with their waits, but timeout \
             \"call\" gives 1s: the last are cut short",
        ),
        (
            searching(&retry(|r| r.max_attempts(20).max_elapsed(600 * MS).name("again"))),
            "one-call-trips: the 20 attempts of one call by retry \"again\" are enough to open \
             circuit_breaker \"search\": let it count more calls, or make fewer attempts",
        ),
        (
            searching(&retry(|r| r.max_attempts(2).idempotent(false))),
            "blind-retry: retry repeats whatever failed, also what may have been done: say that the \
             operation is idempotent, or pick what is repeated",
        ),
    ];
    for (pipeline, sentence) in table {
        let lints = pipeline.check();
        assert_eq!(lints.iter().map(ToString::to_string).collect::<Vec<_>>(), [sentence]);
    }
}

#[test]
fn a_reconfigured_breaker_is_seen_as_it_is_now() {
    let breaker = breaker(|b| b);
    let pipeline = Pipeline::builder().retry(retry(|r| r)).breaker(&breaker).build();
    assert_eq!(rules(&pipeline.check()), "");
    breaker.reconfigure(breaker.config().consecutive_failures(2)).unwrap();
    assert_eq!(rules(&pipeline.check()), "one-call-trips");
}
