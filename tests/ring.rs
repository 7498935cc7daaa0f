//! The ring through its public API, against a simple model; panics, memory, batches.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay::ring::{PopError, PushError, Ring, channel, try_channel};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Push,
    Pop,
    ForcePush,
    PushBatch(usize),
    PopBatch(usize),
    Drain,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Push),
        8 => Just(Step::Pop),
        2 => Just(Step::ForcePush),
        4 => (0usize..12).prop_map(Step::PushBatch),
        4 => (0usize..12).prop_map(Step::PopBatch),
        1 => Just(Step::Drain),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// On one thread the ring is a queue, at every capacity, and never busy.
    #[test]
    fn behaves_like_a_queue(capacity in 1usize..10, steps in proptest::collection::vec(step(), 0..300)) {
        let ring = Ring::new(capacity);
        let mut model: VecDeque<usize> = VecDeque::new();
        let mut closed = false;
        for (id, step) in steps.into_iter().enumerate() {
            let id = id * 100;
            let free = capacity - model.len();
            let pop_error = || if closed { PopError::Closed } else { PopError::Empty };
            match step {
                Step::Push => {
                    let expected = match () {
                        () if closed => Err(PushError::Closed(id)),
                        () if free == 0 => Err(PushError::Full(id)),
                        () => { model.push_back(id); Ok(()) }
                    };
                    prop_assert_eq!(ring.try_push(id), expected);
                }
                Step::Pop => prop_assert_eq!(ring.try_pop(), model.pop_front().ok_or_else(pop_error)),
                Step::ForcePush if closed => prop_assert!(ring.force_push(id).is_err()),
                Step::ForcePush => {
                    let evicted = if free == 0 { model.pop_front() } else { None };
                    prop_assert_eq!(ring.force_push(id), Ok(evicted));
                    model.push_back(id);
                }
                Step::PushBatch(size) => {
                    let mut batch = (id..id + size).collect::<Vec<_>>().into_iter();
                    let expected = match size.min(free) {
                        _ if size == 0 => Ok(0),
                        _ if closed => Err(PushError::Closed(())),
                        0 => Err(PushError::Full(())),
                        count => { model.extend(id..id + count); Ok(count) }
                    };
                    prop_assert_eq!(ring.try_push_batch(&mut batch), expected);
                    prop_assert_eq!(batch.len(), size - expected.unwrap_or(0));
                }
                Step::PopBatch(max) => {
                    let mut got = vec![usize::MAX];
                    let expected: Vec<_> = model.drain(..max.min(model.len())).collect();
                    let answer = if max > 0 && expected.is_empty() { Err(pop_error()) } else { Ok(expected.len()) };
                    prop_assert_eq!(ring.try_pop_batch(&mut got, max), answer);
                    prop_assert_eq!(&got[1..], &expected[..]);
                }
                Step::Drain => prop_assert_eq!(ring.drain().collect::<VecDeque<_>>(), std::mem::take(&mut model)),
                Step::Close => {
                    prop_assert_eq!(ring.close(), !closed);
                    closed = true;
                }
            }
            prop_assert_eq!(ring.len(), model.len());
            prop_assert_eq!(ring.is_empty(), model.is_empty());
            prop_assert_eq!(ring.is_full(), model.len() == capacity);
            prop_assert_eq!(ring.is_closed(), closed);
            prop_assert_eq!(ring.capacity(), capacity);
        }
    }
}

#[test]
fn a_capacity_of_zero_counts_as_one_where_it_is_not_an_error() {
    let ring = Ring::new(0);
    assert_eq!(ring.capacity(), 1);
    ring.try_push(1).unwrap();
    assert_eq!(ring.try_push(2), Err(PushError::Full(2)));

    let (sender, receiver) = channel(0);
    sender.try_send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
}

#[test]
fn capacities_that_cannot_be_allocated_are_errors() {
    for capacity in [0, 1 << 50, usize::MAX / 16, usize::MAX] {
        let error = Ring::<u64>::try_new(capacity).unwrap_err();
        assert_eq!((error.field(), error.value()), ("capacity", &*capacity.to_string()));
        assert_eq!(try_channel::<u64>(capacity).unwrap_err(), error);
    }
    assert_eq!(Ring::<u64>::try_new(1000).unwrap().capacity(), 1000);
    assert_eq!(try_channel::<u64>(1000).unwrap().0.capacity(), 1000);
}

#[test]
fn the_infallible_constructors_panic_if_the_memory_cannot_be_allocated() {
    for make in [|| drop(Ring::<u64>::new(1 << 50)), || drop(channel::<u64>(1 << 50))] {
        let panic = catch_unwind(make).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.starts_with("capacity is 1125899906842624; accepted:"), "{message}");
    }
}

