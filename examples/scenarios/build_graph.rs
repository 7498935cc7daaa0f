//! A dependency graph run in parallel, as a build does: a target starts when all that it needs is done, and when
//! one fails all that depend on it are cancelled, while the rest goes on.
//!
//! Nothing waits for a dependency on a worker: the thread that drives the build hears of each end and
//! submits what that made ready, so that two workers are as safe as twenty.

use mainstay::ring::channel;
use mainstay::worker_pool::{Shutdown, WorkerPool};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// Name, what it needs, how long it takes in milliseconds.
type Target = (&'static str, &'static [&'static str], u64);

const TARGETS: &[Target] = &[
    ("fetch", &[], 30),
    ("codegen", &["fetch"], 60),
    ("core", &["codegen"], 80),
    ("net", &["core"], 70),
    ("db", &["core"], 90),
    ("ui", &["fetch"], 50),
    ("api", &["net", "db"], 60),
    ("docs", &["core"], 40),
    ("app", &["api", "ui"], 50),
    ("tests", &["api"], 80),
    ("package", &["app", "docs"], 30),
];

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// So many of its needs are not done.
    Waiting(usize),
    Running,
    Built(Duration),
    Failed(String),
    /// Because of this one.
    Cancelled(&'static str),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(needs) => write!(f, "waits for {needs}"),
            Self::Running => f.write_str("runs"),
            Self::Built(took) => write!(f, "built in {took:.0?}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Cancelled(by) => write!(f, "cancelled: {by} failed"),
        }
    }
}

struct Build {
    states: BTreeMap<&'static str, State>,
    dependents: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Build {
    fn new() -> Self {
        let mut dependents: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, needs, _) in TARGETS {
            for need in *needs {
                dependents.entry(*need).or_default().push(*name);
            }
        }
        let states = TARGETS.iter().map(|(name, needs, _)| (*name, State::Waiting(needs.len())));
        Self { states: states.collect(), dependents }
    }

    fn ready(&self) -> Vec<&'static str> {
        self.states
            .iter()
            .filter(|(_, state)| **state == State::Waiting(0))
            .map(|(name, _)| *name)
            .collect()
    }

    /// `name` has ended; its dependents are a step nearer, or will never be built.
    fn ended(&mut self, name: &'static str, state: State) {
        let built = matches!(state, State::Built(_));
        self.states.insert(name, state);
        if !built {
            return self.cancel_dependents(name, name);
        }
        for dependent in self.dependents.get(name).into_iter().flatten() {
            if let Some(State::Waiting(needs)) = self.states.get_mut(dependent) {
                *needs -= 1;
            }
        }
    }

    fn cancel_dependents(&mut self, name: &'static str, because_of: &'static str) {
        for dependent in self.dependents.get(name).cloned().unwrap_or_default() {
            if let Some(State::Waiting(_)) =
                self.states.insert(dependent, State::Cancelled(because_of))
            {
                self.cancel_dependents(dependent, because_of);
            }
        }
    }
}

fn run(pool: &WorkerPool, failing: Option<&str>) -> Build {
    let mut build = Build::new();
    // Room for all of them: an end never waits to be told.
    let (ends, ended) = channel(TARGETS.len());
    let mut running = 0;
    loop {
        for name in build.ready() {
            build.states.insert(name, State::Running);
            running += 1;
            let ends = ends.clone();
            let takes = TARGETS.iter().find(|target| target.0 == name).map_or(0, |target| target.2);
            let fails = failing == Some(name);
            let compile = move || {
                let start = Instant::now();
                let end = catch_unwind(AssertUnwindSafe(|| {
                    thread::sleep(Duration::from_millis(takes));
                    assert!(!fails, "a type does not match");
                }));
                let state = match end {
                    Ok(()) => State::Built(start.elapsed()),
                    Err(_) => State::Failed("a type does not match".to_owned()),
                };
                let _ = ends.send_blocking((name, state));
            };
            pool.submit_blocking(compile).expect("the pool is open");
        }
        if running == 0 {
            return build;
        }
        let (name, state) = ended.recv_blocking().expect("a sender is here");
        running -= 1;
        build.ended(name, state);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|arg| arg == "--help") {
        println!("usage: build_graph [workers]");
        return Ok(());
    }
    let workers: usize = std::env::args().nth(1).map_or(Ok(4), |workers| workers.parse())?;
    std::panic::set_hook(Box::new(|_| ()));
    let pool = WorkerPool::builder().name("build").workers(workers).build()?;
    let alone: u64 = TARGETS.iter().map(|target| target.2).sum();
    for failing in [None, Some("db")] {
        let start = Instant::now();
        let build = run(&pool, failing);
        println!("{workers} workers, {:.0?} (one after the other: {alone}ms)", start.elapsed());
        for (name, _, _) in TARGETS {
            println!("  {name:<8} {}", build.states[name]);
        }
        println!();
    }
    let report = pool.shutdown(Shutdown::drain());
    println!("{} jobs run", report.completed);
    Ok(())
}
