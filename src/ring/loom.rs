//! Models of the ring under every interleaving that loom can tell apart.
//!
//! Where a model bounds the number of preemptions, it says so: the rest of the schedules is the
//! business of the stress tests.

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
            Err(refused) => refused.into_value(),
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

// Boxes, so that loom's leak check finds what was lost and its memory what was taken twice.

#[test]
fn one_item_crosses() {
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

/// Three threads that retried would send loom round in circles; so each tries, and the books are
/// balanced at the end.
#[test]
fn two_producers_one_consumer() {
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
            assert!(pushed > 0, "one of two finds room");
            assert_eq!(ring.try_pop(), Err(PopError::Empty));
        });
    }
}

#[test]
fn one_producer_two_consumers() {
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

/// "Full" and "empty" are told only if true: with room for two, neither of two pushes finds it full,
/// and after both neither of two pops finds it empty.
#[test]
fn no_false_answers() {
    loom::model(|| {
        let ring = Arc::new(Ring::new(2));
        let attempt = |value| {
            let ring = Arc::clone(&ring);
            spawn(move || match ring.try_push(Box::new(value)) {
                Ok(()) => true,
                Err(PushError::Busy(_)) => false,
                Err(PushError::Full(_) | PushError::Closed(_)) => panic!("there is room"),
            })
        };
        let pushed = [attempt(1), attempt(2)].map(|thread| thread.join().unwrap());
        assert_eq!(pushed, [true, true], "nobody popped, so nobody is in the way");
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
fn a_batch_against_a_single_push() {
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
                    let _ = ring.pop_batch(&mut got, 2);
                    got
                }
            });
            let mut batch = [Box::new(1), Box::new(2)].into_iter();
            let _ = ring.push_batch(&mut batch);
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
fn two_batches_taken_against_each_other() {
    loom::model(|| {
        let ring = Arc::new(Ring::new(2));
        let mut batch = [Box::new(1), Box::new(2)].into_iter();
        assert_eq!(ring.push_batch(&mut batch), Ok(2));
        let other = spawn({
            let ring = Arc::clone(&ring);
            move || {
                let mut got = Vec::new();
                let _ = ring.pop_batch(&mut got, 2);
                got.into_iter().map(|item| *item).sum::<u32>()
            }
        });
        let mut got = Vec::new();
        let _ = ring.pop_batch(&mut got, 1);
        let mine = got.into_iter().map(|item| *item).sum::<u32>();
        let rest = ring.drain().map(|item| *item).sum::<u32>();
        assert_eq!(
            mine + other.join().unwrap() + ring.drain().map(|item| *item).sum::<u32>() + rest,
            3
        );
    });
}

/// After `Closed` was answered nothing comes any more, and what was pushed with success is there.
#[test]
fn close_against_push() {
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
                    Err(PopError::Empty) => panic!("a closed ring is never just empty"),
                }
            }
            assert_eq!(producer.join().unwrap(), got == 1);
            assert_eq!(ring.try_pop(), Err(PopError::Closed));
        });
    }
}

#[test]
fn force_push_against_pop() {
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
                            Err(refused) => refused.into_value(),
                        };
                        yield_now();
                    }
                }
            });
            let popped = pop(&ring);
            let evicted = forcer.join().unwrap();
            let rest: Vec<u32> = ring.drain().map(|item| *item).collect();
            // Either the pop took the oldest and made room, or the eviction did and the pop took the next.
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

/// An eviction under way when the ring is closed finishes, and poppers wait for it.
#[test]
fn force_push_against_close() {
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
        assert_eq!(got, [1, 2], "one of them given back, one popped");
        assert_eq!(ring.try_pop(), Err(PopError::Closed));
    });
}

#[test]
fn two_evictions_against_each_other() {
    model(3, || {
        let ring = Arc::new(Ring::new(1));
        push(&ring, 1);
        let force = |value: u32| {
            let ring = Arc::clone(&ring);
            spawn(move || match ring.force_push(Box::new(value)) {
                Ok(evicted) => evicted.map(|item| *item),
                Err(refused) => Some(*refused.into_value()),
            })
        };
        let mut back: Vec<u32> =
            [force(2), force(3)].into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        back.extend(ring.drain().map(|item| *item));
        back.sort_unstable();
        assert_eq!(back, [1, 2, 3]);
    });
}

/// Items inside are dropped with the ring, by whichever thread is last.
#[test]
fn drop_while_full() {
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
