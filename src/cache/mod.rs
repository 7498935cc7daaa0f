//! A cache for the results of an operation: [`Cached`].
//!
//! # Examples
//!
//! ```
//! use mainstay::cache::{Cached, SingleValueStore};
//! use std::time::Duration;
//!
//! # async fn fetch_rates() -> Result<Vec<u32>, String> { Ok(vec![1]) }
//! # futures::executor::block_on(async {
//! // With the feature `quick_cache` and many keys: `quick_cache::sync::Cache::new(10_000)`.
//! let rates = Cached::<(), Vec<u32>, String>::builder(SingleValueStore::new())
//!     .name("exchange rates")
//!     .ttl(Duration::from_secs(300))
//!     .stale_on_error(Duration::from_secs(24 * 3600))
//!     .build()?;
//! let first = rates.call(&(), || fetch_rates()).await;
//! let second = rates.call(&(), || fetch_rates()).await; // from the store
//! assert_eq!(first, second);
//! assert_eq!(rates.snapshot().hits, 1);
//! # Ok::<(), mainstay::ConfigError>(())
//! # })?;
//! # Ok::<(), mainstay::ConfigError>(())
//! ```
//!
//! # How it works
//!
//! A call looks up its key in the [store](CacheStore). If it finds no result that it may use, it
//! runs the operation, and stores a success. Concurrent calls with the same key share one
//! operation, as in [`coalesce`](crate::coalesce).
//!
//! | age of the stored value | what a call does |
//! |---|---|
//! | below [`ttl`](CachedBuilder::ttl) | uses the value |
//! | shortly below `ttl` | uses the value; one call may refresh it early |
//! | past `ttl`, by less than [`stale_while_revalidate`](CachedBuilder::stale_while_revalidate) | uses the value; one call refreshes it |
//! | later | waits for the operation |
//! | past `ttl`, by less than [`stale_on_error`](CachedBuilder::stale_on_error) | uses the value if the operation fails |
//!
//! ## Refreshes
//!
//! This crate starts no tasks. A refresh runs in the task of the call that finds the value expired
//! or selects it for an early refresh. That call waits for the operation, and receives the new
//! value. Meanwhile, all other calls use the stored value without waiting. If the refreshing call
//! is dropped, the next call starts a refresh. A background task that calls more often than all
//! other callers together runs most refreshes, so that the other callers rarely wait.
//!
//! An *early refresh* is chosen at random, with a probability that grows towards the expiry and
//! with the duration of the operation (XFetch: A. Vattani, F. Chierichetti, K. Lowenstein, *Optimal
//! Probabilistic Cache Stampede Prevention*, 2015). A value that is used often is therefore usually
//! refreshed by one call before it expires. By default, the time to live of each value deviates at
//! random by up to 10 %, so that values that were stored together do not expire together.
//!
//! ## Errors
//!
//! An error is returned to the calls that wait for the operation, unless a stored value can replace
//! the error. Errors of the operation are stored only if a
//! [`negative_ttl`](CachedBuilder::negative_ttl) is set. Timeouts, rejections and panics are never
//! stored. If a refresh fails, the stored value is kept. With a `negative_ttl`, the refresh is then
//! not repeated for that duration, as long as the value may be used.
//!
//! ## Five minutes fresh, a day stale
//!
//! These settings suit data that changes slowly, such as prices or feature flags: a
//! [`ttl`](CachedBuilder::ttl) of 5 minutes, and a
//! [`stale_on_error`](CachedBuilder::stale_on_error) of 24 hours. While the dependency is healthy,
//! no value is older than 5 minutes, plus the jitter. During an outage, calls receive the last
//! known value. Add a `negative_ttl` of some seconds; otherwise every call waits for the failing
//! dependency before it receives that value. Run the operation through a pipeline with a timeout
//! and a breaker:
//!
//! ```
//! use mainstay::cache::{Cached, SingleValueStore};
//! use mainstay::{BoxPipeline, CircuitBreaker, Error, Pipeline};
//! use std::time::Duration;
//!
//! # async fn fetch_flags() -> Result<u32, String> { Ok(7) }
//! # futures::executor::block_on(async {
//! let pipeline: BoxPipeline<u32, String> = Pipeline::builder()
//!     .breaker(CircuitBreaker::builder().name("flags").build()?)
//!     .timeout(Duration::from_secs(1))
//!     .build()
//!     .boxed();
//! let flags = Cached::<(), u32, String>::builder(SingleValueStore::new())
//!     .ttl(Duration::from_secs(300))
//!     .stale_on_error(Duration::from_secs(24 * 3600))
//!     .negative_ttl(Duration::from_secs(5))
//!     .build()?;
//! let fetched = flags.call(&(), || {
//!     let pipeline = pipeline.clone();
//!     async move { pipeline.call(fetch_flags).await } // Result<u32, Error<String>>
//! });
//! assert_eq!(fetched.await, Ok(7));
//! # Ok::<(), mainstay::ConfigError>(())
//! # })?;
//! # Ok::<(), mainstay::ConfigError>(())
//! ```
//!
//! # Overload
//!
//! The store bounds the number of entries. At most
//! [`max_operations`](CachedBuilder::max_operations) operations run at a time. While they run, a
//! call that needs another operation is rejected with
//! [`Reason::Exhausted`](crate::error::Reason::Exhausted), unless a stored value can replace the
//! error.
//!
//! # Observability
//!
//! [`Cached::snapshot`] returns the number of hits, misses, refreshes and replaced errors. An
//! [observer](CachedBuilder::observer) receives an event of kind `stale_on_error` for each value
//! that replaces an error, with its `age` and the `cause`: `operation`, `timeout` or the reason of
//! the rejection.
//!
//! # Cancel safety
//!
//! If a call is dropped while other calls wait for its operation, one of them continues to poll the
//! same future. If no other call waits, the operation is dropped, and nothing is stored.
//!
//! # Performance
//!
//! A hit reads the clock once, looks up the store through a virtual call, and clones the value. Put
//! a value that is expensive to clone into an `Arc`. A hit does not allocate. A miss allocates the
//! entry, the future of the operation, and the state that the waiting calls share.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`ttl`](CachedBuilder::ttl) | 60 s |
//! | [`jitter`](CachedBuilder::jitter) | 0.1 |
//! | [`early_refresh`](CachedBuilder::early_refresh) | β = 1 |
//! | [`stale_while_revalidate`](CachedBuilder::stale_while_revalidate) | zero |
//! | [`stale_on_error`](CachedBuilder::stale_on_error) | zero |
//! | [`negative_ttl`](CachedBuilder::negative_ttl) | zero: errors are not stored |

