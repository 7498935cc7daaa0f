//! The results of operations while another thread has claimed a slot and is suspended.

use crate::ring::core::Core;
use crate::ring::error::{ForcePushError, PopError, PushError};

fn push(core: &Core<u32>, value: u32) -> Result<(), PushError<u32>> {
    match core.claim_push() {
        Ok(claim) => {
            core.publish(&claim, value);
            Ok(())
        }
        Err(error) => Err(error.with_value(value)),
    }
}

fn pop(core: &Core<u32>) -> Result<u32, PopError> {
    core.claim_pop().map(|claim| core.take(&claim))
}

#[test]
fn a_stalled_push_makes_pops_busy_until_it_is_published() {
    let core = Core::new(3);
    let stalled = core.claim_push().unwrap();
    assert_eq!(pop(&core), Err(PopError::Busy), "neither empty nor ready");
    assert_eq!((core.len(), core.is_empty(), core.is_full()), (1, false, false));

    push(&core, 2).unwrap();
    push(&core, 3).unwrap();
    assert_eq!(pop(&core), Err(PopError::Busy), "the second must not overtake the first");
    assert_eq!(push(&core, 4), Err(PushError::Full(4)));
    assert_eq!(
        core.force_push(4).unwrap_err(),
        ForcePushError::Busy(4),
        "the oldest item is not published yet"
    );

    core.close();
    assert_eq!(pop(&core), Err(PopError::Busy), "closed, but not drained");
    assert_eq!(push(&core, 4), Err(PushError::Closed(4)));

    core.publish(&stalled, 1);
    assert_eq!([pop(&core), pop(&core), pop(&core)], [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(pop(&core), Err(PopError::Closed));
}

#[test]
fn a_stalled_pop_makes_pushes_busy_but_not_other_pops() {
    let core = Core::new(2);
    push(&core, 1).unwrap();
    push(&core, 2).unwrap();
    let stalled = core.claim_pop().unwrap();
    assert_eq!(push(&core, 3), Err(PushError::Busy(3)), "not full, but the slot is not released");
    assert_eq!(
        core.force_push(3).unwrap_err(),
        ForcePushError::Busy(3),
        "not full: no item to evict"
    );
    assert_eq!((core.len(), core.is_empty(), core.is_full()), (1, false, false));

    assert_eq!(pop(&core), Ok(2), "pops continue");
    assert_eq!(pop(&core), Err(PopError::Busy), "the slot may belong to an eviction");

    assert_eq!(core.take(&stalled), 1);
    assert_eq!(pop(&core), Err(PopError::Empty));
    push(&core, 3).unwrap();
    assert_eq!(pop(&core), Ok(3));
}

#[test]
fn batches_end_at_a_stalled_slot() {
    let core = Core::new(4);
    push(&core, 1).unwrap();
    let stalled = core.claim_push().unwrap();
    push(&core, 3).unwrap();

    let mut got = Vec::with_capacity(4);
    let claim = core.claim_pop_batch(4, |_| ()).unwrap();
    core.take_batch(&claim, &mut got);
    assert_eq!(got, [1]);
    assert_eq!(core.claim_pop_batch(4, |_| ()).unwrap_err(), PopError::Busy);

    core.publish(&stalled, 2);
    let claim = core.claim_pop_batch(4, |_| ()).unwrap();
    core.take_batch(&claim, &mut got);
    assert_eq!(got, [1, 2, 3]);
}

#[test]
fn a_pop_is_busy_during_an_eviction_even_if_the_ring_is_closed() {
    // The state between the two steps of an eviction: the head has moved, and the stamp has not
    // changed.
    let core = Core::new(1);
    push(&core, 1).unwrap();
    let evicting = core.claim_pop().unwrap();
    core.close();
    assert_eq!(pop(&core), Err(PopError::Busy));
    assert_eq!(core.take(&evicting), 1);
    assert_eq!(pop(&core), Err(PopError::Closed));
}

#[test]
fn no_peer_waits_for_a_slot_that_is_claimed() {
    let core = Core::new(1);
    let stalled = core.claim_push().unwrap();
    assert!(!core.flag_waiting_consumers(), "an item is being pushed");
    assert!(core.flag_waiting_producers());
    core.publish(&stalled, 1);
    let stalled = core.claim_pop().unwrap();
    assert!(stalled.has_waiters);
    assert!(!core.flag_waiting_producers(), "a slot is being released");
    assert_eq!(core.take(&stalled), 1);
}
