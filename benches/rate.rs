//! The cost of acquiring one token: granted, denied, by key, and through a pipeline.
//!
//! For a comparison with other crates, run `cargo run --release --bin rate` in `benches/peers`.
#![allow(missing_docs)] // criterion's macro generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::pipeline::Pipeline;
use mainstay::rate::{
    CalendarPeriod, DimensionedRateLimiter, KeyedRateLimiter, Quota, RateLimiter, RateLimiterGroup,
    RateRule, RuleRateLimiter,
};
use mainstay::time::{Clock, ManualClock};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// A quota that no round exhausts.
const MANY: Quota = Quota::per_minute(u32::MAX);

fn limiter(quota: Quota, clock: &Clock) -> RateLimiter {
    RateLimiter::builder(quota).clock(clock.clone()).build().unwrap()
}

fn direct(c: &mut Criterion) {
    let mut group = c.benchmark_group("direct");
    for (name, clock) in
        [("manual clock", ManualClock::new().clock()), ("system clock", Clock::system())]
    {
        let granting = limiter(MANY, &clock);
        group.bench_function(format!("granted, {name}"), |b| {
            b.iter(|| granting.try_acquire().is_ok());
        });
        group.bench_function(format!("granted, figures read, {name}"), |b| {
            b.iter(|| {
                granting.try_acquire().map(|grant| (grant.remaining(), grant.reset_after())).ok()
            });
        });
        let denying = limiter(Quota::per_hour(1), &clock);
        denying.try_acquire().unwrap();
        group.bench_function(format!("refused, {name}"), |b| {
            b.iter(|| denying.try_acquire().is_err());
        });
        group.bench_function(format!("refused, retry_after read, {name}"), |b| {
            b.iter(|| denying.try_acquire().map_err(|denied| denied.retry_after()).err());
        });
        group.bench_function(format!("reserved and dropped, {name}"), |b| {
            b.iter(|| granting.reserve().map(drop).is_ok());
        });
        let three =
            RateLimiterGroup::new([&granting, &limiter(MANY, &clock), &limiter(MANY, &clock)]);
        group.bench_function(format!("all of three, {name}"), |b| {
            b.iter(|| three.try_acquire().is_ok());
        });
        let pipeline = Pipeline::builder().rate_limit(&granting).build();
        group.bench_function(format!("pipeline, {name}"), |b| {
            b.iter(|| pipeline.call_blocking(|| black_box(Ok::<u64, ()>(1))));
        });
    }
    group.finish();
}

fn shared(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared");
    let limiter = limiter(MANY, &ManualClock::new().clock());
    for threads in [2, 8] {
        group.bench_function(format!("granted, {threads} threads, a call of one"), |b| {
            b.iter_custom(|n| {
                let start = Instant::now();
                thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for _ in 0..n {
                                let _ = black_box(limiter.try_acquire());
                            }
                        });
                    }
                });
                start.elapsed()
            });
        });
    }
    group.finish();
}

fn keyed(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyed");
    for keys in [1_000_u64, 1_000_000] {
        let clock = ManualClock::new().clock();
        let limiter =
            KeyedRateLimiter::<u64>::builder(MANY).max_keys(1 << 20).clock(clock).build().unwrap();
        (0..keys).for_each(|key| _ = limiter.debit(&key, 1));
        let mut key = 0_u64;
        group.bench_function(format!("granted, {keys} keys"), |b| {
            b.iter(|| {
                key = key
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                limiter.try_acquire(&((key >> 33) % keys)).is_ok()
            });
        });
    }
    group.finish();
}

fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    let clock = ManualClock::new().clock();
    let hour = Duration::from_secs(3600);
    for (name, rule) in [
        ("sliding counter", RateRule::sliding_counter(u32::MAX, hour)),
        ("calendar", RateRule::calendar(u32::MAX, CalendarPeriod::Month)),
    ] {
        let limiter = RuleRateLimiter::builder(rule).clock(clock.clone()).build().unwrap();
        group.bench_function(name, |b| b.iter(|| limiter.try_acquire().is_ok()));
    }
    let limits = DimensionedRateLimiter::builder()
        .dimension("requests", MANY)
        .dimension("tokens", MANY)
        .clock(clock)
        .build()
        .unwrap();
    group.bench_function("two dimensions", |b| {
        b.iter(|| limits.try_acquire(black_box(&[("requests", 1), ("tokens", 1)])).is_ok());
    });
    group.finish();
}

criterion_group!(benches, direct, shared, keyed, rules);
criterion_main!(benches);
