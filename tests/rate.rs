//! The rate limiter by its public face: tables on a manual clock, and the known faults of others.

use futures::future::{join4, try_join};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::pipeline::Pipeline;
use mainstay::rate::{Acquire, AllOf, Quota, RateLimiter};
use mainstay::time::{Clock, Instant, ManualClock};
use proptest::prelude::*;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Waker};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const NS: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Task::from_waker(Waker::noop()))
}

/// Takes all there is.
fn drain(limiter: &RateLimiter) -> u32 {
    limiter.at_most(u32::MAX).map_or(0, |answer| answer.granted())
}

#[test]
fn figures_by_table() {
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
        let answer = match limiter.try_acquire_n(wanted) {
            Ok(answer) => answer,
            Err(refused) => refused.answer(),
        };
        let case = format!("{wanted} at {at} ms: {answer:?}");
        assert_eq!(
            (answer.granted(), answer.limit(), answer.remaining()),
            (granted, 3, remaining),
            "{case}"
        );
        assert_eq!(answer.retry_after(), retry.map(|ms| ms * MS), "{case}");
        assert_eq!(answer.reset_after(), reset * MS, "{case}");
    }
}

#[test]
fn a_refusal_is_a_rejection_that_says_when() {
    let time = ManualClock::new();
    let limiter = RateLimiter::builder(Quota::per_second(2).burst(1))
        .name("mail")
        .clock(time.clock())
        .build()
        .unwrap();
    limiter.try_acquire().unwrap();
    let refused = limiter.try_acquire().unwrap_err();
    assert_eq!(refused.to_string(), "rejected by mail: rate limited; try again in 500ms");
    let rejection = Rejection::from(refused);
    assert_eq!(
        (rejection.reason(), rejection.retry_after()),
        (Reason::RateLimited, Some(500 * MS))
    );
    let never = Rejection::from(limiter.try_acquire_n(2).unwrap_err());
    assert_eq!(never.retry_after(), None);
}

/// As header fields have it: rounded up, so that nobody comes back too early.
#[test]
fn whole_seconds_are_not_too_few() {
    //     debt, ms later, seconds until the next, until all are back
    let table =
        [(0, 0, 1, 1), (0, 1, 1, 1), (2, 0, 2, 2), (2, 499, 2, 2), (2, 500, 1, 1), (2, 999, 1, 1)];
    for (debt, later, retry, reset) in table {
        let time = ManualClock::new();
        let limiter = limiter(&time, Quota::per_second(2).burst(1));
        limiter.try_acquire().unwrap();
        limiter.debit(debt);
        time.advance(later * MS);
        let refused = limiter.try_acquire().unwrap_err();
        let error: Error<()> = refused.into();
        let seconds = [refused.retry_after_secs(), error.retry_after_secs()];
        assert_eq!(seconds, [Some(retry); 2], "{debt} after {later} ms");
        assert_eq!(refused.answer().reset_after_secs(), reset, "{debt} after {later} ms");
        let never = Rejection::from(limiter.try_acquire_n(2).unwrap_err());
        assert_eq!(never.retry_after_secs(), None);
    }
}

