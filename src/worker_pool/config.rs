//! The settings of a pool, their defaults and limits.

use super::WorkerPool;
use super::events::Emitter;
use super::queue::Queue;
use super::queue::priority_queue::PriorityQueue;
use super::queue::wait_times::WaitTimes;
use super::shared::Shared;
use super::shutdown::WorkerPoolShutdown;
use super::stats::Stats;
use super::submit::OverflowRule;
use super::worker_count::WorkerCount;
use super::workers;
use super::workers::pool_id::PoolId;
use crate::codel::CoDel;
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::atomic::AtomicU64;
use crate::sync::{Counter, PlainArc, PlainMutex};
use crate::time::Clock;
use std::any::Any;
use std::fmt;
use std::time::Duration;

const NAME: &str = "worker_pool";
/// Starting a thread takes some 50 µs, and an idle thread keeps its stack. The timeout keeps
/// threads during the pause between two bursts.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Enough for a burst, at one cache line per job: 64 KiB. A queue that takes longer to drain than
/// clients wait only adds delay.
const QUEUE_CAPACITY: usize = 1024;
const OVERFLOW_RULE: OverflowRule = OverflowRule::Reject;
/// Enough for jobs that submit jobs over several levels, and far below the depth that overflows a
/// stack.
const MAX_INLINE_DEPTH: u32 = 16;

const QUEUE_CAPACITY_LIMIT: usize = 1 << 24;
/// Far below the depth that overflows a stack of 2 MiB, even without optimization.
const INLINE_DEPTH_LIMIT: u32 = 128;

pub(crate) const THREADS_ACCEPTED: &str = "a number of threads of which the system can start one";

pub(crate) type ThreadHook = Box<dyn Fn() + Send + Sync>;
pub(crate) type PanicHook = Box<dyn Fn(&(dyn Any + Send)) + Send + Sync>;

/// Builds a [`WorkerPool`].
///
/// ```
/// use mainstay::worker_pool::{OverflowRule, WorkerPool};
/// use std::time::Duration;
///
/// let pool = WorkerPool::builder()
///     .name("thumbnails")
///     .workers(1..=4)
///     .idle_timeout(Duration::from_secs(30))
///     .queue_capacity(256)
///     .when_full(OverflowRule::CallerRuns)
///     .priorities()
///     .shed_standing_queue()
///     .on_panic(|_| eprintln!("a job panicked"))
///     .build()?;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
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

/// The settings that the pool reads while it runs.
pub(crate) struct Config {
    pub(crate) idle_timeout: Duration,
    pub(crate) overflow_rule: OverflowRule,
    pub(crate) max_inline_depth: u32,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_thread_start: Option<ThreadHook>,
    pub(crate) on_thread_stop: Option<ThreadHook>,
    pub(crate) on_panic: Option<PanicHook>,
    pub(crate) on_drop: WorkerPoolShutdown,
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
                idle_timeout: IDLE_TIMEOUT,
                overflow_rule: OVERFLOW_RULE,
                max_inline_depth: MAX_INLINE_DEPTH,
                stack_size: None,
                on_thread_start: None,
                on_thread_stop: None,
                on_panic: None,
                on_drop: WorkerPoolShutdown::drain(),
            },
            clock: Clock::system(),
            observer: None,
        }
    }
}

