//! Compares the channel with those of other crates: blocking producers and consumers, from one of
//! each to more threads than cores, and a ping-pong of one item.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use peers::Race;

const CAPACITY: usize = 1024;

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (producers, consumers) in [(1, 1), (2, 2), (4, 4)] {
        if format!("word{producers}P{consumers}C").contains(&wanted) {
            flows(producers, consumers, "u64", 7u64);
        }
        if format!("line{producers}P{consumers}C").contains(&wanted) {
            flows(producers, consumers, "64 bytes", [7u64; 8]);
        }
    }
    if "ping-pong".contains(&wanted) {
        ping_pong(1, "ping-pong between two threads; per round trip");
        ping_pong(CAPACITY, "ping-pong through channels of 1,024; per round trip");
    }
}

/// Sends `n` items from `producers` to `consumers`, and returns the time from the start of the
/// first thread to the end of the last one.
///
/// Every thread reads the clock itself. A separate timing thread could start too late: there are
/// more threads than cores, and the measured threads may end before it runs.
fn flow(
    n: u64,
    producers: u64,
    consumers: u64,
    send: impl Fn(u64) + Sync,
    recv: impl Fn(u64) + Sync,
) -> Duration {
    let gate = Barrier::new((producers + consumers) as usize);
    let share = |n: u64, parts: u64, part: u64| n / parts + u64::from(part < n % parts);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let (gate, send, recv) = (&gate, &send, &recv);
        let run = move |work: &dyn Fn(u64), n: u64| {
            gate.wait();
            let start = Instant::now();
            work(n);
            (start, Instant::now())
        };
        let senders =
            (0..producers).map(|part| scope.spawn(move || run(send, share(n, producers, part))));
        let mut threads: Vec<_> = senders.collect();
        threads.extend(
            (0..consumers).map(|part| scope.spawn(move || run(recv, share(n, consumers, part)))),
        );
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = spans.iter().map(|span| span.0).min().unwrap();
    spans.iter().map(|span| span.1).max().unwrap() - start
}

fn each(op: impl Fn()) -> impl Fn(u64) {
    move |n| (0..n).for_each(|_| op())
}

/// The simplest bounded queue: a mutex and two condition variables.
struct Locked<T> {
    queue: Mutex<VecDeque<T>>,
    not_empty: Condvar,
    not_full: Condvar,
}

impl<T> Locked<T> {
    fn new() -> Self {
        let queue = Mutex::new(VecDeque::with_capacity(CAPACITY));
        Self { queue, not_empty: Condvar::new(), not_full: Condvar::new() }
    }

    fn send(&self, item: T) {
        let mut queue = self.queue.lock();
        while queue.len() == CAPACITY {
            self.not_full.wait(&mut queue);
        }
        queue.push_back(item);
        drop(queue);
        self.not_empty.notify_one();
    }

    fn recv(&self) -> T {
        let mut queue = self.queue.lock();
        loop {
            if let Some(item) = queue.pop_front() {
                drop(queue);
                self.not_full.notify_one();
                return item;
            }
            self.not_empty.wait(&mut queue);
        }
    }
}