/// What the documentation of `Quota` says of a day.
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
fn zero_and_no_limit_are_quotas_like_others() {
    let time = ManualClock::new();
    let nothing = limiter(&time, Quota::per_hour(0));
    let refused = nothing.try_acquire().unwrap_err();
    assert_eq!((refused.answer().limit(), refused.retry_after()), (0, None));
    assert!(nothing.try_acquire_n(0).is_ok());
    assert_eq!(nothing.acquire_blocking(1), Err(refused));
    assert!(nothing.reserve(1).is_err() && nothing.at_most(5).is_err());
    assert!(matches!(poll(pin!(nothing.acquire())), Poll::Ready(Err(_))));

    let all = limiter(&time, Quota::unlimited());
    for _ in 0..10 {
        let answer = all.try_acquire_n(u32::MAX).unwrap();
        assert_eq!(
            (answer.granted(), answer.limit(), answer.remaining()),
            (u32::MAX, u32::MAX, u32::MAX)
        );
        assert_eq!(
            (answer.retry_after(), answer.reset_after()),
            (Some(Duration::ZERO), Duration::ZERO)
        );
    }
    assert_eq!(all.at_most(7).unwrap().granted(), 7);
    assert_eq!(all.debit(u32::MAX).remaining(), u32::MAX);
    assert_eq!(all.reserve(u32::MAX).unwrap().delay(), Duration::ZERO);
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
        limiter.at_most(taken).ok();
        let now = time.now();
        match limiter.try_acquire_n(wanted) {
            Ok(_) => prop_assert!(wanted <= burst),
            Err(refused) => match refused.retry_after() {
                None => prop_assert!(wanted > burst),
                Some(after) => {
                    time.set(now + (after - NS));
                    prop_assert!(limiter.try_acquire_n(wanted).is_err(), "a nanosecond earlier");
                    time.set(now + after);
                    prop_assert!(limiter.try_acquire_n(wanted).is_ok(), "in time");
                }
            },
        }
    }

    /// Through changes of the quota: in any window that ends under some quota, its burst and each rate for
    /// as long as it was in force.
    #[test]
    fn changes_do_not_grant_more(
        steps in proptest::collection::vec(
            (0_u64..400, prop_oneof![4 => Just(None), 1 => (1_u32..300, 1_u32..40).prop_map(Some)], 1_u32..8),
            1..80,
        ),
    ) {
        let time = ManualClock::new();
        let mut quota = (50, 10);
        let limiter = limiter(&time, Quota::per_second(quota.0).burst(quota.1));
        // (tokens, rate since the last event in tokens a second, seconds since then, burst in force)
        let mut events: Vec<(u32, f64, u32)> = Vec::new();
        for (advance, change, n) in steps {
            time.advance(advance as u32 * MS);
            let earned = f64::from(quota.0) * advance as f64 / 1e3;
            if let Some(new) = change {
                quota = new;
                limiter.reconfigure(Quota::per_second(new.0).burst(new.1)).unwrap();
            }
            let granted = limiter.at_most(n).map_or(0, |answer| answer.granted());
            events.push((granted, earned, quota.1));
        }
        for from in 0..events.len() {
            let (mut granted, mut earned) = (0, 0.0);
            for (i, event) in events.iter().enumerate().skip(from) {
                granted += event.0;
                earned += if i == from { 0.0 } else { event.1 };
                let bound = f64::from(event.2) + earned + 1e-6;
                prop_assert!(event.0 == 0 || f64::from(granted) <= bound, "{} > {}", granted, bound);
            }
        }
    }
}

/// Threads race for every token; the clock moves in steps that each bring a known number.
#[test]
fn eight_threads_get_exactly_what_there_is() {
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
                            _ => limiter.at_most(3).map_or(0, |answer| answer.granted()),
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

// --- Known faults of others ---

/// golang/go#71360: a caller with an old reading set the bucket's time back, and the next filled it again.
#[test]
fn a_stale_now_does_not_rewind_the_bucket() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1).burst(10));
    let (late, early) = (time.now() + 100 * SECOND, time.now());
    let mut granted = 0;
    for _ in 0..5_000 {
        for at in [late, early] {
            time.set(at);
            granted += drain(&limiter);
        }
    }
    assert_eq!(granted, 10);
}

/// x/time/rate takes negative and overflowing numbers of tokens; here there are none, and too many are never.
#[test]
fn huge_numbers_are_refused_and_change_nothing() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(5));
    for n in [6, 1 << 20, u32::MAX] {
        assert_eq!(limiter.try_acquire_n(n).unwrap_err().retry_after(), None);
        assert!(limiter.reserve(n).is_err());
        assert!(limiter.acquire_timeout(n, Duration::MAX).is_err());
        assert!(matches!(poll(pin!(limiter.acquire_n(n))), Poll::Ready(Err(_))));
        assert_eq!(limiter.peek().remaining(), 5);
    }
    assert_eq!(limiter.at_most(u32::MAX).unwrap().granted(), 5);
    // A debt has an end: four years.
    for _ in 0..3 {
        let reset = limiter.debit(u32::MAX).reset_after();
        assert!(
            reset > 4 * 365 * 24 * 3600 * SECOND && reset < 10 * 365 * 24 * 3600 * SECOND,
            "{reset:?}"
        );
    }
}