mod builder;
mod entry;
mod events;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod shared;
mod state;
mod store;

pub use builder::CachedBuilder;
pub use entry::CacheEntry;
pub use store::{CacheStore, SingleValueStore};

use crate::error::{Error, OperationResult, TimedOut};
use crate::sync::{PlainArc, block_on};
use shared::{Entered, Flying, Shared};
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

const POLICY: &str = "cache";

/// A cache for the results of an operation. See the [module documentation](self).
///
/// `K` is the key, `T` the value and `E` the error of the operation. Cloning is cheap, and all
/// clones share the store.
pub struct Cached<K, T, E>(PlainArc<Shared<K, T, E>>);

/// The counters of a [`Cached`] at one moment.
///
/// Each call is counted in exactly one of `hits`, `stale`, `misses` and `refreshes`, after it has
/// looked up its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedSnapshot {
    /// The number of calls that used a stored result before its expiry.
    pub hits: u64,
    /// The number of calls that used an expired value without waiting.
    pub stale: u64,
    /// The number of calls that found no usable result, and so ran the operation, waited for that
    /// of another call, or were rejected.
    pub misses: u64,
    /// The number of calls that ran the operation to refresh a value.
    pub refreshes: u64,
    /// The number of calls in which a stored value replaced an error.
    pub errors_replaced: u64,
}

// After a panic of user code, the cache and its keys can still be used.
impl<K, T, E> UnwindSafe for Cached<K, T, E> {}
impl<K, T, E> RefUnwindSafe for Cached<K, T, E> {}