fn flows<T: Copy + Default + Send + Sync + Unpin + 'static>(p: u64, c: u64, what: &str, item: T) {
    let (ours_in, ours_out) = mainstay::ring::channel::<T>(CAPACITY);
    let (batch_in, batch_out) = mainstay::ring::channel::<T>(CAPACITY);
    let (kanal_in, kanal_out) = kanal::bounded::<T>(CAPACITY);
    let (fire_in, fire_out) = crossfire::mpmc::bounded_blocking::<T>(CAPACITY);
    let (cross_in, cross_out) = crossbeam_channel::bounded::<T>(CAPACITY);
    let (flume_in, flume_out) = flume::bounded::<T>(CAPACITY);
    let locked = Locked::<T>::new();
    let ring = mainstay::ring::Ring::<T>::new(CAPACITY);
    let array = crossbeam_queue::ArrayQueue::<T>::new(CAPACITY);
    let concurrent = concurrent_queue::ConcurrentQueue::<T>::bounded(CAPACITY);
    let thing = thingbuf::ThingBuf::<T>::new(CAPACITY);
    let (thing_in, thing_out) = thingbuf::mpsc::blocking::channel::<T>(CAPACITY);
    let (rtrb_in, rtrb_out) = rtrb::RingBuffer::<T>::new(CAPACITY);
    // Each end is locked once per lap, by the thread that uses it.
    let (rtrb_in, rtrb_out) = (Mutex::new(rtrb_in), Mutex::new(rtrb_out));
    let mut race = Race::new(format!("{p}P{c}C of {what}, waiting; per item"))
        .lap("mainstay channel", |n| {
            flow(
                n,
                p,
                c,
                each(|| ours_in.send_blocking(black_box(item)).unwrap()),
                each(|| {
                    black_box(ours_out.recv_blocking().unwrap());
                }),
            )
        })
        .lap("mainstay channel, batches of 32", |n| {
            let send = |n: u64| {
                let mut left = n as usize;
                while left > 0 {
                    let size = left.min(32);
                    let mut batch = [black_box(item); 32].into_iter();
                    if size < 32 {
                        batch.nth(31 - size);
                    }
                    batch_in.send_batch_blocking(&mut batch).unwrap();
                    left -= size;
                }
            };
            let recv = |n: u64| {
                let mut got = Vec::with_capacity(32);
                let mut left = n as usize;
                while left > 0 {
                    left -= batch_out.recv_batch_blocking(&mut got, left.min(32)).unwrap();
                    black_box(&got);
                    got.clear();
                }
            };
            flow(n, p, c, send, recv)
        })
        .lap("kanal", |n| {
            flow(
                n,
                p,
                c,
                each(|| kanal_in.send(black_box(item)).unwrap()),
                each(|| {
                    black_box(kanal_out.recv().unwrap());
                }),
            )
        })
        .lap("crossfire", |n| {
            flow(
                n,
                p,
                c,
                each(|| fire_in.send(black_box(item)).unwrap_or_else(|_| panic!())),
                each(|| {
                    black_box(fire_out.recv().unwrap());
                }),
            )
        })
        .lap("crossbeam-channel", |n| {
            flow(
                n,
                p,
                c,
                each(|| cross_in.send(black_box(item)).unwrap()),
                each(|| {
                    black_box(cross_out.recv().unwrap());
                }),
            )
        })
        .lap("flume", |n| {
            flow(
                n,
                p,
                c,
                each(|| flume_in.send(black_box(item)).unwrap()),
                each(|| {
                    black_box(flume_out.recv().unwrap());
                }),
            )
        })
        .lap("Mutex<VecDeque> + Condvar", |n| {
            flow(
                n,
                p,
                c,
                each(|| locked.send(black_box(item))),
                each(|| {
                    black_box(locked.recv());
                }),
            )
        })
        .lap("mainstay Ring + SpinWait", |n| {
            flow(
                n,
                p,
                c,
                each(|| {
                    let mut spin_wait = ring.spin_wait();
                    while ring.try_push(black_box(item)).is_err() {
                        spin_wait.wait();
                    }
                }),
                each(|| {
                    let mut spin_wait = ring.spin_wait();
                    while black_box(ring.try_pop()).is_err() {
                        spin_wait.wait();
                    }
                }),
            )
        })
        .lap("mainstay Ring + yield_now", |n| {
            flow(
                n,
                p,
                c,
                each(|| {
                    while ring.try_push(black_box(item)).is_err() {
                        std::thread::yield_now();
                    }
                }),
                each(|| {
                    while black_box(ring.try_pop()).is_err() {
                        std::thread::yield_now();
                    }
                }),
            )
        })
        .lap("ArrayQueue + yield_now", |n| {
            flow(
                n,
                p,
                c,
                each(|| {
                    while array.push(black_box(item)).is_err() {
                        std::thread::yield_now();
                    }
                }),
                each(|| {
                    while black_box(array.pop()).is_none() {
                        std::thread::yield_now();
                    }
                }),
            )
        })
        .lap("concurrent-queue + yield_now", |n| {
            flow(
                n,
                p,
                c,
                each(|| {
                    while concurrent.push(black_box(item)).is_err() {
                        std::thread::yield_now();
                    }
                }),
                each(|| {
                    while black_box(concurrent.pop()).is_err() {
                        std::thread::yield_now();
                    }
                }),
            )
        })
        .lap("thingbuf + yield_now", |n| {
            flow(
                n,
                p,
                c,
                each(|| {
                    while thing.push(black_box(item)).is_err() {
                        std::thread::yield_now();
                    }
                }),
                each(|| {
                    while black_box(thing.pop()).is_none() {
                        std::thread::yield_now();
                    }
                }),
            )
        });
    if c == 1 {
        race = race.lap("thingbuf mpsc::blocking (one consumer)", |n| {
            flow(
                n,
                p,
                c,
                each(|| thing_in.send(black_box(item)).unwrap_or_else(|_| panic!())),
                each(|| {
                    black_box(thing_out.recv().unwrap());
                }),
            )
        });
    }
    if p == 1 && c == 1 {
        race = race.lap("rtrb + yield_now (SPSC)", |n| {
            let send = |n| {
                let mut queue = rtrb_in.lock();
                for _ in 0..n {
                    while queue.push(black_box(item)).is_err() {
                        std::thread::yield_now();
                    }
                }
            };
            let recv = |n| {
                let mut queue = rtrb_out.lock();
                for _ in 0..n {
                    while black_box(queue.pop()).is_err() {
                        std::thread::yield_now();
                    }
                }
            };
            flow(n, p, c, send, recv)
        });
    }
    race.run();
}