/// golang/go#56924 and its opposite: what a reservation gives back is what it took, when it can be undone.
#[test]
fn a_dropped_reservation_gives_back_what_it_took_or_nothing() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(2));
    // Of an idle limiter, part at once and part later.
    let first = limiter.reserve(2).unwrap();
    let second = limiter.reserve(2).unwrap();
    assert_eq!((first.delay(), second.delay()), (Duration::ZERO, 200 * MS));
    drop(second);
    assert_eq!(limiter.peek().reset_after(), 200 * MS);
    // Somebody stands behind: nothing is given back, or two would have one time.
    let second = limiter.reserve(1).unwrap();
    let third = limiter.reserve(1).unwrap();
    drop(second);
    assert_eq!(limiter.peek().reset_after(), 400 * MS);
    assert_eq!(third.delay(), 200 * MS);
    // The last can be undone also after the time has come.
    time.advance(150 * MS);
    drop(third);
    assert_eq!(limiter.peek().reset_after(), 150 * MS);
    drop(first);
    assert_eq!(limiter.peek().reset_after(), 150 * MS);
    // Kept is kept.
    limiter.reserve(1).unwrap().commit();
    assert_eq!(limiter.peek().reset_after(), 250 * MS);
    // Long past, full again: an old one gives nothing on top.
    let old = limiter.reserve(1).unwrap();
    time.advance(10 * SECOND);
    limiter.try_acquire().unwrap();
    drop(old);
    assert_eq!(limiter.peek().remaining(), 1);
}

#[test]
fn a_reservation_of_nothing_is_ready_also_in_debt() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1));
    limiter.debit(100);
    assert_eq!(limiter.reserve(1).unwrap().delay(), 100 * SECOND);
    let nothing = limiter.reserve(0).unwrap();
    assert_eq!((nothing.delay(), nothing.ready_at()), (Duration::ZERO, time.now()));
}

#[test]
fn a_reservation_waits_and_can_be_cancelled_meanwhile() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    limiter.try_acquire().unwrap();
    let start = time.now();
    let reservation = limiter.reserve(1).unwrap();
    assert_eq!(reservation.ready_at(), start + 100 * MS);
    time.drive(reservation.wait());
    assert_eq!(time.now(), start + 100 * MS);
    {
        let mut wait = pin!(limiter.reserve(1).unwrap().wait());
        assert!(time.drive_for(50 * MS, wait.as_mut()).is_pending());
    }
    time.advance(50 * MS);
    assert!(limiter.try_acquire().is_ok());
    limiter.reserve(1).unwrap().wait_blocking();
    assert_eq!(time.now(), start + 300 * MS);
}

/// governor's `until_ready` sleeps and tries again: whoever wakes first wins. Here they are served in order.
#[test]
fn waiters_are_served_in_order_of_arrival() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(2));
    assert_eq!(drain(&limiter), 2);
    let start = time.now();
    let served = Mutex::new(Vec::new());
    let wait = |name: u32, cost: u32| {
        let (limiter, served, time) = (&limiter, &served, &time);
        async move {
            limiter.acquire_n(cost).await.unwrap();
            served.lock().unwrap().push((name, time.now() - start));
        }
    };
    // The second is dearer than those behind it, and is not overtaken.
    time.drive(join4(wait(1, 1), wait(2, 2), wait(3, 1), wait(4, 1)));
    let expected = [(1, 100), (2, 300), (3, 400), (4, 500)].map(|(name, ms)| (name, ms * MS));
    assert_eq!(served.into_inner().unwrap(), expected);
    assert_eq!(limiter.snapshot().waiting, 0);
}

