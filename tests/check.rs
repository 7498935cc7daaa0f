//! The lints of a pipeline: for each rule, stacks that violate it and stacks that nearly do.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerBuilder, TripStats};
use mainstay::budget::Budget;
use mainstay::chaos::{Chaos, Fault};
use mainstay::concurrency::{AdaptiveLimiter, Bulkhead};
use mainstay::error::{Error, Rejection};
use mainstay::hedge::Hedge;
use mainstay::pipeline::{Lint, Pipeline};
use mainstay::policy::{Context, Facts, Guard, Policy, kind};
use mainstay::rate::{Quota, RateLimiter};
use mainstay::retry::{Retry, RetryBuilder, RetryDecision};
use mainstay::timeout::Timeout;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// An idempotent retry of three attempts, 100 ms apart.
fn retry(setup: impl FnOnce(RetryBuilder) -> RetryBuilder) -> Retry {
    unsafe_retry(|r| setup(r.assume_idempotent()))
}

/// A retry of an operation that was not declared idempotent.
fn unsafe_retry(setup: impl FnOnce(RetryBuilder) -> RetryBuilder) -> Retry {
    setup(without_budget().budget(Budget::default())).build().unwrap()
}

fn without_budget() -> RetryBuilder {
    Retry::builder().max_attempts(3).backoff(Backoff::constant(100 * MS))
}

fn breaker(setup: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder) -> CircuitBreaker {
    setup(CircuitBreaker::builder().name("search")).build().unwrap()
}

/// A bulkhead whose callers wait for `max_wait` milliseconds; without a queue if that is 0.
fn bulkhead(max_wait: u32) -> Bulkhead {
    let queue = Bulkhead::builder().max_queue(max_wait.min(1)).max_wait(max_wait * MS);
    queue.name("search").build().unwrap()
}

fn adaptive(max_wait: u32) -> AdaptiveLimiter {
    AdaptiveLimiter::builder().max_wait(max_wait * MS).build().unwrap()
}

fn chaos() -> Chaos {
    Chaos::builder().fault(Fault::hang()).build().unwrap()
}

fn rules(lints: &[Lint]) -> String {
    lints.iter().map(|lint| lint.rule.as_str()).collect::<Vec<_>>().join(" ")
}

/// Stacks, and the names of the rules that they violate.
macro_rules! stacks {
    ($($expected:literal: $(.$verb:ident($policy:expr))+;)+) => {
        vec![$({
            let pipeline = Pipeline::builder()$(.$verb($policy))+.build();
            (format!("{pipeline:?}"), pipeline.check(), $expected)
        }),+]
    };
}

