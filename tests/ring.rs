//! The ring through its public API, against a simple model; panics, memory, batches.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mainstay::ring::{
    ClosedFuture, PopError, PushError, Receiver, ReceiverIntoIter, ReceiverIter, ReceiverStream,
    RecvFuture, RecvTimeoutError, RecvTimeoutFuture, Ring, RingDrain, SendFuture, SendTimeoutError,
    SendTimeoutFuture, Sender, SenderSink, channel, try_channel,
};
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
    /// On one thread, the ring behaves like a bounded queue of any capacity and is never busy.
    #[test]
    fn the_ring_behaves_like_a_queue(
        capacity in 1usize..10,
        steps in proptest::collection::vec(step(), 0..300),
    ) {
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
fn the_infallible_constructors_treat_a_capacity_of_zero_as_one() {
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
fn zero_sized_large_and_highly_aligned_items_are_moved_intact() {
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
        ring.try_push(Counted { counts: Arc::clone(&counts), panics: id % 2 == 1 }).unwrap();
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

/// Every item has one owner at all times, for every type of source and every position at which a
/// batch wraps around.
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

/// An item with a large body, so that a batch of them takes long to move.
#[allow(dead_code)]
struct Large(Arc<()>, [u64; 63]);

#[test]
fn items_do_not_outlive_the_last_receiver_and_the_last_send() {
    const BATCH: usize = 256;
    let mut kept_alive = 0;
    for round in 0..500 {
        let item = Arc::new(());
        let (sender, receiver) = channel(16 * BATCH);
        let started = AtomicUsize::new(0);
        // The sender outlives the sends, as a handle in a long-lived struct does.
        let _sender = std::thread::scope(|scope| {
            let (item, started) = (&item, &started);
            let thread = scope.spawn(move || {
                loop {
                    let large = || Large(Arc::clone(item), [0; 63]);
                    let mut batch: Vec<_> = (0..BATCH).map(|_| large()).collect();
                    started.store(1, Ordering::Relaxed);
                    let sent = if round % 2 == 0 {
                        sender.send_batch_blocking(&mut batch.drain(..)).is_ok()
                    } else {
                        sender.force_send(large()).map_err(drop).is_ok()
                    };
                    if !sent {
                        return sender;
                    }
                }
            });
            while started.load(Ordering::Relaxed) == 0 {
                std::hint::spin_loop();
            }
            for _ in 0..round % 50 * 50 {
                std::hint::spin_loop();
            }
            drop(receiver);
            thread.join().unwrap()
        });
        kept_alive += usize::from(Arc::strong_count(&item) > 1);
    }
    assert_eq!(kept_alive, 0, "rounds in which items outlived the receiver and the sends");
}

#[test]
fn items_that_panic_when_the_last_receiver_is_dropped_do_not_keep_the_others_alive() {
    let counts = Arc::new(Counts::default());
    let (sender, receiver) = channel(4);
    for id in 0..4 {
        sender.try_send(Counted { counts: Arc::clone(&counts), panics: id % 2 == 0 }).unwrap();
    }
    catch_unwind(AssertUnwindSafe(|| drop(receiver))).unwrap_err();
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 4);
    assert!(sender.is_closed() && sender.is_empty());
}

#[test]
fn a_panic_of_an_item_during_unwinding_does_not_abort_the_process() {
    let counts = Arc::new(Counts::default());
    let (sender, receiver) = channel(1);
    sender.try_send(Counted { counts: Arc::clone(&counts), panics: true }).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _receiver = receiver;
        panic!("the panic of the caller");
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"the panic of the caller"));
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 1);
}

/// An item that owns a sender of its own channel, and uses it when it is dropped.
struct Handles(Sender<Option<Box<Handles>>>);

impl Drop for Handles {
    fn drop(&mut self) {
        assert!(self.0.try_send(None).is_err(), "the channel is closed");
    }
}

#[test]
fn an_item_can_own_the_last_sender_of_its_channel() {
    let (sender, receiver) = channel(2);
    sender.try_send(Some(Box::new(Handles(sender.clone())))).unwrap();
    drop(sender);
    assert!(!receiver.is_closed());
    drop(receiver);
}