/// leaky-bucket#39: dropping a future that waits held up everybody else.
#[test]
fn a_dropped_waiter_wedges_nobody() {
    for drop_head in [true, false] {
        let time = ManualClock::new();
        let limiter = limiter(&time, Quota::per_second(10).burst(1));
        drain(&limiter);
        let start = time.now();
        let mut head = Box::pin(limiter.acquire());
        let mut middle = Box::pin(limiter.acquire());
        let mut last = pin!(limiter.acquire());
        for waiter in [&mut head, &mut middle] {
            assert!(poll(waiter.as_mut()).is_pending());
        }
        assert!(time.drive_for(Duration::ZERO, last.as_mut()).is_pending());
        assert_eq!(limiter.snapshot().waiting, 3);
        if drop_head {
            drop(head);
            drop(middle);
        } else {
            drop(middle);
            time.drive(head).unwrap();
        }
        time.drive(last).unwrap();
        assert_eq!(time.now(), start + if drop_head { 100 } else { 200 } * MS);
        assert_eq!((limiter.snapshot().waiting, limiter.snapshot().queued), (0, 0));
        time.advance(100 * MS);
        limiter.try_acquire().unwrap();
    }
}

/// Sentinel#1615: rates above 1,000 a second were counted in whole milliseconds.
#[test]
fn rates_above_a_thousand_a_second_are_even() {
    for rate in [1_500, 7_000, 333_333] {
        let time = ManualClock::new();
        let limiter = limiter(&time, Quota::per_second(rate).burst(1));
        let start = time.now();
        for _ in 0..1_000 {
            time.drive(limiter.acquire()).unwrap();
        }
        let exact = 999.0 / f64::from(rate);
        let took = (time.now() - start).as_secs_f64();
        assert!(took >= exact && took < exact + 1e-6, "{rate}: {took} instead of {exact}");
    }
}

/// A check of several limits that takes from the first what the second refuses.
#[test]
fn what_one_limit_refuses_costs_the_others_nothing() {
    let time = ManualClock::new();
    let named = |name: &str, quota| {
        RateLimiter::builder(quota).name(name).clock(time.clock()).build().unwrap()
    };
    let second = named("second", Quota::per_second(10));
    let day = named("day", Quota::per_day(12));
    let everybody = named("everybody", Quota::per_second(1_000));
    let limits = AllOf::new([&second, &day, &everybody]);
    for _ in 0..10 {
        limits.try_acquire().unwrap();
    }
    for _ in 0..100 {
        let refused = limits.try_acquire().unwrap_err();
        assert_eq!((refused.policy(), refused.retry_after()), ("second", Some(100 * MS)));
    }
    assert_eq!((day.peek().remaining(), everybody.peek().remaining()), (2, 990));
    time.advance(SECOND);
    limits.try_acquire_n(2).unwrap();
    let refused = limits.try_acquire().unwrap_err();
    assert_eq!((refused.policy(), refused.retry_after()), ("day", Some(7199 * SECOND)));
    assert_eq!((second.peek().remaining(), everybody.peek().remaining()), (8, 998));
    // Two object: it is told of the one that takes longer.
    assert!(everybody.try_acquire_n(998).is_ok() && second.try_acquire_n(8).is_ok());
    assert_eq!(limits.try_acquire().unwrap_err().policy(), "day");
    assert!(AllOf::new([]).try_acquire().is_ok());
}

