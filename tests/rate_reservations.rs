//! Reservations, refunds and debits.

use mainstay::rate::{Quota, RateLimiter};
use mainstay::time::ManualClock;
use std::pin::pin;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

/// golang/go#56924: a reservation returned fewer tokens than it had taken.
#[test]
fn a_dropped_reservation_returns_all_of_its_tokens_or_none() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(2));
    // The first is ready now, the second later.
    let first = limiter.reserve_n(2).unwrap();
    let second = limiter.reserve_n(2).unwrap();
    assert_eq!((first.delay(), second.delay()), (Duration::ZERO, 200 * MS));
    drop(second);
    assert_eq!(limiter.peek().reset_after(), 200 * MS);
    // The third reservation depends on the second, so the second returns nothing: otherwise two
    // reservations would have the same time.
    let second = limiter.reserve().unwrap();
    let third = limiter.reserve().unwrap();
    drop(second);
    assert_eq!(limiter.peek().reset_after(), 400 * MS);
    assert_eq!(third.delay(), 200 * MS);
    // The last reservation returns its tokens until it is ready.
    time.advance(150 * MS);
    drop(third);
    assert_eq!(limiter.peek().reset_after(), 150 * MS);
    drop(first);
    assert_eq!(limiter.peek().reset_after(), 150 * MS);
    // A committed reservation returns nothing.
    limiter.reserve().unwrap().commit();
    assert_eq!(limiter.peek().reset_after(), 250 * MS);
    // A reservation that was ready long ago returns nothing.
    let old = limiter.reserve().unwrap();
    time.advance(10 * SECOND);
    limiter.try_acquire().unwrap();
    drop(old);
    assert_eq!(limiter.peek().remaining(), 1);
}

/// The idiom of Go's x/time/rate: reserve, sleep for the delay, act. The reservation is dropped at
/// the end of the scope.
#[test]
fn a_reservation_counts_as_used_once_it_is_ready() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    let start = time.now();
    for _ in 0..20 {
        let reservation = limiter.reserve().unwrap();
        time.advance(reservation.delay());
    }
    assert_eq!(time.now() - start, 19 * 100 * MS);
    assert_eq!(limiter.peek().remaining(), 0);
    // A nanosecond before it is ready, its token is returned.
    let reservation = limiter.reserve().unwrap();
    time.advance(reservation.delay() - Duration::from_nanos(1));
    drop(reservation);
    time.advance(Duration::from_nanos(1));
    assert_eq!(limiter.peek().remaining(), 1);
}

#[test]
fn a_reservation_of_no_tokens_is_ready_even_in_debt() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1));
    limiter.debit(100);
    assert_eq!(limiter.reserve().unwrap().delay(), 100 * SECOND);
    let nothing = limiter.reserve_n(0).unwrap();
    assert_eq!((nothing.delay(), nothing.ready_at()), (Duration::ZERO, time.now()));
}

#[test]
fn a_reservation_can_be_waited_for_and_cancelled_meanwhile() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    limiter.try_acquire().unwrap();
    let start = time.now();
    let reservation = limiter.reserve().unwrap();
    assert_eq!(reservation.ready_at(), start + 100 * MS);
    time.drive(reservation.wait());
    assert_eq!(time.now(), start + 100 * MS);
    {
        let mut wait = pin!(limiter.reserve().unwrap().wait());
        assert!(time.drive_for(50 * MS, wait.as_mut()).is_pending());
    }
    time.advance(50 * MS);
    assert!(limiter.try_acquire().is_ok());
    limiter.reserve().unwrap().wait_blocking();
    assert_eq!(time.now(), start + 300 * MS);
}

#[test]
fn a_refund_returns_only_taken_tokens_that_are_not_yet_available_again() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(10));
    let first = limiter.try_acquire_n(8).unwrap();
    limiter.refund(&first, 3);
    assert_eq!(limiter.peek().remaining(), 5);
    limiter.refund(&first, u32::MAX); // the rest, and no more
    assert_eq!(limiter.peek().remaining(), 10);
    // All tokens have become available again, so nothing is returned.
    let old = limiter.try_acquire_n(10).unwrap();
    time.advance(SECOND);
    limiter.try_acquire_n(10).unwrap();
    limiter.refund(&old, 10);
    assert_eq!(limiter.peek().remaining(), 0);
    // A grant from before a change of the quota returns nothing either.
    time.advance(SECOND);
    let before = limiter.try_acquire_n(4).unwrap();
    limiter.reconfigure(Quota::per_second(10).burst(10)).unwrap();
    limiter.refund(&before, 4);
    assert_eq!(limiter.peek().remaining(), 6);
}

#[test]
fn a_debit_never_shortens_a_debt() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1).burst(1));
    let longest = limiter.debit(u32::MAX).reset_after();
    time.advance(SECOND);
    // The second debit reaches the maximum as of this time, which exceeds the maximum as of the
    // earlier time by a second.
    limiter.debit(u32::MAX);
    time.set(time.now() - SECOND);
    assert_eq!(limiter.debit(1).reset_after(), longest + SECOND);
}
