//! Every job runs once or is reported once, whatever happens at the same time: submitting by every
//! method, from outside and from jobs, cancelling, panicking, resizing, shutting down. No thread is
//! left behind.
//!
//! A program instead of a `#[test]`, so that ThreadSanitizer can check it.
//!
//! ```text
//! TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp" \
//! RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!     cargo +nightly test --test worker_pool_stress --target x86_64-unknown-linux-gnu
//! ```

use mainstay::worker_pool::{
    JobError, JobHandle, JobPriority, OverflowRule, SubmitError, WorkerPool, WorkerPoolShutdown,
};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const SUBMITTERS: usize = 3;
const JOBS: usize = 3_000;

/// The outcome of each job. The closure records that it ran and that it was dropped; the submitter
/// records the rest.
struct Ledger {
    ran: Vec<AtomicU8>,
    dropped: Vec<AtomicU8>,
    /// An error reported that the job did not run.
    reported: Vec<AtomicU8>,
    /// The job had a handle, which was joined.
    joined: Vec<AtomicU8>,
    next: AtomicUsize,
}

/// Captured by each job's closure; records when it is dropped.
struct Capture(&'static Ledger, usize);

impl Capture {
    fn run(&self) {
        assert_eq!(
            self.0.ran[self.1].fetch_add(1, Ordering::Relaxed),
            0,
            "job {} ran twice",
            self.1
        );
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        assert_eq!(
            self.0.dropped[self.1].fetch_add(1, Ordering::Relaxed),
            0,
            "job {} dropped twice",
            self.1
        );
    }
}

impl Ledger {
    fn new(jobs: usize) -> &'static Self {
        let zeros = || (0..jobs).map(|_| AtomicU8::new(0)).collect();
        let next = AtomicUsize::new(0);
        Box::leak(Box::new(Self {
            ran: zeros(),
            dropped: zeros(),
            reported: zeros(),
            joined: zeros(),
            next,
        }))
    }

    fn capture(&'static self) -> Capture {
        Capture(self, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn count(counts: &[AtomicU8]) -> usize {
        counts.iter().filter(|count| count.load(Ordering::Relaxed) > 0).count()
    }
}

/// The counts of the submitters.
#[derive(Default)]
struct Known {
    submitted: AtomicUsize,
    /// Results of handles.
    results: AtomicUsize,
    panicked: AtomicUsize,
    not_run: AtomicUsize,
    /// Errors of maps.
    errors: AtomicUsize,
}

impl Known {
    fn add(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn submitted<F>(&self, ledger: &Ledger, job: usize, result: Result<(), SubmitError<F>>) {
        Self::add(&self.submitted);
        if let Err(error) = result {
            ledger.reported[job].fetch_add(1, Ordering::Relaxed);
            drop(error.into_job());
        }
    }

    #[allow(clippy::needless_pass_by_value)] // The caller is done with it.
    fn joined(&self, ledger: &Ledger, job: usize, result: Result<usize, JobError>) {
        ledger.joined[job].fetch_add(1, Ordering::Relaxed);
        Self::add(match result {
            Ok(_) => &self.results,
            Err(JobError::Panicked(_)) => &self.panicked,
            Err(_) => {
                ledger.reported[job].fetch_add(1, Ordering::Relaxed);
                &self.not_run
            }
        });
    }
}

fn submit(pool: &WorkerPool, ledger: &'static Ledger, known: &'static Known, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut handles: Vec<(usize, JobHandle<usize>)> = Vec::new();
    for _ in 0..JOBS {
        let capture = ledger.capture();
        let number = capture.1;
        let plain = move || capture.run();
        let priority =
            [JobPriority::High, JobPriority::Normal, JobPriority::Low][random.usize(..3)];
        let view = pool.priority(priority);
        match random.usize(..12) {
            0 => known.submitted(ledger, number, view.try_submit(plain)),
            1 => known.submitted(ledger, number, view.submit_blocking(plain)),
            2 => known.submitted(
                ledger,
                number,
                view.submit_blocking_timeout(plain, Duration::from_micros(50)),
            ),
            3 => known.submitted(
                ledger,
                number,
                view.start_timeout(Duration::from_micros(20)).execute(plain),
            ),
            4 => known.submitted(
                ledger,
                number,
                view.execute(move || {
                    plain();
                    resume_unwind(Box::new("storm"));
                }),
            ),
            5 => {
                // Too large for a slot of the queue.
                let large = [seed; 20];
                known.submitted(
                    ledger,
                    number,
                    view.execute(move || {
                        assert_eq!(large[19], seed);
                        plain();
                    }),
                );
            }
            6 => {
                // A job that submits a job and waits for it.
                let inner = pool.clone();
                let nested = ledger.capture();
                let nested_number = nested.1;
                known.submitted(
                    ledger,
                    number,
                    view.execute(move || {
                        plain();
                        let job = inner.spawn_blocking(move || {
                            nested.run();
                            0
                        });
                        match job {
                            Ok(job) => {
                                Known::add(&known.submitted);
                                known.joined(ledger, nested_number, job.join_blocking());
                            }
                            Err(error) => known.submitted(ledger, nested_number, Err(error)),
                        }
                    }),
                );
            }
            7 => {
                let mut done = 0;
                pool.scope(|scope| {
                    scope.spawn(plain);
                    scope.spawn(|| done += 1);
                });
                assert_eq!(done, 1);
                Known::add(&known.submitted);
            }
            8 => {
                let mut map = pool.map([plain], |plain| plain());
                if let Some(Err(_)) = map.next() {
                    Known::add(&known.errors);
                }
                Known::add(&known.submitted);
            }
            kind => {
                let job = move || {
                    plain();
                    if kind == 9 {
                        resume_unwind(Box::new("storm"));
                    }
                    kind
                };
                let spawned =
                    if kind == 10 { view.spawn_blocking(job) } else { view.try_spawn(job) };
                match spawned {
                    Ok(job) => {
                        Known::add(&known.submitted);
                        handles.push((number, job));
                    }
                    Err(error) => known.submitted(ledger, number, Err(error)),
                }
            }
        }
        match random.usize(..200) {
            0 => pool.resize(1 + random.usize(..4)).unwrap(),
            1 => pool.resize(1..=1 + random.usize(..4)).unwrap(),
            2..40 if !handles.is_empty() => {
                let (number, job) = handles.swap_remove(random.usize(..handles.len()));
                job.cancel();
                known.joined(ledger, number, job.join_blocking());
            }
            40..60 if !handles.is_empty() => {
                let (number, job) = handles.swap_remove(random.usize(..handles.len()));
                known.joined(ledger, number, job.join_blocking());
            }
            _ => {}
        }
    }
    handles.into_iter().for_each(|(number, job)| known.joined(ledger, number, job.join_blocking()));
}

/// The number of pool threads that the system lists, where it lists any.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("stress-")).count()
}

fn stress(
    workers: std::ops::RangeInclusive<usize>,
    capacity: usize,
    rule: OverflowRule,
    early_end: bool,
) {
    let ledger = Ledger::new(2 * SUBMITTERS * JOBS);
    let known: &'static Known = Box::leak(Box::default());
    let pool = WorkerPool::builder()
        .name("stress")
        .workers(workers.clone())
        .idle_timeout(Duration::from_micros(200))
        .queue_capacity(capacity)
        .when_full(rule);
    let pool = if capacity.is_multiple_of(2) { pool.priorities() } else { pool };
    let pool = pool.build().unwrap();
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|seed| {
            let pool = pool.clone();
            thread::spawn(move || submit(&pool, ledger, known, seed as u64))
        })
        .collect();
    if early_end {
        while ledger.next.load(Ordering::Relaxed) < SUBMITTERS * JOBS / 2 {
            thread::yield_now();
        }
        // Half of the jobs handed back are run here, the others dropped.
        let report = pool.shutdown(WorkerPoolShutdown::cancel());
        report
            .unrun_jobs
            .into_iter()
            .enumerate()
            .filter(|(n, _)| n % 2 == 0)
            .for_each(|(_, job)| job.run());
    }
    for submitter in submitters {
        submitter.join().unwrap();
    }
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!((report.running, report.queued, report.unrun_jobs.len()), (0, 0, 0));
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.workers, 0);
    drop(pool);

    let made = ledger.next.load(Ordering::Relaxed);
    let ran = Ledger::count(&ledger.ran);
    assert_eq!(Ledger::count(&ledger.dropped), made, "each job's captures are dropped");
    assert!(ran <= made);
    let [joined, panicked, not_run] = [&known.results, &known.panicked, &known.not_run]
        .map(|count| count.load(Ordering::Relaxed));
    println!(
        "{workers:?} workers, capacity {capacity:>4}, {rule:?}: {made} jobs, {ran} ran; handles: \
         {joined} results, {panicked} panics, {not_run} not run; {snapshot:?}"
    );
    // No job ran twice, or ran although an error reported that it did not.
    for job in 0..made {
        let [ran, reported, joined] = [&ledger.ran, &ledger.reported, &ledger.joined]
            .map(|counts| counts[job].load(Ordering::Relaxed));
        assert!(ran + reported <= 1, "job {job} ran and was reported not to have, or twice");
        assert!(joined == 0 || ran + reported == 1, "job {job} was lost");
    }
    // The pool has counted all jobs that were submitted and did not run.
    let not_run = known.submitted.load(Ordering::Relaxed) - ran;
    let counted = (snapshot.rejected + snapshot.cancelled + snapshot.expired) as usize;
    if early_end || rule == OverflowRule::DropOldest {
        // The counters include tickets of scopes and maps, whose jobs may have run.
        assert!(
            not_run <= counted + known.errors.load(Ordering::Relaxed),
            "{not_run} of {counted}"
        );
    } else {
        assert_eq!(not_run, counted);
    }
    // The system may list a thread for a while after it was joined.
    let left = (0..100_000).map(|_| threads()).find(|left| *left == 0);
    assert_eq!(left, Some(0), "a thread is still running");
}

