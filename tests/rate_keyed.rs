//! The keyed rate limiter.

use mainstay::error::Reason;
use mainstay::keyed::KeyOverflowRule;
use mainstay::rate::{
    Denied, Grant, KeyedRateLimiter, KeyedRateLimiterBuilder, Quota, RateLimitStatus, RateLimiter,
};
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn builder(time: &ManualClock, quota: Quota) -> KeyedRateLimiterBuilder<u32> {
    KeyedRateLimiter::builder(quota).clock(time.clock())
}

#[test]
fn each_key_has_tokens_of_its_own() {
    let time = ManualClock::new();
    let limits: KeyedRateLimiter<String> =
        KeyedRateLimiter::builder(Quota::per_second(10).burst(2))
            .clock(time.clock())
            .build()
            .unwrap();
    for key in ["a", "b"] {
        assert_eq!(limits.try_acquire_n(key, 2).unwrap().remaining(), 0);
        let denied = limits.try_acquire(key).unwrap_err();
        assert_eq!((denied.reason(), denied.retry_after()), (Reason::RateLimited, Some(100 * MS)));
    }
    assert_eq!(limits.try_acquire_n("a", 3).unwrap_err().retry_after(), None);
    time.advance(100 * MS);
    assert_eq!(limits.try_acquire_up_to("a", 9).unwrap().granted(), 1);
    assert_eq!((limits.peek("a").remaining(), limits.peek("b").remaining()), (0, 1));
    assert_eq!((limits.peek("c").remaining(), limits.snapshot().keys), (2, 2));
    assert!(limits.try_acquire_n("c", 0).is_ok());
    // A refund returns tokens only if nothing was granted in between.
    assert_eq!(limits.debit("b", 4).unwrap().reset_after(), 500 * MS);
    let grant = limits.try_acquire_n("d", 2).unwrap();
    limits.refund("d", &grant, 1);
    limits.refund("d", &grant, 1);
    assert_eq!(limits.peek("d").remaining(), 1);
    let (first, _) = (limits.try_acquire("e").unwrap(), limits.try_acquire("e").unwrap());
    limits.refund("e", &first, 1);
    assert_eq!(limits.peek("e").remaining(), 0);
    assert!(limits.remove("e") && !limits.remove("e"));
    assert_eq!(limits.peek("e").remaining(), 2);
    limits.clear();
    assert_eq!((limits.snapshot().keys, limits.peek("b").remaining()), (0, 2));
}

#[test]
fn a_quota_without_a_limit_grants_every_request() {
    let time = ManualClock::new();
    let common = builder(&time, Quota::unlimited()).build().unwrap();
    let own =
        builder(&time, Quota::per_second(1)).quota_by(|_| Quota::unlimited()).build().unwrap();
    for limits in [common, own] {
        for n in [0, 1, 5, u32::MAX] {
            assert_eq!(limits.try_acquire_up_to(&1, n).unwrap().granted(), n);
            assert_eq!(limits.try_acquire_n(&1, n).unwrap().granted(), n);
        }
    }
}

#[test]
fn a_resolver_gives_each_key_its_quota() {
    let time = ManualClock::new();
    let factor = Arc::new(AtomicU64::new(1));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let limits = {
        let (factor, asked) = (factor.clone(), asked.clone());
        builder(&time, Quota::unlimited())
            .quota_by(move |key| {
                asked.lock().unwrap().push(*key);
                match key {
                    0 => Quota::per_second(0),
                    9 => Quota::per_second(1).burst(0),
                    key => Quota::per_second(key * factor.load(Ordering::Relaxed) as u32),
                }
            })
            .build()
            .unwrap()
    };
    for key in [1, 2, 5, 2, 5] {
        limits.try_acquire(&key).unwrap();
    }
    assert_eq!(*asked.lock().unwrap(), [1, 2, 5]);
    assert_eq!([1, 2, 5].map(|key| limits.peek(&key).remaining()), [0, 0, 3]);
    assert_eq!(limits.try_acquire(&0).unwrap_err().reason(), Reason::RateLimited);
    let denied = limits.try_acquire(&9).unwrap_err();
    assert_eq!((denied.reason(), denied.retry_after()), (Reason::Misconfigured, None));
    assert_eq!(limits.peek(&7).limit(), 7);
    // Used tokens stay used.
    factor.store(10, Ordering::Relaxed);
    limits.refresh_quota(&5).unwrap();
    assert_eq!((limits.peek(&5).remaining(), limits.peek(&5).limit()), (48, 50));
    assert!(limits.refresh_quota(&9).is_err());
    limits.refresh_quota(&1234).unwrap();
    assert!(limits.reconfigure(Quota::per_second(1)).is_err());
    let grant = limits.try_acquire_n(&5, 8).unwrap();
    limits.refund(&5, &grant, 3);
    assert_eq!(limits.peek(&5).remaining(), 43);
}

/// governor#171: keys were never removed.
#[test]
fn keys_that_are_full_again_are_removed() {
    let time = ManualClock::new();
    let limits = builder(&time, Quota::per_second(10).burst(1)).max_keys(1 << 20).build().unwrap();
    let mut most = 0;
    for key in 0..300_000 {
        limits.try_acquire(&key).unwrap();
        time.advance(MS);
        most = most.max(limits.snapshot().keys);
    }
    // About a hundred keys are not full at any time. Sweeps remove full keys early enough that few
    // of them are stored.
    assert!(most < 2_000, "{most}");
    assert_eq!((limits.snapshot().evicted, limits.snapshot().rejected), (0, 0));
}

