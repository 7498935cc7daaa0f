//! Comparisons in interleaved rounds: the contestants run one after another, round after round, in
//! one process, so that a slow phase of the machine affects all of them. Compare the ratios of the
//! medians.
//!
//! ```text
//! cargo run --release --bin breaker          # one binary per primitive
//! cargo build --release --bins && cargo run --release --bin summary    # one table of all
//! cargo run --release --bin growth            # the picture of the performance guide
//! ```

pub mod chart;

use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;

/// The environment variable that lists the titles of the tables to run, one per line. Without it,
/// all tables are run.
pub const ONLY: &str = "PEERS_ONLY";
const ROUND_TIME: Duration = Duration::from_millis(40);

type Lap<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// One table: a title and its contestants.
pub struct Race<'a> {
    title: String,
    unit: &'static str,
    contestants: Vec<(String, Lap<'a>)>,
}

impl<'a> Race<'a> {
    /// Creates an empty table whose figures are nanoseconds per operation.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), unit: "ns/op", contestants: Vec::new() }
    }

    /// Adds a contestant that performs one operation per call.
    pub fn each(self, name: &str, mut op: impl FnMut() + 'a) -> Self {
        self.lap(name, move |n| {
            let start = Instant::now();
            for _ in 0..n {
                op();
            }
            start.elapsed()
        })
    }

    /// Adds a contestant that performs `n` operations on each of `threads` threads at once; the
    /// time is from the first start to the last end. Figures are nanoseconds per operation *of one
    /// thread*.
    pub fn threads(self, name: &str, threads: usize, op: impl Fn() + Sync + 'a) -> Self {
        self.lap(name, move |n| on_threads(threads, n, &op))
    }

    /// Adds a contestant that performs `n` operations and returns how long they took.
    pub fn lap(mut self, name: &str, lap: impl FnMut(u64) -> Duration + 'a) -> Self {
        self.contestants.push((name.to_owned(), Box::new(lap)));
        self
    }

    /// Runs the rounds and prints the table; ratios are relative to the first contestant.
    pub fn run(self) {
        if !is_selected(&self.title) {
            return;
        }
        let (title, unit) = (self.title.clone(), self.unit);
        let rows = self.times(ROUNDS);
        println!("\n{title} ({ROUNDS} interleaved rounds)");
        println!("  {:<34} {:>10} {:>10} {:>10} {:>8}", "", "median", "best", "worst", "ratio");
        let mut first = None;
        for (name, times) in rows {
            let (best, median, worst) = (times[0], times[ROUNDS / 2], times[ROUNDS - 1]);
            let base = *first.get_or_insert(median);
            println!(
                "  {name:<34} {median:>10.1} {best:>10.1} {worst:>10.1} {:>7.2}x  {unit}",
                median / base,
            );
        }
    }

    /// Runs `rounds` rounds and returns the median of each contestant.
    pub fn medians(self, rounds: usize) -> Vec<(String, f64)> {
        self.times(rounds).into_iter().map(|(name, times)| (name, times[rounds / 2])).collect()
    }

    /// Runs the rounds. Returns the figures of each contestant in ascending order.
    fn times(mut self, rounds: usize) -> Vec<(String, Vec<f64>)> {
        let counts: Vec<u64> = self.contestants.iter_mut().map(|(_, lap)| calibrate(lap)).collect();
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); counts.len()];
        for _ in 0..rounds {
            for (i, (_, lap)) in self.contestants.iter_mut().enumerate() {
                times[i].push(lap(counts[i]).as_nanos() as f64 / counts[i] as f64);
            }
        }
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        self.contestants.into_iter().map(|(name, _)| name).zip(times).collect()
    }
}

/// Returns whether the table with this title is to be run; see [`ONLY`].
pub fn is_selected(title: &str) -> bool {
    std::env::var(ONLY).map_or(true, |only| only.lines().any(|selected| selected == title))
}

/// Runs `n` operations on each of `threads` threads, which start together. Returns the time from
/// the first start to the last end.
pub fn on_threads(threads: usize, n: u64, op: &(impl Fn() + Sync)) -> Duration {
    let gate = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let run = || {
            gate.wait();
            let start = Instant::now();
            for _ in 0..n {
                op();
            }
            (start, Instant::now())
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = spans.iter().map(|span| span.0).min().unwrap();
    spans.iter().map(|span| span.1).max().unwrap() - start
}

fn calibrate(lap: &mut Lap<'_>) -> u64 {
    let mut n = 16;
    loop {
        let took = lap(n);
        if took >= ROUND_TIME / 4 || n >= 1 << 32 {
            let scale = ROUND_TIME.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return ((n as f64 * scale) as u64).max(1);
        }
        n *= 4;
    }
}

/// Returns the output of a future that is ready at its first poll.
///
/// # Panics
///
/// Panics if it is not ready.
pub fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}
