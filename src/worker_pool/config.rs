use super::events::Emitter;
use super::shutdown::Shutdown;
use super::{Shared, WorkerPool, workers};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::sync::{PlainArc, PlainMutex, intern};
use crate::time::Clock;
use crate::worker_pool::queue::codel::CoDel;
use std::any::Any;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

const NAME: &str = "worker_pool";
/// A thread costs some 50 µs to start and a stack to keep: worth keeping over the lull between two bursts.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A cache line each: 64 KiB. Room for a burst; a queue much longer than what the workers get through in the
/// time that anybody waits for an answer only adds delay.
const QUEUE_CAPACITY: usize = 1024;
const WHEN_FULL: OverflowRule = OverflowRule::Reject;
/// Deep enough for jobs that submit jobs that submit jobs, far from the end of any stack.
const INLINE_DEPTH: u32 = 16;

const MOST_WORKERS: usize = 65_535;
const MOST_CAPACITY: usize = 1 << 24;
/// Not near the end of a stack of 2 MiB, without optimization either.
const MOST_INLINE_DEPTH: u32 = 128;

/// What [`execute`](WorkerPool::execute) and [`spawn`](WorkerPool::spawn) do when the queue is full.
///
/// On a worker of the same pool `Block` runs the job then and there: see
/// [self-submission](super#submitting-from-a-job).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverflowRule {
    /// The calling thread waits for room.
    Block,
    /// The job is refused, and comes back.
    Reject,
    /// The calling thread runs the job, and submits nothing else meanwhile: a brake. Nested deeper than
    /// [`inline_depth`](WorkerPoolBuilder::inline_depth) the job is refused.
    CallerRuns,
    /// The job that has waited longest makes room; its handle gets [`JobError::QueueFull`](super::JobError). If
    /// the system has just taken the processor from a thread in the middle of pushing or taking a job, the
    /// submitter yields until that has finished.
    DropOldest,
    /// The job is dropped as if it had been taken; its handle gets [`JobError::QueueFull`](super::JobError).
    DropNewest,
}

/// How many workers: always so many, or between two numbers.
///
/// ```
/// use mainstay::worker_pool::WorkerPool;
///
/// let fixed = WorkerPool::builder().workers(2).build()?;
/// let elastic = WorkerPool::builder().workers(1..=8).build()?;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WorkerCount {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

impl From<usize> for WorkerCount {
    fn from(count: usize) -> Self {
        Self { least: count, most: count }
    }
}

impl From<RangeInclusive<usize>> for WorkerCount {
    fn from(range: RangeInclusive<usize>) -> Self {
        Self { least: *range.start(), most: *range.end() }
    }
}

impl fmt::Debug for WorkerCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.least == self.most {
            true => write!(f, "{}", self.least),
            false => write!(f, "{}..={}", self.least, self.most),
        }
    }
}

impl WorkerCount {
    pub(crate) fn validate(self) -> Result<Self, ConfigError> {
        let ordered = 1 <= self.least && self.least <= self.most && self.most <= MOST_WORKERS;
        if ordered {
            Ok(self)
        } else {
            Err(ConfigError::new("workers", self, "1 to 65535, or a range of these"))
        }
    }
}

pub(crate) type Hook = Box<dyn Fn() + Send + Sync>;
pub(crate) type PanicHook = Box<dyn Fn(&(dyn Any + Send)) + Send + Sync>;

