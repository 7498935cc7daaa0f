//! Compares rate limiters: one token, granted and denied, on one thread and on several, with and
//! without keys; and the memory of up to a million keys.

use governor::clock::{Clock as _, FakeRelativeClock, MonotonicClock, QuantaClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as GovernorQuota, RateLimiter as Governor};
use mainstay::rate::{KeyedRateLimiter, Quota, RateLimiter};
use mainstay::time::{Clock, ManualClock};
use peers::Race;
use std::cell::Cell;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

/// A limit that no round reaches, so that every request is granted.
const MANY: u32 = u32::MAX;

fn ours(quota: Quota, clock: &Clock) -> RateLimiter {
    RateLimiter::builder(quota).clock(clock.clone()).build().unwrap()
}

fn keyed(clock: &Clock) -> KeyedRateLimiter<u64> {
    KeyedRateLimiter::builder(Quota::per_minute(MANY))
        .max_keys(1 << 21)
        .clock(clock.clone())
        .build()
        .unwrap()
}

fn many() -> GovernorQuota {
    GovernorQuota::per_minute(NonZeroU32::new(MANY).unwrap())
}

type Direct<C> =
    Governor<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as governor::clock::Clock>::Instant>>;
type ByKey<C> = Governor<
    u64,
    DashMapStateStore<u64>,
    C,
    NoOpMiddleware<<C as governor::clock::Clock>::Instant>,
>;

fn governor<C: governor::clock::Clock>(quota: GovernorQuota, clock: C) -> Direct<C> {
    Governor::direct_with_clock(quota, clock)
}

fn governor_keyed<C: governor::clock::Clock>(clock: C) -> ByKey<C> {
    Governor::new(many(), DashMapStateStore::default(), clock)
}

/// Returns a pseudorandom key below `keys`.
fn key(keys: u64) -> u64 {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(88_172_645_463_325_252) });
    let mut x = STATE.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    STATE.set(x);
    x % keys
}