#[test]
fn senders_can_wait_until_the_channel_is_closed() {
    let (sender, receiver) = channel::<u32>(1);
    let other = receiver.clone();
    let mut context = Context::from_waker(Waker::noop());
    let mut closed = [sender.closed(), sender.closed(), sender.closed()];
    for closed in &mut closed {
        assert!(Pin::new(closed).poll(&mut context).is_pending());
    }
    drop(receiver);
    let [first, mut second, third] = closed;
    drop(first);
    assert!(Pin::new(&mut second).poll(&mut context).is_pending());
    let thread = std::thread::spawn(move || drop(other));
    futures::executor::block_on(third);
    thread.join().unwrap();
    assert!(Pin::new(&mut second).poll(&mut context).is_ready());
    assert!(Pin::new(&mut sender.closed()).poll(&mut context).is_ready());

    let (sender, receiver) = channel::<u32>(1);
    receiver.close();
    futures::executor::block_on(sender.closed());
}

#[test]
fn futures_with_a_timeout_end_with_the_item_the_timeout_or_the_close() {
    use futures::executor::block_on;
    let (long, short) = (Duration::MAX, Duration::from_millis(1));
    let (sender, receiver) = channel(1);
    assert_eq!(block_on(receiver.recv_timeout(short)), Err(RecvTimeoutError::Timeout));
    assert_eq!(block_on(sender.send_timeout(1, Duration::ZERO)), Ok(()));
    assert_eq!(block_on(sender.send_timeout(2, short)), Err(SendTimeoutError::Timeout(2)));
    let thread = std::thread::spawn(move || {
        block_on(sender.send_timeout(3, long)).unwrap();
        sender
    });
    assert_eq!(block_on(receiver.recv_timeout(Duration::ZERO)), Ok(1));
    assert_eq!(block_on(receiver.recv_timeout(long)), Ok(3));
    let sender = thread.join().unwrap();
    receiver.close();
    assert_eq!(block_on(sender.send_timeout(4, long)), Err(SendTimeoutError::Closed(4)));
    assert_eq!(block_on(receiver.recv_timeout(long)), Err(RecvTimeoutError::Closed));
}

#[test]
fn a_receive_that_timed_out_leaves_the_wait_queue() {
    let (sender, receiver) = channel(1);
    let mut context = Context::from_waker(Waker::noop());
    let mut first = receiver.recv_timeout(Duration::ZERO);
    assert_eq!(
        Pin::new(&mut first).poll(&mut context),
        Poll::Ready(Err(RecvTimeoutError::Timeout))
    );
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut second = receiver.recv();
    assert!(Pin::new(&mut second).poll(&mut Context::from_waker(&waker)).is_pending());
    sender.try_send(1).unwrap();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "the first future is not in the queue");
    assert_eq!(Pin::new(&mut second).poll(&mut context), Poll::Ready(Ok(1)));
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_receiver_is_a_blocking_iterator() {
    let (sender, receiver) = channel(2);
    let thread = std::thread::spawn(move || {
        let mut first = Vec::new();
        for item in &receiver {
            first.push(item);
            if first.len() == 3 {
                break;
            }
        }
        (first, receiver.into_iter().collect::<Vec<_>>())
    });
    (0..10).for_each(|item| sender.send_blocking(item).unwrap());
    drop(sender);
    assert_eq!(thread.join().unwrap(), (vec![0, 1, 2], (3..10).collect()));
}

#[test]
fn rings_and_channels_are_unwind_safe_send_and_sync() {
    fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    fn send_and_sync<T: Send + Sync>() {}
    // `Send`, but neither `Sync` nor unwind safe.
    type Item = Cell<Box<dyn FnMut() + Send>>;
    unwind_safe::<Ring<Item>>();
    unwind_safe::<Sender<Item>>();
    unwind_safe::<Receiver<Item>>();
    unwind_safe::<RingDrain<'_, Item>>();
    unwind_safe::<ReceiverStream<Item>>();
    unwind_safe::<ReceiverIter<'_, Item>>();
    unwind_safe::<ReceiverIntoIter<Item>>();
    unwind_safe::<RecvFuture<'_, Item>>();
    unwind_safe::<RecvTimeoutFuture<'_, Item>>();
    unwind_safe::<ClosedFuture<'_, Item>>();
    unwind_safe::<SenderSink<String>>();
    unwind_safe::<SendFuture<'_, String>>();
    unwind_safe::<SendTimeoutFuture<'_, String>>();
    send_and_sync::<Ring<Item>>();
    send_and_sync::<Sender<Item>>();
    send_and_sync::<Receiver<Item>>();
}
