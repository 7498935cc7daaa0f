//! A change data capture (CDC) feed that one batcher sends to a TCP sink, which turns slow, stalls,
//! loses answers and recovers.
//!
//! Eight partitions of the feed produce changes at a constant rate, and each has up to 512 changes
//! in flight. For each phase, the scenario prints the rate, the batch sizes, the longest queue and
//! the largest lag, and a graph of the lag. It fails if a change is lost, stored twice or stored
//! out of the order of its partition.
//!
//! ```text
//! cargo run --release --example cdc_batcher -- [--phase-ms N]
//! ```

use futures::stream::{FuturesOrdered, StreamExt};
use mainstay::batch::{Batch, Batcher};
use mainstay::{Backoff, Error, Pipeline, Retry};
use std::collections::HashSet;
use std::future::ready;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PARTITIONS: usize = 8;
const WINDOW: usize = 512;
/// Changes per partition in each interval of 10 ms.
const BURST: u64 = 25;

/// The phases of the scenario, and the mode of the sink in each.
const PHASES: [(&str, Mode); 5] = [
    ("fast", Mode::Fast),
    ("slow", Mode::Slow),
    ("stalls", Mode::Stall),
    ("loses answers", Mode::LoseAnswers),
    ("recovered", Mode::Fast),
];

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// Stores a batch in 5 ms.
    Fast,
    /// Stores a batch in 100 ms.
    Slow,
    /// Stores a batch in 1.2 s.
    Stall,
    /// Stores a batch in 5 ms, and closes the connection without an answer after every third batch.
    LoseAnswers,
}

#[derive(Clone, Copy)]
struct Change {
    partition: usize,
    sequence: u64,
}

/// The sink: stores each key once.
#[derive(Default)]
struct Sink {
    mode: AtomicU8,
    stored: Mutex<Stored>,
}

#[derive(Default)]
struct Stored {
    keys: HashSet<String>,
    /// The next sequence number of each partition.
    next: [u64; PARTITIONS],
    /// The number of changes that were sent again after a lost answer, and were ignored.
    repeated: u64,
    batches: u64,
}

impl Sink {
    fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, SeqCst);
    }

    fn is(&self, mode: Mode) -> bool {
        self.mode.load(SeqCst) == mode as u8
    }

    fn listen(self: Arc<Self>, listener: TcpListener) {
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = self.serve(stream); // the batcher has one connection at a time
            }
        });
    }

    /// Reads lines of a key, a partition and a sequence number. An empty line ends a batch.
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut batch = Vec::new();
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?;
            if !line.is_empty() {
                batch.push(line);
                continue;
            }
            let millis = match () {
                () if self.is(Mode::Slow) => 100,
                () if self.is(Mode::Stall) => 1200,
                () => 5,
            };
            thread::sleep(Duration::from_millis(millis));
            let count = self.store(batch.drain(..));
            if self.is(Mode::LoseAnswers) && count.is_multiple_of(3) {
                return Ok(());
            }
            stream.write_all(b"ok\n")?;
        }
        Ok(())
    }

    /// Stores a batch. Returns the number of batches so far.
    fn store(&self, batch: impl Iterator<Item = String>) -> u64 {
        let mut stored = self.stored.lock().expect("no panic");
        for line in batch {
            let fields: Vec<&str> = line.split(' ').collect();
            if !stored.keys.insert(fields[0].to_owned()) {
                stored.repeated += 1;
                continue;
            }
            let partition: usize = fields[1].parse().expect("a partition");
            let sequence: u64 = fields[2].parse().expect("a sequence number");
            assert_eq!(sequence, stored.next[partition], "lost, stored twice or out of order");
            stored.next[partition] += 1;
        }
        stored.batches += 1;
        stored.batches
    }
}

/// The client of the sink. A lost answer is an error, after which the batch is sent again with the
/// same keys.
struct Client {
    address: SocketAddr,
    connection: Mutex<Option<BufReader<TcpStream>>>,
}

impl Client {
    fn send(&self, text: &str) -> io::Result<()> {
        let mut slot = self.connection.lock().expect("no panic");
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(self.address)?),
        };
        connection.get_mut().write_all(text.as_bytes())?;
        match connection.read_line(&mut String::new())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {
                *slot = Some(connection);
                Ok(())
            }
        }
    }
}

type Feed = Batcher<Change, (), String>;