fn main() {
    let (still, system, quanta) = (ManualClock::new().clock(), Clock::system(), Clock::quanta());
    let leaky = leaky_bucket::RateLimiter::builder()
        .max(1 << 40)
        .initial(1 << 40)
        .interval(Duration::from_secs(3600))
        .build();

    let (a, b, c) = (
        ours(Quota::per_minute(MANY), &still),
        ours(Quota::per_minute(MANY), &system),
        ours(Quota::per_minute(MANY), &quanta),
    );
    let (ga, gb, gc) = (
        governor(many(), FakeRelativeClock::default()),
        governor(many(), MonotonicClock),
        governor(many(), QuantaClock::default()),
    );
    let (fake, mono, tsc) = (FakeRelativeClock::default(), MonotonicClock, QuantaClock::default());
    Race::new("the clocks by themselves, 1 thread")
        .each("mainstay, still", || {
            let _ = black_box(still.now());
        })
        .each("governor, still", || {
            let _ = black_box(fake.now());
        })
        .each("mainstay, std", || {
            let _ = black_box(system.now());
        })
        .each("governor, std", || {
            let _ = black_box(mono.now());
        })
        .each("mainstay, quanta", || {
            let _ = black_box(quanta.now());
        })
        .each("governor, quanta", || {
            let _ = black_box(tsc.now());
        })
        .run();
    for threads in [1, 2, 8] {
        Race::new(format!(
            "one token, granted, {threads} threads share it; per call of one thread"
        ))
        .threads("mainstay, manual clock", threads, || {
            let _ = black_box(a.try_acquire().is_ok());
        })
        .threads("governor, manual clock", threads, || {
            let _ = black_box(ga.check().is_ok());
        })
        .threads("mainstay, std clock", threads, || {
            let _ = black_box(b.try_acquire().is_ok());
        })
        .threads("governor, std clock", threads, || {
            let _ = black_box(gb.check().is_ok());
        })
        .threads("mainstay, quanta clock", threads, || {
            let _ = black_box(c.try_acquire().is_ok());
        })
        .threads("governor, quanta clock", threads, || {
            let _ = black_box(gc.check().is_ok());
        })
        .threads("leaky-bucket (tokio's clock)", threads, || {
            let _ = black_box(leaky.try_acquire(1));
        })
        .run();
    }

    let one = Quota::per_hour(1);
    let (a, b, c) = (ours(one, &still), ours(one, &system), ours(one, &quanta));
    let one = GovernorQuota::per_hour(NonZeroU32::MIN);
    let (ga, gb, gc) = (
        governor(one, FakeRelativeClock::default()),
        governor(one, MonotonicClock),
        governor(one, QuantaClock::default()),
    );
    for limiter in [&a, &b, &c] {
        limiter.try_acquire().unwrap();
    }
    let (_, _, _) = (ga.check(), gb.check(), gc.check());
    let leaky =
        leaky_bucket::RateLimiter::builder().initial(0).interval(Duration::from_secs(3600)).build();
    for threads in [1, 8] {
        Race::new(format!(
            "one token, denied by a limiter of {threads} threads; per call of one thread"
        ))
        .threads("mainstay, manual clock", threads, || {
            let _ = black_box(a.try_acquire().is_err());
        })
        .threads("governor, manual clock", threads, || {
            let _ = black_box(ga.check().is_err());
        })
        .threads("mainstay, std clock", threads, || {
            let _ = black_box(b.try_acquire().is_err());
        })
        .threads("mainstay, std, reads retry_after", threads, || {
            let _ = black_box(b.try_acquire().map_err(|denied| denied.retry_after()));
        })
        .threads("governor, std clock", threads, || {
            let _ = black_box(gb.check().is_err());
        })
        .threads("governor, std, reads wait_time", threads, || {
            let _ = black_box(gb.check().map_err(|denied| denied.wait_time_from(mono.now())));
        })
        .threads("mainstay, quanta clock", threads, || {
            let _ = black_box(c.try_acquire().is_err());
        })
        .threads("governor, quanta clock", threads, || {
            let _ = black_box(gc.check().is_err());
        })
        .threads("leaky-bucket (tokio's clock)", threads, || {
            let _ = black_box(leaky.try_acquire(1));
        })
        .run();
    }

    for keys in [1_000, 1_000_000] {
        let before = allocator::held();
        let (still, std, tsc) = (keyed(&still), keyed(&system), keyed(&quanta));
        for key in 0..keys {
            still.debit(&key, 1).unwrap();
        }
        let mainstay = allocator::held() - before;
        let before = allocator::held();
        let gstill = governor_keyed(FakeRelativeClock::default());
        (0..keys).for_each(|key| drop(gstill.check_key(&key)));
        let governor = allocator::held() - before;
        println!(
            "\n{keys} keys of 8 bytes: mainstay {:.1}, governor {:.1} bytes a key",
            mainstay as f64 / keys as f64,
            governor as f64 / keys as f64
        );
        let gstd = governor_keyed(MonotonicClock);
        let gtsc = governor_keyed(QuantaClock::default());
        for key in 0..keys {
            std.debit(&key, MANY / 2).unwrap();
            tsc.debit(&key, MANY / 2).unwrap();
            let _ = (gstd.check_key(&key), gtsc.check_key(&key));
        }
        for threads in [1, 2, 8] {
            Race::new(format!(
                "one token of one of {keys} keys, {threads} threads; per call of one thread"
            ))
            .threads("(choosing a key)", threads, || {
                let _ = black_box(key(keys));
            })
            .threads("mainstay, manual clock", threads, || {
                let _ = black_box(still.try_acquire(&key(keys)).is_ok());
            })
            .threads("governor, manual clock", threads, || {
                let _ = black_box(gstill.check_key(&key(keys)).is_ok());
            })
            .threads("mainstay, std clock", threads, || {
                let _ = black_box(std.try_acquire(&key(keys)).is_ok());
            })
            .threads("governor, std clock", threads, || {
                let _ = black_box(gstd.check_key(&key(keys)).is_ok());
            })
            .threads("mainstay, quanta clock", threads, || {
                let _ = black_box(tsc.try_acquire(&key(keys)).is_ok());
            })
            .threads("governor, quanta clock", threads, || {
                let _ = black_box(gtsc.check_key(&key(keys)).is_ok());
            })
            .run();
        }
    }
}

mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct Counting;

    static HELD: AtomicUsize = AtomicUsize::new(0);

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// Returns the number of allocated bytes.
    pub(super) fn held() -> usize {
        HELD.load(Relaxed)
    }

    // SAFETY: every call is forwarded to the system's allocator.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            HELD.fetch_add(layout.size(), Relaxed);
            // SAFETY: the caller upholds the contract of `GlobalAlloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            HELD.fetch_sub(layout.size(), Relaxed);
            // SAFETY: the caller upholds the contract of `GlobalAlloc`.
            unsafe { System.dealloc(at, layout) }
        }
    }
}
