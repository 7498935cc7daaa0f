//! The rate limiter: decisions and reported status on a manual clock.

use mainstay::error::{Error, Reason, Rejection};
use mainstay::rate::{Quota, RateLimiter};
use mainstay::time::{Instant, ManualClock};
use proptest::prelude::*;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Takes all tokens that are available.
fn drain(limiter: &RateLimiter) -> u32 {
    limiter.try_acquire_up_to(u32::MAX).map_or(0, |grant| grant.granted())
}

#[test]
fn the_status_reports_the_remaining_tokens_and_the_waits() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(3));
    //     at ms, wanted, granted, remaining, retry ms, reset ms
    let table = [
        (0, 1, 1, 2, Some(0), 100),
        (0, 2, 2, 0, Some(200), 300),
        (0, 1, 0, 0, Some(100), 300),
        (0, 3, 0, 0, Some(300), 300),
        (0, 4, 0, 0, None, 300),
        (0, 0, 0, 0, Some(0), 300),
        (99, 1, 0, 0, Some(1), 201),
        (100, 1, 1, 0, Some(100), 300),
        (350, 1, 1, 1, Some(0), 150),
        (9_000, 3, 3, 0, Some(300), 300),
        (9_150, 3, 0, 1, Some(150), 150),
        (9_150, 1, 1, 0, Some(50), 250),
    ];
    let start = time.now();
    for (at, wanted, granted, remaining, retry, reset) in table {
        time.set(start + at * MS);
        let (granted_now, status) = match limiter.try_acquire_n(wanted) {
            Ok(grant) => (grant.granted(), grant.status()),
            Err(denied) => (0, denied.status()),
        };
        let case = format!("{wanted} at {at} ms: {status:?}");
        assert_eq!(
            (granted_now, status.limit(), status.remaining()),
            (granted, 3, remaining),
            "{case}"
        );
        assert_eq!(status.retry_after(), retry.map(|ms| ms * MS), "{case}");
        assert_eq!(status.reset_after(), reset * MS, "{case}");
    }
}

#[test]
fn a_denial_converts_to_a_rejection_with_the_time_to_retry() {
    let time = ManualClock::new();
    let limiter = RateLimiter::builder(Quota::per_second(2).burst(1))
        .name("mail")
        .clock(time.clock())
        .build()
        .unwrap();
    limiter.try_acquire().unwrap();
    let denied = limiter.try_acquire().unwrap_err();
    assert_eq!(denied.to_string(), "rejected by mail: rate limited; retry after 500ms");
    let rejection = Rejection::from(denied);
    assert_eq!(
        (rejection.reason(), rejection.retry_after()),
        (Reason::RateLimited, Some(500 * MS))
    );
    let never = Rejection::from(limiter.try_acquire_n(2).unwrap_err());
    assert_eq!(never.retry_after(), None);
}

#[test]
fn whole_seconds_are_rounded_up() {
    //     debt, ms later, seconds until the next token, until the bucket is full
    let table =
        [(0, 0, 1, 1), (0, 1, 1, 1), (2, 0, 2, 2), (2, 499, 2, 2), (2, 500, 1, 1), (2, 999, 1, 1)];
    for (debt, later, retry, reset) in table {
        let time = ManualClock::new();
        let limiter = limiter(&time, Quota::per_second(2).burst(1));
        limiter.try_acquire().unwrap();
        limiter.debit(debt);
        time.advance(later * MS);
        let denied = limiter.try_acquire().unwrap_err();
        let error: Error<()> = denied.into();
        let seconds = [denied.retry_after_secs(), error.retry_after_secs()];
        assert_eq!(seconds, [Some(retry); 2], "{debt} after {later} ms");
        assert_eq!(denied.status().reset_after_secs(), reset, "{debt} after {later} ms");
        let never = Rejection::from(limiter.try_acquire_n(2).unwrap_err());
        assert_eq!(never.retry_after_secs(), None);
    }
}

