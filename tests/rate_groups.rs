//! Groups of limiters.

use mainstay::rate::{Quota, RateLimiter, RateLimiterGroup};
use mainstay::time::ManualClock;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

#[test]
fn a_limiter_that_is_in_a_group_twice_is_charged_twice() {
    let time = ManualClock::new();
    let (twice, once) =
        (limiter(&time, Quota::per_second(5)), limiter(&time, Quota::per_second(10)));
    let group = RateLimiterGroup::new([&twice, &once, &twice.clone()]);
    // requested, granted, remaining tokens of `twice` and of `once`
    for (n, granted, left) in
        [(1, true, (3, 9)), (2, false, (3, 9)), (1, true, (1, 8)), (1, false, (1, 8))]
    {
        assert_eq!(group.try_acquire_n(n).is_ok(), granted);
        assert_eq!((twice.peek().remaining(), once.peek().remaining()), left);
    }
    let denied = group.try_acquire().unwrap_err();
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(200)));
    // Never granted, and twice the number does not wrap around to a smaller one.
    for n in [3, 1 << 31, u32::MAX] {
        assert_eq!(group.try_acquire_n(n).unwrap_err().retry_after(), None);
    }
    let free = limiter(&time, Quota::unlimited());
    assert!(RateLimiterGroup::new([&free, &free]).try_acquire_n(u32::MAX).is_ok());
}

/// No token is granted twice. A refund that races with another may return fewer tokens.
#[test]
fn groups_that_take_from_two_limiters_in_opposite_order_terminate() {
    let time = ManualClock::new();
    let (here, there) =
        (limiter(&time, Quota::per_second(1000)), limiter(&time, Quota::per_second(1000)));
    let groups = [RateLimiterGroup::new([&here, &there]), RateLimiterGroup::new([&there, &here])];
    let start = Barrier::new(2);
    let granted: u32 = thread::scope(|scope| {
        let threads = groups.each_ref().map(|group| {
            scope.spawn(|| {
                start.wait();
                (0..2000).filter(|_| group.try_acquire().is_ok()).count() as u32
            })
        });
        threads.map(|thread| thread.join().unwrap()).into_iter().sum()
    });
    let left = 1000 - granted;
    assert!(granted > 0 && here.peek().remaining() <= left && there.peek().remaining() <= left);
}

#[test]
fn a_request_that_one_limiter_denies_takes_nothing_from_the_others() {
    let time = ManualClock::new();
    let named = |name: &str, quota| {
        RateLimiter::builder(quota).name(name).clock(time.clock()).build().unwrap()
    };
    let second = named("second", Quota::per_second(10));
    let day = named("day", Quota::per_day(12));
    let shared = named("shared", Quota::per_second(1_000));
    let limits = RateLimiterGroup::new([&second, &day, &shared]);
    for _ in 0..10 {
        limits.try_acquire().unwrap();
    }
    for _ in 0..100 {
        let denied = limits.try_acquire().unwrap_err();
        assert_eq!((denied.policy(), denied.retry_after()), ("second", Some(100 * MS)));
    }
    assert_eq!((day.peek().remaining(), shared.peek().remaining()), (2, 990));
    time.advance(SECOND);
    limits.try_acquire_n(2).unwrap();
    let denied = limits.try_acquire().unwrap_err();
    assert_eq!((denied.policy(), denied.retry_after()), ("day", Some(7199 * SECOND)));
    assert_eq!((second.peek().remaining(), shared.peek().remaining()), (8, 998));
    // Two limiters deny: the error names the one with the longer wait.
    assert!(shared.try_acquire_n(998).is_ok() && second.try_acquire_n(8).is_ok());
    assert_eq!(limits.try_acquire().unwrap_err().policy(), "day");
    assert!(RateLimiterGroup::new([]).try_acquire().is_ok());
}

/// The groups overlap. No limiter grants more tokens than it has, although groups return tokens.
#[test]
fn groups_that_race_take_from_all_members_or_from_none() {
    let time = ManualClock::new();
    let [a, b, c] = [300, 200, 250].map(|burst| limiter(&time, Quota::per_second(1).burst(burst)));
    let groups = [
        RateLimiterGroup::new([&a, &b]),
        RateLimiterGroup::new([&b, &c]),
        RateLimiterGroup::new([&c, &a]),
    ];
    let took = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        for i in 0..6 {
            let (groups, took) = (&groups, &took);
            scope.spawn(move || {
                for _ in 0..1_000 {
                    if groups[i % 3].try_acquire().is_ok() {
                        took[i % 3].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let [ab, bc, ca] = took.map(|took| u32::try_from(took.into_inner()).unwrap());
    let left = [&a, &b, &c].map(|limiter| limiter.peek().remaining());
    // A refund that raced with another may have returned fewer tokens, but never more.
    for (left, granted) in left.iter().zip([300 - ab - ca, 200 - ab - bc, 250 - bc - ca]) {
        assert!(*left <= granted, "{left} of {granted}");
    }
    // At most one limiter has tokens left, so no group could have taken more.
    assert!(left.iter().filter(|left| **left == 0).count() >= 2, "{left:?}");
}