#[test]
fn at_max_keys_new_keys_are_rejected_or_old_keys_evicted() {
    for when_full in [KeyOverflowRule::Reject, KeyOverflowRule::EvictLeastRecentlyUsed] {
        let time = ManualClock::new();
        let limits = builder(&time, Quota::per_second(1).burst(2))
            .max_keys(3)
            .when_full(when_full)
            .build()
            .unwrap();
        for key in [1, 2, 3, 1, 2] {
            limits.try_acquire(&key).unwrap();
        }
        let fourth = limits.try_acquire(&4);
        match when_full {
            KeyOverflowRule::Reject => {
                let denied = fourth.unwrap_err();
                assert_eq!((denied.reason(), denied.retry_after()), (Reason::Exhausted, None));
                assert!(limits.debit(&4, 1).is_err());
                assert_eq!(limits.snapshot().rejected, 2);
            }
            KeyOverflowRule::EvictLeastRecentlyUsed => {
                fourth.unwrap();
                assert_eq!((limits.snapshot().evicted, limits.peek(&3).remaining()), (1, 2));
            }
        }
        // Stored keys are served in any case. A key that is full again is removed for a new one.
        assert_eq!([1, 2].map(|key| limits.peek(&key).remaining()), [0, 0]);
        time.advance(2 * SECOND);
        limits.try_acquire(&5).unwrap();
        assert!(limits.snapshot().keys <= 3);
    }
}

#[test]
fn settings_are_validated() {
    let time = ManualClock::new();
    let quota = Quota::per_second(1);
    let field = |builder: KeyedRateLimiterBuilder<u32>| builder.build().unwrap_err().field();
    assert_eq!(field(builder(&time, quota).max_keys(0)), "max_keys");
    assert_eq!(field(builder(&time, quota).shards(3)), "shards");
    assert_eq!(field(builder(&time, quota.burst(0))), "burst");
}

#[test]
fn eight_threads_are_granted_exactly_the_tokens_of_each_key() {
    let time = ManualClock::new();
    for resolver in [false, true] {
        let mut builder = builder(&time, Quota::per_second(100).burst(150)).shards(4);
        if resolver {
            builder = builder.quota_by(|_| Quota::per_second(100).burst(150));
        }
        let limits = builder.build().unwrap();
        let granted = [const { AtomicU64::new(0) }; 10];
        let round = || {
            thread::scope(|scope| {
                for i in 0..8 {
                    let (limits, granted) = (&limits, &granted);
                    scope.spawn(move || {
                        for k in 0..3_000_u32 {
                            let key = (i + k) % 10;
                            if limits.try_acquire(&key).is_ok() {
                                granted[key as usize].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            granted.each_ref().map(|granted| granted.swap(0, Ordering::Relaxed))
        };
        assert_eq!(round(), [150; 10]);
        time.advance(370 * MS);
        assert_eq!(round(), [37; 10]);
    }
}

/// In total, each key is granted the tokens of the last burst.
#[test]
fn a_quota_changes_under_load() {
    let time = ManualClock::new();
    let limits = builder(&time, Quota::per_second(1).burst(10)).shards(2).build().unwrap();
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for i in 0..4_u32 {
            let (limits, granted) = (&limits, &granted);
            scope.spawn(move || {
                for k in 0..40_000 {
                    let key = (i + k) % 5;
                    granted.fetch_add(limits.try_acquire(&key).is_ok().into(), Ordering::Relaxed);
                }
            });
        }
        for burst in 11..=60 {
            limits.reconfigure(Quota::per_second(burst * 7 % 13 + 1).burst(burst)).unwrap();
        }
    });
    for key in 0..5 {
        granted.fetch_add(
            limits.try_acquire_up_to(&key, 100).map_or(0, |grant| grant.granted()).into(),
            Ordering::Relaxed,
        );
    }
    // Rounding up the used tokens can cost a token, and never creates one.
    let granted = granted.into_inner();
    assert!((5 * 59..=5 * 60).contains(&granted), "{granted}");
}

/// Replaces a denial by its status, because denials contain the names of the limiters, which
/// differ.
fn status(result: Result<Grant, Denied>) -> Result<Grant, RateLimitStatus> {
    result.map_err(|denied| denied.status())
}

proptest! {
    /// The map is never full, so no key is evicted.
    #[test]
    fn each_key_behaves_like_a_plain_limiter(
        steps in proptest::collection::vec((0_u32..5, 0_u32..6, 0_u64..300, 0_u32..8), 1..200),
        resolver in any::<bool>(),
    ) {
        let time = ManualClock::new();
        let quota = Quota::per_second(7).burst(4);
        let mut keyed = builder(&time, quota);
        if resolver {
            keyed = keyed.quota_by(move |_| quota);
        }
        let keyed = keyed.build().unwrap();
        let plain = || RateLimiter::builder(quota).clock(time.clock()).build().unwrap();
        let plain = [(); 5].map(|()| plain());
        for (key, n, advance, what) in steps {
            let limiter = &plain[key as usize];
            match what {
                0 => prop_assert_eq!(keyed.debit(&key, n).unwrap(), limiter.debit(n)),
                1 => prop_assert_eq!(
                    status(keyed.try_acquire_up_to(&key, n)),
                    status(limiter.try_acquire_up_to(n))
                ),
                _ => prop_assert_eq!(
                    status(keyed.try_acquire_n(&key, n)),
                    status(limiter.try_acquire_n(n))
                ),
            }
            prop_assert_eq!(keyed.peek(&key), limiter.peek());
            time.advance(advance as u32 * MS);
        }
    }
}
