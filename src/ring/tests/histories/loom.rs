//! Loom models of all small histories. One thread runs each pair of operations, the other each
//! single operation and each pair, at each fill level of a small ring.
//!
//! A pair and a single operation are run with two preemptions, two pairs with one. One more
//! preemption took ten times as long, and found no error.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::spawn;

use super::{Event, Kind, act, is_linearizable};
use crate::ring::Ring;

const KINDS: [Kind; 6] =
    [Kind::Push, Kind::Pop, Kind::ForcePush, Kind::PushBatch, Kind::PopBatch, Kind::Close];

/// Runs the program of one thread and records its events. The ticks are read-modify-writes, so
/// an operation that ends before another one begins also happens before it.
fn run(ring: &Ring<u64>, clock: &AtomicU64, program: &[Kind], first: u64) -> Vec<Event> {
    let tick = || clock.fetch_add(1, Ordering::AcqRel);
    let mut events = Vec::new();
    for (kind, value) in program.iter().zip([first, first + 10]) {
        let start = tick();
        let action = act(ring, *kind, value);
        let end = tick();
        events.extend(action.map(|action| Event { start, end, action }));
    }
    events
}

fn check(capacity: usize, filled: usize, one: &[Kind], other: &[Kind], preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let programs = [Vec::from(one), Vec::from(other)];
    builder.check(move || {
        let ring = Arc::new(Ring::new(capacity));
        let clock = Arc::new(AtomicU64::new(0));
        let mut events = Vec::new();
        for value in 0..filled as u64 {
            let start = clock.fetch_add(1, Ordering::AcqRel);
            let action = act(&ring, Kind::Push, value).expect("no other thread runs");
            let end = clock.fetch_add(1, Ordering::AcqRel);
            events.push(Event { start, end, action });
        }
        let other = spawn({
            let (ring, clock) = (Arc::clone(&ring), Arc::clone(&clock));
            let program = programs[1].clone();
            move || run(&ring, &clock, &program, 200)
        });
        events.extend(run(&ring, &clock, &programs[0], 100));
        events.extend(other.join().unwrap());
        assert!(is_linearizable(&events, capacity), "{events:#?}");
    });
}

fn all_histories(capacity: usize, filled: usize) {
    let pairs: Vec<[Kind; 2]> = KINDS.iter().flat_map(|a| KINDS.map(|b| [*a, b])).collect();
    for (i, one) in pairs.iter().enumerate() {
        // The two threads are interchangeable.
        for other in &pairs[..=i] {
            check(capacity, filled, one, other, 1);
        }
        for other in KINDS {
            check(capacity, filled, one, &[other], 2);
        }
    }
}

#[test]
fn all_histories_on_one_slot_are_linearizable() {
    all_histories(1, 0);
    all_histories(1, 1);
}

#[test]
fn all_histories_on_two_slots_are_linearizable() {
    all_histories(2, 0);
    all_histories(2, 1);
    all_histories(2, 2);
}