/// The example of a day in the documentation of `Quota`.
#[test]
fn an_idle_limiter_grants_less_than_twice_the_count_in_a_period() {
    for (quota, granted) in [(Quota::per_day(1000), 1999), (Quota::per_day(1000).burst(100), 1099)]
    {
        let time = ManualClock::new();
        let limiter = limiter(&time, quota);
        let mut sum = 0;
        for _ in 0..24 * 3600 * 5 {
            sum += drain(&limiter);
            time.advance(200 * MS);
        }
        assert_eq!(sum, granted);
    }
}

#[test]
fn quotas_of_zero_and_without_a_limit_are_supported() {
    let time = ManualClock::new();
    let nothing = limiter(&time, Quota::per_hour(0));
    let denied = nothing.try_acquire().unwrap_err();
    assert_eq!((denied.limit(), denied.retry_after()), (0, None));
    assert!(nothing.try_acquire_n(0).is_ok());
    assert_eq!(nothing.acquire_blocking(), Err(denied));
    assert!(nothing.reserve().is_err() && nothing.try_acquire_up_to(5).is_err());
    assert!(matches!(poll(pin!(nothing.acquire())), Poll::Ready(Err(_))));

    let all = limiter(&time, Quota::unlimited());
    for _ in 0..10 {
        let grant = all.try_acquire_n(u32::MAX).unwrap();
        assert_eq!(
            (grant.granted(), grant.limit(), grant.remaining()),
            (u32::MAX, u32::MAX, u32::MAX)
        );
        assert_eq!(
            (grant.status().retry_after(), grant.reset_after()),
            (Some(Duration::ZERO), Duration::ZERO)
        );
    }
    assert_eq!(all.try_acquire_up_to(7).unwrap().granted(), 7);
    assert_eq!(all.debit(u32::MAX).remaining(), u32::MAX);
    assert_eq!(all.reserve_n(u32::MAX).unwrap().delay(), Duration::ZERO);
}

/// x/time/rate accepts negative and overflowing numbers of tokens.
#[test]
fn requests_above_the_limit_are_denied_and_change_nothing() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(5));
    for n in [6, 1 << 20, u32::MAX] {
        assert_eq!(limiter.try_acquire_n(n).unwrap_err().retry_after(), None);
        assert!(limiter.reserve_n(n).is_err());
        assert!(limiter.acquire_n_blocking_timeout(n, Duration::MAX).is_err());
        assert!(matches!(poll(pin!(limiter.acquire_n(n))), Poll::Ready(Err(_))));
        assert_eq!(limiter.peek().remaining(), 5);
    }
    assert_eq!(limiter.try_acquire_up_to(u32::MAX).unwrap().granted(), 5);
    // A debt is limited to four years.
    for _ in 0..3 {
        let reset = limiter.debit(u32::MAX).reset_after();
        assert!(
            reset > 4 * 365 * 24 * 3600 * SECOND && reset < 10 * 365 * 24 * 3600 * SECOND,
            "{reset:?}"
        );
    }
}

/// Each step of the clock makes a known number of tokens available.
#[test]
fn eight_threads_are_granted_exactly_the_tokens_available() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1_000).burst(500));
    let granted = AtomicU64::new(0);
    let round = || {
        thread::scope(|scope| {
            for i in 0..8_u32 {
                let (limiter, granted) = (&limiter, &granted);
                scope.spawn(move || {
                    for k in 0..2_000 {
                        let took = match (i + k) % 3 {
                            0 => limiter.try_acquire().map_or(0, |_| 1),
                            1 => limiter.try_acquire_n(2).map_or(0, |_| 2),
                            _ => limiter.try_acquire_up_to(3).map_or(0, |grant| grant.granted()),
                        };
                        granted.fetch_add(took.into(), Ordering::Relaxed);
                    }
                });
            }
        });
        granted.swap(0, Ordering::Relaxed)
    };
    assert_eq!(round(), 500);
    for tokens in [1, 7, 100, 499, 500] {
        time.advance(tokens * MS);
        assert_eq!(round(), u64::from(tokens));
    }
    time.advance(3600 * SECOND);
    assert_eq!(round(), 500);
}