/// Threads on overlapping groups: no limiter grants more than it has, whatever is undone.
#[test]
fn groups_that_race_take_all_or_none() {
    let time = ManualClock::new();
    let [a, b, c] = [300, 200, 250].map(|burst| limiter(&time, Quota::per_second(1).burst(burst)));
    let groups = [AllOf::new([&a, &b]), AllOf::new([&b, &c]), AllOf::new([&c, &a])];
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
    // Where a race was undone, a refund that met another may have given back less, but never more.
    for (left, granted) in left.iter().zip([300 - ab - ca, 200 - ab - bc, 250 - bc - ca]) {
        assert!(*left <= granted, "{left} of {granted}");
    }
    // Nothing is left that a group could have had.
    assert!(left.iter().filter(|left| **left == 0).count() >= 2, "{left:?}");
}

// --- Waiting ---

#[test]
fn nobody_barges_while_anybody_waits() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(4));
    drain(&limiter);
    let mut heavy = pin!(limiter.acquire_n(3));
    assert!(poll(heavy.as_mut()).is_pending());
    time.advance(250 * MS);
    // Two are there, but somebody waits for three, due in 50 ms; then this one.
    let refused = limiter.try_acquire().unwrap_err();
    assert_eq!((refused.retry_after(), refused.answer().remaining()), (Some(150 * MS), 0));
    assert!(limiter.at_most(1).is_err() && limiter.reserve(1).is_err());
    assert!(limiter.try_acquire_n(0).is_ok());
    let mut light = pin!(limiter.acquire());
    assert!(poll(light.as_mut()).is_pending());
    assert_eq!((limiter.snapshot().waiting, limiter.snapshot().queued), (2, 4));
    assert_eq!(limiter.try_acquire().unwrap_err().retry_after(), Some(250 * MS));
    let start = time.now();
    time.drive(try_join(heavy, light)).unwrap();
    assert_eq!(time.now() - start, 150 * MS);
    time.advance(100 * MS);
    assert!(limiter.try_acquire().is_ok());
}

#[test]
fn a_wait_that_cannot_end_in_time_does_not_begin() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    drain(&limiter);
    let start = time.now();
    let refused = time.drive(limiter.acquire_within(1, 99 * MS)).unwrap_err();
    assert_eq!((time.now(), refused.retry_after()), (start, Some(100 * MS)));
    assert!(limiter.acquire_timeout(1, 99 * MS).is_err());
    assert_eq!(time.now(), start);
    // Just enough is enough.
    assert!(time.drive(limiter.acquire_within(1, 100 * MS)).is_ok());
    assert!(limiter.acquire_timeout(1, 100 * MS).is_ok());
    assert_eq!(time.now(), start + 200 * MS);
    // The time of those who stand before is part of it.
    let mut first = pin!(limiter.acquire());
    assert!(poll(first.as_mut()).is_pending());
    assert!(matches!(poll(pin!(limiter.acquire_within(1, 199 * MS))), Poll::Ready(Err(_))));
    assert!(poll(pin!(limiter.acquire_within(1, 200 * MS))).is_pending());
    assert_eq!(limiter.snapshot().waiting, 1, "the other one was dropped");
}

