//! Policies in a pipeline: primitives borrowed, cloned and shared, and policies written by users.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::CircuitBreaker;
use mainstay::error::{ConfigError, Error, Reason, Rejection};
use mainstay::pipeline::Pipeline;
use mainstay::policy::{self, Attempt, Context, Facts, Guard, OwnedRepeat, Policy, Repeat, kind};
use mainstay::rate::{Quota, RateLimiter, RateLimiterGroup};
use mainstay::retry::Retry;
use mainstay::timeout::Timeout;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Asserts that a pipeline runs a future and a closure.
macro_rules! assert_runs {
    ($pipeline:expr) => {{
        let pipeline = $pipeline.build();
        let call = pipeline.call(|| async { Ok::<_, ()>(1) });
        assert_eq!(futures::executor::block_on(call), Ok(1));
        assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    }};
}

#[test]
fn a_primitive_is_a_policy_borrowed_cloned_or_shared() {
    let builder = Pipeline::builder;
    let breaker = CircuitBreaker::builder().build().unwrap();
    assert_runs!(builder().guard(&breaker));
    assert_runs!(builder().guard(breaker.clone()));
    assert_runs!(builder().guard(Arc::new(breaker.clone())));
    let shared = Arc::new(&breaker);
    assert_runs!(builder().guard(&shared));
    assert_runs!(builder().breaker(&breaker));
    assert_runs!(builder().breaker(breaker.clone()));
    assert_eq!(breaker.snapshot().counts.total, 12);

    let limiter = RateLimiter::new(Quota::per_second(1).burst(100)).unwrap();
    assert_runs!(builder().guard(&limiter));
    assert_runs!(builder().guard(limiter.clone()));
    assert_runs!(builder().guard(Arc::new(limiter.clone())));
    assert_runs!(builder().guard(limiter.cost(3)));
    assert_runs!(builder().guard(RateLimiterGroup::new([&limiter])));
    assert_runs!(builder().rate_limit(&limiter));
    assert_runs!(builder().rate_limit(limiter.cost(3).max_wait(SECOND)));

    let retry = Retry::builder().build().unwrap();
    assert_runs!(builder().repeat(&retry));
    assert_runs!(builder().repeat(retry.clone()));
    assert_runs!(builder().repeat(Arc::new(retry.clone())));
    assert_runs!(builder().repeat(retry.when(Result::<i32, Error<()>>::is_err)));
    assert_runs!(builder().retry(&retry));
    assert_runs!(builder().retry(retry));

    let timeout = Timeout::new(SECOND);
    assert_runs!(builder().time_limit(&timeout));
    assert_runs!(builder().time_limit(timeout.clone()));
    assert_runs!(builder().time_limit(Arc::new(timeout.clone())));
    assert_runs!(builder().timeout(&timeout));
    assert_runs!(builder().timeout(timeout));
    assert_runs!(builder().timeout(SECOND));
}

#[test]
fn a_reference_returns_the_facts_of_its_policy() {
    let timeout = Timeout::new(SECOND).name("call").unwrap();
    let facts = Facts::new("timeout", "call").timeout(SECOND);
    assert_eq!([timeout.facts(), (&&timeout).facts(), Arc::new(timeout).facts()], [facts; 3]);
}

/// A guard that rejects every call.
struct Closed(&'static str);

impl Closed {
    fn new(name: &str) -> Result<Self, ConfigError> {
        Ok(Self(policy::name(name)?))
    }
}

impl Policy for Closed {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new("closed", self.0)
    }
}

impl<T: Send, E: Send> Guard<T, E> for Closed {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    fn admit_blocking(&self, _: Context) -> Result<(), Rejection> {
        Err(Rejection::new(Reason::Custom, self.0))
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

/// A repeat that runs the operation twice and returns the second result.
#[derive(Clone, Default)]
struct Twice(Arc<AtomicU32>);

impl Policy for Twice {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        Facts::new("twice", "twice").max_attempts(2)
    }
}

impl<T: Send, E: Send> Repeat<T, E> for Twice {
    async fn call<Op, Fut>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        drop(op(cx).await);
        self.0.fetch_add(1, Ordering::Relaxed);
        op(cx.with_attempt(2)).await
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        drop(op(cx));
        self.0.fetch_add(1, Ordering::Relaxed);
        op(cx.with_attempt(2))
    }
}

#[test]
fn a_user_defined_guard_rejects_with_its_own_name() {
    let guard = Closed::new("nightly backup").unwrap();
    let pipeline = Pipeline::builder().guard(&guard).build();
    let error = pipeline.call_blocking(|| Ok::<(), std::fmt::Error>(())).unwrap_err();
    assert_eq!(error.to_string(), "rejected by nightly backup: custom policy");
    assert_eq!(Closed::new("").err().map(|error| error.field()), Some("name"));
}

#[test]
fn a_user_defined_repeat_runs_shared_and_borrowed() {
    let twice = Twice::default();
    assert_runs!(Pipeline::builder().repeat(&twice));
    assert_runs!(Pipeline::builder().repeat(Arc::new(twice.clone())));
    assert_eq!(twice.0.load(Ordering::Relaxed), 4);
    let pipeline = Pipeline::builder().repeat(twice).build();
    assert_eq!(pipeline.call_with_blocking(|cx| Ok::<_, ()>(cx.attempt())), Ok(2));
}

#[test]
fn an_owned_policy_may_be_borrowed_or_shared() {
    fn run<R: OwnedRepeat<u32, ()>>(repeat: &R) -> Result<u32, Error<()>> {
        let op = |cx: Context| std::future::ready(Ok(cx.attempt()));
        fn call<R: OwnedRepeat<u32, ()>, A: Attempt<u32, ()>>(
            repeat: &R,
            op: A,
        ) -> R::CallFuture<A> {
            repeat.call_owned(Context::new(), op)
        }
        futures::executor::block_on(call(repeat, op))
    }
    let retry = Retry::builder().build().unwrap();
    assert_eq!(run(&retry), Ok(1));
    assert_eq!(run(&&retry), Ok(1));
    assert_eq!(run(&Arc::new(retry)), Ok(1));
}
