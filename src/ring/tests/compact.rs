//! Compaction of a full ring, compared with a list.

use super::Ring;

/// Covers every capacity up to 9, every offset of the head, and every set of removed items.
#[test]
fn a_compacted_ring_holds_the_kept_items_in_order() {
    for capacity in 1..=9_usize {
        for offset in 0..=capacity {
            for removed in 0..1_u32 << capacity {
                let ring = Ring::new(capacity);
                (0..offset).for_each(|_| {
                    ring.try_push(99).unwrap();
                    ring.try_pop().unwrap();
                });
                assert!(ring.compact(|_| false).is_none(), "the ring is not full");
                (0..capacity).for_each(|item| ring.try_push(item).unwrap());
                let is_removed = |item: usize| removed >> item & 1 == 1;
                let compacted = ring.compact(|item| !is_removed(*item)).unwrap();
                let all = || 0..capacity;
                assert_eq!(compacted.removed, all().filter(|i| is_removed(*i)).collect::<Vec<_>>());
                let mut expected: Vec<_> = all().filter(|item| !is_removed(*item)).collect();
                assert_eq!(ring.len(), expected.len());
                for item in expected.len()..capacity {
                    ring.try_push(100 + item).unwrap();
                    expected.push(100 + item);
                }
                assert!(ring.is_full());
                let popped: Vec<_> = std::iter::from_fn(|| ring.try_pop().ok()).collect();
                assert_eq!(popped, expected);
            }
        }
    }
}

#[test]
fn a_ring_with_a_claimed_slot_is_not_compacted() {
    let ring = Ring::new(2);
    ring.try_push(1).unwrap();
    ring.try_push(2).unwrap();
    let finish = ring.stall_pop().unwrap();
    assert!(ring.compact(|_| false).is_none());
    assert_eq!(finish(), 1);
    ring.try_push(3).unwrap();
    ring.close();
    assert_eq!(ring.compact(|item| *item == 3).unwrap().removed, [2]);
    assert_eq!((ring.try_pop(), ring.is_closed()), (Ok(3), true));
}