#[test]
fn patience_ends_also_when_it_had_seemed_enough() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    drain(&limiter);
    let start = time.now();
    let mut head = pin!(limiter.acquire());
    let mut second = pin!(limiter.acquire_within(1, 200 * MS));
    assert!(poll(head.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    limiter.debit(5);
    let refused = time.drive(second).unwrap_err();
    assert_eq!((time.now(), limiter.snapshot().waiting), (start + 200 * MS, 1));
    assert_eq!(
        refused.retry_after(),
        Some(500 * MS),
        "five, the head, and this one, less what has passed"
    );
    time.drive(head).unwrap();
    assert_eq!(time.now(), start + 600 * MS);
}

#[test]
fn those_who_wait_hear_of_a_new_quota() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_hour(1));
    drain(&limiter);
    let start = time.now();
    let mut first = pin!(limiter.acquire());
    let mut second = pin!(limiter.acquire());
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    limiter.reconfigure(Quota::per_second(10).burst(1)).unwrap();
    time.drive(try_join(first, second)).unwrap();
    assert_eq!(time.now() - start, 200 * MS);
    // Still nobody gets past.
    limiter.reconfigure(Quota::per_second(10).burst(2)).unwrap();
    drain(&limiter);
    let mut both = pin!(limiter.acquire_n(2));
    assert!(poll(both.as_mut()).is_pending());
    limiter.reconfigure(Quota::per_second(10).burst(3)).unwrap();
    time.advance(150 * MS);
    assert!(limiter.try_acquire().is_err());
    time.drive(both).unwrap();
    // Too much for the new one: told so.
    limiter.reconfigure(Quota::per_second(10).burst(4)).unwrap();
    let mut heavy = pin!(limiter.acquire_n(4));
    let mut light = pin!(limiter.acquire_n(2));
    assert!(poll(heavy.as_mut()).is_pending());
    assert!(poll(light.as_mut()).is_pending());
    limiter.reconfigure(Quota::per_second(10).burst(3)).unwrap();
    let Poll::Ready(Err(refused)) = poll(heavy.as_mut()) else { panic!("4 of 3") };
    assert_eq!(refused.retry_after(), None);
    time.drive(light).unwrap();
    // No limit any more.
    drain(&limiter);
    let mut last = pin!(limiter.acquire_n(3));
    assert!(poll(last.as_mut()).is_pending());
    limiter.reconfigure(Quota::unlimited()).unwrap();
    assert!(poll(last.as_mut()).is_ready());
    assert!(limiter.reconfigure(Quota::per_second(1).burst(0)).is_err());
    assert_eq!(limiter.quota(), Quota::unlimited());
}

#[test]
fn a_refund_serves_those_who_wait() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_minute(1).burst(3));
    let answer = limiter.try_acquire_n(3).unwrap();
    let mut waiter = pin!(limiter.acquire_n(2));
    assert!(poll(waiter.as_mut()).is_pending());
    let start = time.now();
    limiter.refund(&answer, 1);
    assert!(poll(waiter.as_mut()).is_pending());
    limiter.refund(&answer, 1);
    time.drive(waiter).unwrap();
    assert_eq!(time.now(), start);
    // And a reservation that is dropped.
    let reservation = {
        time.advance(3600 * SECOND);
        drain(&limiter);
        limiter.reserve(3).unwrap()
    };
    let mut waiter = pin!(limiter.acquire());
    assert!(poll(waiter.as_mut()).is_pending());
    drop(reservation);
    let start = time.now();
    time.drive(waiter).unwrap();
    assert_eq!(time.now() - start, 60 * SECOND);
}

#[test]
fn what_is_refunded_is_what_was_taken_and_not_yet_come_back() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(10));
    let first = limiter.try_acquire_n(8).unwrap();
    limiter.refund(&first, 3);
    assert_eq!(limiter.peek().remaining(), 5);
    limiter.refund(&first, u32::MAX); // the rest, and no more
    assert_eq!(limiter.peek().remaining(), 10);
    // Time has given it back: nothing comes on top.
    let old = limiter.try_acquire_n(10).unwrap();
    time.advance(SECOND);
    limiter.try_acquire_n(10).unwrap();
    limiter.refund(&old, 10);
    assert_eq!(limiter.peek().remaining(), 0);
    // Nor from before a change.
    time.advance(SECOND);
    let before = limiter.try_acquire_n(4).unwrap();
    limiter.reconfigure(Quota::per_second(10).burst(10)).unwrap();
    limiter.refund(&before, 4);
    assert_eq!(limiter.peek().remaining(), 6);
}

