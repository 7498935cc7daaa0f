//! Calls with the same key that share one execution (*singleflight*): [`Coalesce`].
//!
//! When a popular cache entry expires, a thousand requests can ask the database for the same row at
//! the same time. Coalescing sends one query, and all thousand receive its result.
//!
//! # Examples
//!
//! ```
//! use mainstay::coalesce::Coalesce;
//!
//! # async fn load(id: u64) -> Result<String, String> {
//! #     let mut polled = false;
//! #     std::future::poll_fn(|task| match std::mem::replace(&mut polled, true) {
//! #         true => std::task::Poll::Ready(()),
//! #         false => {
//! #             task.waker().wake_by_ref();
//! #             std::task::Poll::Pending
//! #         }
//! #     })
//! #     .await;
//! #     Ok(format!("user {id}"))
//! # }
//! # futures::executor::block_on(async {
//! let users = Coalesce::<u64, String, String>::builder().name("users").build()?;
//! let (one, other) = futures::future::join(
//!     users.call(&7, || load(7)),
//!     users.call(&7, || load(7)), // receives the result of the first
//! )
//! .await;
//! assert_eq!(one, other);
//! assert_eq!(users.snapshot().started, 1);
//! # Ok::<(), mainstay::ConfigError>(())
//! # })?;
//! # Ok::<(), mainstay::ConfigError>(())
//! ```
//!
//! # How it works
//!
//! The execution for one key is a *flight*. The first call with a key is its *leader*: its closure
//! creates the operation. Calls that arrive before the operation ends are *followers*: their
//! closures are dropped without being called. A call that arrives later starts a new flight, unless
//! [`reuse_duration`](CoalesceBuilder::reuse_duration) lets it use the last result.
//!
//! The flight owns the future of the operation, and gives it a waker of its own, which wakes one
//! participant: the leader, until its call is dropped. Each other participant is woken once, when
//! the flight ends. A participant that is polled before polls the future too, if the future was
//! woken meanwhile.
//!
//! If the polling participant is dropped, another one continues with the *same* future. The
//! operation is neither restarted nor lost. A task that holds a call but does not poll it, such as
//! the idle branch of a `select!` loop, delays the operation until any other participant is polled.
//!
//! An operation that calls the same key waits for itself, and never ends.
//!
//! ## Errors
//!
//! All participants receive a clone of the operation's error, as [`Error::Operation`]. Put an error
//! that is not `Clone`, such as `std::io::Error`, in an `Arc`. The same applies to values that are
//! expensive to clone.
//!
//! If the operation panics, the panic unwinds the leader's call if that call polled the operation.
//! Every other participant receives [`Error::Rejected`] with [`Reason::Panicked`]: its own
//! operation did not start.
//!
//! # Cancel safety
//!
//! Dropping a call leaves the flight. When the last participant is dropped, the operation is
//! dropped, and the next call starts a new one. Each call has its own time limit:
//! [`call_timeout`](Coalesce::call_timeout) ends the wait of one call and not the operation.
//!
//! A blocking leader runs its closure on its thread, and cannot be cancelled.
//!
//! # Performance
//!
//! A flight makes two allocations: the flight and its future. (One cannot hold both without unsafe
//! code, because the future is polled in place.) A follower clones one `Arc`, and locks a shard of
//! the map and the flight. The memory of a flight grows with the number of its followers.

mod builder;
#[cfg(all(test, mainstay_loom))]
mod loom;

pub use builder::CoalesceBuilder;

#[cfg(doc)]
use crate::error::Reason;
use crate::error::{Error, TimedOut};
use crate::policy::guarded::OperationFuture;
use crate::singleflight::{Group, GroupCounts, Joined, Participant};
use crate::sync::{PlainArc, block_on};
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

const POLICY: &str = "coalesce";

/// A group of calls in which concurrent calls with the same key share one execution. See the
/// [module documentation](self).
///
/// `K` is the key, `T` the value and `E` the error of the operation. Cloning is cheap, and all
/// clones share the same flights.
pub struct Coalesce<K, T, E>(PlainArc<Group<K, T, E>>);

/// The counters of a [`Coalesce`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoalesceSnapshot {
    /// The number of keys with a running operation or a kept result.
    pub keys: usize,
    /// The number of calls that started an operation.
    pub started: u64,
    /// The number of calls that joined an operation that another call had started.
    pub joined: u64,
    /// The number of calls that received a kept result.
    pub reused: u64,
    /// The number of calls that were rejected because too many keys were in use.
    pub rejected: u64,
}

// A panic of user code leaves every flight usable or ended.
impl<K, T, E> UnwindSafe for Coalesce<K, T, E> {}
impl<K, T, E> RefUnwindSafe for Coalesce<K, T, E> {}

