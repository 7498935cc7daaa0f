//! Random histories of the ring under real concurrency, each checked against a sequential queue.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use histories::{Action, Event, Failure, Kind, act, is_linearizable};
use mainstay::ring::{ForcePushError, PopError, PushError, Ring};

/// The checker, which the loom models use too.
#[path = "../src/ring/tests/histories.rs"]
mod histories;

#[test]
fn random_histories_are_linearizable() {
    const THREADS: usize = 3;
    const STEPS: u64 = 6;
    const HISTORIES: u64 = 6_000;

    let seed = std::env::var("MAINSTAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let history: [std::sync::Mutex<Vec<Event>>; THREADS] = Default::default();
    let ring = std::sync::RwLock::new(Ring::new(1));
    let barrier = Barrier::new(THREADS);
    let clock = AtomicU64::new(0);

    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (history, ring, barrier, clock) = (&history, &ring, &barrier, &clock);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ (thread as u64 * 0x9E37_79B9));
                for round in 0..HISTORIES {
                    let capacity = (round % 3 + 1) as usize;
                    if barrier.wait().is_leader() {
                        *ring.write().unwrap() = Ring::new(capacity);
                    }
                    barrier.wait();
                    let mut events = Vec::new();
                    {
                        let ring = ring.read().unwrap();
                        for step in 0..STEPS {
                            let value = (thread as u64 * STEPS + step) * 10;
                            let kind = match random.u8(0..100) {
                                0..=29 => Kind::Push,
                                30..=59 => Kind::Pop,
                                60..=71 => Kind::ForcePush,
                                72..=84 => Kind::PushBatch,
                                85..=97 => Kind::PopBatch,
                                _ => Kind::Close,
                            };
                            let start = clock.fetch_add(1, Ordering::SeqCst);
                            let action = act(&ring, kind, value);
                            let end = clock.fetch_add(1, Ordering::SeqCst);
                            if let Some(action) = action {
                                events.push(Event { start, end, action });
                            }
                        }
                    }
                    *history[thread].lock().unwrap() = events;
                    if barrier.wait().is_leader() {
                        let events: Vec<Event> = history
                            .iter()
                            .flat_map(|events| events.lock().unwrap().clone())
                            .collect();
                        if !is_linearizable(&events, capacity) {
                            // The other threads wait at the next barrier, so only an exit ends the
                            // test.
                            eprintln!("MAINSTAY_SEED={seed}, capacity {capacity}: {events:#?}");
                            std::process::exit(101);
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn the_checker_rejects_histories_that_no_queue_produces() {
    let event = |start, end, action| Event { start, end, action };
    let one = || event(0, 1, Action::Push(1, Ok(())));
    // Popped twice.
    let twice = [one(), event(2, 5, Action::Pop(Ok(1))), event(3, 4, Action::Pop(Ok(1)))];
    assert!(!is_linearizable(&twice, 2));
    // "Empty" after a push has ended and before any pop.
    assert!(!is_linearizable(&[one(), event(2, 3, Action::Pop(Err(Failure::FullOrEmpty)))], 2));
    // The same result while the push is still running.
    assert!(is_linearizable(&[one(), event(0, 3, Action::Pop(Err(Failure::FullOrEmpty)))], 2));
    // Out of order.
    let overtaken = [one(), event(2, 3, Action::Push(2, Ok(()))), event(4, 5, Action::Pop(Ok(2)))];
    assert!(!is_linearizable(&overtaken, 2));
    // "Full" with a free slot.
    assert!(!is_linearizable(&[one(), event(2, 3, Action::Push(2, Err(Failure::FullOrEmpty)))], 2));
    // A push after the close.
    let late = [event(0, 1, Action::Close), event(2, 3, Action::Push(1, Ok(())))];
    assert!(!is_linearizable(&late, 1));
}