#[test]
fn a_new_quota_keeps_what_is_in_use() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(10));
    limiter.try_acquire_n(6).unwrap();
    //     quota, remaining, time to full in ms
    let table = [
        (Quota::per_second(100).burst(100), 94, 60),
        (Quota::per_second(10).burst(5), 0, 600),
        (Quota::per_hour(0), 0, u32::MAX),
        (Quota::per_second(3).burst(9), 3, 2000),
        (Quota::unlimited(), u32::MAX, 0),
        (Quota::per_second(10).burst(10), 10, 0),
    ];
    for (quota, remaining, reset) in table {
        limiter.reconfigure(quota).unwrap();
        let answer = limiter.peek();
        assert_eq!(answer.remaining(), remaining, "{quota:?}");
        let expected = if reset == u32::MAX { Duration::MAX } else { reset * MS };
        assert_eq!(answer.reset_after(), expected, "{quota:?}");
        assert_eq!(limiter.snapshot().quota, quota);
    }
    // While nothing is admitted, no time passes either.
    limiter.try_acquire_n(10).unwrap();
    limiter.reconfigure(Quota::per_second(0)).unwrap();
    time.advance(3600 * SECOND);
    limiter.reconfigure(Quota::per_second(10)).unwrap();
    assert_eq!(limiter.peek().remaining(), 0);
}

#[test]
fn threads_wait_in_the_same_line() {
    let limiter = RateLimiter::new(Quota::per_second(2_000).burst(1)).unwrap();
    let clock = Clock::system();
    let start = clock.now();
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for i in 0..8 {
            let (limiter, granted) = (&limiter, &granted);
            scope.spawn(move || {
                for _ in 0..20 {
                    if i % 2 == 0 {
                        limiter.acquire_blocking(1).unwrap();
                    } else {
                        futures::executor::block_on(limiter.acquire()).unwrap();
                    }
                    granted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(granted.into_inner(), 160);
    assert!(clock.now() - start >= 159 * SECOND / 2_000);
    assert_eq!((limiter.snapshot().waiting, limiter.snapshot().queued), (0, 0));
}

/// Waiters that give up at random moments, beside others that do not: each token is granted once, and
/// the line is empty in the end.
#[test]
fn cancelled_waiters_waste_nothing() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(100).burst(3));
    let mut random = fastrand::Rng::with_seed(7);
    let mut waiting: Vec<(u32, Pin<Box<Acquire<'_>>>)> = Vec::new();
    let (mut granted, start) = (0_u32, time.now());
    for _ in 0..20_000 {
        match random.u8(0..8) {
            0..3 if waiting.len() < 12 => {
                let cost = random.u32(1..4);
                waiting.push((cost, Box::pin(limiter.acquire_n(cost))));
            }
            3 if !waiting.is_empty() => drop(waiting.swap_remove(random.usize(..waiting.len()))),
            4 => time.advance(random.u32(0..30) * MS),
            _ => {}
        }
        waiting.retain_mut(|(cost, future)| match poll(future.as_mut()) {
            Poll::Ready(Ok(_)) => {
                granted += *cost;
                false
            }
            Poll::Ready(Err(_)) => panic!("refused"),
            Poll::Pending => true,
        });
        let elapsed = (time.now() - start).as_millis() as u32;
        assert!(granted <= 3 + elapsed / 10);
    }
    drop(waiting);
    assert_eq!((limiter.snapshot().waiting, limiter.snapshot().queued), (0, 0));
    time.advance(SECOND);
    assert_eq!(drain(&limiter), 3);
}

/// A waker that panics when it wakes, or looks into the limiter when it is dropped.
#[test]
fn wakers_may_do_anything() {
    struct Wake(RateLimiter, bool);
    impl std::task::Wake for Wake {
        fn wake(self: Arc<Self>) {
            assert!(!self.1, "woken");
        }
    }
    impl Drop for Wake {
        fn drop(&mut self) {
            assert!(self.0.snapshot().waiting < 3);
        }
    }
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_hour(1));
    drain(&limiter);
    let poll_with = |future: Pin<&mut Acquire<'_>>, panics| {
        let waker = Waker::from(Arc::new(Wake(limiter.clone(), panics)));
        future.poll(&mut Task::from_waker(&waker)).is_pending()
    };
    let mut first = Box::pin(limiter.acquire());
    let mut second = Box::pin(limiter.acquire());
    assert!(poll_with(first.as_mut(), false) && poll_with(second.as_mut(), true));
    assert!(poll_with(first.as_mut(), false), "the old waker is dropped outside the lock");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(first)));
    assert!(panicked.is_err(), "the next was woken");
    assert_eq!(limiter.snapshot().waiting, 1);
    time.drive(second).unwrap();
    assert_eq!(limiter.snapshot().waiting, 0);
}