/// A call that has looked up its key: its result, or the operation that it waits for and the old
/// entry that may replace an error.
enum Started<'a, K: Hash + Eq, T, E> {
    Ready(Result<T, Error<E>>),
    Waiting(Flying<'a, K, T, E>, Option<CacheEntry<T, E>>),
}

impl<K, T, E> Cached<K, T, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Creates a builder of a cache that stores its results in `store`.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let config = Cached::<(), u32, ()>::builder(SingleValueStore::new()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder(
        store: impl CacheStore<K, CacheEntry<T, E>> + 'static,
    ) -> CachedBuilder<K, T, E> {
        CachedBuilder::new(Box::new(store))
    }

    /// Returns the stored result of `key`, or runs `op`.
    ///
    /// `op` returns a future of a `Result<T, E>`, or of a `Result<T, Error<E>>` as a pipeline does.
    /// The future must be `'static`, because another call may continue to poll it.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let config = Cached::<(), u32, ()>::builder(SingleValueStore::new()).build()?;
    /// # futures::executor::block_on(async {
    /// assert_eq!(config.call(&(), || async { Ok::<_, ()>(1) }).await, Ok(1));
    /// assert_eq!(config.call(&(), || async { Ok::<_, ()>(2) }).await, Ok(1));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the operation, or a clone of it, unless a stored value replaces it.
    /// Returns [`Error::Rejected`] with [`Reason::Exhausted`](crate::error::Reason::Exhausted) if
    /// too many operations are running, and with
    /// [`Reason::Panicked`](crate::error::Reason::Panicked) if the operation panicked, unless this
    /// call panics.
    ///
    /// # Panics
    ///
    /// Panics if `op` panics, or if the future that this call's `op` returned panics while this call
    /// polls it. All other calls receive the rejection.
    pub async fn call<Op, Fut>(&self, key: &K, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output: OperationResult<T, E>> + Send + 'static,
    {
        match self.start(key, op) {
            Started::Ready(result) => result,
            Started::Waiting(flying, old) => self.0.or_stale(old.as_ref(), flying.await),
        }
    }

    /// Calls as [`call`](Self::call) does, and waits for at most `timeout`.
    ///
    /// After `timeout`, a stored value replaces the timeout error, as it replaces any other error.
    /// The operation continues if other calls wait for it; otherwise it is dropped.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// # use std::time::Duration;
    /// let config = Cached::<(), u32, ()>::builder(SingleValueStore::new()).build()?;
    /// # futures::executor::block_on(async {
    /// let second = Duration::from_secs(1);
    /// let call = config.call_timeout(&(), || async { Ok::<_, ()>(1) }, second);
    /// assert_eq!(call.await, Ok(1));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`] after `timeout`, and the errors of [`call`](Self::call).
    ///
    /// # Panics
    ///
    /// Panics if `op` panics, or if the future that this call's `op` returned panics while this call
    /// polls it. All other calls receive the rejection.
    pub async fn call_timeout<Op, Fut>(
        &self,
        key: &K,
        op: Op,
        timeout: Duration,
    ) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output: OperationResult<T, E>> + Send + 'static,
    {
        match self.start(key, op) {
            Started::Ready(result) => result,
            Started::Waiting(flying, old) => {
                let result = self.0.group.clock.timeout(timeout, flying).await;
                let result = result.unwrap_or_else(|| Err(self.timed_out(timeout)));
                self.0.or_stale(old.as_ref(), result)
            }
        }
    }

    /// Returns the stored result of `key`, or runs the closure `op`. Blocks the thread.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let config = Cached::<(), u32, ()>::builder(SingleValueStore::new()).build()?;
    /// assert_eq!(config.call_blocking(&(), || Ok::<_, ()>(1)), Ok(1));
    /// assert_eq!(config.call_blocking(&(), || Ok::<_, ()>(2)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`call`](Self::call).
    ///
    /// # Panics
    ///
    /// Panics if `op` panics.
    pub fn call_blocking<R>(&self, key: &K, op: impl FnOnce() -> R) -> Result<T, Error<E>>
    where
        R: OperationResult<T, E>,
    {
        match self.start_blocking(key, op) {
            Started::Ready(result) => result,
            Started::Waiting(flying, old) => self.0.or_stale(old.as_ref(), block_on(flying)),
        }
    }

    /// Calls as [`call_blocking`](Self::call_blocking) does, and waits for the operation of another
    /// call for at most `timeout`.
    ///
    /// The time limit does not interrupt `op`, if this call runs it.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// # use std::time::Duration;
    /// let config = Cached::<(), u32, ()>::builder(SingleValueStore::new()).build()?;
    /// let second = Duration::from_secs(1);
    /// assert_eq!(config.call_blocking_timeout(&(), || Ok::<_, ()>(1), second), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`] after `timeout`, and the errors of [`call`](Self::call).
    ///
    /// # Panics
    ///
    /// Panics if `op` panics.
    pub fn call_blocking_timeout<R>(
        &self,
        key: &K,
        op: impl FnOnce() -> R,
        timeout: Duration,
    ) -> Result<T, Error<E>>
    where
        R: OperationResult<T, E>,
    {
        match self.start_blocking(key, op) {
            Started::Ready(result) => result,
            Started::Waiting(mut flying, old) => {
                let result = self.0.group.clock.block_on_timeout(&mut flying, timeout);
                let result = result.unwrap_or_else(|| Err(self.timed_out(timeout)));
                self.0.or_stale(old.as_ref(), result)
            }
        }
    }

    /// Removes the result of `key`. Calls that start after the removal do not receive the result of
    /// an operation that started before it.
    ///
    /// Calls that already wait for an operation receive its result, which is not stored.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let config = Cached::<(), u32, ()>::builder(SingleValueStore::new()).build()?;
    /// assert_eq!(config.call_blocking(&(), || Ok::<_, ()>(1)), Ok(1));
    /// config.remove(&());
    /// assert_eq!(config.call_blocking(&(), || Ok::<_, ()>(2)), Ok(2));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    /// Looks up `key`, and creates the operation if this call is the leader.
    fn start<'a, Op, Fut>(&'a self, key: &'a K, op: Op) -> Started<'a, K, T, E>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output: OperationResult<T, E>> + Send + 'static,
    {
        match self.0.enter(key) {
            Entered::Ready(result) => Started::Ready(result),
            Entered::Follower(follower, old) => Started::Waiting(follower, old),
            Entered::Leader(leader, renewal) => {
                let old = renewal.old.clone();
                let operation = op();
                leader.start(async move { renewal.complete(operation.await.flatten()) });
                Started::Waiting(leader, old)
            }
        }
    }

    /// Looks up `key`, and runs the closure if this call is the leader.
    fn start_blocking<'a, R>(&'a self, key: &'a K, op: impl FnOnce() -> R) -> Started<'a, K, T, E>
    where
        R: OperationResult<T, E>,
    {
        match self.0.enter(key) {
            Entered::Ready(result) => Started::Ready(result),
            Entered::Follower(follower, old) => Started::Waiting(follower, old),
            Entered::Leader(leader, renewal) => {
                let old = renewal.old.clone();
                // If `op` panics, the drop of `leader` ends the flight.
                let result = renewal.complete(op().flatten());
                leader.end(result.clone());
                Started::Ready(self.0.or_stale(old.as_ref(), result))
            }
        }
    }

    fn timed_out(&self, timeout: Duration) -> Error<E> {
        TimedOut::new(self.name(), timeout).into()
    }
}

impl<K, T, E> Cached<K, T, E> {
    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the current counters.
    #[must_use]
    pub fn snapshot(&self) -> CachedSnapshot {
        let emitter = &self.0.emitter;
        CachedSnapshot {
            hits: emitter.hits.get(),
            stale: emitter.stale.get(),
            misses: emitter.misses.get(),
            refreshes: emitter.refreshes.get(),
            errors_replaced: emitter.errors_replaced.get(),
        }
    }
}

impl<K, T, E> Clone for Cached<K, T, E> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<K, T, E> fmt::Debug for Cached<K, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}