#[test]
fn a_clock_may_have_any_origin() {
    for origin in [
        Instant::ORIGIN,
        Instant::from_nanos(1 << 61),
        Instant::from_nanos(u64::MAX - 1_000_000_000),
    ] {
        let time = ManualClock::at(origin);
        let limiter = limiter(&time, Quota::per_second(10));
        assert_eq!(drain(&limiter), 10);
        time.advance(100 * MS);
        assert_eq!(drain(&limiter), 1);
        time.set(Instant::ORIGIN);
        assert_eq!(drain(&limiter), 0);
    }
}

#[test]
fn futures_are_send_and_grants_are_small() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let limiter = RateLimiter::new(Quota::per_second(1)).unwrap();
    drop(send(limiter.acquire()));
    drop(send(limiter.reserve()));
    assert_eq!(size_of::<mainstay::rate::Grant>(), 56);
    assert_eq!(size_of::<mainstay::rate::Denied>(), 64);
    assert_eq!(size_of::<RateLimiter>(), 8);
}

#[test]
fn limiters_and_their_types_are_unwind_safe() {
    fn check<T: UnwindSafe + RefUnwindSafe>() {}
    check::<RateLimiter>();
    check::<mainstay::rate::RateLimiterGroup>();
    check::<mainstay::rate::RateLimitPolicy>();
    check::<mainstay::rate::RateLimiterAcquireFuture<'_>>();
    check::<mainstay::rate::OwnedRateLimiterAcquireFuture>();
    check::<mainstay::rate::Reservation>();
    check::<mainstay::rate::Grant>();
    check::<mainstay::rate::Denied>();
    check::<mainstay::rate::KeyedRateLimiter<String>>();
    check::<mainstay::rate::KeyedRateLimitPolicy<'_, String, str>>();
}

#[test]
fn a_configuration_error_names_the_setter_and_the_value_it_was_given() {
    let second = Quota::per_second;
    let table = [
        (second(10).burst(0), "x", "burst", "0"),
        (Quota::per(3, Duration::ZERO), "x", "period", "0ns"),
        (second(u32::MAX), "x", "quota", "4294967295 per 1s"),
        (Quota::per_hour(1).burst(u32::MAX), "x", "quota", "1 per 3600s, burst 4294967295"),
        (second(10), "", "name", "\"\""),
        (second(10), "a\nb", "name", "\"a\\nb\""),
    ];
    for (quota, name, field, value) in table {
        let plain = RateLimiter::builder(quota).name(name).build().unwrap_err();
        let keyed: Result<mainstay::rate::KeyedRateLimiter<u32>, _> =
            mainstay::rate::KeyedRateLimiter::builder(quota).name(name).build();
        for error in [plain, keyed.unwrap_err()] {
            assert_eq!((error.field(), error.value()), (field, value));
        }
    }
}

proptest! {
    #[test]
    fn retry_after_is_exact(
        count in 1_u32..2_000_000, period_ns in 2_000_000_u64..5_000_000_000, burst in 1_u32..50,
        taken in 0_u32..50, wanted in 1_u32..50, offset in 0_u64..1_000_000_000,
    ) {
        let time = ManualClock::new();
        let quota = Quota::per(count, Duration::from_nanos(period_ns)).burst(burst);
        let limiter = limiter(&time, quota);
        time.advance(Duration::from_nanos(offset));
        limiter.try_acquire_up_to(taken).ok();
        let now = time.now();
        match limiter.try_acquire_n(wanted) {
            Ok(_) => prop_assert!(wanted <= burst),
            Err(denied) => match denied.retry_after() {
                None => prop_assert!(wanted > burst),
                Some(after) => {
                    time.set(now + (after - Duration::from_nanos(1)));
                    prop_assert!(limiter.try_acquire_n(wanted).is_err(), "a nanosecond too early");
                    time.set(now + after);
                    prop_assert!(limiter.try_acquire_n(wanted).is_ok(), "in time");
                }
            },
        }
    }
}
