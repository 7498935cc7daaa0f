//! Permits that keep their semaphore alive.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::future::OwnedSemaphoreAcquireFuture;
use super::{Semaphore, SemaphoreClosed, SemaphoreError};
use crate::sync::PlainArc;

/// One or more permits that keep their [`Semaphore`] alive, so that they can be moved into another
/// task or thread. They are released when this value is dropped.
#[must_use = "a permit is released when dropped"]
pub struct OwnedSemaphorePermit {
    semaphore: PlainArc<Semaphore>,
    count: u32,
}

impl OwnedSemaphorePermit {
    /// Creates the handle of `count` permits, which the engine has already granted.
    #[inline]
    pub(super) fn new(semaphore: PlainArc<Semaphore>, count: u32) -> Self {
        Self { semaphore, count }
    }

    /// Returns the number of permits.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the semaphore to which the permits belong.
    pub fn semaphore(&self) -> &PlainArc<Semaphore> {
        &self.semaphore
    }
}

impl Drop for OwnedSemaphorePermit {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.engine.give_back(self.count);
    }
}

impl fmt::Debug for OwnedSemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSemaphorePermit").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Semaphore {
    /// Acquires a permit that keeps the semaphore alive, if one is available and there are no
    /// waiters.
    ///
    /// ```
    /// # use mainstay::Semaphore;
    /// # use std::sync::Arc;
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// let permit = semaphore.try_acquire_owned().unwrap();
    /// assert!(semaphore.try_acquire_owned().is_err());
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_owned(
        self: &PlainArc<Self>,
    ) -> Result<OwnedSemaphorePermit, SemaphoreError> {
        self.try_acquire_n_owned(1)
    }

    /// Acquires `n` permits that keep the semaphore alive, if they are available and there are no
    /// waiters.
    ///
    /// # Errors
    /// Returns the same errors as [`try_acquire_n`](Self::try_acquire_n).
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let semaphore = Arc::new(Semaphore::new(4));
    /// let permits = semaphore.try_acquire_n_owned(3).unwrap();
    /// std::thread::spawn(move || drop(permits)).join().unwrap();
    /// assert_eq!(semaphore.available(), 4);
    /// ```
    #[inline]
    pub fn try_acquire_n_owned(
        self: &PlainArc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, SemaphoreError> {
        self.try_acquire_n(n).map(|permit| permit.into_owned(self))
    }

    /// Waits for a permit that keeps the semaphore alive. The future keeps it alive as well, so
    /// that both can be moved into a spawned task.
    ///
    /// ```
    /// # use mainstay::Semaphore;
    /// # use std::sync::Arc;
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// # futures::executor::block_on(async {
    /// let permit = semaphore.acquire_owned().await.unwrap();
    /// assert_eq!(semaphore.available(), 0);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns [`SemaphoreClosed`] if the semaphore is closed.
    #[inline]
    pub fn acquire_owned(self: &PlainArc<Self>) -> OwnedSemaphoreAcquireFuture {
        self.acquire_n_owned(1)
    }

    /// Waits for `n` permits that keep the semaphore alive. The future keeps it alive as well.
    ///
    /// # Errors
    ///
    /// The future returns [`SemaphoreClosed`] if the semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::sync::Arc;
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Arc::new(Semaphore::new(4));
    /// let permits = semaphore.acquire_n_owned(3).await?;
    /// # drop(permits);
    /// # Ok::<_, mainstay::wait::SemaphoreClosed>(())
    /// # }).unwrap();
    /// ```
    #[inline]
    pub fn acquire_n_owned(self: &PlainArc<Self>, n: u32) -> OwnedSemaphoreAcquireFuture {
        OwnedSemaphoreAcquireFuture::new(PlainArc::clone(self), n)
    }

    /// Waits for a permit that keeps the semaphore alive, for at most `timeout`, as
    /// [`acquire_timeout`](Self::acquire_timeout) does.
    ///
    /// # Errors
    ///
    /// The future returns the same errors as [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::{sync::Arc, time::Duration};
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Arc::new(Semaphore::new(4));
    /// let timeout = Duration::from_millis(1);
    /// let permit = semaphore.acquire_owned_timeout(timeout).await?;
    /// # drop(permit);
    /// # Ok::<_, mainstay::wait::SemaphoreError>(())
    /// # }).unwrap();
    /// ```
    pub fn acquire_owned_timeout(
        self: &PlainArc<Self>,
        timeout: Duration,
    ) -> impl Future<Output = Result<OwnedSemaphorePermit, SemaphoreError>> + Send + use<> {
        self.acquire_n_owned_timeout(1, timeout)
    }

    /// Waits for `n` permits that keep the semaphore alive, for at most `timeout`, as
    /// [`acquire_n_timeout`](Self::acquire_n_timeout) does.
    ///
    /// # Errors
    ///
    /// The future returns the same errors as [`acquire_n_timeout`](Self::acquire_n_timeout).
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::{sync::Arc, time::Duration};
    ///
    /// # futures::executor::block_on(async {
    /// let semaphore = Arc::new(Semaphore::new(4));
    /// let timeout = Duration::from_millis(1);
    /// assert!(semaphore.acquire_n_owned_timeout(5, timeout).await.is_err());
    /// # });
    /// ```
    pub fn acquire_n_owned_timeout(
        self: &PlainArc<Self>,
        n: u32,
        timeout: Duration,
    ) -> impl Future<Output = Result<OwnedSemaphorePermit, SemaphoreError>> + Send + use<> {
        let acquired = self.clock.timeout(timeout, self.acquire_n_owned(n));
        async move {
            let acquired = acquired.await.ok_or(SemaphoreError::Exhausted)?;
            acquired.map_err(SemaphoreError::from)
        }
    }

    /// Blocks the thread until it has a permit that keeps the semaphore alive, as
    /// [`acquire_blocking`](Self::acquire_blocking) does.
    ///
    /// ```
    /// # use mainstay::Semaphore;
    /// # use std::sync::Arc;
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// let permit = semaphore.acquire_owned_blocking().unwrap();
    /// std::thread::spawn(move || drop(permit)).join().unwrap();
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    ///
    /// # Errors
    /// Returns [`SemaphoreClosed`] if the semaphore is closed.
    pub fn acquire_owned_blocking(
        self: &PlainArc<Self>,
    ) -> Result<OwnedSemaphorePermit, SemaphoreClosed> {
        self.acquire_n_owned_blocking(1)
    }

    /// Blocks the thread until it has `n` permits that keep the semaphore alive, as
    /// [`acquire_n_blocking`](Self::acquire_n_blocking) does.
    ///
    /// # Errors
    /// Returns [`SemaphoreClosed`] if the semaphore is closed.
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let semaphore = Arc::new(Semaphore::new(4));
    /// let permits = semaphore.acquire_n_owned_blocking(3)?;
    /// assert_eq!(permits.count(), 3);
    /// # Ok::<_, mainstay::wait::SemaphoreClosed>(())
    /// ```
    pub fn acquire_n_owned_blocking(
        self: &PlainArc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, SemaphoreClosed> {
        self.acquire_n_blocking(n).map(|permit| permit.into_owned(self))
    }

    /// Blocks the thread until it has a permit that keeps the semaphore alive, for at most
    /// `timeout`, as [`acquire_blocking_timeout`](Self::acquire_blocking_timeout) does.
    ///
    /// # Errors
    /// Returns the same errors as [`acquire_blocking_timeout`](Self::acquire_blocking_timeout).
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::{sync::Arc, time::Duration};
    ///
    /// let semaphore = Arc::new(Semaphore::new(4));
    /// let timeout = Duration::from_millis(1);
    /// assert!(semaphore.acquire_owned_blocking_timeout(timeout).is_ok());
    /// ```
    pub fn acquire_owned_blocking_timeout(
        self: &PlainArc<Self>,
        timeout: Duration,
    ) -> Result<OwnedSemaphorePermit, SemaphoreError> {
        self.acquire_n_owned_blocking_timeout(1, timeout)
    }

    /// Blocks the thread until it has `n` permits that keep the semaphore alive, for at most
    /// `timeout`, as [`acquire_n_blocking_timeout`](Self::acquire_n_blocking_timeout) does.
    ///
    /// # Errors
    /// Returns the same errors as [`acquire_n_blocking_timeout`](Self::acquire_n_blocking_timeout).
    ///
    /// ```
    /// use mainstay::wait::Semaphore;
    /// use std::{sync::Arc, time::Duration};
    ///
    /// let semaphore = Arc::new(Semaphore::new(4));
    /// let timeout = Duration::from_millis(1);
    /// assert!(semaphore.acquire_n_owned_blocking_timeout(5, timeout).is_err());
    /// ```
    pub fn acquire_n_owned_blocking_timeout(
        self: &PlainArc<Self>,
        n: u32,
        timeout: Duration,
    ) -> Result<OwnedSemaphorePermit, SemaphoreError> {
        self.acquire_n_blocking_timeout(n, timeout).map(|permit| permit.into_owned(self))
    }
}