impl WorkerPoolBuilder {
    /// Sets the name of the pool, which appears in errors, events and thread names. Default:
    /// `worker_pool`.
    ///
    /// The name has 1 to 128 bytes and no control characters. A thread is named after the pool,
    /// with a number. Names are kept for the life of the process.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder().name("thumbnails").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the number of workers: `4` is a fixed number, `1..=8` an elastic one. Default: the
    /// number of processors, which suits CPU-bound jobs.
    ///
    /// An elastic pool starts a worker when a job is submitted, no worker is idle and there are
    /// fewer than the maximum. It ends workers that have been idle for
    /// [`idle_timeout`](Self::idle_timeout), down to the minimum.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder().workers(1..=8).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn workers(mut self, workers: impl Into<WorkerCount>) -> Self {
        self.workers = workers.into();
        self
    }

    /// Sets how long a worker above the minimum sleeps before it ends. Default: 10 s, so that
    /// threads are kept between two bursts.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// # use std::time::Duration;
    /// let built = WorkerPool::builder()
    ///     .idle_timeout(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Sets how many jobs of each priority can wait; at most 2²⁴. Default: 1024, enough for a
    /// burst.
    ///
    /// The queue should hold at least 100 µs of work: waking a submitter or a worker takes several
    /// microseconds. With jobs of 2 µs on two workers, a queue of 16 jobs takes half as much
    /// processor time again as the jobs themselves, and a queue of 1024 jobs takes 5 %.
    ///
    /// The queue takes 64 bytes per job, which are allocated when the pool is built. Jobs that
    /// ended while they were queued do not count: jobs that were cancelled, or run by the thread
    /// that waits for their result.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder().queue_capacity(10_000).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn queue_capacity(mut self, jobs: usize) -> Self {
        self.queue_capacity = jobs;
        self
    }

    /// Sets what [`execute`](WorkerPool::execute) does when the queue is full. Default:
    /// [`Reject`](OverflowRule::Reject), which neither blocks nor loses a job.
    ///
    /// ```
    /// # use mainstay::{OverflowRule, WorkerPool};
    /// let built = WorkerPool::builder().when_full(OverflowRule::Block).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn when_full(mut self, rule: OverflowRule) -> Self {
        self.config.overflow_rule = rule;
        self
    }

    /// Sets how deeply jobs that run inside the calls that submit them may be nested; at most 128.
    /// Default: 16, far below the depth that overflows a stack. Deeper jobs are rejected.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder().max_inline_depth(4).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn max_inline_depth(mut self, depth: u32) -> Self {
        self.config.max_inline_depth = depth;
        self
    }

    /// Gives each [priority](WorkerPool::priority) a queue of its own. By default all jobs share
    /// one queue and priorities have no effect.
    pub fn priorities(mut self) -> Self {
        self.priorities = true;
        self
    }

    /// Sheds jobs while CoDel detects a standing queue: a queue in which, for a whole `interval`,
    /// no job waited for less than `target`. Jobs that have waited for more than twice `target` are
    /// then shed. Off by default.
    ///
    /// A target far below the duration of a job sheds jobs that could have run in time. Costs two
    /// clock readings per job.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// # use std::time::Duration;
    /// let pool = WorkerPool::builder()
    ///     .codel(Duration::from_millis(20), Duration::from_millis(200))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn codel(mut self, target: Duration, interval: Duration) -> Self {
        self.codel = Some((target, interval));
        self
    }

    /// Enables [`codel`](Self::codel) with a target of 5 ms and an interval of 100 ms, as
    /// recommended by [RFC 8289](https://www.rfc-editor.org/rfc/rfc8289).
    pub fn shed_standing_queue(self) -> Self {
        self.codel(CoDel::TARGET, CoDel::INTERVAL)
    }

    /// Sets the stack size of a worker thread in bytes. Default: that of the standard library.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder().stack_size(512 * 1024).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = Some(bytes);
        self
    }

    /// Sets a function that each worker calls before its first job. A panic of the function is
    /// ignored.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder()
    ///     .on_thread_start(|| println!("started"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_thread_start = Some(Box::new(hook));
        self
    }

    /// Sets a function that each worker calls after its last job. A panic of the function is
    /// ignored.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder()
    ///     .on_thread_stop(|| println!("stopped"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_thread_stop = Some(Box::new(hook));
        self
    }

    /// Sets a function that is called with the panic payload of each job that panics, on the thread
    /// that ran the job, before the job's handle becomes ready. A panic of the function is ignored.
    /// The panic hook of the process runs as usual.
    ///
    /// ```
    /// # use mainstay::WorkerPool;
    /// let built = WorkerPool::builder()
    ///     .on_panic(|_| eprintln!("a job panicked"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn on_panic(mut self, hook: impl Fn(&(dyn Any + Send)) + Send + Sync + 'static) -> Self {
        self.config.on_panic = Some(Box::new(hook));
        self
    }

    /// Sets how the pool shuts down when its last handle is dropped. Default:
    /// [`WorkerPoolShutdown::drain`], so that no accepted job is lost.
    ///
    /// ```
    /// # use mainstay::{WorkerPool, WorkerPoolShutdown};
    /// let built = WorkerPool::builder()
    ///     .on_drop(WorkerPoolShutdown::cancel())
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn on_drop(mut self, shutdown: WorkerPoolShutdown) -> Self {
        self.config.on_drop = shutdown;
        self
    }

    /// Sets the clock that deadlines and delays use. Default: [`Clock::system`]. Blocking waits and
    /// [`idle_timeout`](Self::idle_timeout) always use the system's clock.
    ///
    /// ```
    /// # use mainstay::{ManualClock, WorkerPool};
    /// let time = ManualClock::new();
    /// let built = WorkerPool::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer of the pool's [events](super#observability).
    ///
    /// ```
    /// # use mainstay::{Event, WorkerPool};
    /// let built = WorkerPool::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the pool and starts the minimum number of workers. If only some of them can be
    /// started, the pool is built with those.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range, `queue_capacity` if the
    /// memory cannot be allocated, or `workers` if the system cannot start a thread.
    pub fn build(self) -> Result<WorkerPool, ConfigError> {
        let name = policy::name(&self.name)?;
        self.validate()?;
        let queues = if self.priorities { 3 } else { 1 };
        let jobs = PriorityQueue::try_new(queues, self.queue_capacity)?;
        let WorkerCount { min, max } = self.workers;
        let shared = PlainArc::new(Shared {
            id: PoolId::acquire(),
            queue: Queue::new(jobs, min, max),
            config: self.config,
            name,
            clock: self.clock,
            codel: self.codel.map(|(target, interval)| {
                std::array::from_fn(|_| PlainMutex::new(CoDel::new(target, interval)))
            }),
            emitter: Emitter::new(name, self.observer),
            queue_waits: WaitTimes::new(),
            outside: Stats::default(),
            worker_stats: PlainMutex::default(),
            handles: AtomicU64::new(1),
            thread_number: Counter::default(),
            threads: PlainMutex::default(),
        });
        let pool = WorkerPool { shared };
        workers::start_first(&pool.shared, min)
            .map_err(|_| ConfigError::new("workers", self.workers, THREADS_ACCEPTED))?;
        Ok(pool)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.workers.validate()?;
        if !(1..=QUEUE_CAPACITY_LIMIT).contains(&self.queue_capacity) {
            let accepted = "1 to 16777216 jobs";
            return Err(ConfigError::new("queue_capacity", self.queue_capacity, accepted));
        }
        let Config { idle_timeout, max_inline_depth, .. } = self.config;
        if idle_timeout.is_zero() {
            return Err(ConfigError::new("idle_timeout", idle_timeout, "a duration above zero"));
        }
        if max_inline_depth > INLINE_DEPTH_LIMIT {
            return Err(ConfigError::new("max_inline_depth", max_inline_depth, "0 to 128"));
        }
        if let Some((target, interval)) = self.codel
            && (target.is_zero() || interval < target || interval > CoDel::MAX_INTERVAL)
        {
            let accepted = "a target above zero, and an interval from the target to one hour";
            return Err(ConfigError::new("codel", (target, interval), accepted));
        }
        Ok(())
    }
}

