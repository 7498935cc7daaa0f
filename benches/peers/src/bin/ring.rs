//! Compares the ring with other bounded queues, without waiting: one thread, and batches.

use std::collections::VecDeque;
use std::hint::black_box;

use mainstay::ring::Ring;
use parking_lot::Mutex;
use peers::Race;

const CAPACITY: usize = 1024;

type Line = [u64; 8];

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let race = |name: &str, run: fn()| {
        if name.contains(&wanted) {
            run();
        }
    };
    race("pair", || pair::<u64>("u64", 7));
    race("pair-line", || pair::<Line>("64 bytes", [7; 8]));
    race("empty", empty);
    race("full", full);
    race("batch", || [1, 4, 16, 64, 32].into_iter().for_each(batch));
}

/// Pushes and pops one item on a queue that is otherwise empty.
fn pair<T: Copy + Send + Unpin + 'static>(what: &str, item: T) {
    let ring = Ring::new(CAPACITY);
    let array = crossbeam_queue::ArrayQueue::new(CAPACITY);
    let concurrent = concurrent_queue::ConcurrentQueue::bounded(CAPACITY);
    let locked = Mutex::new(VecDeque::with_capacity(CAPACITY));
    let (kanal_in, kanal_out) = kanal::bounded(CAPACITY);
    let (flume_in, flume_out) = flume::bounded(CAPACITY);
    let (cross_in, cross_out) = crossbeam_channel::bounded(CAPACITY);
    let (fire_in, fire_out) = crossfire::mpmc::bounded_blocking::<T>(CAPACITY);
    let (mut rtrb_in, mut rtrb_out) = rtrb::RingBuffer::new(CAPACITY);
    Race::new(format!("push + pop of {what}, one thread"))
        .each("mainstay Ring", || {
            ring.try_push(black_box(item)).unwrap();
            black_box(ring.try_pop().unwrap());
        })
        .each("crossbeam ArrayQueue", || {
            let _ = array.push(black_box(item));
            black_box(array.pop().unwrap());
        })
        .each("concurrent-queue", || {
            let _ = concurrent.push(black_box(item));
            black_box(concurrent.pop().unwrap());
        })
        .each("kanal", || {
            kanal_in.try_send(black_box(item)).unwrap();
            black_box(kanal_out.try_recv().unwrap());
        })
        .each("crossfire", || {
            let _ = fire_in.try_send(black_box(item));
            black_box(fire_out.try_recv().unwrap());
        })
        .each("crossbeam-channel", || {
            let _ = cross_in.try_send(black_box(item));
            black_box(cross_out.try_recv().unwrap());
        })
        .each("flume", || {
            let _ = flume_in.try_send(black_box(item));
            black_box(flume_out.try_recv().unwrap());
        })
        .each("Mutex<VecDeque>", || {
            locked.lock().push_back(black_box(item));
            black_box(locked.lock().pop_front().unwrap());
        })
        .each("rtrb (one producer, one consumer)", || {
            rtrb_in.push(black_box(item)).unwrap_or_else(|_| panic!());
            black_box(rtrb_out.pop().unwrap());
        })
        .run();
    // thingbuf requires `Default`, which `T` does not have.
    let thing = thingbuf::ThingBuf::<u64>::new(CAPACITY);
    let ring = Ring::new(CAPACITY);
    Race::new("thingbuf: push + pop of u64, one thread")
        .each("mainstay Ring", || {
            ring.try_push(black_box(7u64)).unwrap();
            black_box(ring.try_pop().unwrap());
        })
        .each("thingbuf", || {
            thing.push(black_box(7)).unwrap();
            black_box(thing.pop().unwrap());
        })
        .run();
}

fn empty() {
    let ring = Ring::<u64>::new(CAPACITY);
    let array = crossbeam_queue::ArrayQueue::<u64>::new(CAPACITY);
    let concurrent = concurrent_queue::ConcurrentQueue::<u64>::bounded(CAPACITY);
    let thing = thingbuf::ThingBuf::<u64>::new(CAPACITY);
    let (_kanal_in, kanal_out) = kanal::bounded::<u64>(CAPACITY);
    let locked = Mutex::new(VecDeque::<u64>::with_capacity(CAPACITY));
    Race::new("pop from an empty queue")
        .each("mainstay Ring", || {
            let _ = black_box(ring.try_pop());
        })
        .each("crossbeam ArrayQueue", || {
            black_box(array.pop());
        })
        .each("concurrent-queue", || {
            let _ = black_box(concurrent.pop());
        })
        .each("thingbuf", || {
            black_box(thing.pop());
        })
        .each("kanal", || {
            let _ = black_box(kanal_out.try_recv());
        })
        .each("Mutex<VecDeque>", || {
            black_box(locked.lock().pop_front());
        })
        .run();
}

