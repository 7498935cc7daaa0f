//! Compares the broadcast with those of other crates: one producer and 1, 10 or 1,000 subscribers.
//! Figures are for one item that all subscribers receive.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use mainstay::ring::{BroadcastOverflow, BroadcastSubscriber, broadcast};
use peers::Race;

const CAPACITY: usize = 64;
const BATCH: u64 = 32;

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for subscribers in [1, 10, 1000] {
        if "overwriting".contains(&wanted) {
            overwriting(subscribers);
        }
        if "waiting".contains(&wanted) {
            waiting(subscribers);
        }
        if "tasks".contains(&wanted) {
            tasks(subscribers);
        }
    }
    for subscribers in [1, 10] {
        if "threads".contains(&wanted) {
            threads(subscribers);
        }
    }
}

/// Times `n` items: `send` sends a batch, then `recv` receives it as one subscriber after another.
fn turns(
    n: u64,
    subscribers: usize,
    mut send: impl FnMut(u64),
    mut recv: impl FnMut(usize),
) -> Duration {
    let batches = n.div_ceil(BATCH);
    let start = Instant::now();
    for _ in 0..batches {
        (0..BATCH).for_each(&mut send);
        (0..subscribers).for_each(&mut recv);
    }
    // For n items, although whole batches were sent.
    start.elapsed().mul_f64(n as f64 / (batches * BATCH) as f64)
}

/// Receives a batch by one call, as each subscriber.
fn recv_batch(all: &mut [BroadcastSubscriber<u64>], batch: &mut Vec<u64>, id: usize) {
    batch.clear();
    black_box(all[id].try_recv_batch(batch, BATCH as usize).unwrap());
}

/// One thread sends and receives in turns: the cost of the operations without waiting. The oldest
/// item would be overwritten, but no item is missed.
fn overwriting(subscribers: usize) {
    let ours = |rule| {
        let sender = broadcast(CAPACITY, rule);
        let all: Vec<_> = (0..subscribers).map(|_| sender.subscribe()).collect();
        (sender, all)
    };
    let (sender, mut all) = ours(BroadcastOverflow::OverwriteOldest);
    let (batch_sender, mut batch_all) = ours(BroadcastOverflow::OverwriteOldest);
    let mut batch = Vec::with_capacity(BATCH as usize);
    let (tokio, receiver) = tokio::sync::broadcast::channel(CAPACITY);
    let mut tokios: Vec<_> = (0..subscribers).map(|_| tokio.subscribe()).collect();
    drop(receiver);
    let (mut asyncs, receiver) = async_broadcast::broadcast(CAPACITY);
    asyncs.set_overflow(true);
    let mut receivers = vec![receiver; subscribers];
    Race::new(format!("overwriting, {subscribers} subscribers, one thread"))
        .lap("mainstay", |n| {
            turns(
                n,
                subscribers,
                |i| sender.try_send(i).unwrap(),
                |id| {
                    for _ in 0..BATCH {
                        black_box(all[id].try_recv().unwrap());
                    }
                },
            )
        })
        .lap("mainstay, batches", |n| {
            turns(
                n,
                subscribers,
                |i| batch_sender.try_send(i).unwrap(),
                |id| {
                    recv_batch(&mut batch_all, &mut batch, id);
                },
            )
        })
        .lap("tokio", |n| {
            turns(
                n,
                subscribers,
                |i| assert!(tokio.send(i).is_ok()),
                |id| {
                    for _ in 0..BATCH {
                        black_box(tokios[id].try_recv().unwrap());
                    }
                },
            )
        })
        .lap("async-broadcast", |n| {
            turns(
                n,
                subscribers,
                |i| assert!(asyncs.try_broadcast(i).is_ok()),
                |id| {
                    for _ in 0..BATCH {
                        black_box(receivers[id].try_recv().unwrap());
                    }
                },
            )
        })
        .run();
}

/// The same with broadcasts that wait for the slowest subscriber.
fn waiting(subscribers: usize) {
    let sender = broadcast(CAPACITY, BroadcastOverflow::WaitForSlowest);
    let mut all: Vec<_> = (0..subscribers).map(|_| sender.subscribe()).collect();
    let batch_sender = broadcast(CAPACITY, BroadcastOverflow::WaitForSlowest);
    let mut batch_all: Vec<_> = (0..subscribers).map(|_| batch_sender.subscribe()).collect();
    let mut batch = Vec::with_capacity(BATCH as usize);
    let mut bus = bus::Bus::new(CAPACITY);
    let mut readers: Vec<_> = (0..subscribers).map(|_| bus.add_rx()).collect();
    let (asyncs, receiver) = async_broadcast::broadcast(CAPACITY);
    let mut receivers = vec![receiver; subscribers];
    Race::new(format!("waiting for the slowest, {subscribers} subscribers, one thread"))
        .lap("mainstay", |n| {
            turns(
                n,
                subscribers,
                |i| sender.try_send(i).unwrap(),
                |id| {
                    for _ in 0..BATCH {
                        black_box(all[id].try_recv().unwrap());
                    }
                },
            )
        })
        .lap("mainstay, batches", |n| {
            turns(
                n,
                subscribers,
                |i| batch_sender.try_send(i).unwrap(),
                |id| {
                    recv_batch(&mut batch_all, &mut batch, id);
                },
            )
        })
        .lap("bus", |n| {
            turns(
                n,
                subscribers,
                |i| bus.try_broadcast(i).unwrap(),
                |id| {
                    for _ in 0..BATCH {
                        black_box(readers[id].try_recv().unwrap());
                    }
                },
            )
        })
        .lap("async-broadcast", |n| {
            turns(
                n,
                subscribers,
                |i| assert!(asyncs.try_broadcast(i).is_ok()),
                |id| {
                    for _ in 0..BATCH {
                        black_box(receivers[id].try_recv().unwrap());
                    }
                },
            )
        })
        .run();
}