impl<K, T, E> Coalesce<K, T, E>
where
    K: Eq + Hash,
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Creates a builder.
    pub fn builder() -> CoalesceBuilder<K, T, E> {
        CoalesceBuilder::new()
    }

    /// Returns the result of `op`, or of the operation that another call with an equal key is
    /// running.
    ///
    /// The key is cloned if the call starts an operation. The future of `op` must be `'static`,
    /// because another call may continue it.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// let pages = Coalesce::<String, u32, ()>::builder().build()?;
    /// # futures::executor::block_on(async {
    /// assert_eq!(pages.call("/home", || async { Ok(200) }).await, Ok(200));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Operation`] with a clone of the operation's error, or [`Error::Rejected`]
    /// with [`Reason::Exhausted`] if too many keys are in use, or with [`Reason::Panicked`] if the
    /// operation of another call panicked.
    ///
    /// # Panics
    ///
    /// Panics if `op` panics, or if the future that this call's `op` returned panics while this call
    /// polls it. All other calls receive the rejection.
    pub async fn call<Q, Op, Fut>(&self, key: &Q, op: Op) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let participant = match self.0.join(key, || ())? {
            Joined::Reused(result) => return result,
            Joined::Follower(participant) => {
                drop(op);
                participant
            }
            Joined::Leader(participant) => {
                participant.start(OperationFuture(op()));
                participant
            }
        };
        participant.await
    }

    /// Calls as [`call`](Self::call) does, and waits for at most `timeout`.
    ///
    /// The time limit ends this call only. The operation continues if other calls wait for it;
    /// otherwise it is dropped.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// # use std::time::Duration;
    /// let pages = Coalesce::<String, u32, ()>::builder().build()?;
    /// # futures::executor::block_on(async {
    /// let second = Duration::from_secs(1);
    /// let page = pages.call_timeout("/home", || async { Ok(200) }, second);
    /// assert_eq!(page.await, Ok(200));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`] after `timeout`, and the errors of [`call`](Self::call).
    pub async fn call_timeout<Q, Op, Fut>(
        &self,
        key: &Q,
        op: Op,
        timeout: Duration,
    ) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let result = self.0.clock.timeout(timeout, self.call(key, op)).await;
        result.unwrap_or_else(|| Err(TimedOut::new(self.0.name, timeout).into()))
    }

    /// Returns the result of the closure `op`, or of the operation that another call with an equal
    /// key is running. Blocks the thread.
    ///
    /// If the operation of the other call is asynchronous, this call may poll its future, on this
    /// thread.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// let pages = Coalesce::<String, u32, ()>::builder().build()?;
    /// assert_eq!(pages.call_blocking("/home", || Ok(200)), Ok(200));
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
    pub fn call_blocking<Q>(
        &self,
        key: &Q,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.block(key, op, block_on)
    }

    /// Calls as [`call_blocking`](Self::call_blocking) does, and waits for the operation of another
    /// call for at most `timeout`.
    ///
    /// The time limit does not interrupt `op`, if this call runs it.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// # use std::time::Duration;
    /// let pages = Coalesce::<String, u32, ()>::builder().build()?;
    /// let second = Duration::from_secs(1);
    /// let page = pages.call_blocking_timeout("/home", || Ok(200), second);
    /// assert_eq!(page, Ok(200));
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
    pub fn call_blocking_timeout<Q>(
        &self,
        key: &Q,
        op: impl FnOnce() -> Result<T, E>,
        timeout: Duration,
    ) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.block(key, op, |mut participant| {
            let result = self.0.clock.block_on_timeout(&mut participant, timeout);
            result.unwrap_or_else(|| Err(TimedOut::new(self.0.name, timeout).into()))
        })
    }

    fn block<'a, Q>(
        &'a self,
        key: &'a Q,
        op: impl FnOnce() -> Result<T, E>,
        wait: impl FnOnce(Participant<'a, K, Q, T, E, ()>) -> Result<T, Error<E>>,
    ) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.0.join(key, || ())? {
            Joined::Reused(result) => result,
            Joined::Follower(participant) => {
                drop(op);
                wait(participant)
            }
            Joined::Leader(participant) => {
                // If `op` panics, dropping the participant ends the flight.
                let result = op().map_err(Error::Operation);
                participant.end(result.clone());
                result
            }
        }
    }

    /// Removes `key` with its operation or kept result, and returns whether there was one.
    ///
    /// The next call starts a new operation. Calls that already wait receive the result of the
    /// removed one.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// # use std::time::Duration;
    /// let pages = Coalesce::<String, u32, ()>::builder()
    ///     .reuse_duration(Duration::from_secs(1))
    ///     .build()?;
    /// assert_eq!(pages.call_blocking("/home", || Ok(200)), Ok(200));
    /// assert_eq!(pages.call_blocking("/home", || Ok(500)), Ok(200)); // reused
    /// assert!(pages.remove("/home"));
    /// assert_eq!(pages.call_blocking("/home", || Ok(500)), Ok(500));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.remove(key).is_some()
    }
}

impl<K, T, E> Coalesce<K, T, E> {
    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the current counters.
    #[must_use]
    pub fn snapshot(&self) -> CoalesceSnapshot {
        let GroupCounts { keys, started, joined, reused, rejected } = self.0.counts();
        CoalesceSnapshot { keys, started, joined, reused, rejected }
    }
}

impl<K, T, E> Clone for Coalesce<K, T, E> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<K, T, E> fmt::Debug for Coalesce<K, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
