//! One producer and thousands of subscribers on one ring. One subscriber in a hundred is slow.

use std::thread;
use std::time::{Duration, Instant};

use mainstay::ring::{
    BroadcastOverflow, BroadcastRecvError, BroadcastSender, BroadcastSubscriber, broadcast,
};

const CAPACITY: usize = 16;
/// The time between two updates.
const INTERVAL: Duration = Duration::from_millis(10);
/// The time that a slow subscriber spends on an update.
const SLOW: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Update {
    created: Instant,
    number: u64,
}

#[derive(Default)]
struct Counts {
    received: u64,
    missed: u64,
    delays: Vec<Duration>,
}

async fn receive(mut feed: BroadcastSubscriber<Update>, slow: bool) -> (bool, Counts) {
    let mut counts = Counts::default();
    loop {
        match feed.recv().await {
            Ok(update) => {
                assert_eq!(update.number, counts.received + counts.missed, "a gap");
                counts.received += 1;
                counts.delays.push(update.created.elapsed());
                if slow {
                    tokio::time::sleep(SLOW).await;
                }
            }
            Err(BroadcastRecvError::Missed(count)) => counts.missed += count,
            Err(BroadcastRecvError::Closed) => return (slow, counts),
        }
    }
}

/// Sends an update per interval, and returns their number and the time spent on sending.
fn produce(feed: &BroadcastSender<Update>, end: Instant) -> (u64, Duration) {
    let mut sending = Duration::ZERO;
    for number in 0.. {
        let created = Instant::now();
        if created >= end {
            return (number, sending);
        }
        feed.try_send(Update { created, number }).expect("there is one sender, and it is open");
        sending += created.elapsed();
        thread::sleep(INTERVAL.saturating_sub(created.elapsed()));
    }
    unreachable!("the feed ends")
}

/// Runs the feed.
pub(crate) fn run(milliseconds: u64, subscribers: usize) {
    println!("1 producer, {subscribers} subscribers, 1 % of them slow, ring of {CAPACITY}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build();
    let runtime = runtime.expect("the system has resources for a runtime");
    let feed = broadcast(CAPACITY, BroadcastOverflow::OverwriteOldest);
    let tasks: Vec<_> = (0..subscribers)
        .map(|id| runtime.spawn(receive(feed.subscribe(), id % 100 == 99)))
        .collect();
    let start = Instant::now();
    let (sent, sending) = produce(&feed, start + Duration::from_millis(milliseconds));
    drop(feed);
    let mut classes = [Counts::default(), Counts::default()];
    for task in tasks {
        let (slow, counts) = runtime.block_on(task).expect("subscribers do not panic");
        assert_eq!(counts.received + counts.missed, sent, "every update is accounted for");
        let class = &mut classes[usize::from(slow)];
        class.received += counts.received;
        class.missed += counts.missed;
        class.delays.extend(counts.delays);
    }
    println!(
        "  sent        {sent} updates, {:?} each, with the wake-ups of all subscribers",
        sending / u32::try_from(sent.max(1)).unwrap_or(u32::MAX)
    );
    for (name, mut class) in ["fast", "slow"].into_iter().zip(classes) {
        class.delays.sort_unstable();
        let quantile = |q: f64| {
            class.delays.get((class.delays.len() as f64 * q) as usize).copied().unwrap_or_default()
        };
        println!(
            "  {name}        {} received, {} missed, delay {:?} median, {:?} 99 %",
            class.received,
            class.missed,
            quantile(0.5),
            quantile(0.99)
        );
    }
}