/// Produces changes until `stop`, then waits for all answers. Returns the number of changes.
async fn produce(batcher: Feed, partition: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut calls, mut sequence) = (FuturesOrdered::new(), 0);
    let answered = |answer: Option<Result<(), Error<String>>>| {
        answer.expect("a call is in flight").expect("no change is lost");
    };
    while !stop.load(SeqCst) {
        for _ in 0..BURST {
            if calls.len() == WINDOW {
                answered(calls.next().await);
            }
            let (batcher, change) = (batcher.clone(), Change { partition, sequence });
            calls.push_back(async move { batcher.call(change).await });
            sequence += 1;
        }
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => break,
                answer = calls.next(), if !calls.is_empty() => answered(answer),
            }
        }
    }
    while !calls.is_empty() {
        answered(calls.next().await);
    }
    sequence
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let phase = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Duration::from_millis(2500),
        ["--phase-ms", ms] => Duration::from_millis(ms.parse()?),
        _ => {
            println!("usage: cdc_batcher [--phase-ms N]   (default 2500)");
            return Ok(());
        }
    };
    let (sink, listener) = (Arc::new(Sink::default()), TcpListener::bind("127.0.0.1:0")?);
    let address = listener.local_addr()?;
    Arc::clone(&sink).listen(listener);

    let client = Client { address, connection: Mutex::default() };
    let sizes = Arc::new(AtomicU64::new(0));
    let largest = Arc::clone(&sizes);
    let retry = Retry::builder().max_attempts(10).backoff(Backoff::constant(phase / 100));
    let pipeline = Pipeline::builder().retry(retry.build()?).build();
    let batcher: Feed = Batcher::builder(move |batch: Batch<Change>| {
        largest.fetch_max(batch.len() as u64, SeqCst);
        let line = |(change, key): (&Change, u128)| {
            format!("{key:x} {} {}\n", change.partition, change.sequence)
        };
        let text = batch.iter().zip(batch.keys()).map(line).collect::<String>() + "\n";
        let sent = pipeline.call_blocking(|| client.send(&text));
        ready(sent.map(|()| vec![(); batch.len()]).map_err(|error| error.to_string()))
    })
    .name("sink")
    .max_queue(2048)
    .max_lag(Duration::from_millis(500))
    .build()?;
    // The operation blocks, so it runs on a thread of its own.
    let runner = thread::spawn({
        let batcher = batcher.clone();
        move || batcher.run_blocking()
    });

    let stop = Arc::new(AtomicBool::new(false));
    let feeds: Vec<_> = (0..PARTITIONS)
        .map(|partition| tokio::spawn(produce(batcher.clone(), partition, Arc::clone(&stop))))
        .collect();
    println!("{PARTITIONS} partitions, {} changes/s, at most 512 a batch", BURST * 800);
    println!(
        "{:<14} {:>9} {:>8} {:>9} {:>8} {:>7} {:>9} {:>9}",
        "sink", "changes/s", "batches", "mean size", "largest", "queued", "waiting", "lag"
    );
    for (name, mode) in PHASES {
        sink.set(mode);
        let (before, start) = (batcher.snapshot(), Instant::now());
        let (mut queued, mut waiting, mut lag) = (0, 0, Duration::ZERO);
        let mut picture = String::new();
        while start.elapsed() < phase {
            let mut recent = Duration::ZERO;
            for _ in 0..10 {
                tokio::time::sleep(phase / 400).await;
                let now = batcher.snapshot();
                (queued, waiting) = (now.queued.max(queued), now.waiting.max(waiting));
                recent = recent.max(now.lag);
            }
            lag = lag.max(recent);
            // One character per fortieth of the phase, for the largest lag in it. Each level
            // doubles the lag, from 8 ms.
            let level = (recent.as_millis() / 8).max(1).ilog2().min(7) as usize;
            picture.push(['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][level]);
        }
        let (after, elapsed) = (batcher.snapshot(), start.elapsed().as_secs_f64());
        let (items, batches) = (after.succeeded - before.succeeded, after.batches - before.batches);
        println!(
            "{name:<14} {:>9.0} {batches:>8} {:>9.0} {:>8} {queued:>7} {waiting:>9} {lag:>9.0?}",
            items as f64 / elapsed,
            items as f64 / batches.max(1) as f64,
            sizes.swap(0, SeqCst),
        );
        println!("{:<14} lag {picture}", "");
    }
    stop.store(true, SeqCst);
    let mut produced = Vec::new();
    for feed in feeds {
        produced.push(feed.await?);
    }
    let report = batcher.drain_timeout(Duration::from_secs(10)).await;
    runner.join().expect("no panic");
    let stored = sink.stored.lock().expect("no panic");
    println!(
        "{} changes, {} sent again and ignored; {report:?}",
        stored.keys.len(),
        stored.repeated
    );
    assert_eq!(stored.next.to_vec(), produced, "nothing is lost");
    assert!(report.is_complete());
    Ok(())
}
