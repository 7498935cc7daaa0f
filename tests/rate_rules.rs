//! Rate limiters with a rule: waiting, timeouts, pipelines, events. The rules themselves are tested
//! beside their code.
#![cfg(not(mainstay_loom))]

use mainstay::error::{Error, Reason};
use mainstay::event::Event;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context as Call, OwnedGuard};
use mainstay::rate::{CalendarPeriod, RateRule, RuleRateLimiter};
use mainstay::time::ManualClock;
use mainstay::timeout::Timeout;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

fn limiter(time: &ManualClock, rule: RateRule) -> RuleRateLimiter {
    RuleRateLimiter::builder(rule).clock(time.clock()).build().unwrap()
}

/// Two tokens per second, by the time of each.
fn two_per_second(time: &ManualClock) -> RuleRateLimiter {
    limiter(time, RateRule::sliding_log(2, SECOND))
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_thousand_a_day_from_midnight() {
    let time = ManualClock::new();
    let limiter = RuleRateLimiter::builder(RateRule::calendar(1_000, CalendarPeriod::Day))
        .clock(time.clock())
        .unix_time(Duration::from_secs(1_708_992_000) + DAY / 4) // 2024-02-27 06:00
        .build()
        .unwrap();
    assert!(limiter.try_acquire_n(999).is_ok() && limiter.try_acquire().is_ok());
    let rejection = limiter.try_acquire().unwrap_err();
    assert_eq!(rejection.reason(), Reason::RateLimited);
    assert_eq!(rejection.retry_after(), Some(3 * DAY / 4));
    time.advance(3 * DAY / 4 - Duration::from_nanos(1));
    assert!(limiter.try_acquire().is_err());
    time.advance(Duration::from_nanos(1));
    assert!(limiter.try_acquire_n(1_000).is_ok());
    assert_eq!(limiter.snapshot().reset_after, DAY);
}

#[test]
fn futures_and_threads_wait_until_their_tokens_are_available() {
    let time = ManualClock::new();
    let limiter = two_per_second(&time);
    let start = time.now();
    let elapsed = || time.now() - start;
    limiter.try_acquire_n(2).unwrap();
    assert_eq!(time.drive(limiter.acquire()), Ok(()));
    assert_eq!(elapsed(), SECOND);
    assert_eq!(limiter.acquire_n_blocking(2), Ok(()));
    assert_eq!(elapsed(), 2 * SECOND);
    assert_eq!(time.drive(limiter.acquire_timeout(SECOND)), Ok(()));
    assert_eq!(limiter.acquire_blocking_timeout(SECOND), Ok(()));
    assert_eq!(elapsed(), 3 * SECOND);
}

#[test]
fn a_wait_that_would_exceed_its_timeout_ends_immediately() {
    let time = ManualClock::new();
    let limiter = two_per_second(&time);
    limiter.try_acquire_n(2).unwrap();
    let (start, timeout) = (time.now(), SECOND - MS);
    let denied = [
        time.drive(limiter.acquire_timeout(timeout)),
        time.drive(limiter.acquire_n_timeout(2, timeout)),
        limiter.acquire_blocking_timeout(timeout),
        limiter.acquire_n_blocking_timeout(2, timeout),
    ];
    for result in denied {
        assert_eq!(result.unwrap_err().retry_after(), Some(SECOND));
    }
    for result in [time.drive(limiter.acquire_n(3)), limiter.acquire_n_blocking(3)] {
        assert_eq!(result.unwrap_err().retry_after(), None, "above the limit");
    }
    assert_eq!(time.now(), start);
    assert_eq!(limiter.snapshot().denials, 6);
}

#[test]
fn a_request_for_no_tokens_is_granted() {
    let time = ManualClock::new();
    let limiter = two_per_second(&time);
    limiter.try_acquire_n(2).unwrap();
    let mut waiter = pin!(limiter.acquire());
    assert!(poll(waiter.as_mut()).is_pending());
    assert!(limiter.try_acquire_n(0).is_ok() && limiter.acquire_n_blocking(0).is_ok());
    assert_eq!(poll(pin!(limiter.acquire_n(0))), Poll::Ready(Ok(())));
}

#[test]
fn waiters_are_served_in_order_and_before_requests_that_do_not_wait() {
    let time = ManualClock::new();
    let limiter = two_per_second(&time);
    limiter.try_acquire_n(2).unwrap();
    let order = Mutex::new(Vec::new());
    let wait = async |name: &'static str, n| {
        limiter.acquire_n(n).await.unwrap();
        order.lock().unwrap().push(name);
    };
    {
        let mut first = pin!(wait("first", 2));
        let mut second = pin!(wait("second", 1));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        time.advance(SECOND);
        // Two tokens are available, and the first waiter has not run yet.
        assert!(limiter.try_acquire().is_err());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(first.as_mut()).is_ready());
        assert!(limiter.try_acquire().is_err());
        time.drive(second);
    }
    assert_eq!(*order.lock().unwrap(), ["first", "second"]);
    assert!(limiter.try_acquire().is_ok(), "no caller waits");
}

