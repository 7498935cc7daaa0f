//! Waiting for tokens of one key, keys within groups, and several dimensions.
#![cfg(not(mainstay_loom))]

use mainstay::error::{Error, Reason};
use mainstay::event::Event;
use mainstay::keyed::KeyOverflowRule;
use mainstay::pipeline::Pipeline;
use mainstay::rate::{
    DimensionedRateLimiter, KeyedRateLimiter, Quota, RateLimiter, RateLimiterGroup,
};
use mainstay::time::ManualClock;
use mainstay::timeout::Timeout;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn keyed(time: &ManualClock, quota: Quota) -> KeyedRateLimiter<String> {
    KeyedRateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

fn single(time: &ManualClock, name: &str, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).name(name).clock(time.clock()).build().unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn callers_wait_for_the_tokens_of_their_key() {
    let time = ManualClock::new();
    let limiter = keyed(&time, Quota::per_second(10).burst(2));
    let (a, b) = (limiter.key("a"), limiter.key("b").cost(2));
    let start = time.now();
    let elapsed = || (time.now() - start).as_millis();
    for expected in [0, 0, 100, 200] {
        assert_eq!(time.drive(a.acquire()).unwrap().granted(), 1);
        assert_eq!(elapsed(), expected);
    }
    assert_eq!(time.drive(b.acquire()).unwrap().granted(), 2);
    assert_eq!(elapsed(), 200, "another key");
    b.acquire_blocking().unwrap();
    assert_eq!(elapsed(), 400);
    b.acquire_blocking_timeout(200 * MS).unwrap();
    assert_eq!(elapsed(), 600);
}

#[test]
fn a_wait_that_would_exceed_its_timeout_ends_immediately() {
    let time = ManualClock::new();
    let limiter = keyed(&time, Quota::per_second(1));
    let a = limiter.key("a");
    a.try_acquire().unwrap();
    let start = time.now();
    for denied in [
        time.drive(a.acquire_timeout(999 * MS)).unwrap_err(),
        a.acquire_blocking_timeout(999 * MS).unwrap_err(),
    ] {
        assert_eq!((denied.reason(), denied.retry_after()), (Reason::RateLimited, Some(SECOND)));
    }
    let never = time.drive(a.cost(2).acquire()).unwrap_err();
    assert_eq!(never.retry_after(), None, "above the burst");
    assert_eq!(time.now(), start);
}

#[test]
fn waiters_of_a_key_are_served_in_order_and_before_requests_that_do_not_wait() {
    let time = ManualClock::new();
    let limiter = keyed(&time, Quota::per_second(1));
    limiter.try_acquire("a").unwrap();
    let (a, b) = (limiter.key("a"), limiter.key("b"));
    let mut first = pin!(a.acquire());
    let mut second = pin!(a.acquire());
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    time.advance(SECOND);
    let denied = limiter.try_acquire("a").unwrap_err();
    assert!(denied.retry_after().is_some(), "a token is available, but a caller waits for it");
    assert!(limiter.try_acquire("b").is_ok(), "no caller waits for this key");
    assert!(poll(second.as_mut()).is_pending());
    assert!(poll(first.as_mut()).is_ready());
    assert!(time.drive(second).is_ok());
    time.advance(SECOND);
    assert!(limiter.try_acquire("a").is_ok() && b.try_acquire().is_ok(), "no caller waits");
}

#[test]
fn a_waiter_dropped_at_any_poll_takes_nothing_and_leaves_its_queue() {
    for polls in 0..4 {
        let time = ManualClock::new();
        let limiter = keyed(&time, Quota::per_second(1));
        let a = limiter.key("a");
        a.try_acquire().unwrap();
        {
            let (mut first, mut second) = (pin!(a.acquire()), pin!(a.acquire()));
            for _ in 0..polls {
                assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
                time.advance(100 * MS);
            }
        }
        assert_eq!(time.next_deadline(), None, "{polls} polls: a timer is left");
        time.advance(SECOND);
        assert!(a.try_acquire().is_ok(), "{polls} polls");
    }
}

#[test]
fn a_refund_and_a_new_quota_shorten_a_wait() {
    let time = ManualClock::new();
    let limiter = keyed(&time, Quota::per_hour(1));
    let a = limiter.key("a");
    let grant = a.try_acquire().unwrap();
    let start = time.now();
    let mut waiter = pin!(a.acquire());
    assert!(time.drive_for(10 * SECOND, waiter.as_mut()).is_pending());
    limiter.refund("a", &grant, 1);
    assert!(time.drive(waiter).is_ok());
    assert!(time.now() - start <= 11 * SECOND);
    let mut waiter = pin!(a.acquire());
    assert!(time.drive_for(10 * SECOND, waiter.as_mut()).is_pending());
    limiter.reconfigure(Quota::per_second(1)).unwrap();
    assert!(time.drive_for(2 * SECOND, waiter).is_ready());
}

/// A burst of 1 and timers that tick every 10 ms.
#[test]
fn waiters_of_a_key_receive_the_full_rate() {
    let time = ManualClock::new();
    let limiter = keyed(&time, Quota::per_second(5_000).burst(1));
    let a = limiter.key("a");
    let mut granted = 0;
    let mut waiting = Box::pin(a.acquire());
    for _ in 0..100 {
        time.set(time.now() + 10 * MS);
        while poll(waiting.as_mut()).is_ready() {
            granted += 1;
            waiting = Box::pin(a.acquire());
        }
    }
    assert!((4_900..=5_001).contains(&granted), "{granted}");
}

#[test]
fn denials_of_waiters_are_reported_once() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let limiter = KeyedRateLimiter::<String>::builder(Quota::per_second(1))
        .name("tenants")
        .clock(time.clock())
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    let a = limiter.key("a");
    a.acquire_blocking().unwrap();
    a.acquire_blocking().unwrap(); // waits, and is granted
    a.acquire_blocking_timeout(MS).unwrap_err();
    assert_eq!(
        *events.lock().unwrap(),
        ["tenants denied #1 wanted=1 limit=1 remaining=0 retry_after=1s"]
    );
}

