//! A pool of resources that are expensive to create and can break, such as connections:
//! [`ResourcePool`], and [`KeyedResourcePool`] for one pool per host.
//!
//! A [`ResourceManager`] creates, checks and closes the resources. The pool bounds their number,
//! reuses them, replaces them when they are old or broken, and serves callers in order.
//!
//! For objects that cannot break, such as buffers, an [object pool](crate::object_pool) is faster.
//!
//! # Examples
//!
//! ```
//! use mainstay::resource_pool::{ResourceManager, ResourcePool, ResourcePoolError};
//!
//! # #[derive(Debug)] struct Connection;
//! # impl Connection {
//! #     async fn open() -> std::io::Result<Self> { Ok(Self) }
//! #     async fn query(&mut self) -> std::io::Result<u32> { Ok(42) }
//! # }
//! struct Database;
//!
//! impl ResourceManager for Database {
//!     type Resource = Connection;
//!     type Error = std::io::Error;
//!
//!     async fn create(&self) -> std::io::Result<Connection> {
//!         Connection::open().await
//!     }
//! }
//!
//! # futures::executor::block_on(async {
//! let pool = ResourcePool::builder(Database).name("orders").build()?;
//! match pool.acquire().await {
//!     Ok(mut connection) => println!("{}", connection.query().await?),
//!     Err(ResourcePoolError::TimedOut(timed_out)) => println!("{timed_out}"),
//!     Err(error) => println!("{error}"),
//! }
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # How it works
//!
//! A caller takes an idle resource if there is one, by default the one that was returned last.
//! Otherwise the caller enters a FIFO queue. A returned resource goes to the first caller in the
//! queue; a caller that arrives later cannot take it. While fewer resources exist than the maximum,
//! the pool creates resources for the queue, at most
//! [`max_creating`](ResourcePoolBuilder::max_creating) at a time. The caller receives whichever is
//! available first, a new resource or a returned one; the other becomes idle.
//!
//! Creations, checks and closings belong to the pool, not to the caller that started them. The pool
//! has no thread and spawns no task: callers in the queue poll these futures. When one of the
//! futures is woken, the pool wakes the first caller in the queue, which polls the future. When
//! that caller leaves, the next caller takes over. A caller that times out therefore wastes no
//! work, and callers with short time limits do not open one connection after another to a slow
//! server. While the queue is empty, [`maintenance`](ResourcePool::maintenance) polls the futures
//! if it runs; otherwise the next caller continues them.
//!
//! A resource counts towards the maximum from the start of its creation until its closing has
//! ended.
//!
//! ## Failed creations
//!
//! After a failed creation, the pool waits before the next attempt, on behalf of all callers; the
//! wait grows with each failure. Meanwhile callers stay in the queue and can receive returned
//! resources. An error for which [`ResourceManager::is_permanent`] returns true is returned to the
//! first waiting caller, or to all waiting callers if no other resource is idle, in use or being
//! checked.
//!
//! ## Guarded creations
//!
//! A [guard](ResourcePoolBuilder::creation_guard), such as a circuit breaker or a rate limiter, can
//! admit each creation. If it rejects a creation while no other resource exists, all callers in the
//! queue receive [`ResourcePoolError::Rejected`]. For a caller that arrives later, the pool asks
//! the guard again, without a delay. If other resources exist, callers wait for those, and the pool
//! asks the guard again after the `retry_after` of the rejection, at most a second later. A guard
//! that lets calls wait, such as [`RateLimiter::max_wait`](crate::RateLimiter::max_wait), bounds
//! the rate of creations without rejections.
//!
//! ## Health
//!
//! A resource that was idle for [`check_after`](ResourcePoolBuilder::check_after) is checked before
//! its next use. A resource is closed if a check fails or times out, if
//! [`recycle`](ResourceManager::recycle) returns [`RecycleDecision::Close`], if a panic drops its
//! guard, or if its holder calls [`PooledResource::discard`].
//!
//! # Overload
//!
//! A caller waits for at most the acquire timeout. [`ResourcePoolError::TimedOut`] then contains
//! the counts of the pool, the error of the last failed creation, and the last rejection by the
//! guard.
//!
//! # Shutdown
//!
//! [`ResourcePool::close`] returns immediately. [`ResourcePool::drain_timeout`] also waits for the
//! resources in use and reports what is left. If all handles and guards are dropped without a
//! close, the resources are dropped, and [`ResourceManager::close`] is not called.
//!
//! # Observability
//!
//! [`ResourcePool::snapshot`] returns the state and the counters at one moment. An
//! [observer](ResourcePoolBuilder::observer) receives these events:
//!
//! | kind | fields |
//! |---|---|
//! | `created`, `creation_failed` | `took` |
//! | `creation_rejected` | `reason` |
//! | `closed` | `reason`, `age` |
//! | `timed_out` | `waited`, `in_use`, `waiting` |
//! | `leaked` | `held_for`, `file`, `line` |
//!
//! With a [`leak_threshold`](ResourcePoolBuilder::leak_threshold), the pool records which call
//! acquired each resource, and reports the resources that are held for longer.
//!
//! # Cancel safety
//!
//! An acquire future can be dropped at any time. The caller leaves the queue, and a resource that
//! it has already been given goes to the next caller. A future that is neither polled nor dropped
//! keeps the resource that it has been given, and can delay a creation that it was woken to poll.
//!
//! # Panics
//!
//! A panic in [`create`](ResourceManager::create), in [`check`](ResourceManager::check) or in the
//! guard unwinds through the caller that polls it. The resource is lost, and the pool creates
//! another when a caller needs it. A panic in [`recycle`](ResourceManager::recycle) unwinds through
//! the drop of the [`PooledResource`]. A panic in [`close`](ResourceManager::close) is discarded.
//! After each of these panics, the counts of the pool are correct.
//!
//! # Performance
//!
//! Acquiring an idle resource and returning it takes two short locks and reads the clock twice.
//! With a wait it takes one or two locks more and no further reading of the clock: the resource is
//! put into the slot of the caller in the queue. Neither allocates, unless the queue is longer than
//! it has ever been.
//!
//! With the system clock, the timer of a wait belongs to the slot and stays armed for the next
//! caller, so that most waits that end in time arm no timer. With other clocks, each wait arms a
//! timer. Each creation, check and closing allocates its future.
//!
//! # Defaults
//!
//! For comparison, the defaults of HikariCP 6.0, sqlx 0.9, bb8 0.9, deadpool 0.12, go-redis
//! 9.22 and Go's `database/sql` are listed.
//!
//! | setting | default | others |
//! |---|---|---|
//! | [`max_size`](ResourcePoolBuilder::max_size) | 10 | HikariCP, sqlx, bb8 10; deadpool 2 per core; go-redis 10 per core; `database/sql` unlimited |
//! | [`min_idle`](ResourcePoolBuilder::min_idle) | 0 | HikariCP `max_size`; the others 0 |
//! | [`reuse_order`](ResourcePoolBuilder::reuse_order) | LIFO | `database/sql`, go-redis LIFO; deadpool, bb8, sqlx FIFO; HikariCP the last one of the thread |
//! | [`acquire_timeout`](ResourcePoolBuilder::acquire_timeout) | 5 s | HikariCP, sqlx, bb8 30 s; go-redis 6 s, until 9.17 4 s; deadpool, `database/sql` unlimited |
//! | [`create_timeout`](ResourcePoolBuilder::create_timeout) | 3 s | go-redis 5 s; HikariCP, sqlx, bb8 count it as acquisition; deadpool, `database/sql` unlimited |
//! | [`check_timeout`](ResourcePoolBuilder::check_timeout) | 1 s | HikariCP 5 s; sqlx, bb8 count it as acquisition; deadpool unlimited |
//! | [`close_timeout`](ResourcePoolBuilder::close_timeout) | 1 s | |
//! | [`idle_timeout`](ResourcePoolBuilder::idle_timeout) | 10 min | HikariCP, sqlx, bb8 10 min; go-redis 30 min; deadpool, `database/sql` none, but `database/sql` keeps 2 idle |
//! | [`max_lifetime`](ResourcePoolBuilder::max_lifetime) | 30 min − 2.5 % | HikariCP 30 min − 2.5 %; sqlx, bb8 30 min; deadpool, go-redis, `database/sql` none |
//! | [`check_after`](ResourcePoolBuilder::check_after) | 500 ms | HikariCP 500 ms; sqlx, bb8, deadpool always; go-redis always reads the state of the socket; `database/sql` never |
//! | [`max_creating`](ResourcePoolBuilder::max_creating) | 2 | HikariCP 1; go-redis its pool size; the others unlimited |
//! | [`creation_backoff`](ResourcePoolBuilder::creation_backoff) | 100 ms to 30 s | HikariCP 10 ms to 5 s; bb8 400 ms to 15 s; sqlx for each caller from 10 ms; go-redis for each caller 100 ms, 5 attempts |
//! | [`maintenance_interval`](ResourcePoolBuilder::maintenance_interval) | 30 s | HikariCP, bb8 30 s; sqlx 10 min |
//! | [`creation_guard`](ResourcePoolBuilder::creation_guard) | none | the others have none |
//! | [`leak_threshold`](ResourcePoolBuilder::leak_threshold) | none | HikariCP none; the others have no such setting |

mod acquire;
mod config;
mod engine;
mod error;
mod events;
mod keyed;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod manager;
mod pool;
mod pooled;
mod snapshot;

pub use acquire::ResourcePoolAcquireFuture;
pub use config::{ResourcePoolBuilder, ResourcePoolSettings, ReuseOrder};
pub use engine::driver::{ResourcePoolDrainReport, ResourcePoolMaintenanceFuture};
pub use error::{AcquireTimedOut, CreationError, ResourcePoolError, ResourceTotal};
pub use keyed::{
    KeyedResourcePool, KeyedResourcePoolBuilder, KeyedResourcePoolMaintenanceFuture,
    KeyedResourcePoolSnapshot,
};
pub use manager::{BlockingResourceManager, FromBlocking, RecycleDecision, ResourceManager};
pub use pool::ResourcePool;
pub use pooled::PooledResource;
pub use snapshot::{ResourceCloseCounts, ResourceCloseReason, ResourceLeak, ResourcePoolSnapshot};

const POLICY: &str = "resource_pool";