#[test]
fn each_rule_reports_only_stacks_that_violate_it() {
    let r = || retry(|r| r);
    let b = || breaker(|b| b);
    let timed = |span| breaker(|b| b.time_window(span, 10));
    let slow = |b: CircuitBreakerBuilder| b.failure_rate(None).slow_calls(100 * MS, 0.5);
    let ruled = |b: CircuitBreakerBuilder| {
        b.failure_rate(None).trip_when(|figures: &TripStats| figures.counts.failed > 3)
    };
    let limiter = || RateLimiter::new(Quota::per_second(10)).unwrap();
    let unnamed = limiter();
    let limit = adaptive(0);
    let table = stacks![
        // Stacks without faults.
        "": .timeout(2 * SECOND).retry(r()).breaker(b()).timeout(300 * MS);
        "": .retry(r()).breaker(b());
        "": .breaker(b()).timeout(SECOND);
        "": .timeout(SECOND);

        "inner-timeout-too-long": .timeout(SECOND).breaker(b()).timeout(1001 * MS);
        "": .timeout(SECOND).breaker(b()).timeout(999 * MS);
        // The shortest timeout around it counts.
        "inner-timeout-too-long": .timeout(SECOND).timeout(900 * MS).breaker(b()).timeout(950 * MS);
        // The consequence for the attempts of the retry is not reported in addition.
        "inner-timeout-too-long": .timeout(SECOND).retry(r()).timeout(2 * SECOND);

        "equal-timeouts": .timeout(SECOND).breaker(b()).timeout(SECOND);
        "equal-timeouts": .timeout(SECOND).retry(r()).timeout(SECOND);

        // 3 * 300 + 2 * 100 = 1100.
        "attempts-exceed-timeout": .timeout(1099 * MS).retry(r()).timeout(300 * MS);
        "": .timeout(1100 * MS).retry(r()).timeout(300 * MS);
        "attempts-exceed-timeout": .timeout(1099 * MS).retry(r()).breaker(b()).timeout(300 * MS);
        // No attempt begins after 500 ms, so the last one ends by 800 ms.
        "": .timeout(800 * MS).retry(retry(|r| r.max_elapsed(500 * MS))).timeout(300 * MS);
        "attempts-exceed-timeout": .timeout(799 * MS).retry(retry(|r| r.max_elapsed(500 * MS))).timeout(300 * MS);
        // Unbounded waits.
        "attempts-exceed-timeout":
            .timeout(9 * SECOND).retry(retry(|r| r.backoff(Backoff::custom(|_| MS)))).timeout(MS);
        "": .timeout(9 * SECOND).retry(retry(|r| r.backoff(Backoff::custom(|_| MS).max_delay(MS)))).timeout(MS);

        "no-attempt-timeout": .timeout(SECOND).retry(r());
        "": .timeout(SECOND).retry(r()).timeout(250 * MS);
        "": .timeout(SECOND).retry(retry(|r| r.max_attempts(1)));

        "retry-inside-bulkhead": .bulkhead(bulkhead(0)).retry(r());
        "": .retry(r()).bulkhead(bulkhead(0));
        "": .bulkhead(bulkhead(0)).retry(retry(|r| r.max_attempts(1)));
        // The adaptive limiter also records outcomes.
        "retry-inside-breaker": .adaptive_limit(adaptive(0)).retry(r());

        "queue-exceeds-timeout": .timeout(100 * MS).bulkhead(bulkhead(100));
        "": .timeout(101 * MS).bulkhead(bulkhead(100));
        "": .bulkhead(bulkhead(100)).timeout(100 * MS);
        "queue-exceeds-timeout": .timeout(SECOND).bulkhead(bulkhead(100).max_wait(2 * SECOND));
        // Without a queue, a call does not wait.
        "": .timeout(100 * MS).bulkhead(bulkhead(0).max_wait(SECOND));
        "queue-exceeds-timeout": .timeout(SECOND).adaptive_limit(adaptive(1000)).timeout(MS);

        "nested-adaptive-limits": .adaptive_limit(adaptive(0)).adaptive_limit(adaptive(0));
        "nested-adaptive-limits": .adaptive_limit(adaptive(0)).guard(Gate("quota")).adaptive_limit(adaptive(0));
        "duplicate-policy": .adaptive_limit(&limit).adaptive_limit(&limit);
        "": .bulkhead(bulkhead(0)).adaptive_limit(adaptive(0));

        "nested-retries": .retry(r()).guard(Gate("quota")).retry(r());
        "": .retry(r()).guard(Gate("quota")).retry(retry(|r| r.max_attempts(1)));

        "retry-safety-unknown": .retry(unsafe_retry(|r| r));
        "retry-safety-unknown": .retry(unsafe_retry(|r| r).classified_with(()));
        "": .retry(r().classified_with(()));
        "": .retry(unsafe_retry(|r| r).when(|_: &Result<(), Error<()>>| RetryDecision::Stop));
        "": .retry(unsafe_retry(|r| r.max_attempts(1)));

        "retry-without-budget": .retry(without_budget().assume_idempotent().build().unwrap());
        "": .retry(without_budget().max_attempts(1).build().unwrap());
        // A budget by a view of the retry; a hedge is built without one on purpose.
        "": .retry(without_budget().assume_idempotent().build().unwrap().with_budget(Budget::default()));
        "": .hedge(Hedge::builder().assume_idempotent().without_budget().build().unwrap());

        "retry-inside-breaker": .breaker(b()).timeout(SECOND).retry(r()).timeout(200 * MS);
        "": .timeout(SECOND).retry(r()).breaker(b()).timeout(200 * MS);
        "": .breaker(b()).retry(retry(|r| r.max_attempts(1)));
        // For every rule that opens the breaker.
        "retry-inside-breaker": .breaker(breaker(slow)).retry(r());
        "retry-inside-breaker": .breaker(breaker(ruled)).retry(r());

        "one-call-trips-breaker": .retry(r()).breaker(breaker(|b| b.min_calls(3)));
        "": .retry(r()).breaker(breaker(|b| b.min_calls(4)));
        "one-call-trips-breaker": .retry(r()).breaker(breaker(|b| b.consecutive_failures(3)));
        "": .retry(r()).breaker(breaker(|b| b.consecutive_failures(4)));
        "": .retry(r()).breaker(breaker(|b| b.min_calls(2).failure_rate(None).slow_calls(SECOND, 0.5)));

        "timeout-outside-breaker": .timeout(SECOND).breaker(b());
        "": .timeout(SECOND).breaker(b()).timeout(900 * MS);
        "timeout-outside-breaker": .timeout(SECOND).breaker(breaker(slow));
        "timeout-outside-breaker": .timeout(SECOND).breaker(breaker(ruled));
        "": .timeout(SECOND).breaker(breaker(|b| slow(b).track_in_flight()));

        "window-too-short": .breaker(timed(SECOND)).timeout(1001 * MS);
        "": .breaker(timed(SECOND)).timeout(SECOND);
        "": .breaker(timed(SECOND)).timeout(2 * SECOND).guard(Gate("quota")).timeout(SECOND);
        // The breaker counts whole calls: 3 * 400 + 2 * 100 = 1400.
        "retry-inside-breaker window-too-short": .breaker(timed(1399 * MS)).retry(r()).timeout(400 * MS);
        "retry-inside-breaker": .breaker(timed(1400 * MS)).retry(r()).timeout(400 * MS);

        "duplicate-policy": .breaker(b()).breaker(b());
        "": .breaker(b()).breaker(breaker(|b| b.name("everything")));
        "duplicate-policy": .rate_limit(&unnamed).retry(r()).rate_limit(unnamed.cost(2));
        "": .rate_limit(limiter()).rate_limit(limiter());
        "": .breaker(breaker(|b| b.name("circuit_breaker"))).breaker(breaker(|b| b.name("circuit_breaker")));
        "duplicate-policy": .guard(Gate("quota")).retry(r()).guard(Gate("quota"));
        "": .guard(Gate("quota")).retry(r()).guard(Gate("other"));

        "chaos-not-innermost": .breaker(b()).chaos(chaos()).timeout(SECOND);
        "": .breaker(b()).timeout(SECOND).chaos(chaos());
        "": .breaker(b()).timeout(SECOND).chaos(chaos()).chaos_with(chaos().errors(|_| ()));
        // It tests the callers.
        "": .chaos(chaos()).breaker(b()).timeout(SECOND);
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
fn the_standard_order_has_no_faults_with_default_settings() {
    let breaker = CircuitBreaker::builder().build().unwrap();
    let retry = Retry::builder().assume_idempotent().build().unwrap();
    let pipeline = Pipeline::standard(2 * SECOND, &retry, &breaker, 300 * MS);
    assert_eq!(pipeline.check(), []);
    assert_eq!(pipeline.clone().boxed::<(), ()>().check(), []);
    let kinds: Vec<_> = pipeline.facts().iter().map(|facts| facts.policy).collect();
    assert_eq!(kinds, ["timeout", "retry", "circuit_breaker", "timeout"]);
}

#[test]
fn the_other_standard_stacks_have_no_faults_either() {
    let breaker = CircuitBreaker::builder().build().unwrap();
    let kinds = |facts: Vec<Facts>| facts.iter().map(|facts| facts.policy).collect::<Vec<_>>();
    let hedge = Hedge::builder().assume_idempotent().build().unwrap();
    let read = Pipeline::standard_read(2 * SECOND, &hedge, &breaker, 300 * MS);
    assert_eq!(read.check(), []);
    assert_eq!(kinds(read.facts()), ["timeout", "hedge", "circuit_breaker", "timeout"]);
    let once = Pipeline::standard_once(&breaker, 2 * SECOND);
    assert_eq!(once.check(), []);
    assert_eq!(kinds(once.facts()), ["circuit_breaker", "timeout"]);
}

/// Stacks that violate one rule each, and the message of that lint.
macro_rules! sentences {
    ($($(.$verb:ident($policy:expr))+: $sentence:expr;)+) => {
        vec![$((Pipeline::builder()$(.$verb($policy))+.build().check(), $sentence)),+]
    };
}

#[test]
fn each_lint_is_a_sentence_with_names_and_durations() {
    let timeout = |name: &str, ms: u32| Timeout::new(ms * MS).name(name).unwrap();
    let search = || breaker(|b| b);
    let unbounded = retry(|r| r.name("again").backoff(Backoff::custom(|_| MS)));
    let table = sentences![
        .timeout(timeout("call", 1000)).breaker(search()).timeout(timeout("attempt", 1001)):
            "inner-timeout-too-long: timeout \"attempt\" allows 1.001s inside timeout \"call\", which \
             allows 1s: the inner timeout never takes effect";
        .timeout(timeout("call", 1000)).breaker(search()).timeout(timeout("attempt", 1000)):
            "equal-timeouts: timeout \"attempt\" and timeout \"call\" around it both allow 1s: the outer \
             timeout starts earlier, so the inner one never takes effect";
        .timeout(timeout("call", 1000)).retry(retry(|r| r)).timeout(300 * MS):
            "attempts-exceed-timeout: the 3 attempts of retry and the waits between them may take 1.1s, \
             but timeout \"call\" allows 1s: the last attempts are cut short";
        .timeout(timeout("call", 1000)).retry(&unbounded).timeout(300 * MS):
            "attempts-exceed-timeout: the 3 attempts of retry \"again\" and the waits between them may \
             take an unlimited time, but timeout \"call\" allows 1s: the last attempts are cut short";
        .timeout(timeout("call", 1000)).retry(&unbounded):
            "no-attempt-timeout: one attempt of retry \"again\" may use all of the 1s that timeout \
             \"call\" allows: add a shorter timeout below retry \"again\"";
        .retry(retry(|r| r.name("outer"))).retry(retry(|r| r.max_attempts(4))):
            "nested-retries: retry \"outer\" around retry makes up to 12 attempts: keep one of the two";
        .retry(unsafe_retry(|r| r)):
            "retry-safety-unknown: retry repeats every failure, although an attempt that failed may \
             have done its work: declare the operation idempotent, or select by a rule what is repeated";
        .hedge(Hedge::builder().name("backup").build().unwrap()):
            "retry-safety-unknown: hedge \"backup\" runs the operation a second time at the same time: \
             declare the operation idempotent, or do not hedge it";
        .retry(without_budget().assume_idempotent().build().unwrap()):
            "retry-without-budget: retry makes up to 3 attempts of every call while the dependency \
             fails, which multiplies its load: add a budget";
        .breaker(search()).retry(retry(|r| r)):
            "retry-inside-breaker: circuit_breaker \"search\" records one outcome for all 3 attempts of \
             retry, and cannot stop the later ones: move it below retry";
        .retry(retry(|r| r.max_attempts(20).name("again"))).breaker(search()):
            "one-call-trips-breaker: the 20 attempts of one call through retry \"again\" are enough to \
             open circuit_breaker \"search\": raise its minimum number of calls, or make fewer attempts";
        .timeout(timeout("call", 1000)).breaker(search()):
            "timeout-outside-breaker: circuit_breaker \"search\" does not record calls that timeout \
             \"call\" ends after 1s, so a dependency that hangs never opens it: add a timeout below \
             circuit_breaker \"search\"";
        .breaker(breaker(|b| b.time_window(SECOND, 10))).timeout(timeout("call", 2000)):
            "window-too-short: circuit_breaker \"search\" counts calls over 1s, but a call may take 2s: \
             each timeout of timeout \"call\" leaves the window before the next is recorded";
        .bulkhead(bulkhead(0)).retry(retry(|r| r)):
            "retry-inside-bulkhead: bulkhead \"search\" holds a permit for all 3 attempts of retry and \
             for the waits between them: move it below retry";
        .timeout(timeout("call", 1000)).bulkhead(bulkhead(2000)):
            "queue-exceeds-timeout: a call may wait 2s in the queue of bulkhead \"search\", but timeout \
             \"call\" allows 1s: a call that was admitted late has no time left";
        .adaptive_limit(adaptive(0)).adaptive_limit(adaptive(0)):
            "nested-adaptive-limits: adaptive_limiter and adaptive_limiter below it both adapt their \
             limits, and each measures what the other causes: keep one of the two";
        .breaker(search()).chaos(chaos()).timeout(timeout("attempt", 1000)):
            "chaos-not-innermost: chaos injects its faults above timeout \"attempt\", which never \
             observes them: move it to the bottom of the pipeline";
        .breaker(search()).breaker(search()):
            "duplicate-policy: circuit_breaker \"search\" is in the pipeline twice, or two policies \
             have its name: each call is counted twice, or errors do not show by which policy";
    ];
    for (lints, sentence) in table {
        assert_eq!(lints.iter().map(ToString::to_string).collect::<Vec<_>>(), [sentence]);
        assert_eq!(format!("{:?}", lints[0]), sentence);
        // The name of the rule, which log lines and lists of ignored rules use.
        assert!(sentence.starts_with(&format!("{}: ", lints[0].rule)));
        assert_eq!(lints[0].rule.to_string(), lints[0].rule.as_str());
    }
}

#[test]
fn a_lint_contains_its_policies_and_its_duration() {
    let pipeline =
        Pipeline::builder().timeout(SECOND).retry(retry(|r| r)).timeout(300 * MS).build();
    let (lints, facts) = (pipeline.check(), pipeline.facts());
    assert_eq!(lints.len(), 1);
    assert_eq!((lints[0].outer, lints[0].inner), (facts[0], Some(facts[1])));
    assert_eq!(lints[0].max_duration, Some(1100 * MS));
}

#[test]
fn the_current_settings_of_a_reconfigured_breaker_are_checked() {
    let breaker = breaker(|b| b);
    let pipeline = Pipeline::builder().retry(retry(|r| r)).breaker(&breaker).build();
    assert_eq!(rules(&pipeline.check()), "");
    breaker.reconfigure(breaker.config().consecutive_failures(2)).unwrap();
    assert_eq!(rules(&pipeline.check()), "one-call-trips-breaker");
}