/// Sets up a [`WorkerPool`]; see [there](super) for what the config do together.
#[must_use]
pub struct WorkerPoolBuilder {
    name: String,
    workers: WorkerCount,
    queue_capacity: usize,
    codel: Option<(Duration, Duration)>,
    priorities: bool,
    config: Config,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

/// What the pool looks up while it runs.
pub(crate) struct Config {
    pub(crate) idle_timeout: Duration,
    pub(crate) when_full: OverflowRule,
    pub(crate) inline_depth: u32,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_start: Option<Hook>,
    pub(crate) on_stop: Option<Hook>,
    pub(crate) on_panic: Option<PanicHook>,
    pub(crate) on_drop: Shutdown,
}

impl Default for WorkerPoolBuilder {
    fn default() -> Self {
        Self {
            name: NAME.to_owned(),
            workers: std::thread::available_parallelism().map_or(1, usize::from).into(),
            queue_capacity: QUEUE_CAPACITY,
            codel: None,
            priorities: false,
            config: Config {
                idle_timeout: KEEP_ALIVE,
                when_full: WHEN_FULL,
                inline_depth: INLINE_DEPTH,
                stack_size: None,
                on_start: None,
                on_stop: None,
                on_panic: None,
                on_drop: Shutdown::drain(),
            },
            clock: Clock::system(),
            observer: None,
        }
    }
}

impl WorkerPoolBuilder {
    /// What rejections and events call this pool, and its threads, which get a number besides. Default:
    /// `worker_pool`.
    ///
    /// Names are kept for the life of the process.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many workers there are; as many as the machine has processors by default. A range makes the pool
    /// elastic: a job that finds nobody idle gets a new worker as long as there are fewer than the upper
    /// bound, before any job waits in the queue; and workers that are not needed go, down to the lower
    /// bound.
    pub fn workers(mut self, workers: impl Into<WorkerCount>) -> Self {
        self.workers = workers.into();
        self
    }

    /// How long a worker above the lower bound sleeps before it goes; 10 s by default.
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.config.idle_timeout = idle_timeout;
        self
    }

    /// How many jobs can wait, of each priority; 1024 by default, at most 2²⁴. Each takes up 64 bytes from the
    /// start.
    pub fn queue_capacity(mut self, jobs: usize) -> Self {
        self.queue_capacity = jobs;
        self
    }

    /// What [`execute`](WorkerPool::execute) and [`spawn`](WorkerPool::spawn) do when the queue is full;
    /// reject by default.
    pub fn when_full(mut self, when_full: OverflowRule) -> Self {
        self.config.when_full = when_full;
        self
    }

    /// How deep jobs may be nested that run inside of the call that submits them, at most 128; 16 by default.
    /// Beyond that they are refused.
    pub fn inline_depth(mut self, depth: u32) -> Self {
        self.config.inline_depth = depth;
        self
    }

    /// Whether jobs have priorities, each a queue of its own; by default all go into one queue, and to
    /// [ask for a priority](WorkerPool::priority) changes nothing.
    pub fn priorities(mut self, priorities: bool) -> Self {
        self.priorities = priorities;
        self
    }

    /// Sheds jobs while the queue stands: while for at least `interval` no job waited for less than `target`,
    /// those are dropped that waited for more than twice `target`. Off by default; 5 ms and 100 ms are
    /// what [RFC 8289](https://www.rfc-editor.org/rfc/rfc8289) advises, and
    /// [`shed_standing_queue`](Self::shed_standing_queue) sets.
    ///
    /// A target much below the time that a job takes sheds what could have been served. Costs two looks at
    /// the clock a job.
    pub fn codel(mut self, target: Duration, interval: Duration) -> Self {
        self.codel = Some((target, interval));
        self
    }

    /// [`codel`](Self::codel) with a target of 5 ms and an interval of 100 ms.
    pub fn shed_standing_queue(self) -> Self {
        self.codel(CoDel::TARGET, CoDel::INTERVAL)
    }

