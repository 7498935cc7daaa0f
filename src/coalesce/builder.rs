//! The builder of a [`Coalesce`].

use super::{Coalesce, POLICY};
use crate::error::ConfigError;
use crate::keyed::KeyedConfig;
use crate::policy;
use crate::singleflight::{Group, Reuse};
use crate::sync::PlainArc;
use crate::time::Clock;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Configures a [`Coalesce`].
#[must_use = "a builder does nothing until `build`"]
pub struct CoalesceBuilder<K, T, E> {
    name: String,
    keyed: KeyedConfig,
    clock: Clock,
    reuse: Reuse,
    types: PhantomData<fn(K) -> Result<T, E>>,
}

impl<K, T, E> CoalesceBuilder<K, T, E> {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            keyed: KeyedConfig::default(),
            clock: Clock::system(),
            reuse: Reuse { duration: Duration::ZERO, errors: false },
            types: PhantomData,
        }
    }

    /// Sets the name that errors carry. Default: `coalesce`.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// let built = Coalesce::<u64, u8, ()>::builder().name("users").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the largest number of keys with a running operation or a kept result, from 1 to 2^30.
    /// Default: 100,000, which bounds the memory against a flood of distinct keys.
    ///
    /// A kept result is evicted in favor of a new key. If all operations are running, a call with a
    /// new key is rejected.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// let built = Coalesce::<u64, u8, ()>::builder().max_keys(1000).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.keyed.max_keys = keys;
        self
    }

    /// Sets for how long a value is kept for later calls after its operation has ended. Default:
    /// zero, so that no call receives a result of an operation that ended before the call.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// # use std::time::Duration;
    /// let built = Coalesce::<u64, u8, ()>::builder()
    ///     .reuse_duration(Duration::from_millis(100))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn reuse_duration(mut self, duration: Duration) -> Self {
        self.reuse.duration = duration;
        self
    }

    /// Also keeps the operation's errors for the [`reuse_duration`](Self::reuse_duration). Default:
    /// only values are kept. Panics and rejections are never kept.
    ///
    /// ```
    /// # use mainstay::Coalesce;
    /// # use std::time::Duration;
    /// let built = Coalesce::<u64, u8, ()>::builder()
    ///     .reuse_duration(Duration::from_millis(100))
    ///     .reuse_errors()
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn reuse_errors(mut self) -> Self {
        self.reuse.errors = true;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{Coalesce, ManualClock};
    /// let time = ManualClock::new();
    /// let built = Coalesce::<u64, u8, ()>::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the group.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<Coalesce<K, T, E>, ConfigError> {
        let name = policy::name(&self.name)?;
        self.keyed.validate()?;
        Ok(Coalesce(PlainArc::new(Group::new(name, self.keyed, self.clock, self.reuse))))
    }
}

impl<K, T, E> Clone for CoalesceBuilder<K, T, E> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            keyed: self.keyed.clone(),
            clock: self.clock.clone(),
            reuse: self.reuse,
            types: PhantomData,
        }
    }
}

impl<K, T, E> fmt::Debug for CoalesceBuilder<K, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalesceBuilder")
            .field("name", &self.name)
            .field("max_keys", &self.keyed.max_keys)
            .field("reuse", &self.reuse)
            .finish_non_exhaustive()
    }
}