#[test]
fn a_full_table_denies_a_waiter() {
    let time = ManualClock::new();
    let limiter = KeyedRateLimiter::<u32>::builder(Quota::per_hour(1))
        .max_keys(1)
        .shards(1)
        .when_full(mainstay::KeyOverflowRule::Reject)
        .clock(time.clock())
        .build()
        .unwrap();
    limiter.try_acquire(&1).unwrap();
    assert_eq!(limiter.key(&2).acquire_blocking().unwrap_err().reason(), Reason::Exhausted);
}

#[test]
fn a_pipeline_waits_for_the_tokens_of_a_key() {
    let time = ManualClock::new();
    let limiter = keyed(&time, Quota::per_second(1));
    let limit = || Timeout::new(1_500 * MS).clock(time.clock());
    let borrowed =
        Pipeline::builder().timeout(limit()).guard(limiter.key("a").max_wait(9 * SECOND)).build();
    let owned = limiter.key_owned("a".to_owned()).max_wait(9 * SECOND);
    let owned = Pipeline::builder().timeout(limit()).guard(owned).build();
    let start = time.now();
    let call = async || Ok::<_, ()>(());
    assert_eq!(time.drive(borrowed.call(call)), Ok(()));
    assert_eq!(time.drive(owned.call(call)), Ok(()));
    assert_eq!(borrowed.call_blocking(|| Ok::<_, ()>(())), Ok(()));
    assert_eq!(owned.call_blocking(|| Ok::<_, ()>(())), Ok(()));
    assert_eq!(time.now() - start, 3 * SECOND);
    let without_wait = Pipeline::builder().guard(limiter.key_owned("a".to_owned())).build();
    let result = without_wait.call_blocking(|| Ok::<_, ()>(()));
    assert!(matches!(result, Err(Error::Rejected(_))));
}

/// The threads use two keys; each key grants its burst and no token more.
#[test]
fn eight_threads_wait_for_two_keys() {
    let limiter: KeyedRateLimiter<usize> =
        KeyedRateLimiter::new(Quota::per_second(20_000).burst(1)).unwrap();
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let limiter = &limiter;
            scope.spawn(move || {
                for _ in 0..100 {
                    limiter.key(&(thread % 2)).acquire_blocking().unwrap();
                }
            });
        }
    });
    // 400 tokens per key, of which the first is free.
    assert!(start.elapsed() >= Duration::from_micros(399 * 50));
}

