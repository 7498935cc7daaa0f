//! Compares worker pools: the cost of a job from its submission to its end.
//!
//! ```text
//! cargo run --release --bin worker_pool                 # all tables
//! cargo run --release --bin worker_pool throughput      # one table
//!
//! # The arguments of `futex` are a pool and the duration of a job in µs:
//! strace -fc -e futex target/release/worker_pool futex mainstay 20
//! ```
//!
//! The tables are `throughput`, `round-trip`, `idle` and `allocations`.
#![allow(unsafe_code)] // Implementing `GlobalAlloc` is unsafe.

use peers::{Race, on_threads};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The number of worker threads, for a machine with two processors.
const WORKERS: usize = 2;
/// The capacity of the queue of mainstay and of the channel. The other pools have no limit.
const CAPACITY: usize = 1024;

struct Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: all calls are forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if cfg!(feature = "count") {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A pool that runs jobs without a result. `submit` waits while the queue is full.
trait Pool: Sync {
    fn submit(&self, job: impl FnOnce() + Send + 'static);
}

struct Mainstay(mainstay::worker_pool::WorkerPool);

impl Mainstay {
    fn new() -> Self {
        Self(
            mainstay::worker_pool::WorkerPool::builder()
                .workers(WORKERS)
                .queue_capacity(CAPACITY)
                .build()
                .unwrap(),
        )
    }
}

impl Pool for Mainstay {
    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.0.submit_blocking(job).unwrap();
    }
}

/// A pool without a pool library: threads that receive boxed jobs from a channel.
struct Channel {
    sender: Option<crossbeam_channel::Sender<Box<dyn FnOnce() + Send>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Channel {
    fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded::<Box<dyn FnOnce() + Send>>(CAPACITY);
        let threads = (0..WORKERS).map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.into_iter().for_each(|job| job()))
        });
        Self { sender: Some(sender), threads: threads.collect() }
    }
}

impl Pool for Channel {
    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.sender.as_ref().unwrap().send(Box::new(job)).unwrap();
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.sender = None;
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

struct Rusty(rusty_pool::ThreadPool);

impl Rusty {
    fn new() -> Self {
        Self(rusty_pool::ThreadPool::new(WORKERS, WORKERS, Duration::from_secs(60)))
    }
}

impl Pool for Rusty {
    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.0.execute(job);
    }
}

/// The sender of this pool is not `Sync`. Programs usually clone it for each thread; here a lock
/// protects it.
struct ThreadPool(parking_lot::Mutex<threadpool::ThreadPool>);

impl ThreadPool {
    fn new() -> Self {
        Self(parking_lot::Mutex::new(threadpool::ThreadPool::new(WORKERS)))
    }
}

impl Pool for ThreadPool {
    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.0.lock().execute(job);
    }
}

struct Rayon(rayon::ThreadPool);

impl Rayon {
    fn new() -> Self {
        Self(rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build().unwrap())
    }
}

impl Pool for Rayon {
    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.0.spawn(job);
    }
}

struct Tokio(tokio::runtime::Runtime);

impl Tokio {
    fn new() -> Self {
        Self(
            tokio::runtime::Builder::new_current_thread()
                .max_blocking_threads(WORKERS)
                .build()
                .unwrap(),
        )
    }
}

impl Pool for Tokio {
    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.0.spawn_blocking(job);
    }
}

/// Keeps a processor busy for `spins` iterations.
#[inline(always)]
fn work(spins: u64) {
    for spin in 0..spins {
        black_box(spin);
    }
}

/// Measures the number of iterations in a microsecond.
fn spins_a_microsecond() -> f64 {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            work(1_000_000);
            1_000_000.0 / start.elapsed().as_secs_f64() / 1e6
        })
        .fold(0.0, f64::max)
}

