//! Scenario: a scheduler of periodic tasks on a worker pool. It starts tasks that are due, at most
//! a few at a time, with a deadline for their start; it retries failures, and shuts down gracefully
//! on Ctrl-C or at the end of its time: running tasks complete.

use mainstay::backoff::Backoff;
use mainstay::retry::Retry;
use mainstay::worker_pool::{JobError, JobHandle, WorkerPool, WorkerPoolShutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 3;
const SCAN: Duration = Duration::from_millis(10);

/// A periodic task.
struct Task {
    name: &'static str,
    interval: Duration,
    /// The maximum delay of a run; a later run is skipped in favor of the next one.
    max_delay: Duration,
    duration: Duration,
    /// One in `fails` attempts fails; 0 means none.
    fails: u32,
    attempts: AtomicU32,
}

impl Task {
    fn new(
        name: &'static str,
        interval: u64,
        max_delay: u64,
        duration: u64,
        fails: u32,
    ) -> Arc<Self> {
        let ms = Duration::from_millis;
        Arc::new(Self {
            name,
            interval: ms(interval),
            max_delay: ms(max_delay),
            duration: ms(duration),
            fails,
            attempts: AtomicU32::new(0),
        })
    }

    fn attempt(&self) -> Result<(), String> {
        thread::sleep(self.duration);
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        if self.name == "buggy" {
            panic!("{}: attempt {attempt}", self.name);
        }
        match self.fails != 0 && attempt.is_multiple_of(self.fails) {
            true => Err(format!("attempt {attempt} failed")),
            false => Ok(()),
        }
    }
}

/// A scheduled task and its results.
struct Entry {
    task: Arc<Task>,
    due: Instant,
    running: Option<JobHandle<Result<(), String>>>,
    figures: Figures,
}

#[derive(Default)]
struct Figures {
    ok: u32,
    failed: u32,
    late: u32,
    panicked: u32,
    skipped: u32,
}

impl Entry {
    fn record(&mut self, result: &Result<Result<(), String>, JobError>) {
        match result {
            Ok(Ok(())) => self.figures.ok += 1,
            Ok(Err(_)) => self.figures.failed += 1,
            Err(JobError::Panicked(_)) => self.figures.panicked += 1,
            Err(JobError::Expired) => self.figures.late += 1,
            Err(_) => self.figures.skipped += 1,
        }
    }

    /// Starts a run that is due, unless the previous one is still running.
    fn scan(&mut self, now: Instant, pool: &WorkerPool, retry: &Retry) {
        if let Some(run) = self.running.take() {
            match run.try_join() {
                Ok(result) => self.record(&result),
                Err(run) => self.running = Some(run),
            }
        }
        if now < self.due {
            return;
        }
        // Relative to the due time, so that the schedule does not drift; missed runs are not
        // repeated.
        while self.due <= now {
            self.due += self.task.interval;
        }
        if self.running.is_some() {
            self.figures.skipped += 1;
            return;
        }
        let (task, retry) = (Arc::clone(&self.task), retry.clone());
        let run = move || retry.call_blocking(|| task.attempt()).map_err(|error| error.to_string());
        match pool.start_timeout(self.task.max_delay).try_spawn(run) {
            Ok(run) => self.running = Some(run),
            Err(_) => self.figures.skipped += 1,
        }
    }
}

/// Returns a flag that Ctrl-C sets. The pool needs no runtime; tokio only handles the signal.
fn on_ctrl_c() -> std::io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    Ok(stop)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("usage: task_scheduler [seconds]    ends after this time or on Ctrl-C");
        return Ok(());
    }
    let time = Duration::from_secs_f64(args.first().map_or(Ok(5.0), |seconds| seconds.parse())?);
    // Panics of the tasks are expected and reported below.
    std::panic::set_hook(Box::new(|_| ()));

    let pool =
        WorkerPool::builder().name("scheduler").workers(WORKERS).queue_capacity(16).build()?;
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::constant(Duration::from_millis(10)))
        .build()?;
    let now = Instant::now();
    let mut entries: Vec<Entry> = [
        Task::new("heartbeat", 50, 50, 1, 0),
        Task::new("report", 200, 100, 60, 3),
        Task::new("backup", 700, 500, 250, 0),
        Task::new("cleanup", 300, 20, 120, 0),
        Task::new("buggy", 400, 200, 5, 0),
        Task::new("hopeless", 500, 200, 5, 1),
    ]
    .map(|task| Entry { task, due: now, running: None, figures: Figures::default() })
    .into();

    let stop = on_ctrl_c()?;
    println!("{WORKERS} workers, {} tasks, for {time:?} or until Ctrl-C", entries.len());
    while now.elapsed() < time && !stop.load(Ordering::Relaxed) {
        entries.iter_mut().for_each(|entry| entry.scan(Instant::now(), &pool, &retry));
        thread::sleep(SCAN);
    }

    let report = pool.shutdown(WorkerPoolShutdown::drain().timeout(Duration::from_secs(2)));
    println!(
        "ended: {} jobs completed, {} still running, {} not begun\n",
        report.completed,
        report.running,
        report.unrun_jobs.len()
    );
    drop(report); // the handles of jobs that were not begun resolve
    println!(
        "{:<10} {:>6} {:>8} {:>6} {:>9} {:>8}",
        "task", "ok", "failed", "late", "panicked", "skipped"
    );
    for mut entry in entries {
        if let Some(Ok(result)) = entry.running.take().map(JobHandle::try_join) {
            entry.record(&result);
        }
        let Figures { ok, failed, late, panicked, skipped } = entry.figures;
        println!(
            "{:<10} {ok:>6} {failed:>8} {late:>6} {panicked:>9} {skipped:>8}",
            entry.task.name
        );
    }
    Ok(())
}
