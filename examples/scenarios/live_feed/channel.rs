//! Many producers on one channel: a rule decides what happens when the consumers cannot keep up.
//!
//! `wait` slows the producers down to the rate of the consumers and loses nothing; `reject` drops
//! the newest update; `drop-oldest` evicts the oldest.

use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mainstay::ring::{ForcePushError, PushError, Receiver, Sender, channel};

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 2;
const CAPACITY: usize = 1024;
const BATCH: usize = 64;

#[derive(Clone, Copy)]
pub(crate) enum FullRule {
    Wait,
    Reject,
    DropOldest,
}

struct Update {
    created: Instant,
    price: u64,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    received: AtomicU64,
}

fn produce(feed: &Sender<Update>, when_full: FullRule, counts: &Counts, stop: &AtomicBool) {
    let mut price = 100;
    while !stop.load(Ordering::Relaxed) {
        price = price * 31 % 1009;
        let mut update = Update { created: Instant::now(), price };
        let lost = match when_full {
            FullRule::Wait => {
                if feed.send_blocking(update).is_err() {
                    return;
                }
                0
            }
            FullRule::Reject => loop {
                match feed.try_send(update) {
                    Ok(()) => break 0,
                    Err(PushError::Full(_)) => break 1,
                    Err(PushError::Closed(_)) => return,
                    // Another thread is between claiming a slot and filling or emptying it.
                    Err(PushError::Busy(again)) => update = again,
                }
                thread::yield_now();
            },
            FullRule::DropOldest => loop {
                match feed.force_send(update) {
                    Ok(evicted) => break u64::from(evicted.is_some()),
                    Err(ForcePushError::Closed(_)) => return,
                    Err(ForcePushError::Busy(again)) => update = again,
                }
                thread::yield_now();
            },
        };
        counts.sent.fetch_add(1, Ordering::Relaxed);
        counts.dropped.fetch_add(lost, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Consumed {
    batches: u64,
    full_batches: u64,
    delays: Vec<Duration>,
}

fn consume(feed: &Receiver<Update>, work: u64, counts: &Counts) -> Consumed {
    let mut consumed = Consumed::default();
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(count) = feed.recv_batch_blocking(&mut batch, BATCH) {
        consumed.batches += 1;
        consumed.full_batches += u64::from(count == BATCH);
        // One clock reading per batch, for its oldest update.
        consumed.delays.push(batch[0].created.elapsed());
        for update in batch.drain(..) {
            black_box((0..work).fold(update.price, |price, i| black_box(price.rotate_left(5) ^ i)));
        }
        counts.received.fetch_add(count as u64, Ordering::Relaxed);
    }
    consumed
}

/// Runs the feed. `work` is the number of rounds of arithmetic that a consumer spends on an update.
pub(crate) fn run(name: &str, when_full: FullRule, milliseconds: u64, work: u64) {
    println!("{PRODUCERS} producers, {CONSUMERS} consumers, ring of {CAPACITY}, when full: {name}");

    let (sender, receiver) = channel(CAPACITY);
    let counts = Counts::default();
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let consumed: Vec<Consumed> = thread::scope(|scope| {
        for sender in vec![sender; PRODUCERS] {
            let (counts, stop) = (&counts, &stop);
            scope.spawn(move || produce(&sender, when_full, counts, stop));
        }
        let consumers: Vec<_> = vec![receiver.clone(); CONSUMERS]
            .into_iter()
            .map(|receiver| {
                let counts = &counts;
                scope.spawn(move || consume(&receiver, work, counts))
            })
            .collect();
        let end = start + Duration::from_millis(milliseconds);
        while let Some(left) =
            end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            thread::sleep(left.min(Duration::from_millis(100)));
            let received = counts.received.load(Ordering::Relaxed);
            let dropped = counts.dropped.load(Ordering::Relaxed);
            print!("\r{received:>12} received {dropped:>12} dropped {:>6} queued", receiver.len());
            let _ = std::io::stdout().flush();
        }
        stop.store(true, Ordering::Relaxed);
        // The channel is closed when the last producer ends; the consumers drain it and return.
        consumers
            .into_iter()
            .map(|consumer| consumer.join().expect("consumers do not panic"))
            .collect()
    });

    let elapsed = start.elapsed();
    let [sent, dropped, received] = [&counts.sent, &counts.dropped, &counts.received]
        .map(|count| count.load(Ordering::Relaxed));
    assert_eq!(sent, dropped + received, "every update is accounted for");
    let mut delays: Vec<Duration> =
        consumed.iter().flat_map(|consumed| consumed.delays.iter().copied()).collect();
    delays.sort_unstable();
    let batches: u64 = consumed.iter().map(|consumed| consumed.batches).sum();
    let full: u64 = consumed.iter().map(|consumed| consumed.full_batches).sum();
    let quantile =
        |q: f64| delays.get((delays.len() as f64 * q) as usize).copied().unwrap_or_default();
    println!(
        "\n  throughput  {:.2} million updates per second",
        received as f64 / elapsed.as_secs_f64() / 1e6
    );
    println!("  dropped     {:.1} %", 100.0 * dropped as f64 / sent.max(1) as f64);
    println!(
        "  batches     {:.1} updates on average, {full} of {batches} full",
        received as f64 / batches.max(1) as f64
    );
    println!(
        "  delay       {:?} median, {:?} 99 %, of the oldest in a batch",
        quantile(0.5),
        quantile(0.99)
    );
}
