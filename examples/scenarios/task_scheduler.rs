//! A scheduler of periodic tasks on a worker pool: it scans for tasks that are due, runs at most a few at
//! once, gives each a deadline to begin by, tries those again that fail, and ends gracefully: on Ctrl-C, or when
//! its time is over, it finishes what it has begun.

use mainstay::backoff::Backoff;
use mainstay::retry::Retry;
use mainstay::worker_pool::{JobError, JobHandle, Shutdown, WorkerPool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const AT_ONCE: usize = 3;
const SCAN: Duration = Duration::from_millis(10);

/// Something to be done again and again.
struct Task {
    name: &'static str,
    every: Duration,
    /// How late a run may begin; later, the next one is as good.
    slack: Duration,
    takes: Duration,
    /// One in so many attempts fails; 0: none.
    fails: u32,
    attempts: AtomicU32,
}

impl Task {
    fn new(name: &'static str, every: u64, slack: u64, takes: u64, fails: u32) -> Arc<Self> {
        let ms = Duration::from_millis;
        Arc::new(Self {
            name,
            every: ms(every),
            slack: ms(slack),
            takes: ms(takes),
            fails,
            attempts: AtomicU32::new(0),
        })
    }

    fn attempt(&self) -> Result<(), String> {
        thread::sleep(self.takes);
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

/// A task on the scheduler's list.
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
    fn note(&mut self, result: &Result<Result<(), String>, JobError>) {
        match result {
            Ok(Ok(())) => self.figures.ok += 1,
            Ok(Err(_)) => self.figures.failed += 1,
            Err(JobError::Panicked(_)) => self.figures.panicked += 1,
            Err(JobError::Expired) => self.figures.late += 1,
            Err(_) => self.figures.skipped += 1,
        }
    }

    /// Starts a run that is due, unless the one before has not ended.
    fn scan(&mut self, now: Instant, pool: &WorkerPool, retry: &Retry) {
        if let Some(run) = self.running.take() {
            match run.try_join() {
                Ok(result) => self.note(&result),
                Err(run) => self.running = Some(run),
            }
        }
        if now < self.due {
            return;
        }
        // Counted from when it was due, so that it does not drift; what was missed altogether is not made up.
        while self.due <= now {
            self.due += self.task.every;
        }
        if self.running.is_some() {
            self.figures.skipped += 1;
            return;
        }
        let (task, retry) = (Arc::clone(&self.task), retry.clone());
        let run = move || retry.call_blocking(|| task.attempt()).map_err(|error| error.to_string());
        self.running = Some(pool.within(self.task.slack).spawn(run));
    }
}

/// A flag that Ctrl-C raises. The pool needs no runtime; tokio is here for its handling of signals.
fn on_ctrl_c() -> std::io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            raised.store(true, Ordering::Relaxed);
        }
    });
    Ok(stop)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("usage: task_scheduler [seconds]    ends then, or on Ctrl-C");
        return Ok(());
    }
    let time = Duration::from_secs_f64(args.first().map_or(Ok(5.0), |seconds| seconds.parse())?);
    // The tasks' panics are part of the show, and reported below.
    std::panic::set_hook(Box::new(|_| ()));

    let pool =
        WorkerPool::builder().name("scheduler").workers(AT_ONCE).queue_capacity(16).build()?;
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
    println!("{AT_ONCE} workers, {} tasks, for {time:?} or until Ctrl-C", entries.len());
    while now.elapsed() < time && !stop.load(Ordering::Relaxed) {
        entries.iter_mut().for_each(|entry| entry.scan(Instant::now(), &pool, &retry));
        thread::sleep(SCAN);
    }

    let report = pool.shutdown(Shutdown::drain().within(Duration::from_secs(2)));
    println!(
        "ended: {} jobs run, {} still running, {} not begun\n",
        report.completed,
        report.running,
        report.jobs.len()
    );
    drop(report); // the handles of what was not begun learn of it
    println!(
        "{:<10} {:>6} {:>8} {:>6} {:>9} {:>8}",
        "task", "ok", "failed", "late", "panicked", "skipped"
    );
    for mut entry in entries {
        if let Some(Ok(result)) = entry.running.take().map(JobHandle::try_join) {
            entry.note(&result);
        }
        let Figures { ok, failed, late, panicked, skipped } = entry.figures;
        println!(
            "{:<10} {ok:>6} {failed:>8} {late:>6} {panicked:>9} {skipped:>8}",
            entry.task.name
        );
    }
    Ok(())
}
