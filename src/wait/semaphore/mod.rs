//! A semaphore that limits concurrent access by a number of permits.

mod engine;
mod error;
mod future;
mod owned;
mod permit;

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use self::engine::Engine;
pub use self::error::{SemaphoreClosed, SemaphoreError};
pub use self::future::{OwnedSemaphoreAcquireFuture, SemaphoreAcquireFuture};
pub use self::owned::OwnedSemaphorePermit;
pub use self::permit::SemaphorePermit;
use crate::sync::{SpinWait, block_on};
use crate::time::Clock;

/// The order in which waiters are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QueueOrder {
    /// First in, first out. The default, because no waiter starves.
    #[default]
    Fifo,
    /// Last in, first out. Under overload the callers that have waited longest have most likely
    /// given up. Serving the newest waiter completes some requests in time, at the price that the
    /// oldest may starve.
    Lifo,
}

/// A fair semaphore whose limit can change while it is in use.
///
/// A caller acquires one permit or several and releases them by dropping the [`SemaphorePermit`].
/// Threads and tasks wait in one queue; no runtime is needed. The `_owned` methods, on an
/// `Arc<Semaphore>`, return permits that can be moved into another task or thread.
///
/// # Examples
///
/// ```
/// use mainstay::wait::{Semaphore, SemaphoreError};
///
/// let connections = Semaphore::new(2);
/// let first = connections.try_acquire().unwrap();
/// let second = connections.acquire_blocking().unwrap();
/// assert_eq!(connections.try_acquire().unwrap_err(), SemaphoreError::Exhausted);
///
/// drop(first);
/// assert_eq!(connections.available(), 1);
/// # drop(second);
/// ```
///
/// # How it works
///
/// Waiters are served strictly in [`QueueOrder`]. While there are waiters, a newcomer gets no
/// permit, even if one is free: [`try_acquire`](Self::try_acquire) fails and
/// [`acquire`](Self::acquire) enters the queue. A waiter for many permits holds up the waiters
/// behind it, or it would starve.
///
/// Fairness has a price. A permit that is released while there are waiters stays unused until the
/// next waiter runs, and waking a parked thread takes thousands of times longer than taking a free
/// permit. Where more threads than cores compete for a few permits, the queue then never empties.
/// For this reason a thread in [`acquire_blocking`](Self::acquire_blocking) tries again for about a
/// microsecond before it enters the queue. It does not overtake queued waiters.
///
/// [`resize`](Self::resize) takes effect immediately. A lower limit revokes no permit: nothing is
/// granted until enough permits have been released.
///
/// # Shutdown
///
/// After [`close`](Self::close) no permit is granted, neither to present waiters nor to later
/// callers; both receive an error. Permits in use stay valid.
///
/// # Cancel safety
///
/// If an acquire future is dropped, the caller loses its position in the queue, and permits that
/// were granted meanwhile are released.
///
/// # Performance
///
/// While there are no waiters, acquiring and releasing are one atomic read-modify-write each, and
/// nothing is allocated. A waiter allocates only if there were never as many waiters before.
pub struct Semaphore {
    engine: Engine,
    clock: Clock,
}

// A panic of a waker leaves the queue intact (see `Wakers`). No other user code runs in a method.
impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

impl Semaphore {
    /// Creates a semaphore with `limit` permits that serves waiters in order of arrival.
    ///
    /// With a limit of 0 no permit is granted until the limit is raised.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    ///
    /// assert_eq!(Semaphore::new(8).available(), 8);
    /// ```
    pub fn new(limit: u32) -> Self {
        Self::with_order(limit, QueueOrder::Fifo)
    }

    /// Creates a semaphore with `limit` permits that serves waiters in `order`.
    ///
    /// ```
    /// use mainstay::wait::{QueueOrder, Semaphore};
    ///
    /// let newest_first = Semaphore::with_order(8, QueueOrder::Lifo);
    /// ```
    pub fn with_order(limit: u32, order: QueueOrder) -> Self {
        Self { engine: Engine::new(limit, order), clock: Clock::system() }
    }