/// While there are always fewer unfinished jobs than the queue can hold, none is evicted, even
/// if a worker is preempted while it takes a job from the queue.
fn no_job_is_evicted_from_a_queue_that_is_not_full() {
    const CAPACITY: usize = 8;
    let pool = WorkerPool::builder()
        .workers(6)
        .queue_capacity(CAPACITY)
        .when_full(OverflowRule::DropOldest);
    let pool = pool.build().unwrap();
    let open: &AtomicUsize = Box::leak(Box::default());
    for _ in 0..200_000 {
        while open.load(Ordering::Acquire) >= CAPACITY - 1 {
            thread::yield_now();
        }
        open.fetch_add(1, Ordering::Relaxed);
        let end = CountDown(open);
        pool.execute(move || drop(end)).unwrap();
    }
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!((report.completed, pool.snapshot().rejected), (200_000, 0));
}

/// Decrements the counter when dropped.
struct CountDown(&'static AtomicUsize);

impl Drop for CountDown {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn main() {
    no_job_is_evicted_from_a_queue_that_is_not_full();
    for early_end in [false, true] {
        stress(2..=2, 64, OverflowRule::Reject, early_end);
        stress(1..=1, 1, OverflowRule::Block, early_end);
        stress(1..=4, 8, OverflowRule::CallerRuns, early_end);
        stress(3..=3, 3, OverflowRule::DropOldest, early_end);
        stress(1..=2, 7, OverflowRule::Reject, early_end);
    }
    println!("all jobs are accounted for");
}
