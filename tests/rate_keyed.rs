//! Limits by key, by their public face.

use mainstay::error::Reason;
use mainstay::keyed::KeyOverflowRule;
use mainstay::rate::{Keyed, KeyedBuilder, Quota, RateLimiter};
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn builder(time: &ManualClock, quota: Quota) -> KeyedBuilder<u32> {
    Keyed::builder(quota).clock(time.clock())
}

#[test]
fn each_key_has_its_own_tokens() {
    let time = ManualClock::new();
    let limits: Keyed<String> =
        Keyed::builder(Quota::per_second(10).burst(2)).clock(time.clock()).build().unwrap();
    for key in ["a", "b"] {
        assert_eq!(limits.try_acquire_n(key, 2).unwrap().remaining(), 0);
        let refused = limits.try_acquire(key).unwrap_err();
        assert_eq!(
            (refused.reason(), refused.retry_after()),
            (Reason::RateLimited, Some(100 * MS))
        );
    }
    assert_eq!(limits.try_acquire_n("a", 3).unwrap_err().retry_after(), None);
    time.advance(100 * MS);
    assert_eq!(limits.at_most("a", 9).unwrap().granted(), 1);
    assert_eq!((limits.peek("a").remaining(), limits.peek("b").remaining()), (0, 1));
    assert_eq!((limits.peek("c").remaining(), limits.snapshot().keys), (2, 2));
    assert!(limits.try_acquire_n("c", 0).is_ok());
    // Charged afterwards, and given back if nothing came between.
    assert_eq!(limits.debit("b", 4).unwrap().reset_after(), 500 * MS);
    let answer = limits.try_acquire_n("d", 2).unwrap();
    limits.refund("d", &answer, 1);
    limits.refund("d", &answer, 1);
    assert_eq!(limits.peek("d").remaining(), 1);
    let (first, _) = (limits.try_acquire("e").unwrap(), limits.try_acquire("e").unwrap());
    limits.refund("e", &first, 1);
    assert_eq!(limits.peek("e").remaining(), 0);
    assert!(limits.forget("e") && !limits.forget("e"));
    assert_eq!(limits.peek("e").remaining(), 2);
    limits.clear();
    assert_eq!((limits.snapshot().keys, limits.peek("b").remaining()), (0, 2));
}

#[test]
fn without_a_limit_all_that_is_asked_for_is_granted() {
    let time = ManualClock::new();
    let alike = builder(&time, Quota::unlimited()).build().unwrap();
    let own =
        builder(&time, Quota::per_second(1)).quota_by(|_| Quota::unlimited()).build().unwrap();
    for limits in [alike, own] {
        for n in [0, 1, 5, u32::MAX] {
            assert_eq!(limits.at_most(&1, n).unwrap().granted(), n);
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
    let refused = limits.try_acquire(&9).unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::Misconfigured, None));
    assert_eq!(limits.peek(&7).limit(), 7);
    // What is in use stays so.
    factor.store(10, Ordering::Relaxed);
    limits.resolve_again(&5).unwrap();
    assert_eq!((limits.peek(&5).remaining(), limits.peek(&5).limit()), (48, 50));
    assert!(limits.resolve_again(&9).is_err());
    limits.resolve_again(&1234).unwrap();
    assert!(limits.reconfigure(Quota::per_second(1)).is_err());
    let answer = limits.try_acquire_n(&5, 8).unwrap();
    limits.refund(&5, &answer, 3);
    assert_eq!(limits.peek(&5).remaining(), 43);
}

/// governor#171: keys that are never forgotten.
#[test]
fn keys_that_are_full_again_are_forgotten() {
    let time = ManualClock::new();
    let limits = builder(&time, Quota::per_second(10).burst(1)).max_keys(1 << 20).build().unwrap();
    let mut most = 0;
    for key in 0..300_000 {
        limits.try_acquire(&key).unwrap();
        time.advance(MS);
        most = most.max(limits.snapshot().keys);
    }
    // A hundred at a time are not full; the hand comes by often enough for a few times as many.
    assert!(most < 2_000, "{most}");
    assert_eq!((limits.snapshot().evicted, limits.snapshot().refused), (0, 0));
}

#[test]
fn at_the_bound_new_keys_are_refused_or_old_ones_give_way() {
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
                let refused = fourth.unwrap_err();
                assert_eq!((refused.reason(), refused.retry_after()), (Reason::Exhausted, None));
                assert!(limits.debit(&4, 1).is_err());
                assert_eq!(limits.snapshot().refused, 2);
            }
            KeyOverflowRule::EvictLeastRecentlyUsed => {
                fourth.unwrap();
                assert_eq!((limits.snapshot().evicted, limits.peek(&3).remaining()), (1, 2));
            }
        }
        // Known keys are served in any case, and what is full again makes room.
        assert_eq!([1, 2].map(|key| limits.peek(&key).remaining()), [0, 0]);
        time.advance(2 * SECOND);
        limits.try_acquire(&5).unwrap();
        assert!(limits.snapshot().keys <= 3);
    }
}

#[test]
fn settings_are_checked() {
    let time = ManualClock::new();
    let quota = Quota::per_second(1);
    let field = |builder: KeyedBuilder<u32>| builder.build().unwrap_err().field();
    assert_eq!(field(builder(&time, quota).max_keys(0)), "max_keys");
    assert_eq!(field(builder(&time, quota).shards(3)), "shards");
    assert_eq!(field(builder(&time, quota.burst(0))), "quota");
}

/// Threads on few keys: each key grants exactly what it has.
#[test]
fn eight_threads_get_exactly_what_each_key_has() {
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

/// A quota that changes while threads take: what is granted in the end is the new burst, less what is in use.
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
            limits.at_most(&key, 100).map_or(0, |answer| answer.granted()).into(),
            Ordering::Relaxed,
        );
    }
    // Rounding up what is in use can cost a token, and never makes one.
    let granted = granted.into_inner();
    assert!((5 * 59..=5 * 60).contains(&granted), "{granted}");
}

proptest! {
    /// A key by itself is a limiter by itself, as long as the map has room.
    #[test]
    fn each_key_behaves_like_a_limiter_of_its_own(
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
        let alone = [(); 5].map(|()| RateLimiter::builder(quota).clock(time.clock()).build().unwrap());
        for (key, n, advance, what) in steps {
            let limiter = &alone[key as usize];
            match what {
                0 => prop_assert_eq!(keyed.debit(&key, n).unwrap(), limiter.debit(n)),
                1 => prop_assert_eq!(keyed.at_most(&key, n).map_err(|r| r.answer()), limiter.at_most(n).map_err(|r| r.answer())),
                _ => prop_assert_eq!(keyed.try_acquire_n(&key, n).map_err(|r| r.answer()), limiter.try_acquire_n(n).map_err(|r| r.answer())),
            }
            prop_assert_eq!(keyed.peek(&key), limiter.peek());
            time.advance(advance as u32 * MS);
        }
    }
}
