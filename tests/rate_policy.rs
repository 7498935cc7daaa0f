//! The limiter as a policy in pipelines, and its events.

use mainstay::error::Error;
use mainstay::pipeline::Pipeline;
use mainstay::rate::{KeyedRateLimiter, Quota, RateLimiter, RateLimiterGroup};
use mainstay::time::ManualClock;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

#[test]
fn a_pipeline_rejects_or_waits() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(4));
    let call = |result: Result<u32, Error<()>>| result.map_err(|error| error.retry_after());
    let expensive = Pipeline::builder().rate_limit(limiter.cost(3)).build();
    let plain = Pipeline::builder().rate_limit(&limiter).build();
    let waiting = Pipeline::builder().rate_limit(limiter.max_wait(150 * MS)).build();
    assert_eq!(call(expensive.call_blocking(|| Ok(1))), Ok(1));
    assert_eq!(call(expensive.call_blocking(|| Ok(1))), Err(Some(200 * MS)));
    assert_eq!(call(time.drive(plain.call(|| async { Ok(2) }))), Ok(2));
    assert_eq!(call(time.drive(plain.call(|| async { Ok(2) }))), Err(Some(100 * MS)));
    let start = time.now();
    assert_eq!(call(time.drive(waiting.call(|| async { Ok(3) }))), Ok(3));
    assert_eq!(call(waiting.call_blocking(|| Ok(3))), Ok(3));
    assert_eq!(time.now() - start, 200 * MS);
    limiter.debit(1);
    assert_eq!(call(waiting.call_blocking(|| Ok(3))), Err(Some(200 * MS)));
    // A call does not wait beyond its own deadline.
    let limited = Pipeline::builder()
        .timeout(mainstay::timeout::Timeout::new(50 * MS).clock(time.clock()))
        .rate_limit(limiter.max_wait(SECOND))
        .build();
    time.advance(100 * MS);
    let now = time.now();
    assert_eq!(call(time.drive(limited.call(|| async { Ok(4) }))), Err(Some(100 * MS)));
    assert_eq!(call(limited.call_blocking(|| Ok(4))), Err(Some(100 * MS)));
    assert_eq!(time.now(), now);
    let both = Pipeline::builder().guard(RateLimiterGroup::new([&limiter])).build();
    time.advance(SECOND);
    assert_eq!(call(both.call_blocking(|| Ok(5))), Ok(5));
}

#[test]
fn a_limiter_and_its_views_are_guards_themselves() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(4));
    let keyed: KeyedRateLimiter<String> = KeyedRateLimiter::builder(Quota::per_second(10).burst(2))
        .clock(time.clock())
        .name("tenants")
        .build()
        .unwrap();
    let borrowed = Pipeline::builder().guard(&limiter).guard(keyed.key("a")).build();
    let owned = Pipeline::builder().guard(limiter.clone()).guard(keyed.key("b").cost(2)).build();
    let shared = Pipeline::builder().guard(Arc::new(limiter.clone())).build();
    let views = Pipeline::builder().guard(limiter.cost(1)).guard(limiter.max_wait(MS)).build();
    let call = || Ok::<_, ()>(1);
    assert_eq!(borrowed.call_blocking(call), Ok(1));
    assert_eq!(time.drive(owned.call(|| async { call() })), Ok(1));
    assert_eq!(shared.call_blocking(call), Ok(1));
    assert_eq!((limiter.peek().remaining(), keyed.peek("a").remaining()), (1, 1));
    let Err(Error::Rejected(rejection)) = owned.call_blocking(call) else { panic!("admitted") };
    assert_eq!((rejection.policy(), rejection.retry_after()), ("tenants", Some(200 * MS)));
    assert!(views.call_blocking(call).is_err());
}

#[test]
fn an_observer_receives_denials_and_changes() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let limiter = RateLimiter::builder(Quota::per_second(10).burst(1))
        .name("mail")
        .clock(time.clock())
        .observer({
            let seen = seen.clone();
            move |event: &mainstay::event::Event<'_>| {
                seen.lock().unwrap().push((event.to_string(), event.at));
            }
        })
        .build()
        .unwrap();
    limiter.try_acquire().unwrap();
    limiter.try_acquire().unwrap_err();
    limiter.try_acquire_n(2).unwrap_err();
    limiter.acquire_blocking_timeout(MS).unwrap_err();
    limiter.reconfigure(Quota::per_second(5).burst(7)).unwrap();
    let now = time.now();
    let expected = [
        "mail denied #1 wanted=1 limit=1 remaining=0 retry_after=100ms",
        "mail denied #2 wanted=2 limit=1 remaining=0",
        "mail denied #3 wanted=1 limit=1 remaining=0 retry_after=100ms",
        "mail reconfigured #1 limit=7",
    ];
    assert_eq!(*seen.lock().unwrap(), expected.map(|event| (event.to_owned(), now)));
}

/// Regression: an observer that used its own limiter overflowed the stack.
#[test]
fn an_observer_of_a_keyed_limiter_may_use_it() {
    let own: Arc<Mutex<Option<KeyedRateLimiter<u32>>>> = Arc::default();
    let calls = Arc::new(Mutex::new(0));
    let limiter = KeyedRateLimiter::builder(Quota::per_hour(1))
        .observer({
            let (own, calls) = (own.clone(), calls.clone());
            move |_: &mainstay::event::Event<'_>| {
                *calls.lock().unwrap() += 1;
                let limiter = own.lock().unwrap().clone().unwrap();
                assert!(limiter.try_acquire(&1).is_err());
            }
        })
        .build()
        .unwrap();
    *own.lock().unwrap() = Some(limiter.clone());
    limiter.try_acquire(&1).unwrap();
    for denials in 1..=3 {
        limiter.try_acquire(&1).unwrap_err();
        assert_eq!(*calls.lock().unwrap(), denials);
    }
    *own.lock().unwrap() = None;
}
