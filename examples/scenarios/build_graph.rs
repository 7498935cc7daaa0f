//! Scenario: a build that runs a dependency graph in parallel. A target starts when all its
//! dependencies are built; when one fails, the targets that depend on it are cancelled and the
//! others continue.
//!
//! No worker waits for a dependency: the thread that drives the build receives each result and
//! submits the targets that became ready, so any number of workers is free of deadlock.

use mainstay::ring::channel;
use mainstay::worker_pool::{WorkerPool, WorkerPoolShutdown};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// Name, dependencies, duration in milliseconds.
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
    /// The number of dependencies that are not built yet.
    Waiting(usize),
    Running,
    Built(Duration),
    Failed(String),
    /// Not built, because the dependency with this name failed.
    Cancelled(&'static str),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(dependencies) => write!(f, "waits for {dependencies}"),
            Self::Running => f.write_str("runs"),
            Self::Built(took) => write!(f, "built in {took:.0?}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
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
        for (name, dependencies, _) in TARGETS {
            for dependency in *dependencies {
                dependents.entry(*dependency).or_default().push(*name);
            }
        }
        let states = TARGETS
            .iter()
            .map(|(name, dependencies, _)| (*name, State::Waiting(dependencies.len())));
        Self { states: states.collect(), dependents }
    }

    fn ready(&self) -> Vec<&'static str> {
        self.states
            .iter()
            .filter(|(_, state)| **state == State::Waiting(0))
            .map(|(name, _)| *name)
            .collect()
    }

    /// Stores the result of `name` and updates its dependents.
    fn finish(&mut self, name: &'static str, state: State) {
        let built = matches!(state, State::Built(_));
        self.states.insert(name, state);
        if !built {
            return self.cancel_dependents(name, name);
        }
        for dependent in self.dependents.get(name).into_iter().flatten() {
            if let Some(State::Waiting(dependencies)) = self.states.get_mut(dependent) {
                *dependencies -= 1;
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
    // The capacity is sufficient for all results, so a send never waits.
    let (results, finished) = channel(TARGETS.len());
    let mut running = 0;
    loop {
        for name in build.ready() {
            build.states.insert(name, State::Running);
            running += 1;
            let results = results.clone();
            let takes = TARGETS.iter().find(|target| target.0 == name).map_or(0, |target| target.2);
            let fails = failing == Some(name);
            let compile = move || {
                let start = Instant::now();
                let result = catch_unwind(AssertUnwindSafe(|| {
                    thread::sleep(Duration::from_millis(takes));
                    assert!(!fails, "a type does not match");
                }));
                let state = match result {
                    Ok(()) => State::Built(start.elapsed()),
                    Err(_) => State::Failed("a type does not match".to_owned()),
                };
                let _ = results.send_blocking((name, state));
            };
            pool.submit_blocking(compile).expect("the pool is open");
        }
        if running == 0 {
            return build;
        }
        let (name, state) = finished.recv_blocking().expect("this function holds a sender");
        running -= 1;
        build.finish(name, state);
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
    let sequential: u64 = TARGETS.iter().map(|target| target.2).sum();
    for failing in [None, Some("db")] {
        let start = Instant::now();
        let build = run(&pool, failing);
        println!("{workers} workers, {:.0?} (sequential: {sequential}ms)", start.elapsed());
        for (name, _, _) in TARGETS {
            println!("  {name:<8} {}", build.states[name]);
        }
        println!();
    }
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    println!("{} jobs completed", report.completed);
    Ok(())
}