/// Measures `n` jobs, from the first submission to the end of the last job.
fn throughput(pool: &impl Pool, submitters: usize, spins: u64, n: u64) -> Duration {
    // Leaked: cloning an `Arc` for each job would cost more than the job.
    let done: &'static Done = Box::leak(Box::default());
    let each = n / submitters as u64;
    let start = Instant::now();
    let submit = || {
        pool.submit(move || {
            work(spins);
            done.count();
        });
    };
    if submitters == 1 {
        (0..each).for_each(|_| submit());
    } else {
        on_threads(submitters, each, &submit);
    }
    done.wait(each * submitters as u64);
    start.elapsed()
}

/// Counters on separate cache lines for the threads: one counter would cost more than the jobs.
#[derive(Default)]
struct Done {
    counts: [Line; 16],
}

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Done {
    fn count(&self) {
        thread_local!(static LINE: usize = {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            NEXT.fetch_add(1, Ordering::Relaxed) as usize
        });
        let line = &self.counts[LINE.with(|line| line % 16)].0;
        // Two threads may share a line.
        line.fetch_add(1, Ordering::Release);
    }

    fn wait(&self, all: u64) {
        let mut polls = 0u32;
        while self.counts.iter().map(|line| line.0.load(Ordering::Acquire)).sum::<u64>() < all {
            polls += 1;
            if polls.is_multiple_of(64) {
                thread::yield_now();
            }
            spin_loop();
        }
    }
}

/// Submits a job and waits, spinning, until it has run.
fn there_and_back(pool: &impl Pool) {
    let done = Arc::new(AtomicU64::new(0));
    let there = Arc::clone(&done);
    pool.submit(move || there.store(1, Ordering::Release));
    while done.load(Ordering::Acquire) == 0 {
        spin_loop();
    }
}

/// Measures the time from submission to the start of a job, when all workers sleep.
///
/// Makes at most 200 starts, because the sleep before each takes a hundred times as long.
fn idle_to_start(pool: &impl Pool, n: u64) -> Duration {
    let starts = n.min(200);
    let mut sum = Duration::ZERO;
    for _ in 0..starts {
        thread::sleep(Duration::from_micros(300));
        let begun = Arc::new(AtomicU64::new(0));
        let there = Arc::clone(&begun);
        let start = Instant::now();
        pool.submit(move || there.store(start.elapsed().as_nanos() as u64, Ordering::Release));
        while begun.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        sum += Duration::from_nanos(begun.load(Ordering::Acquire));
    }
    sum.mul_f64(n as f64 / starts as f64)
}

fn throughputs() {
    let per_microsecond = spins_a_microsecond();
    for submitters in [1, 2] {
        for micros in [0.0, 0.2, 2.0, 20.0] {
            let spins = (micros * per_microsecond) as u64;
            let (ours, channel, rusty, threads, rayon, tokio) = (
                Mainstay::new(),
                Channel::new(),
                Rusty::new(),
                ThreadPool::new(),
                Rayon::new(),
                Tokio::new(),
            );
            Race::new(format!(
                "submit to done, {micros} µs of work a job, {submitters} submitting"
            ))
            .lap("mainstay", |n| throughput(&ours, submitters, spins, n))
            .lap("crossbeam-channel + threads", |n| throughput(&channel, submitters, spins, n))
            .lap("rusty_pool", |n| throughput(&rusty, submitters, spins, n))
            .lap("threadpool", |n| throughput(&threads, submitters, spins, n))
            .lap("rayon spawn", |n| throughput(&rayon, submitters, spins, n))
            .lap("tokio spawn_blocking", |n| throughput(&tokio, submitters, spins, n))
            .run();
        }
    }
}

