//! A worker pool: runs jobs on a fixed set of threads, behind a bounded queue.
//!
//! A thread for every job is expensive, and without a limit all jobs become slow under overload. A
//! pool limits the number of threads and of waiting jobs. This pool also defines what happens when
//! the queue is full, when jobs panic, wait for each other or start too late, and when the program
//! ends.
//!
//! # Examples
//!
//! ```
//! use mainstay::worker_pool::{JobError, WorkerPool};
//! let pool = WorkerPool::builder().name("thumbnails").workers(2).build()?;
//!
//! pool.submit_blocking(|| println!("a job without a result"))?;
//! let handle = pool.spawn_blocking(|| 6 * 7)?;
//! assert_eq!(handle.join_blocking()?, 42); // or `handle.await`
//! let error: JobError = pool.call_blocking(|| panic!("no picture")).unwrap_err();
//! assert_eq!(error.to_string(), "the job panicked: no picture");
//! let mut pictures = vec!["b", "c", "a"];
//! pool.scope(|scope| scope.spawn(|| pictures.sort()));
//! assert_eq!(pictures, ["a", "b", "c"]);
//! let lengths: Result<Vec<_>, _> = pool.map(["a", "bb", "ccc"], str::len).collect();
//! assert_eq!(lengths?, [1, 2, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! *Submitting* queues a job; *spawning* queues one and returns a [`JobHandle`] to its result. Both
//! have the same variants, which differ in what they do while the queue is full:
//!
//! | full queue | without result | with result |
//! |---|---|---|
//! | returns the job | [`try_submit`](WorkerPool::try_submit) | [`try_spawn`](WorkerPool::try_spawn) |
//! | waits as a future | [`submit`](WorkerPool::submit), [`submit_timeout`](WorkerPool::submit_timeout) | [`spawn`](WorkerPool::spawn), [`spawn_timeout`](WorkerPool::spawn_timeout) |
//! | blocks the thread | [`submit_blocking`](WorkerPool::submit_blocking), [`submit_blocking_timeout`](WorkerPool::submit_blocking_timeout) | [`spawn_blocking`](WorkerPool::spawn_blocking), [`spawn_blocking_timeout`](WorkerPool::spawn_blocking_timeout) |
//! | waits, and then for the result | | [`call`](WorkerPool::call), [`call_blocking`](WorkerPool::call_blocking) |
//! | applies the [overflow rule](OverflowRule) | [`execute`](WorkerPool::execute) | |
//! | the caller runs the job | [`scope`](WorkerPool::scope) | [`map`](WorkerPool::map) |
//!
//! [`priority`](WorkerPool::priority) and [`start_timeout`](WorkerPool::start_timeout) return views of
//! the pool with the same methods.
//!
//! **Jobs that submit jobs.** A job may submit to its own pool, and wait for the result, even if
//! the pool has one worker. A worker never waits for its own pool's queue: the job runs inside the
//! call, nested up to [`max_inline_depth`](WorkerPoolBuilder::max_inline_depth) and rejected beyond
//! that. [`join_blocking`](JobHandle::join_blocking), `scope` and `map` run jobs that no worker has
//! begun. Other waits are not covered. A job that waits for another pool, or an executor that
//! blocks a worker until a handle is ready, occupies a worker. If all workers wait for each other
//! in this way, for example in two pools whose jobs wait for each other, they wait forever.
//!
//! # States
//!
#![doc = include_str!("workers.svg")]
//!
//! At most one idle worker searches the queue; the others sleep. While a worker searches,
//! submitting makes no system call. The worker that went to sleep last is woken first. An elastic
//! pool (see [`workers`](WorkerPoolBuilder::workers)) starts a worker when none is idle. If the
//! system cannot start a thread, the pool continues with those that it has, until it is
//! [resized](WorkerPool::resize).
//!
//! # Overload
//!
//! The capacity of the queue limits how many jobs wait, not for how long. Three settings limit the
//! wait. They are applied when a worker takes a job, so that a job that is dropped costs nearly
//! nothing:
//!
//! * a **[start timeout](WorkerPool::start_timeout)** drops jobs that have not started in time;
//! * **[shedding](WorkerPoolBuilder::shed_standing_queue)** drops jobs that have waited for more
//!   than twice the target delay, once the queue has been above the target for 100 ms. Timeouts
//!   alone keep an overloaded queue at the length at which every job starts just before its
//!   deadline;
//! * **[priorities](WorkerPoolBuilder::priorities)** run urgent jobs first, without starving the
//!   others.
//!
//! # Shutdown
//!
//! [`shutdown`](WorkerPool::shutdown) runs the queued jobs, or returns those without a handle and
//! ends the others with an error. It accepts a timeout. On a worker of the pool it does not wait.
//! When the last `WorkerPool` is dropped, the pool shuts down as
//! [`on_drop`](WorkerPoolBuilder::on_drop) specifies. Every job handle becomes ready in every case.
//!
//! # Observability
//!
//! [`snapshot`](WorkerPool::snapshot) returns counters and queue waits. An
//! [observer](WorkerPoolBuilder::observer) receives the events `panicked`, `spawn_failed`, `overloaded`
//! and `recovered` (shedding has begun and ended), `evicted` and `shut_down`, each with the fields
//! `workers` and `queued`.
//!
//! # Panics
//!
//! A panic ends its job, not the worker. It is counted, passed to
//! [`on_panic`](WorkerPoolBuilder::on_panic), and returned by the job's handle, or resumed by its
//! scope. The same holds for captures that panic when they are dropped. Panics of hooks, observers
//! and wakers are ignored.
//!
//! # Performance
//!
//! | operation | cost |
//! |---|---|
//! | a job of up to 48 bytes of captures, without a result | no allocation; one compare-and-swap to submit it, one to take it |
//! | a larger job | one allocation |
//! | a job with a result | one allocation, for the closure and the result |
//! | a start timeout, or shedding | two clock readings per job |
//! | waking a worker | a system call, if no worker searches and one sleeps |
//! | a submitter that waits for a free slot | no spinning; it is woken once half of the queue is free or 250 µs have passed |
//! | a full queue with cancelled jobs | one search through the queue, which removes them |
//! | measuring queue waits | two clock readings for one in 64 jobs |
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`name`](WorkerPoolBuilder::name) | `worker_pool` |
//! | [`workers`](WorkerPoolBuilder::workers) | the number of processors |
//! | [`idle_timeout`](WorkerPoolBuilder::idle_timeout) | 10 s |
//! | [`queue_capacity`](WorkerPoolBuilder::queue_capacity) | 1024 jobs |
//! | [`when_full`](WorkerPoolBuilder::when_full) | `Reject` |
//! | [`max_inline_depth`](WorkerPoolBuilder::max_inline_depth) | 16 |
//! | [`priorities`](WorkerPoolBuilder::priorities) | off |
//! | [`codel`](WorkerPoolBuilder::codel) | off |
//! | [`stack_size`](WorkerPoolBuilder::stack_size) | the standard library's |
//! | [`on_drop`](WorkerPoolBuilder::on_drop) | drain, without a timeout |

mod config;
mod error;
mod events;
mod handle;
mod inline;
mod job;
mod panics;
mod pool;
mod queue;
mod run;
mod shared;
mod shutdown;
mod snapshot;
mod stats;
mod submit;
#[cfg(all(test, mainstay_loom))]
mod tests;
mod worker_count;
mod workers;

pub use config::WorkerPoolBuilder;
pub use error::{JobError, JobPanic, SubmitError};
pub use handle::JobHandle;
pub use inline::map::WorkerPoolMap;
pub use inline::scope::WorkerPoolScope;
pub use pool::WorkerPool;
pub use shutdown::{QueuedJob, WorkerPoolShutdown, WorkerPoolShutdownReport};
pub use snapshot::WorkerPoolSnapshot;
pub use submit::{
    CallFuture, JobPriority, OverflowRule, SpawnFuture, SubmitFuture, WorkerPoolSubmitter,
};
pub use worker_count::WorkerCount;