    /// How large a worker's stack is, in bytes; whatever the system gives by default.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = Some(bytes);
        self
    }

    /// Runs on each worker's thread before its first job. A panic of it is swallowed.
    pub fn on_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_start = Some(Box::new(hook));
        self
    }

    /// Runs on each worker's thread after its last job. A panic of it is swallowed.
    pub fn on_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_stop = Some(Box::new(hook));
        self
    }

    /// Hears of each job that panics, on the thread that ran it, before its handle does. A panic of it is
    /// swallowed. The process's own panic hook prints as ever.
    pub fn on_panic(mut self, hook: impl Fn(&(dyn Any + Send)) + Send + Sync + 'static) -> Self {
        self.config.on_panic = Some(Box::new(hook));
        self
    }

    /// How the pool ends when its last handle is dropped; by default it runs what is queued and waits for
    /// that.
    pub fn on_drop(mut self, shutdown: Shutdown) -> Self {
        self.config.on_drop = shutdown;
        self
    }

    /// The clock that deadlines and delays go by; [`Clock::system`] by default. How long a thread waits at
    /// most and [`idle_timeout`](Self::idle_timeout) go by the machine's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Hears of [events](super#events).
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// The pool, with its workers started, as many as the lower bound says. If not all can be started it
    /// goes on with those that can.
    ///
    /// # Errors
    /// Names the first setting that is out of range; or `workers`, with the system's error, if not even one
    /// thread can be started.
    pub fn build(self) -> Result<WorkerPool, ConfigError> {
        if self.name.contains('\0') {
            return Err(ConfigError::new(
                "name",
                &self.name,
                "a name without NUL, for the threads to bear",
            ));
        }
        let WorkerCount { least, most } = self.workers.validate()?;
        if !(1..=MOST_CAPACITY).contains(&self.queue_capacity) {
            return Err(ConfigError::new(
                "queue_capacity",
                self.queue_capacity,
                "1 to 16777216 jobs",
            ));
        }
        if self.config.idle_timeout.is_zero() {
            return Err(ConfigError::new("idle_timeout", Duration::ZERO, "a time above zero"));
        }
        if self.config.inline_depth > MOST_INLINE_DEPTH {
            return Err(ConfigError::new("inline_depth", self.config.inline_depth, "0 to 128"));
        }
        if let Some((target, interval)) = self.codel
            && (target.is_zero() || interval < target || interval > CoDel::LONGEST)
        {
            let accepted = "a target above zero and an interval of that to one hour";
            return Err(ConfigError::new("codel", (target, interval), accepted));
        }
        let lanes = if self.priorities { 3 } else { 1 };
        let codel = self.codel.map(|(target, interval)| {
            std::array::from_fn(|_| PlainMutex::new(CoDel::new(target, interval)))
        });
        let name = intern(&self.name);
        let shared = Shared::new(
            super::queue::Queue::new(lanes, self.queue_capacity, least, most),
            self.config,
            (name, self.clock, codel, Emitter::new(name, self.observer)),
        );
        let pool = WorkerPool::first(PlainArc::new(shared));
        workers::start_all(pool.shared(), least).map_err(|error| {
            ConfigError::new("workers", error, "at least one thread that the system can start")
        })?;
        Ok(pool)
    }
}

impl fmt::Debug for WorkerPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolBuilder")
            .field("name", &self.name)
            .field("workers", &self.workers)
            .field("idle_timeout", &self.config.idle_timeout)
            .field("queue_capacity", &self.queue_capacity)
            .field("when_full", &self.config.when_full)
            .field("inline_depth", &self.config.inline_depth)
            .field("priorities", &self.priorities)
            .field("codel", &self.codel)
            .field("on_drop", &self.config.on_drop)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_the_defaults() {
        let docs = include_str!("mod.rs");
        let WorkerPoolBuilder { name, queue_capacity, codel, priorities, config, .. } =
            WorkerPoolBuilder::default();
        assert_eq!(codel, None);
        assert_eq!(config.on_drop, Shutdown::drain());
        for (setting, default) in [
            ("name", format!("`{name}`")),
            ("workers", "as many as the machine has processors".to_owned()),
            ("idle_timeout", format!("{} s", config.idle_timeout.as_secs())),
            ("queue_capacity", format!("{queue_capacity} jobs")),
            ("when_full", format!("`{:?}`", config.when_full)),
            ("inline_depth", config.inline_depth.to_string()),
            ("priorities", priorities.to_string()),
            ("codel", "off".to_owned()),
            ("stack_size", "the system's".to_owned()),
            ("on_drop", "drain".to_owned()),
        ] {
            let row = format!("//! | [`{setting}`](WorkerPoolBuilder::{setting}) | {default} |\n");
            assert!(docs.contains(&row), "{row}");
        }
    }
}
