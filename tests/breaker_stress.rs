//! Many threads on one breaker or on one window.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::{Backoff, Jitter};
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState as State};
use mainstay::event::{Event, EventValue};
use mainstay::time::ManualClock;
use mainstay::window::{Sample, Window, WindowGeneration};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const THREADS: u64 = 8;

/// A pseudo-random number generator, seeded per thread.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Calls succeed, fail, are dropped, hang beyond their timeout or panic, while the clock advances,
/// the configuration changes and the breaker is reset.
#[test]
fn probes_never_exceed_the_limit_and_transitions_are_delivered_in_order() {
    const PROBES: u32 = 3;
    let time = ManualClock::new();
    let transitions = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let transitions = transitions.clone();
        move |event: &Event<'_>| {
            let word = |name| match event.field(name) {
                Some(EventValue::Label(word)) => word,
                other => panic!("{other:?}"),
            };
            transitions.lock().unwrap().push((event.sequence, word("from"), word("to")));
        }
    };
    let breaker = CircuitBreaker::builder()
        .clock(time.clock())
        .count_window(16)
        .min_calls(4)
        .consecutive_failures(6)
        .open_duration(
            Backoff::exponential(Duration::from_millis(1))
                .max_delay(Duration::from_millis(4))
                .jitter(Jitter::None),
        )
        .half_open_concurrency(PROBES)
        .half_open_calls(6)
        .probe_timeout(Duration::from_millis(20))
        .observer(observer)
        .build()
        .unwrap();

    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (time, breaker) = (&time, &breaker);
            scope.spawn(move || {
                let mut dice = Dice(seed);
                let mut hung = Vec::new();
                for _ in 0..30_000 {
                    if dice.roll(8) == 0 {
                        time.advance(Duration::from_micros(dice.roll(300)));
                    }
                    if dice.roll(2000) == 0 {
                        breaker.reset();
                    }
                    if dice.roll(1000) == 0 {
                        let minimum = 2 + dice.roll(6) as u32;
                        let _ = breaker.reconfigure(breaker.config().min_calls(minimum));
                    }
                    let snapshot = breaker.snapshot();
                    assert!(snapshot.active_probes <= PROBES, "{snapshot:?}");
                    let Ok(permit) = breaker.try_acquire() else { continue };
                    match dice.roll(16) {
                        0..=6 => permit.success(),
                        7..=11 => permit.failure(),
                        12 => permit.ignore(),
                        13 => drop(permit),
                        14 if hung.len() < 4 => hung.push(permit),
                        _ => {
                            let panicked =
                                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                                    let _permit = permit;
                                    std::panic::resume_unwind(Box::new(()));
                                }));
                            assert!(panicked.is_err());
                        }
                    }
                    if dice.roll(50) == 0 {
                        hung.clear();
                    }
                }
            });
        }
    });

    // Probes that hang time out, and the breaker closes after successful calls.
    time.advance(Duration::from_secs(1));
    for _ in 0..100 {
        if let Ok(permit) = breaker.try_acquire() {
            permit.success();
        }
        time.advance(Duration::from_millis(50));
    }
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().active_probes, 0);

    // Every transition was delivered at most once, in order, and starts in the state in which the
    // one before it ended. There are gaps if the thread that delivers was suspended for long.
    let transitions = transitions.lock().unwrap();
    assert!(transitions.len() > 100, "{}", transitions.len());
    let mut last = (0, "closed");
    for (sequence, from, to) in transitions.iter() {
        assert!(*sequence > last.0, "{sequence} after {}", last.0);
        assert!(*sequence > last.0 + 1 || *from == last.1, "{from} after {}", last.1);
        last = (*sequence, to);
    }
}

/// The threads count the probes that overlap.
#[test]
fn calls_that_overlap_while_half_open_never_exceed_the_limit() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .clock(time.clock())
        .min_calls(1)
        .count_window(1)
        .open_duration(Backoff::constant(Duration::ZERO))
        .half_open_concurrency(2)
        .half_open_calls(127)
        .failure_rate(1.0)
        .probe_timeout(Duration::from_secs(3600))
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    let overlapping = AtomicU32::new(0);
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (breaker, overlapping) = (&breaker, &overlapping);
            scope.spawn(move || {
                let mut dice = Dice(seed);
                for _ in 0..50_000 {
                    // Dropped without outcome, so that the breaker stays half-open.
                    let Ok(permit) = breaker.try_acquire() else { continue };
                    assert!(overlapping.fetch_add(1, Ordering::SeqCst) < 2);
                    if dice.roll(4) == 0 {
                        thread::yield_now();
                    }
                    overlapping.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!((breaker.state(), breaker.snapshot().active_probes), (State::HalfOpen, 0));
}

/// A time window that rotates holds the records of all threads.
#[test]
fn a_time_window_loses_nothing_while_it_rotates() {
    for round in 0..20 {
        let span = Duration::from_millis(1000);
        let window = Window::time_window(span, 10).unwrap();
        let time = ManualClock::new();
        let start = time.now();
        let failed = AtomicU64::new(0);
        thread::scope(|scope| {
            for seed in 1..=THREADS {
                let (window, time, failed) = (&window, &time, &failed);
                scope.spawn(move || {
                    let mut dice = Dice(seed + round * THREADS);
                    for _ in 0..2_000 {
                        let sample = if dice.roll(3) == 0 {
                            Sample::SLOW_AND_FAILED
                        } else {
                            Sample::SUCCESS
                        };
                        failed.fetch_add(u64::from(sample.failed), Ordering::Relaxed);
                        assert!(window.record(WindowGeneration::FIRST, time.now(), sample));
                        // The clock advances by less than the span in total, so no call slides out.
                        if dice.roll(40) == 0 && time.now() - start < span / 2 {
                            time.advance(Duration::from_millis(1));
                        }
                    }
                });
            }
        });
        assert!(time.now() - start < span * 9 / 10);
        let counts = window.counts(time.now());
        let failed = failed.into_inner();
        assert_eq!((counts.total, counts.failed, counts.slow), (THREADS * 2_000, failed, failed));
    }
}

/// A count window is reset while threads record; at the end it holds the last N calls of its
/// generation.
#[test]
fn a_count_window_holds_n_calls_of_its_generation() {
    for size in [1, 2, 7, 100] {
        let window = Window::count_window(size).unwrap();
        let now = ManualClock::new().now();
        let generations = [WindowGeneration::FIRST, WindowGeneration::FIRST.next()];
        let second = AtomicBool::new(false);
        let refused = AtomicU64::new(0);
        thread::scope(|scope| {
            for seed in 1..=THREADS {
                let (window, second, refused) = (&window, &second, &refused);
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    for n in 0..20_000 {
                        let generation = generations[usize::from(second.load(Ordering::Acquire))];
                        let sample =
                            if dice.roll(2) == 0 { Sample::FAILED } else { Sample::SUCCESS };
                        if !window.record(generation, now, sample) {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        if seed == 1 && n == 10_000 {
                            window.reset(generations[1], now);
                            second.store(true, Ordering::Release);
                        }
                    }
                });
            }
        });
        let counts = window.counts(now);
        assert_eq!(counts.total, u64::from(size));
        // Successes overwrite every slot. A failure that was counted but never stored would remain.
        for _ in 0..2 * size {
            assert!(window.record(generations[1], now, Sample::SUCCESS));
        }
        assert_eq!(window.counts(now).failed, 0, "{refused:?} refused");
    }
}