// --- In a pipeline, and towards the outside ---

#[test]
fn a_pipeline_rejects_or_waits() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(4));
    let call = |result: Result<u32, Error<()>>| result.map_err(|error| error.retry_after());
    let dear = Pipeline::builder().rate_limit(limiter.costing(3)).build();
    let plain = Pipeline::builder().rate_limit(&limiter).build();
    let patient = Pipeline::builder().rate_limit(limiter.waiting_at_most(150 * MS)).build();
    assert_eq!(call(dear.call_blocking(|| Ok(1))), Ok(1));
    assert_eq!(call(dear.call_blocking(|| Ok(1))), Err(Some(200 * MS)));
    assert_eq!(call(time.drive(plain.call(|| async { Ok(2) }))), Ok(2));
    assert_eq!(call(time.drive(plain.call(|| async { Ok(2) }))), Err(Some(100 * MS)));
    let start = time.now();
    assert_eq!(call(time.drive(patient.call(|| async { Ok(3) }))), Ok(3));
    assert_eq!(call(patient.call_blocking(|| Ok(3))), Ok(3));
    assert_eq!(time.now() - start, 200 * MS);
    limiter.debit(1);
    assert_eq!(call(patient.call_blocking(|| Ok(3))), Err(Some(200 * MS)));
    // No longer than the call's own deadline.
    let limited = Pipeline::builder()
        .timeout(mainstay::timeout::Timeout::new(50 * MS).clock(time.clock()))
        .rate_limit(limiter.waiting_at_most(SECOND))
        .build();
    time.advance(100 * MS);
    let now = time.now();
    assert_eq!(call(time.drive(limited.call(|| async { Ok(4) }))), Err(Some(100 * MS)));
    assert_eq!(call(limited.call_blocking(|| Ok(4))), Err(Some(100 * MS)));
    assert_eq!(time.now(), now);
    let both = Pipeline::builder().guard(AllOf::new([&limiter])).build();
    time.advance(SECOND);
    assert_eq!(call(both.call_blocking(|| Ok(5))), Ok(5));
}

#[test]
fn an_observer_hears_of_refusals_and_changes() {
    let time = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let limiter = RateLimiter::builder(Quota::per_second(10).burst(1))
        .name("mail")
        .clock(time.clock())
        .observer({
            let heard = heard.clone();
            move |event: &mainstay::event::Event<'_>| {
                heard.lock().unwrap().push((event.to_string(), event.at));
            }
        })
        .build()
        .unwrap();
    limiter.try_acquire().unwrap();
    limiter.try_acquire().unwrap_err();
    limiter.try_acquire_n(2).unwrap_err();
    limiter.acquire_timeout(1, MS).unwrap_err();
    limiter.reconfigure(Quota::per_second(5).burst(7)).unwrap();
    let now = time.now();
    let expected = [
        "mail refused #1 wanted=1 limit=1 remaining=0 retry_after=100ms",
        "mail refused #2 wanted=2 limit=1 remaining=0",
        "mail refused #3 wanted=1 limit=1 remaining=0 retry_after=100ms",
        "mail reconfigured #1 limit=7",
    ];
    assert_eq!(*heard.lock().unwrap(), expected.map(|event| (event.to_owned(), now)));
}

#[test]
fn a_clock_of_any_origin_will_do() {
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
fn futures_can_be_sent_and_sizes_are_small() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let limiter = RateLimiter::new(Quota::per_second(1)).unwrap();
    drop(send(limiter.acquire()));
    drop(send(limiter.reserve(1)));
    assert_eq!(size_of::<mainstay::rate::Answer>(), 56);
    assert_eq!(size_of::<RateLimiter>(), 8);
}
