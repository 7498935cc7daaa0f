//! Groups of limiters whose members meet: in one group twice, or in two groups the other way round.

use mainstay::rate::{AllOf, Quota, RateLimiter};
use mainstay::time::ManualClock;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

#[test]
fn a_limiter_that_stands_in_a_group_twice_is_charged_twice() {
    let time = ManualClock::new();
    let (twice, once) =
        (limiter(&time, Quota::per_second(5)), limiter(&time, Quota::per_second(10)));
    let group = AllOf::new([&twice, &once, &twice.clone()]);
    // asked, granted, left of the one and of the other
    for (n, granted, left) in
        [(1, true, (3, 9)), (2, false, (3, 9)), (1, true, (1, 8)), (1, false, (1, 8))]
    {
        assert_eq!(group.try_acquire_n(n).is_ok(), granted);
        assert_eq!((twice.peek().remaining(), once.peek().remaining()), left);
    }
    let refused = group.try_acquire().unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_millis(200)));
    // Never, and no sum that wraps to less.
    for n in [3, 1 << 31, u32::MAX] {
        assert_eq!(group.try_acquire_n(n).unwrap_err().retry_after(), None);
    }
    let free = limiter(&time, Quota::unlimited());
    assert!(AllOf::new([&free, &free]).try_acquire_n(u32::MAX).is_ok());
}

/// Each takes first what the other takes last. Whatever comes of it, they come to an end, and nothing is
/// granted twice; where a refund met another it may have given back less.
#[test]
fn groups_the_other_way_round_come_to_an_end() {
    let time = ManualClock::new();
    let (here, there) =
        (limiter(&time, Quota::per_second(1000)), limiter(&time, Quota::per_second(1000)));
    let groups = [AllOf::new([&here, &there]), AllOf::new([&there, &here])];
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