impl fmt::Debug for WorkerPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolBuilder")
            .field("name", &self.name)
            .field("workers", &self.workers)
            .field("idle_timeout", &self.config.idle_timeout)
            .field("queue_capacity", &self.queue_capacity)
            .field("when_full", &self.config.overflow_rule)
            .field("max_inline_depth", &self.config.max_inline_depth)
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
    fn the_bounds_of_codel_are_accepted() {
        let (ms, hour) = (Duration::from_millis(1), CoDel::MAX_INTERVAL);
        let ns = Duration::from_nanos(1);
        for (target, interval, accepted) in [
            (ms, ms, true),
            (ms, ms - ns, false),
            (ms, hour, true),
            (ms, hour + ns, false),
            (Duration::ZERO, ms, false),
        ] {
            let builder = WorkerPoolBuilder::default().codel(target, interval);
            assert_eq!(builder.validate().is_ok(), accepted, "{target:?} {interval:?}");
        }
    }

    #[test]
    fn debug_of_the_builder_shows_its_name() {
        let builder = WorkerPoolBuilder::default().name("images");
        assert!(format!("{builder:?}").contains("images"), "{builder:?}");
    }

    #[test]
    fn the_docs_list_the_defaults() {
        let docs = include_str!("mod.rs");
        let WorkerPoolBuilder { name, queue_capacity, codel, priorities, config, .. } =
            WorkerPoolBuilder::default();
        assert!(codel.is_none() && !priorities);
        assert_eq!(config.on_drop, WorkerPoolShutdown::drain());
        for (setting, default) in [
            ("name", format!("`{name}`")),
            ("workers", "the number of processors".to_owned()),
            ("idle_timeout", format!("{} s", config.idle_timeout.as_secs())),
            ("queue_capacity", format!("{queue_capacity} jobs")),
            ("when_full", format!("`{:?}`", config.overflow_rule)),
            ("max_inline_depth", config.max_inline_depth.to_string()),
            ("priorities", "off".to_owned()),
            ("codel", "off".to_owned()),
            ("stack_size", "the standard library's".to_owned()),
            ("on_drop", "drain, without a timeout".to_owned()),
        ] {
            let row = format!("//! | [`{setting}`](WorkerPoolBuilder::{setting}) | {default} |\n");
            assert!(docs.contains(&row), "{row}");
        }
    }
}
