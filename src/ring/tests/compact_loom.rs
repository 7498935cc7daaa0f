//! Loom models of compacting a ring while other threads push and pop.

use loom::sync::Arc;
use loom::thread::{spawn, yield_now};

use super::{PopError, PushError, Ring};

fn full_ring() -> Arc<Ring<Box<u32>>> {
    let ring = Arc::new(Ring::new(2));
    ring.try_push(Box::new(1)).unwrap();
    ring.try_push(Box::new(2)).unwrap();
    ring
}

fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    builder.check(body);
}

fn pop(ring: &Ring<Box<u32>>) -> Option<u32> {
    loop {
        match ring.try_pop() {
            Ok(item) => return Some(*item),
            Err(PopError::Busy) => yield_now(),
            Err(PopError::Empty | PopError::Closed) => return None,
        }
    }
}

/// Each item is either removed or popped, in order.
#[test]
fn a_compaction_that_races_with_a_pop_loses_no_item() {
    model(|| {
        let ring = full_ring();
        let consumer = spawn({
            let ring = Arc::clone(&ring);
            move || pop(&ring)
        });
        let compacted = ring.compact(|item| **item != 1);
        let mut seen: Vec<u32> =
            compacted.into_iter().flat_map(|done| done.removed).map(|i| *i).collect();
        seen.extend(consumer.join().unwrap());
        seen.extend(std::iter::from_fn(|| pop(&ring)));
        assert_eq!(seen, [1, 2], "each item is popped or removed once, in order");
    });
}

/// The push finds the ring full or busy, or adds its item behind the items that are kept.
#[test]
fn a_compaction_that_races_with_a_push_keeps_the_order() {
    model(|| {
        let ring = full_ring();
        let producer = spawn({
            let ring = Arc::clone(&ring);
            move || {
                let mut item = Box::new(3);
                loop {
                    item = match ring.try_push(item) {
                        Ok(()) => return true,
                        Err(PushError::Full(_)) => return false,
                        Err(error) => error.into_value(),
                    };
                    yield_now();
                }
            }
        });
        let compacted = ring.compact(|item| **item != 1).expect("full, and no consumer pops");
        assert_eq!(compacted.removed.len(), 1);
        let pushed = producer.join().unwrap();
        let left: Vec<u32> = std::iter::from_fn(|| pop(&ring)).collect();
        assert_eq!(left, if pushed { vec![2, 3] } else { vec![2] });
    });
}

/// The consumer sets its flag if the ring appears empty during the compaction.
#[test]
fn a_compaction_reports_a_consumer_that_begins_to_wait() {
    model(|| {
        let ring = full_ring();
        let consumer = spawn({
            let ring = Arc::clone(&ring);
            move || ring.flag_waiting_consumers()
        });
        let compacted = ring.compact(|item| **item != 1).unwrap();
        let flagged = consumer.join().unwrap();
        assert_eq!(compacted.has_waiting_consumers, flagged, "one item is left");
    });
}