fn round_trips() {
    let (ours, channel, rusty, threads, rayon, tokio) = (
        Mainstay::new(),
        Channel::new(),
        Rusty::new(),
        ThreadPool::new(),
        Rayon::new(),
        Tokio::new(),
    );
    Race::new("round trip: submit, and spin until it has run")
        .each("mainstay", || there_and_back(&ours))
        .each("crossbeam-channel + threads", || there_and_back(&channel))
        .each("rusty_pool", || there_and_back(&rusty))
        .each("threadpool", || there_and_back(&threads))
        .each("rayon spawn", || there_and_back(&rayon))
        .each("tokio spawn_blocking", || there_and_back(&tokio))
        .run();

    Race::new("with a result: submit, and block until it is there")
        .each("mainstay call_blocking", || assert_eq!(ours.0.call_blocking(|| 7).unwrap(), 7))
        .each("mainstay scope", || {
            let mut answer = 0;
            ours.0.scope(|scope| scope.spawn(|| answer = 7));
            assert_eq!(answer, 7);
        })
        .each("rusty_pool evaluate", || assert_eq!(rusty.0.evaluate(|| 7).await_complete(), 7))
        .each("rayon scope", || {
            let mut answer = 0;
            rayon.0.scope(|scope| scope.spawn(|_| answer = 7));
            assert_eq!(answer, 7);
        })
        .each("tokio spawn_blocking + join", || {
            assert_eq!(tokio.0.block_on(tokio.0.spawn_blocking(|| 7)).unwrap(), 7);
        })
        .run();
}

fn idle() {
    let (ours, channel, rusty, threads, rayon, tokio) = (
        Mainstay::new(),
        Channel::new(),
        Rusty::new(),
        ThreadPool::new(),
        Rayon::new(),
        Tokio::new(),
    );
    Race::new("idle to start: from submitting until the job begins, when all sleep")
        .lap("mainstay", |n| idle_to_start(&ours, n))
        .lap("crossbeam-channel + threads", |n| idle_to_start(&channel, n))
        .lap("rusty_pool", |n| idle_to_start(&rusty, n))
        .lap("threadpool", |n| idle_to_start(&threads, n))
        .lap("rayon spawn", |n| idle_to_start(&rayon, n))
        .lap("tokio spawn_blocking", |n| idle_to_start(&tokio, n))
        .run();
}

/// Needs `--features count`, which makes everything slower.
fn allocations() {
    fn count(name: &str, pool: &impl Pool) {
        const JOBS: u64 = 100_000;
        throughput(pool, 1, 0, JOBS);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        throughput(pool, 1, 0, JOBS);
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        println!(
            "  {name:<34} {:>10.3} allocations a job",
            (after - before - 1) as f64 / JOBS as f64
        );
    }
    assert!(cfg!(feature = "count"), "run it with `--features count`");
    println!("\nallocations for an empty job without a result");
    count("mainstay", &Mainstay::new());
    count("crossbeam-channel + threads", &Channel::new());
    count("rusty_pool", &Rusty::new());
    count("threadpool", &ThreadPool::new());
    count("rayon spawn", &Rayon::new());
    count("tokio spawn_blocking", &Tokio::new());
}

/// Runs 100,000 jobs, or the number in the fourth argument, on one pool, for `strace`.
fn futex(name: &str, micros: f64) {
    fn run(pool: &impl Pool, micros: f64) {
        throughput(
            pool,
            1,
            (micros * spins_a_microsecond()) as u64,
            std::env::args().nth(4).map_or(100_000, |n| n.parse().unwrap()),
        );
    }
    match name {
        "mainstay" => run(&Mainstay::new(), micros),
        "channel" => run(&Channel::new(), micros),
        "rusty" => run(&Rusty::new(), micros),
        "threadpool" => run(&ThreadPool::new(), micros),
        "rayon" => run(&Rayon::new(), micros),
        "tokio" => run(&Tokio::new(), micros),
        other => panic!("unknown pool {other}"),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("throughput") => throughputs(),
        Some("round-trip") => round_trips(),
        Some("idle") => idle(),
        Some("allocations") => allocations(),
        Some("futex") => futex(&args[1], args[2].parse().unwrap()),
        _ => {
            throughputs();
            round_trips();
            idle();
        }
    }
}