#[test]
fn a_timeout_also_ends_the_wait_for_the_turn() {
    let time = ManualClock::new();
    let limiter = two_per_second(&time);
    limiter.try_acquire_n(2).unwrap();
    let mut first = pin!(limiter.acquire_n(2));
    assert!(poll(first.as_mut()).is_pending());
    let start = time.now();
    let denied = time.drive(limiter.acquire_timeout(500 * MS)).unwrap_err();
    assert_eq!((denied.reason(), time.now() - start), (Reason::RateLimited, 500 * MS));
    assert_eq!(time.drive(first), Ok(()));
    assert_eq!(time.now() - start, SECOND);
}

#[test]
fn a_waiter_dropped_at_any_poll_takes_nothing_and_leaves_the_queue() {
    for polls in 0..4 {
        let time = ManualClock::new();
        let limiter = two_per_second(&time);
        limiter.try_acquire_n(2).unwrap();
        {
            let mut first = pin!(limiter.acquire_n(2));
            let mut second = pin!(limiter.acquire_n(2));
            for _ in 0..polls {
                assert!(poll(first.as_mut()).is_pending());
                assert!(poll(second.as_mut()).is_pending());
                time.advance(100 * MS);
            }
        }
        assert_eq!(time.next_deadline(), None, "{polls} polls: a timer is left");
        time.advance(SECOND);
        assert!(limiter.try_acquire_n(2).is_ok(), "{polls} polls");
    }
}

#[test]
fn a_pipeline_takes_the_cost_and_waits_within_its_deadline() {
    let time = ManualClock::new();
    let limiter = two_per_second(&time);
    let policy = limiter.cost(2).max_wait(10 * SECOND);
    let limit = Timeout::new(1_500 * MS).clock(time.clock());
    let pipeline = Pipeline::builder().timeout(limit).guard(policy.clone()).build();
    let start = time.now();
    let call = || time.drive(pipeline.call(async || Ok::<_, ()>(())));
    assert_eq!((call(), time.now() - start), (Ok(()), Duration::ZERO));
    assert_eq!((call(), time.now() - start), (Ok(()), SECOND));
    assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(())), Ok(()));
    assert_eq!(time.now() - start, 2 * SECOND);
    let plain = Pipeline::builder().guard(limiter.clone()).build();
    assert!(matches!(plain.call_blocking(|| Ok::<_, ()>(())), Err(Error::Rejected(_))));
    let Admission::Waiting(admission) = OwnedGuard::<(), ()>::admit_owned(&policy, Call::new())
    else {
        panic!("expected a future");
    };
    assert_eq!(time.drive(admission), Ok(()));
    let now = OwnedGuard::<(), ()>::admit_owned(&limiter.cost(2), Call::new());
    assert!(matches!(now, Admission::Rejected(_)));
}

#[test]
fn denials_are_reported_once_per_request() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let limiter = RuleRateLimiter::builder(RateRule::sliding_log(2, SECOND))
        .name("mail")
        .clock(time.clock())
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    limiter.acquire_n_blocking(2).unwrap();
    limiter.acquire_blocking().unwrap(); // waits, and is granted
    let rejection = limiter.try_acquire_n(2).unwrap_err();
    assert_eq!(rejection.to_string(), "rejected by mail: rate limited; retry after 1s");
    limiter.acquire_n_blocking(9).unwrap_err();
    assert_eq!(
        *events.lock().unwrap(),
        ["mail denied #1 wanted=2 retry_after=1s", "mail denied #2 wanted=9"]
    );
}

/// The limiter is cold, so the rate rises from 334 to 1,000 a second.
#[test]
fn waiters_warm_a_limiter_up_although_their_timers_tick_coarsely() {
    let time = ManualClock::new();
    let limiter = limiter(&time, RateRule::warm_up(1_000, SECOND));
    let mut granted = Vec::new();
    for _ in 0..3 {
        let mut count = 0;
        let mut waiting = Box::pin(limiter.acquire());
        for _ in 0..100 {
            time.set(time.now() + 10 * MS); // no timer fires in between
            while poll(waiting.as_mut()).is_ready() {
                count += 1;
                waiting = Box::pin(limiter.acquire());
            }
        }
        granted.push(count);
    }
    assert!((490..=510).contains(&granted[0]), "{granted:?}");
    assert!(granted[1..].iter().all(|count| (980..=1_001).contains(count)), "{granted:?}");
}

#[test]
fn eight_threads_never_exceed_the_limit() {
    for rule in [
        RateRule::sliding_log(1_000, DAY),
        RateRule::sliding_counter(1_000, DAY),
        RateRule::calendar(1_000, CalendarPeriod::Month),
    ] {
        let time = ManualClock::new();
        let limiter = limiter(&time, rule);
        let granted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..1_000 {
                        let n = 1 + n % 3;
                        if limiter.try_acquire_n(n).is_ok() {
                            granted.fetch_add(n, SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(granted.load(SeqCst), 1_000, "{rule:?}");
        assert_eq!(limiter.snapshot().remaining, 0);
    }
}

#[test]
fn invalid_settings_name_their_field() {
    let rule = RateRule::sliding_log(1, SECOND);
    let error = RuleRateLimiter::builder(rule).name("").build().unwrap_err();
    assert_eq!(error.field(), "name");
    let error = RuleRateLimiter::new(RateRule::warm_up(0, SECOND)).unwrap_err();
    assert_eq!(error.field(), "per_second");
    assert_eq!(RuleRateLimiter::new(rule).unwrap().rule(), rule);
}