/// A task per subscriber, and one that sends batches and yields: with the wake-ups.
fn tasks(subscribers: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    macro_rules! feed {
        ($n:ident, $sender:ident, $subscribe:expr, $recv:ident => $received:expr,
            $i:ident => $send:expr) => {
            runtime.block_on(async {
                let batches = $n.div_ceil(BATCH);
                let tasks: Vec<_> = (0..subscribers)
                    .map(|_| {
                        let mut $recv = $subscribe;
                        tokio::spawn(async move {
                            for _ in 0..batches * BATCH {
                                black_box($received);
                            }
                        })
                    })
                    .collect();
                let $sender = $sender.clone();
                let start = Instant::now();
                // A task of its own takes turns with all others.
                let sending = tokio::spawn(async move {
                    for _ in 0..batches {
                        for $i in 0..BATCH {
                            $send;
                        }
                        tokio::task::yield_now().await;
                    }
                });
                sending.await.unwrap();
                for task in tasks {
                    task.await.unwrap();
                }
                start.elapsed().mul_f64($n as f64 / (batches * BATCH) as f64)
            })
        };
    }
    let overwriting = broadcast(CAPACITY, BroadcastOverflow::OverwriteOldest);
    let waiting = broadcast(CAPACITY, BroadcastOverflow::WaitForSlowest);
    let (tokio, _) = tokio::sync::broadcast::channel(CAPACITY);
    let (asyncs, receiver) = async_broadcast::broadcast(CAPACITY);
    let receiver = receiver.deactivate();
    Race::new(format!("{subscribers} subscribers, a task each"))
        .lap("mainstay, overwriting", |n| {
            feed!(n, overwriting, overwriting.subscribe(), each => each.recv().await.unwrap(),
                i => overwriting.send(i).await.unwrap())
        })
        .lap("mainstay, waiting", |n| {
            feed!(n, waiting, waiting.subscribe(), each => each.recv().await.unwrap(),
                i => waiting.send(i).await.unwrap())
        })
        .lap("tokio", |n| {
            feed!(n, tokio, tokio.subscribe(), each => each.recv().await.unwrap(),
                i => assert!(tokio.send(i).is_ok()))
        })
        .lap("async-broadcast", |n| {
            feed!(n, asyncs, receiver.activate_cloned(), each => each.recv().await.unwrap(),
                i => assert!(asyncs.broadcast_direct(i).await.is_ok()))
        })
        .run();
}

/// A thread per subscriber, and one that sends. All of them wait for the slowest subscriber.
fn threads(subscribers: usize) {
    fn race<R: Send>(
        n: u64,
        receivers: Vec<R>,
        mut send: impl FnMut(u64),
        recv: impl Fn(&mut R) + Sync,
    ) -> Duration {
        let gate = Barrier::new(receivers.len() + 1);
        std::thread::scope(|scope| {
            for mut receiver in receivers {
                let (gate, recv) = (&gate, &recv);
                scope.spawn(move || {
                    gate.wait();
                    (0..n).for_each(|_| recv(&mut receiver));
                });
            }
            gate.wait();
            let start = Instant::now();
            (0..n).for_each(&mut send);
            start.elapsed()
        })
    }
    Race::new(format!("{subscribers} subscribers, a thread each, waiting for the slowest"))
        .lap("mainstay", |n| {
            let sender = broadcast(CAPACITY, BroadcastOverflow::WaitForSlowest);
            let all = (0..subscribers).map(|_| sender.subscribe()).collect();
            race(
                n,
                all,
                |i| sender.send_blocking(i).unwrap(),
                |each: &mut BroadcastSubscriber<_>| {
                    black_box(each.recv_blocking().unwrap());
                },
            )
        })
        .lap("bus", |n| {
            let mut bus = bus::Bus::new(CAPACITY);
            let all = (0..subscribers).map(|_| bus.add_rx()).collect();
            race(
                n,
                all,
                |i| bus.broadcast(i),
                |each: &mut bus::BusReader<u64>| {
                    black_box(each.recv().unwrap());
                },
            )
        })
        .lap("async-broadcast", |n| {
            let (asyncs, receiver) = async_broadcast::broadcast(CAPACITY);
            let all = vec![receiver; subscribers];
            race(
                n,
                all,
                |i| assert!(asyncs.broadcast_blocking(i).is_ok()),
                |each: &mut async_broadcast::Receiver<u64>| {
                    black_box(each.recv_blocking().unwrap());
                },
            )
        })
        .run();
}