#[test]
fn a_group_with_keys_takes_from_all_or_from_none() {
    let time = ManualClock::new();
    let all = single(&time, "all", Quota::per_second(3));
    let tenants = keyed(&time, Quota::per_second(2));
    let limits = RateLimiterGroup::new([&all]).with_keys(&tenants);
    assert!(limits.try_acquire_n("a", 2).is_ok());
    assert_eq!(limits.try_acquire("a").unwrap_err().policy(), "rate_limiter");
    assert_eq!(all.peek().remaining(), 1, "a denied request takes nothing");
    assert_eq!(limits.try_acquire_n("b", 2).unwrap_err().policy(), "all");
    assert_eq!(tenants.peek("b").remaining(), 2, "a denied request takes nothing");
    let pipeline = Pipeline::builder().guard(limits.key("b".to_owned())).build();
    assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(())), Ok(()));
    let denied = time.drive(pipeline.call(async || Ok::<_, ()>(())));
    assert!(matches!(denied, Err(Error::Rejected(_))));
    assert_eq!((all.peek().remaining(), tenants.peek("b").remaining()), (0, 1));
}

#[test]
fn a_key_that_others_wait_for_gives_the_tokens_of_the_limiters_back() {
    let time = ManualClock::new();
    let all = single(&time, "all", Quota::per_hour(3));
    let tenants = keyed(&time, Quota::per_second(1));
    let limits = RateLimiterGroup::new([&all]).with_keys(&tenants);
    tenants.try_acquire("a").unwrap();
    let a = tenants.key("a");
    let mut waiter = pin!(a.acquire());
    assert!(poll(waiter.as_mut()).is_pending());
    time.advance(SECOND);
    // The key has a token, so the limiters are asked before the queue of the key denies.
    assert_eq!(limits.try_acquire("a").unwrap_err().policy(), "rate_limiter");
    assert_eq!(all.peek().remaining(), 3);
    assert!(poll(waiter).is_ready());
}

/// A key that is new in the first milliseconds of a limiter has its burst, and not in addition the
/// tokens of the time since the limiter was built.
#[test]
fn a_new_key_has_no_past_to_catch_up_with() {
    let time = ManualClock::new();
    let limiter = keyed(&time, Quota::per_second(1_000).burst(1));
    time.advance(10 * MS);
    let a = limiter.key("a");
    let start = time.now();
    a.acquire_blocking().unwrap();
    a.acquire_blocking().unwrap();
    assert_eq!(time.now() - start, MS);
}