fn full() {
    let ring = Ring::new(4);
    let array = crossbeam_queue::ArrayQueue::new(4);
    let concurrent = concurrent_queue::ConcurrentQueue::bounded(4);
    let thing = thingbuf::ThingBuf::<u64>::new(4);
    let (kanal_in, _kanal_out) = kanal::bounded(4);
    for item in 0..4u64 {
        ring.try_push(item).unwrap();
        array.push(item).unwrap();
        concurrent.push(item).unwrap();
        thing.push(item).unwrap();
        assert!(kanal_in.try_send(item).unwrap());
    }
    Race::new("push into a full queue")
        .each("mainstay Ring", || {
            let _ = black_box(ring.try_push(black_box(7)));
        })
        .each("crossbeam ArrayQueue", || {
            let _ = black_box(array.push(black_box(7)));
        })
        .each("concurrent-queue", || {
            let _ = black_box(concurrent.push(black_box(7)));
        })
        .each("thingbuf", || {
            let _ = black_box(thing.push(black_box(7)));
        })
        .each("kanal", || {
            let _ = black_box(kanal_in.try_send(black_box(7)));
        })
        .run();
}

/// Pushes and pops `size` items; figures are per item.
fn batch(size: usize) {
    let ring = Ring::new(CAPACITY);
    let single = Ring::new(CAPACITY);
    let array = crossbeam_queue::ArrayQueue::new(CAPACITY);
    let locked = Mutex::new(VecDeque::with_capacity(CAPACITY));
    let (mut rtrb_in, mut rtrb_out) = rtrb::RingBuffer::new(CAPACITY);
    let mut source: Vec<u64> = Vec::with_capacity(size);
    let mut source_locked: Vec<u64> = Vec::with_capacity(size);
    let mut got: Vec<u64> = Vec::with_capacity(size);
    let mut got_locked: Vec<u64> = Vec::with_capacity(size);
    let items = size as u64;
    let timed = move |n: u64, op: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        for _ in 0..n.div_ceil(items) {
            op();
        }
        start.elapsed().mul_f64(n as f64 / (n.div_ceil(items) * items) as f64)
    };
    Race::new(format!("{size} items pushed, then popped; per item"))
        .lap("mainstay Ring, batches", |n| {
            timed(n, &mut || {
                source.extend(0..items);
                black_box(&mut source);
                ring.try_push_batch(&mut source.drain(..)).unwrap();
                ring.try_pop_batch(&mut got, size).unwrap();
                black_box(&got);
                got.clear();
            })
        })
        .lap("mainstay Ring, one by one", |n| {
            timed(n, &mut || {
                for item in 0..items {
                    single.try_push(black_box(item)).unwrap();
                }
                for _ in 0..items {
                    black_box(single.try_pop().unwrap());
                }
            })
        })
        .lap("crossbeam ArrayQueue", |n| {
            timed(n, &mut || {
                for item in 0..items {
                    array.push(black_box(item)).unwrap();
                }
                for _ in 0..items {
                    black_box(array.pop().unwrap());
                }
            })
        })
        .lap("Mutex<VecDeque>, batches", |n| {
            timed(n, &mut || {
                source_locked.extend(0..items);
                black_box(&mut source_locked);
                locked.lock().extend(source_locked.drain(..));
                got_locked.extend(locked.lock().drain(..));
                black_box(&got_locked);
                got_locked.clear();
            })
        })
        .lap("rtrb, one by one (SPSC)", |n| {
            timed(n, &mut || {
                for item in 0..items {
                    rtrb_in.push(black_box(item)).unwrap();
                }
                for _ in 0..items {
                    black_box(rtrb_out.pop().unwrap());
                }
            })
        })
        .run();
}
