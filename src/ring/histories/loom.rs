//! All of them: every two operations of one thread against every one and every two of another, on every
//! filling of a small ring.
//!
//! Against one they are tried with two preemptions, against two with one: another one multiplies the time
//! by ten, and found nothing.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::spawn;

use super::{Event, Kind, act, linearizable};
use crate::ring::Ring;

const KINDS: [Kind; 6] =
    [Kind::Push, Kind::Pop, Kind::ForcePush, Kind::PushBatch, Kind::PopBatch, Kind::Close];

/// What one thread does, and when: the ticks are read-modify-writes, so that what ended before
/// something else began also happened before it.
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

fn histories(capacity: usize, filled: usize, one: &[Kind], other: &[Kind], preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let programs = [Vec::from(one), Vec::from(other)];
    builder.check(move || {
        let ring = Arc::new(Ring::new(capacity));
        let clock = Arc::new(AtomicU64::new(0));
        let mut events = Vec::new();
        for value in 0..filled as u64 {
            let start = clock.fetch_add(1, Ordering::AcqRel);
            let action = act(&ring, Kind::Push, value).expect("alone");
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
        assert!(linearizable(&events, capacity), "{events:#?}");
    });
}

fn all(capacity: usize, filled: usize) {
    let pairs: Vec<[Kind; 2]> = KINDS.iter().flat_map(|a| KINDS.map(|b| [*a, b])).collect();
    for (i, one) in pairs.iter().enumerate() {
        // Neither thread is special.
        for other in &pairs[..=i] {
            histories(capacity, filled, one, other, 1);
        }
        for other in KINDS {
            histories(capacity, filled, one, &[other], 2);
        }
    }
}

#[test]
fn on_one_slot() {
    all(1, 0);
    all(1, 1);
}

#[test]
fn on_two_slots() {
    all(2, 0);
    all(2, 1);
    all(2, 2);
}
