//! Loom models of the ring, under every interleaving that loom distinguishes.
//!
//! Some models bound the number of preemptions; the stress tests cover further schedules.

use loom::sync::Arc;
use loom::thread::{spawn, yield_now};

use super::{ForcePushError, PopError, PushError, Ring};

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(body);
}

fn push(ring: &Ring<Box<u32>>, value: u32) {
    let mut value = Box::new(value);
    loop {
        value = match ring.try_push(value) {
            Ok(()) => return,
            Err(error) => error.into_value(),
        };
        yield_now();
    }
}

fn pop(ring: &Ring<Box<u32>>) -> u32 {
    loop {
        match ring.try_pop() {
            Ok(value) => return *value,
            Err(_) => yield_now(),
        }
    }
}

// The items are boxes: a lost item is a leak, and an item that is popped twice is freed twice.

#[test]
fn one_item_goes_from_one_thread_to_another() {
    for capacity in [1, 2] {
        loom::model(move || {
            let ring = Arc::new(Ring::<Box<u32>>::new(capacity));
            let producer = spawn({
                let ring = Arc::clone(&ring);
                move || ring.try_push(Box::new(7)).unwrap()
            });
            if let Ok(item) = ring.try_pop() {
                assert_eq!(*item, 7);
                assert_eq!(ring.try_pop(), Err(PopError::Empty));
            }
            producer.join().unwrap();
        });
    }
}

#[test]
fn slots_are_reused_in_order() {
    for capacity in [1, 2] {
        model(3, move || {
            let ring = Arc::new(Ring::<Box<u32>>::new(capacity));
            let producer = spawn({
                let ring = Arc::clone(&ring);
                move || (1..=3).for_each(|value| push(&ring, value))
            });
            assert_eq!([pop(&ring), pop(&ring), pop(&ring)], [1, 2, 3]);
            producer.join().unwrap();
            assert!(ring.is_empty());
        });
    }
}

/// Three threads that retry would keep loom in an endless loop. Therefore each makes a fixed number
/// of attempts, and the test compares the sums of the items at the end.
#[test]
fn items_of_two_producers_reach_one_consumer() {
    for capacity in [1, 2] {
        model(4, move || {
            let ring = Arc::new(Ring::<Box<u32>>::new(capacity));
            let producers = [1, 2].map(|value| {
                let ring = Arc::clone(&ring);
                spawn(move || if ring.try_push(Box::new(value)).is_ok() { value } else { 0 })
            });
            let mut popped: u32 =
                (0..2).filter_map(|_| ring.try_pop().ok()).map(|item| *item).sum();
            let pushed: u32 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
            popped += ring.drain().map(|item| *item).sum::<u32>();
            assert_eq!(popped, pushed);
            assert!(pushed > 0, "one of the two pushes finds a free slot");
            assert_eq!(ring.try_pop(), Err(PopError::Empty));
        });
    }
}

#[test]
fn two_consumers_share_the_items_of_one_producer() {
    for capacity in [1, 2] {
        model(4, move || {
            let ring = Arc::new(Ring::<Box<u32>>::new(capacity));
            let consumers = [(), ()].map(|()| {
                let ring = Arc::clone(&ring);
                spawn(move || ring.try_pop().map_or(0, |item| *item))
            });
            let pushed: u32 =
                [1, 2].into_iter().filter(|value| ring.try_push(Box::new(*value)).is_ok()).sum();
            let popped: u32 = consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum();
            assert_eq!(popped + ring.drain().map(|item| *item).sum::<u32>(), pushed);
            assert_eq!(ring.try_pop(), Err(PopError::Empty));
        });
    }
}

/// With two free slots, neither of two pushes finds the ring full. After both pushes, neither of
/// two pops finds it empty.
#[test]
fn a_push_returns_full_and_a_pop_returns_empty_only_if_that_is_true() {
    loom::model(|| {
        let ring = Arc::new(Ring::new(2));
        let attempt = |value| {
            let ring = Arc::clone(&ring);
            spawn(move || match ring.try_push(Box::new(value)) {
                Ok(()) => true,
                Err(PushError::Busy(_)) => false,
                Err(PushError::Full(_) | PushError::Closed(_)) => panic!("there is a free slot"),
            })
        };
        let pushed = [attempt(1), attempt(2)].map(|thread| thread.join().unwrap());
        assert_eq!(pushed, [true, true], "without a pop, no slot is busy");
        let take = || {
            let ring = Arc::clone(&ring);
            spawn(move || match ring.try_pop() {
                Ok(_) => {}
                Err(PopError::Busy | PopError::Empty | PopError::Closed) => {
                    panic!("there is an item")
                }
            })
        };
        for thread in [take(), take()] {
            thread.join().unwrap();
        }
        assert_eq!(ring.try_pop(), Err(PopError::Empty));
    });
}

#[test]
fn a_batch_that_races_with_a_push_and_a_pop_keeps_its_order() {
    for capacity in [2, 3] {
        model(4, move || {
            let ring = Arc::new(Ring::<Box<u32>>::new(capacity));
            let single = spawn({
                let ring = Arc::clone(&ring);
                move || ring.try_push(Box::new(3)).map_err(PushError::into_value).err()
            });
            let consumer = spawn({
                let ring = Arc::clone(&ring);
                move || {
                    let mut got = Vec::new();
                    let _ = ring.try_pop_batch(&mut got, 2);
                    got
                }
            });
            let mut batch = [Box::new(1), Box::new(2)].into_iter();
            let _ = ring.try_push_batch(&mut batch);
            let left_over = single.join().unwrap();
            let mut got = consumer.join().unwrap();
            got.extend(ring.drain());
            got.extend(batch);
            let order: Vec<u32> = got.iter().map(|item| **item).filter(|item| *item != 3).collect();
            assert_eq!(order, [1, 2]);
            got.extend(left_over);
            assert_eq!(got.iter().map(|item| **item).sum::<u32>(), 6);
        });
    }
}