#[test]
fn eight_threads_take_from_the_key_and_the_limiter_or_from_neither() {
    let time = ManualClock::new();
    let all = single(&time, "all", Quota::per_hour(1_000));
    let tenants: KeyedRateLimiter<u32> =
        KeyedRateLimiter::builder(Quota::per_hour(150)).clock(time.clock()).build().unwrap();
    let limits = RateLimiterGroup::new([&all]).with_keys(&tenants);
    let granted: [AtomicU32; 8] = Default::default();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (limits, granted) = (&limits, &granted);
            scope.spawn(move || {
                for call in 0..2_000_u32 {
                    let key = (call + thread) % 8;
                    if limits.try_acquire(&key).is_ok() {
                        granted[key as usize].fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    let granted = granted.map(AtomicU32::into_inner);
    assert_eq!(granted.iter().sum::<u32>(), 1_000, "{granted:?}");
    for (key, granted) in granted.iter().enumerate() {
        assert_eq!(tenants.peek(&(key as u32)).remaining(), 150 - granted);
    }
}

fn requests_and_tokens(time: &ManualClock) -> DimensionedRateLimiter {
    DimensionedRateLimiter::builder()
        .dimension("requests", Quota::per_second(10))
        .dimension("tokens", Quota::per_second(1_000))
        .clock(time.clock())
        .build()
        .unwrap()
}

fn left(limits: &DimensionedRateLimiter) -> (u32, u32) {
    let of = |name| limits.dimension(name).unwrap().peek().remaining();
    (of("requests"), of("tokens"))
}

#[test]
fn all_dimensions_are_taken_or_none() {
    let time = ManualClock::new();
    let limits = requests_and_tokens(&time);
    let _grant = limits.try_acquire(&[("requests", 1), ("tokens", 600)]).unwrap();
    assert_eq!(left(&limits), (9, 400));
    let denied = limits.try_acquire(&[("requests", 1), ("tokens", 500)]).unwrap_err();
    assert_eq!((denied.policy(), denied.retry_after()), ("tokens", Some(100 * MS)));
    assert_eq!(left(&limits), (9, 400));
    let denied = limits.try_acquire(&[("requests", 11)]).unwrap_err();
    assert_eq!((denied.policy(), denied.retry_after()), ("requests", None));
    let _grant = limits.try_acquire(&[("tokens", 200), ("tokens", 200)]).unwrap();
    assert_eq!(left(&limits), (9, 0));
    let unknown = limits.try_acquire(&[("bytes", 1)]).unwrap_err();
    assert_eq!(unknown.reason(), Reason::Misconfigured);
}

#[test]
fn the_actual_cost_replaces_the_estimate() {
    for (used, expected) in [(0, 1_000), (100, 900), (600, 400), (700, 300), (5_000, 0)] {
        let time = ManualClock::new();
        let limits = requests_and_tokens(&time);
        let mut grant = limits.try_acquire(&[("requests", 1), ("tokens", 600)]).unwrap();
        grant.settle("tokens", used);
        assert_eq!(left(&limits), (9, expected), "{used}");
        grant.settle("tokens", 0); // a dimension is settled once
        grant.settle("bytes", 0);
        assert_eq!(left(&limits), (9, expected), "{used}");
    }
}

#[test]
fn callers_wait_for_all_dimensions_in_order() {
    let time = ManualClock::new();
    let limits = requests_and_tokens(&time);
    let _all = limits.try_acquire(&[("tokens", 1_000)]).unwrap();
    let start = time.now();
    let mut first = pin!(limits.acquire(&[("requests", 1), ("tokens", 500)]));
    let mut second = pin!(limits.acquire(&[("requests", 1)]));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    assert!(limits.try_acquire(&[("requests", 1)]).is_err(), "callers wait");
    let timeout = limits.acquire_timeout(&[("requests", 1)], 100 * MS);
    assert!(time.drive(timeout).is_err(), "the turn does not come in time");
    assert!(time.drive(first).is_ok() && time.drive(second).is_ok());
    assert_eq!(time.now() - start, 500 * MS);
    assert!(limits.acquire_blocking(&[("tokens", 250)]).is_ok());
    assert_eq!(time.now() - start, 750 * MS);
    let denied = limits.acquire_blocking_timeout(&[("tokens", 250)], 249 * MS).unwrap_err();
    assert_eq!(denied.retry_after(), Some(250 * MS));
}

#[test]
fn dimensions_out_of_range_name_their_field() {
    let field = |names: &[&str]| {
        let add = |builder: mainstay::rate::DimensionedRateLimiterBuilder, name: &&str| {
            builder.dimension(*name, Quota::per_second(1))
        };
        names.iter().fold(DimensionedRateLimiter::builder(), add).build().unwrap_err().field()
    };
    assert_eq!(field(&[]), "dimension");
    assert_eq!(field(&["a", "b", "a"]), "dimension");
    assert_eq!(field(&[""]), "name");
}

#[test]
fn eight_threads_settle_their_costs() {
    let time = ManualClock::new();
    let limits = DimensionedRateLimiter::builder()
        .dimension("requests", Quota::per_hour(100_000))
        .dimension("tokens", Quota::per_hour(10_000))
        .clock(time.clock())
        .build()
        .unwrap();
    let used = AtomicU32::new(0);
    let requests = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for call in 0..200 {
                    let Ok(mut grant) = limits.try_acquire(&[("requests", 1), ("tokens", 5)])
                    else {
                        continue;
                    };
                    grant.settle("tokens", call % 8);
                    used.fetch_add(call % 8, SeqCst);
                    requests.fetch_add(1, SeqCst);
                }
            });
        }
    });
    let remaining = (100_000 - requests.load(SeqCst), 10_000 - used.load(SeqCst));
    assert_eq!(left(&limits), remaining);
}

#[test]
fn a_key_that_cannot_be_stored_is_rejected_once() {
    let time = ManualClock::new();
    let limiter = KeyedRateLimiter::builder(Quota::per_second(1))
        .max_keys(1)
        .when_full(KeyOverflowRule::Reject)
        .clock(time.clock())
        .build()
        .unwrap();
    limiter.try_acquire("a").unwrap();
    for rejections in 1..=2 {
        let denied = match rejections {
            1 => time.drive(limiter.key("b").acquire()),
            _ => limiter.key("b").acquire_blocking(),
        };
        assert_eq!(denied.unwrap_err().reason(), Reason::Exhausted);
        assert_eq!(limiter.snapshot().rejected, rejections);
    }
}