#[test]
fn items_of_no_size_of_many_bytes_and_of_large_alignment_are_moved_intact() {
    let nothings = Ring::new(3);
    while nothings.try_push(()).is_ok() {}
    assert_eq!(nothings.drain().count(), 3);

    let pages = Ring::new(2);
    for round in 0..5u8 {
        pages.try_push([round; 4096]).unwrap();
        pages.try_push([round + 1; 4096]).unwrap();
        assert_eq!(pages.try_pop().unwrap(), [round; 4096]);
        assert_eq!(pages.try_pop().unwrap(), [round + 1; 4096]);
    }

    #[derive(Debug, PartialEq)]
    #[repr(align(256))]
    struct Aligned(u8);
    let aligned = Ring::new(3);
    for value in 0..10 {
        aligned.try_push(Aligned(value)).unwrap();
        let mut got = Vec::new();
        aligned.try_pop_batch(&mut got, 1).unwrap();
        assert_eq!(got, [Aligned(value)]);
    }
}

#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicUsize,
}

#[derive(Debug)]
struct Counted {
    counts: Arc<Counts>,
    panics: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "this item panics when it is dropped");
    }
}

#[test]
fn items_are_dropped_once_with_the_ring() {
    let counts = Arc::new(Counts::default());
    let ring = Ring::new(3);
    for _ in 0..5 {
        let _ = ring.force_push(Counted { counts: Arc::clone(&counts), panics: false });
    }
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 2);
    drop(ring);
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 5);
    assert_eq!(Arc::strong_count(&counts), 1);
}

#[test]
fn an_item_that_panics_when_it_is_dropped_does_not_keep_the_others_alive() {
    let counts = Arc::new(Counts::default());
    let ring = Ring::new(4);
    for id in 0..4 {
        ring.try_push(Counted { counts: Arc::clone(&counts), panics: id == 1 }).unwrap();
    }
    catch_unwind(AssertUnwindSafe(|| drop(ring))).unwrap_err();
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 4);
    assert_eq!(Arc::strong_count(&counts), 1);
}

#[test]
fn an_item_that_panics_when_it_is_dropped_leaves_the_ring_usable() {
    let counts = Arc::new(Counts::default());
    let item = |panics| Counted { counts: Arc::clone(&counts), panics };
    let ring = Ring::new(1);
    ring.try_push(item(true)).unwrap();
    catch_unwind(AssertUnwindSafe(|| drop(ring.force_push(item(false))))).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| drop(ring.try_push(item(true))))).unwrap_err();
    drop(ring.try_pop().unwrap());
    ring.try_push(item(false)).unwrap();
    assert_eq!(ring.len(), 1);
}

#[test]
fn items_of_a_batch_that_do_not_fit_stay_in_their_source() {
    let ring = Ring::new(4);
    let mut queue: VecDeque<u32> = (0..6).collect();
    {
        let mut drain = queue.drain(..5);
        assert_eq!(ring.try_push_batch(&mut drain), Ok(4));
        assert_eq!(drain.collect::<Vec<_>>(), [4]);
    }
    assert_eq!(queue, [5]);
    let mut array = [9, 9].into_iter();
    assert_eq!(ring.try_push_batch(&mut array), Err(PushError::Full(())));
    assert_eq!(array.len(), 2);
}

/// Every item has one owner at all times, for every source and every position of the end of the ring.
#[test]
fn items_of_a_batch_are_moved_once() {
    fn check(
        start: usize,
        pushed: usize,
        push: impl FnOnce(&Ring<Arc<()>>, Vec<Arc<()>>) -> usize,
    ) {
        let ring = Ring::new(6);
        for _ in 0..start {
            ring.try_push(Arc::default()).unwrap();
            ring.try_pop().unwrap();
        }
        let item = Arc::new(());
        let count = push(&ring, vec![Arc::clone(&item); 8]);
        assert_eq!(count, pushed);
        assert_eq!(
            Arc::strong_count(&item),
            1 + pushed,
            "items that did not fit were dropped with their source"
        );
        let mut got = Vec::new();
        assert_eq!(ring.try_pop_batch(&mut got, 8), Ok(pushed));
        assert_eq!(Arc::strong_count(&item), 1 + pushed);
        drop(got);
        assert_eq!(Arc::strong_count(&item), 1);
    }
    for start in 0..6 {
        check(start, 6, |ring, items| ring.try_push_batch(&mut items.into_iter()).unwrap());
        check(start, 6, |ring, mut items| ring.try_push_batch(&mut items.drain(..)).unwrap());
        check(start, 6, |ring, items| {
            ring.try_push_batch(&mut VecDeque::from(items).into_iter()).unwrap()
        });
        check(start, 6, |ring, items| {
            ring.try_push_batch(&mut VecDeque::from(items).drain(..)).unwrap()
        });
        check(start, 5, |ring, items| {
            let items: [Arc<()>; 8] = items.try_into().unwrap();
            let mut items = items.into_iter();
            drop(items.by_ref().take(3));
            assert_eq!(items.len(), 8, "an unused `take` removes no item");
            drop((items.next(), items.next(), items.next_back()));
            ring.try_push_batch(&mut items).unwrap()
        });
    }
}