/// Two threads and two channels of capacity 1: each item is sent to the other thread and back.
fn ping_pong(capacity: usize, title: &str) {
    let (ours_in, ours_out) = mainstay::ring::channel::<u64>(capacity);
    let (ours_back_in, ours_back_out) = mainstay::ring::channel::<u64>(capacity);
    let (kanal_in, kanal_out) = kanal::bounded::<u64>(capacity);
    let (kanal_back_in, kanal_back_out) = kanal::bounded::<u64>(capacity);
    let (fire_in, fire_out) = crossfire::mpmc::bounded_blocking::<u64>(capacity);
    let (fire_back_in, fire_back_out) = crossfire::mpmc::bounded_blocking::<u64>(capacity);
    let (cross_in, cross_out) = crossbeam_channel::bounded::<u64>(capacity);
    let (cross_back_in, cross_back_out) = crossbeam_channel::bounded::<u64>(capacity);
    let (flume_in, flume_out) = flume::bounded::<u64>(capacity);
    let (flume_back_in, flume_back_out) = flume::bounded::<u64>(capacity);
    Race::new(title)
        .lap("mainstay channel", |n| {
            let ping = || {
                ours_in.send_blocking(1).unwrap();
                black_box(ours_back_out.recv_blocking().unwrap());
            };
            flow(
                n,
                1,
                1,
                each(ping),
                each(|| ours_back_in.send_blocking(ours_out.recv_blocking().unwrap()).unwrap()),
            )
        })
        .lap("kanal", |n| {
            let ping = || {
                kanal_in.send(1).unwrap();
                black_box(kanal_back_out.recv().unwrap());
            };
            flow(
                n,
                1,
                1,
                each(ping),
                each(|| kanal_back_in.send(kanal_out.recv().unwrap()).unwrap()),
            )
        })
        .lap("crossfire", |n| {
            let ping = || {
                fire_in.send(1).unwrap();
                black_box(fire_back_out.recv().unwrap());
            };
            flow(n, 1, 1, each(ping), each(|| fire_back_in.send(fire_out.recv().unwrap()).unwrap()))
        })
        .lap("crossbeam-channel", |n| {
            let ping = || {
                cross_in.send(1).unwrap();
                black_box(cross_back_out.recv().unwrap());
            };
            flow(
                n,
                1,
                1,
                each(ping),
                each(|| cross_back_in.send(cross_out.recv().unwrap()).unwrap()),
            )
        })
        .lap("flume", |n| {
            let ping = || {
                flume_in.send(1).unwrap();
                black_box(flume_back_out.recv().unwrap());
            };
            flow(
                n,
                1,
                1,
                each(ping),
                each(|| flume_back_in.send(flume_out.recv().unwrap()).unwrap()),
            )
        })
        .run();
}
