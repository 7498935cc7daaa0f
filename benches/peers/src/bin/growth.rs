//! How costs grow with the number of threads, of keys, and of slots. Prints tables, and writes the
//! picture of the performance guide, or a file of another name that is given as an argument.

use std::cell::Cell;
use std::hint::black_box;
use std::num::NonZeroU32;

use governor::{Quota as GovernorQuota, RateLimiter as Governor};
use mainstay::time::Clock;
use mainstay::{CircuitBreaker, KeyedRateLimiter, ObjectPool, Quota, RateLimiter, Semaphore};
use peers::chart::{Panel, draw};
use peers::{Race, on_threads};

const ROUNDS: usize = 9;
const PICTURE: &str = "../../src/docs/growth.svg";
const THREADS: [usize; 6] = [1, 2, 3, 4, 6, 8];
const KEYS: [(u64, &str); 5] =
    [(1_000, "1k"), (10_000, "10k"), (100_000, "100k"), (1_000_000, "1M"), (10_000_000, "10M")];
const CAPACITIES: [usize; 6] = [1, 8, 64, 512, 4_096, 32_768];

fn main() {
    let panels = [breakers(), limiters(), semaphores(), object_pools(), keys(), channels()];
    panels.iter().for_each(Panel::print);
    let path = std::env::args().nth(1).unwrap_or_else(|| PICTURE.to_owned());
    std::fs::write(&path, draw("Cost by the number of threads, keys and slots", &panels))
        .unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
    println!("\nThe picture: {path}");
}

/// Measures `ours` and `peer` for each number of threads that share one object.
fn by_threads(
    title: &str,
    peer_name: &str,
    ours: impl Fn() + Sync,
    peer: impl Fn() + Sync,
) -> Panel {
    let mut panel = Panel::new(title, "threads");
    for threads in THREADS {
        let race =
            Race::new("").threads("mainstay", threads, &ours).threads(peer_name, threads, &peer);
        panel.push(threads, race.medians(ROUNDS));
    }
    panel
}

fn breakers() -> Panel {
    let ours = CircuitBreaker::builder().build().unwrap();
    let recloser = recloser::Recloser::custom().error_rate(0.5).closed_len(100).build();
    let ok = || Ok::<u64, ()>(black_box(7));
    by_threads(
        "closed breaker, ns per call",
        "recloser",
        || _ = black_box(ours.call_blocking(ok)),
        || _ = black_box(recloser.call(ok)),
    )
}

fn limiters() -> Panel {
    let quota = Quota::per_minute(u32::MAX);
    let ours = RateLimiter::builder(quota).clock(Clock::quanta()).build().unwrap();
    let governor = Governor::direct(GovernorQuota::per_minute(NonZeroU32::MAX));
    by_threads(
        "one token granted, quanta clock, ns",
        "governor",
        || _ = black_box(ours.try_acquire().is_ok()),
        || _ = black_box(governor.check().is_ok()),
    )
}

fn semaphores() -> Panel {
    let ours = Semaphore::new(1_000);
    let tokio = tokio::sync::Semaphore::new(1_000);
    by_threads(
        "semaphore, take + release, ns",
        "tokio",
        || _ = black_box(ours.try_acquire().unwrap()),
        || _ = black_box(tokio.try_acquire().unwrap()),
    )
}

fn object_pools() -> Panel {
    let ours = ObjectPool::new(|| Vec::<u8>::with_capacity(4_096));
    by_threads(
        "buffer of 4 KiB, get + put, ns",
        "malloc",
        || _ = black_box(ours.get()),
        || _ = black_box(Vec::<u8>::with_capacity(black_box(4_096))),
    )
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

/// More tokens than a key uses during the measurement. The refill is slow: a limiter may forget a key
/// that has all its tokens.
const BURST: u32 = 1_000_000;

fn keys() -> Panel {
    let mut panel = Panel::new("keyed limiter, random key, quanta clock, ns", "keys");
    for (keys, label) in KEYS {
        let ours = KeyedRateLimiter::<u64>::builder(Quota::per_minute(1).burst(BURST))
            .max_keys(1 << 25)
            .clock(Clock::quanta())
            .build()
            .unwrap();
        let burst = NonZeroU32::new(BURST).unwrap();
        let quota = GovernorQuota::per_minute(NonZeroU32::MIN).allow_burst(burst);
        let governor = Governor::dashmap(quota);
        for key in 0..keys {
            ours.try_acquire(&key).unwrap();
            governor.check_key(&key).unwrap();
        }
        let race = Race::new("")
            .each("mainstay", || _ = black_box(ours.try_acquire(&key(keys)).is_ok()))
            .each("governor", || _ = black_box(governor.check_key(&key(keys)).is_ok()));
        panel.push(label, race.medians(ROUNDS));
    }
    panel
}

fn channels() -> Panel {
    let mut panel = Panel::new("one thread to one thread, ns per item", "capacity of the channel");
    for capacity in CAPACITIES {
        let (sender, receiver) = mainstay::ring::channel::<u64>(capacity);
        let (cross_sender, cross_receiver) = crossbeam_channel::bounded::<u64>(capacity);
        let (fire_sender, fire_receiver) = crossfire::mpmc::bounded_blocking::<u64>(capacity);
        let race = Race::new("")
            .lap("mainstay", |n| {
                pass(n, || sender.send_blocking(7).unwrap(), || receiver.recv_blocking().unwrap())
            })
            .lap("crossbeam-channel", |n| {
                pass(n, || cross_sender.send(7).unwrap(), || cross_receiver.recv().unwrap())
            })
            .lap("crossfire", |n| {
                pass(n, || fire_sender.send(7).unwrap(), || fire_receiver.recv().unwrap())
            });
        panel.push(capacity, race.medians(ROUNDS));
    }
    panel
}

/// Passes `n` items from one thread to another.
fn pass(n: u64, send: impl Fn() + Sync, recv: impl Fn() -> u64 + Sync) -> std::time::Duration {
    let is_sender = std::sync::atomic::AtomicBool::new(true);
    on_threads(2, 1, &|| {
        if is_sender.swap(false, std::sync::atomic::Ordering::Relaxed) {
            (0..n).for_each(|_| send());
        } else {
            (0..n).for_each(|_| _ = black_box(recv()));
        }
    })
}