    /// Sets the clock by which timeouts are measured. Default: [`Clock::system`], which works under
    /// every runtime and without one.
    ///
    /// ```
    /// use mainstay::{time::ManualClock, wait::Semaphore};
    ///
    /// let time = ManualClock::new();
    /// let semaphore = Semaphore::new(8).with_clock(time.clock());
    /// ```
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Acquires a permit if one is available and there are no waiters.
    ///
    /// # Errors
    ///
    /// [`SemaphoreError`] says whether there was no permit or the semaphore is closed.
    #[inline]
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, SemaphoreError> {
        self.try_acquire_n(1)
    }

    /// Acquires `n` permits if they are available and there are no waiters. The conditions apply to
    /// `n` = 0 too.
    ///
    /// # Errors
    ///
    /// [`SemaphoreError`] says whether there were too few permits or the semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    ///
    /// let semaphore = Semaphore::new(4);
    /// let three = semaphore.try_acquire_n(3).unwrap();
    /// assert_eq!(three.count(), 3);
    /// assert!(semaphore.try_acquire_n(2).is_err());
    /// ```
    #[inline]
    pub fn try_acquire_n(&self, n: u32) -> Result<SemaphorePermit<'_>, SemaphoreError> {
        self.engine.take(n).map(|()| SemaphorePermit::new(self, n))
    }

    /// Waits for a permit. The future resolves to [`SemaphoreClosed`] if the semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Semaphore::new(4);
    /// let _permit = semaphore.acquire().await?;
    /// # Ok::<_, mainstay::wait::SemaphoreClosed>(())
    /// # }).unwrap();
    /// ```
    #[inline]
    pub fn acquire(&self) -> SemaphoreAcquireFuture<'_> {
        self.acquire_n(1)
    }

    /// Waits for `n` permits at the same time. An `n` above the limit waits until the limit is
    /// raised. The future resolves to [`SemaphoreClosed`] if the semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Semaphore::new(4);
    /// let _permits = semaphore.acquire_n(3).await?;
    /// # Ok::<_, mainstay::wait::SemaphoreClosed>(())
    /// # }).unwrap();
    /// ```
    #[inline]
    pub fn acquire_n(&self, n: u32) -> SemaphoreAcquireFuture<'_> {
        SemaphoreAcquireFuture::new(self, n)
    }

    /// Waits for a permit for at most `timeout`, counted from the first poll. The future resolves
    /// to [`SemaphoreError::Exhausted`] when the time is over.
    ///
    /// ```
    /// use mainstay::wait::{Semaphore, SemaphoreError};
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Semaphore::new(0);
    /// let result = semaphore.acquire_timeout(Duration::from_millis(1)).await;
    /// assert_eq!(result.unwrap_err(), SemaphoreError::Exhausted);
    /// # });
    /// ```
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<SemaphorePermit<'_>, SemaphoreError>> + Send {
        self.acquire_n_timeout(1, timeout)
    }

    /// Waits for `n` permits for at most `timeout`, counted from the first poll. The future
    /// resolves to [`SemaphoreError::Exhausted`] when the time is over.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Semaphore::new(4);
    /// let timeout = Duration::from_millis(1);
    /// assert!(semaphore.acquire_n_timeout(5, timeout).await.is_err());
    /// # });
    /// ```
    pub fn acquire_n_timeout(
        &self,
        n: u32,
        timeout: Duration,
    ) -> impl Future<Output = Result<SemaphorePermit<'_>, SemaphoreError>> + Send {
        let acquired = self.clock.timeout(timeout, self.acquire_n(n));
        async move {
            let acquired = acquired.await.ok_or(SemaphoreError::Exhausted)?;
            acquired.map_err(SemaphoreError::from)
        }
    }

    /// Blocks the thread until it has a permit: tries again for a few microseconds, then parks.
    ///
    /// # Errors
    ///
    /// [`SemaphoreClosed`] if the semaphore is closed.
    #[inline]
    pub fn acquire_blocking(&self) -> Result<SemaphorePermit<'_>, SemaphoreClosed> {
        self.acquire_n_blocking(1)
    }

    /// Blocks the thread until it has `n` permits.
    ///
    /// # Errors
    ///
    /// [`SemaphoreClosed`] if the semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    ///
    /// let semaphore = Semaphore::new(4);
    /// let permits = semaphore.acquire_n_blocking(3)?;
    /// assert_eq!(semaphore.available(), 1);
    /// # drop(permits);
    /// # Ok::<_, mainstay::wait::SemaphoreClosed>(())
    /// ```
    #[inline]
    pub fn acquire_n_blocking(&self, n: u32) -> Result<SemaphorePermit<'_>, SemaphoreClosed> {
        match self.try_acquire_n(n) {
            Ok(permit) => Ok(permit),
            Err(SemaphoreError::Exhausted) => self.spin_then_park(n),
            Err(SemaphoreError::Closed) => Err(SemaphoreClosed),
        }
    }

    /// Blocks the thread until it has a permit, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SemaphoreError::Exhausted`] when the time is over, [`SemaphoreError::Closed`] if the
    /// semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::time::Duration;
    ///
    /// let semaphore = Semaphore::new(0);
    /// let timeout = Duration::from_millis(1);
    /// assert!(semaphore.acquire_blocking_timeout(timeout).is_err());
    /// ```
    pub fn acquire_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, SemaphoreError> {
        self.acquire_n_blocking_timeout(1, timeout)
    }

    /// Blocks the thread until it has `n` permits, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SemaphoreError::Exhausted`] when the time is over, [`SemaphoreError::Closed`] if the
    /// semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::time::Duration;
    ///
    /// let semaphore = Semaphore::new(4);
    /// let timeout = Duration::from_millis(1);
    /// assert!(semaphore.acquire_n_blocking_timeout(5, timeout).is_err());
    /// ```
    pub fn acquire_n_blocking_timeout(
        &self,
        n: u32,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, SemaphoreError> {
        match self.try_acquire_n(n) {
            Err(SemaphoreError::Exhausted) => {
                match self.clock.block_on_timeout(&mut self.acquire_n(n), timeout) {
                    Some(acquired) => acquired.map_err(SemaphoreError::from),
                    None => Err(SemaphoreError::Exhausted),
                }
            }
            result => result,
        }
    }

    /// Closes the semaphore for good and wakes all waiters, which receive an error. Returns `true`
    /// for the call that closed it.
    ///
    /// ```
    /// use mainstay::wait::{Semaphore, SemaphoreError};
    ///
    /// let semaphore = Semaphore::new(4);
    /// assert!(semaphore.close());
    /// assert_eq!(semaphore.try_acquire().unwrap_err(), SemaphoreError::Closed);
    /// ```
    pub fn close(&self) -> bool {
        self.engine.end()
    }

    /// Returns whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.engine.has_ended()
    }

    /// Sets the number of permits. A lower limit revokes no permit: nothing is granted until enough
    /// permits have been released.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    ///
    /// let semaphore = Semaphore::new(4);
    /// semaphore.resize(6);
    /// assert_eq!(semaphore.available(), 6);
    /// ```
    pub fn resize(&self, limit: u32) {
        self.engine.set_limit(limit);
    }

    /// Returns the number of permits, in use or not.
    pub fn limit(&self) -> u32 {
        self.engine.limit()
    }

    /// Returns the number of permits that [`try_acquire_n`](Self::try_acquire_n) could acquire now:
    /// 0 while there are waiters, for which all free permits are reserved, and 0 when closed.
    pub fn available(&self) -> u32 {
        self.engine.takable()
    }

    /// Returns the number of permits in use, including those granted to a waiter that has not run
    /// yet. After the limit was lowered this can be above the limit.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    ///
    /// let semaphore = Semaphore::new(4);
    /// let permits = semaphore.try_acquire_n(3).unwrap();
    /// assert_eq!(semaphore.in_use(), 3);
    /// # drop(permits);
    /// ```
    pub fn in_use(&self) -> u32 {
        self.engine.in_use()
    }

    /// Returns whether there are waiters.
    pub fn has_waiters(&self) -> bool {
        self.engine.has_waiters()
    }

    #[cold]
    #[inline(never)]
    fn spin_then_park(&self, n: u32) -> Result<SemaphorePermit<'_>, SemaphoreClosed> {
        let mut spin = SpinWait::new();
        while spin.spin() {
            match self.try_acquire_n(n) {
                Ok(permit) => return Ok(permit),
                Err(SemaphoreError::Exhausted) => {}
                Err(SemaphoreError::Closed) => return Err(SemaphoreClosed),
            }
        }
        block_on(self.acquire_n(n))
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("limit", &self.limit())
            .field("in_use", &self.in_use())
            .field("has_waiters", &self.has_waiters())
            .field("is_closed", &self.is_closed())
            .field("order", &self.engine.order())
            .finish()
    }
}