#[test]
fn two_batch_pops_share_the_items() {
    loom::model(|| {
        let ring = Arc::new(Ring::new(2));
        let mut batch = [Box::new(1), Box::new(2)].into_iter();
        assert_eq!(ring.try_push_batch(&mut batch), Ok(2));
        let other = spawn({
            let ring = Arc::clone(&ring);
            move || {
                let mut got = Vec::new();
                let _ = ring.try_pop_batch(&mut got, 2);
                got.into_iter().map(|item| *item).sum::<u32>()
            }
        });
        let mut got = Vec::new();
        let _ = ring.try_pop_batch(&mut got, 1);
        let mine = got.into_iter().map(|item| *item).sum::<u32>();
        let rest = ring.drain().map(|item| *item).sum::<u32>();
        assert_eq!(
            mine + other.join().unwrap() + ring.drain().map(|item| *item).sum::<u32>() + rest,
            3
        );
    });
}

/// When a pop returns `Closed`, every accepted item has been popped.
#[test]
fn a_push_that_races_with_close_is_popped_or_rejected() {
    for capacity in [1, 2] {
        loom::model(move || {
            let ring = Arc::new(Ring::<Box<u32>>::new(capacity));
            let producer = spawn({
                let ring = Arc::clone(&ring);
                move || ring.try_push(Box::new(1)).is_ok()
            });
            ring.close();
            let mut got = 0;
            loop {
                match ring.try_pop() {
                    Ok(item) => got += *item,
                    Err(PopError::Closed) => break,
                    Err(PopError::Busy) => yield_now(),
                    Err(PopError::Empty) => panic!("the ring is closed, not only empty"),
                }
            }
            assert_eq!(producer.join().unwrap(), got == 1);
            assert_eq!(ring.try_pop(), Err(PopError::Closed));
        });
    }
}

#[test]
fn force_push_and_pop_each_take_the_oldest_item() {
    for capacity in [1, 2] {
        model(3, move || {
            let ring = Arc::new(Ring::<Box<u32>>::new(capacity));
            let old = capacity as u32;
            (1..=old).for_each(|value| push(&ring, value));
            let forcer = spawn({
                let ring = Arc::clone(&ring);
                move || {
                    let mut value = Box::new(10);
                    loop {
                        value = match ring.force_push(value) {
                            Ok(evicted) => return evicted.map(|item| *item),
                            Err(error) => error.into_value(),
                        };
                        yield_now();
                    }
                }
            });
            let popped = pop(&ring);
            let evicted = forcer.join().unwrap();
            let rest: Vec<u32> = ring.drain().map(|item| *item).collect();
            // Either the pop took the oldest item and freed a slot, or the eviction took it, and
            // the pop took the next one.
            let mut expected: Vec<u32> = (1..=old).chain([10]).collect();
            let oldest = expected.remove(0);
            match evicted {
                None => assert_eq!(popped, oldest),
                Some(evicted) => {
                    assert_eq!(evicted, oldest);
                    assert_eq!(popped, expected.remove(0));
                }
            }
            assert_eq!(rest, expected);
        });
    }
}

/// An eviction that begins before the ring is closed is completed. Pops return `Busy` until then.
#[test]
fn a_forced_push_that_races_with_close_loses_no_item() {
    model(3, || {
        let ring = Arc::new(Ring::new(1));
        push(&ring, 1);
        let forcer = spawn({
            let ring = Arc::clone(&ring);
            move || match ring.force_push(Box::new(2)) {
                Ok(evicted) => evicted.map(|item| *item).into_iter().collect(),
                Err(ForcePushError::Busy(item) | ForcePushError::Closed(item)) => vec![*item],
            }
        });
        ring.close();
        let mut got: Vec<u32> = Vec::new();
        loop {
            match ring.try_pop() {
                Ok(item) => got.push(*item),
                Err(PopError::Closed) => break,
                Err(_) => yield_now(),
            }
        }
        got.extend(forcer.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2], "one item is returned, the other is popped");
        assert_eq!(ring.try_pop(), Err(PopError::Closed));
    });
}

#[test]
fn two_forced_pushes_lose_no_item() {
    model(3, || {
        let ring = Arc::new(Ring::new(1));
        push(&ring, 1);
        let force = |value: u32| {
            let ring = Arc::clone(&ring);
            spawn(move || match ring.force_push(Box::new(value)) {
                Ok(evicted) => evicted.map(|item| *item),
                Err(error) => Some(*error.into_value()),
            })
        };
        let mut back: Vec<u32> =
            [force(2), force(3)].into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        back.extend(ring.drain().map(|item| *item));
        back.sort_unstable();
        assert_eq!(back, [1, 2, 3]);
    });
}

/// The last thread that owns the ring drops the items.
#[test]
fn items_are_dropped_with_the_ring() {
    loom::model(|| {
        let item = Arc::new(());
        let ring = Arc::new(Ring::new(2));
        ring.try_push(Arc::clone(&item)).unwrap();
        let other = spawn({
            let ring = Arc::clone(&ring);
            let item = Arc::clone(&item);
            move || ring.try_push(item).unwrap()
        });
        drop(ring);
        other.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1);
    });
}
