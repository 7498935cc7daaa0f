//! The state and the counters of a pool at one moment.

use crate::window::LatencySummary;
use std::panic::Location;
use std::time::Duration;

/// The state and the counters of a [`ResourcePool`](super::ResourcePool), all of the same moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ResourcePoolSnapshot {
    /// The largest number of resources.
    pub max_size: usize,
    /// The number of idle resources that maintenance keeps ready.
    pub min_idle: usize,
    /// The number of resources that exist, are being created or are being closed. Never above
    /// `max_size`, except after a resize.
    pub size: usize,
    /// The number of resources that are ready for use.
    pub idle: usize,
    /// The number of resources that callers hold.
    pub in_use: usize,
    /// The number of creations under way, or waiting for their next attempt.
    pub creating: usize,
    /// The number of resources that are being checked.
    pub checking: usize,
    /// The number of resources that are being closed.
    pub closing: usize,
    /// The number of callers that wait.
    pub waiting: usize,
    /// Whether the pool is paused.
    pub is_paused: bool,
    /// Whether the pool is closed.
    pub is_closed: bool,
    /// The number of resources handed to callers since the pool was built.
    pub acquired: u64,
    /// The number of acquisitions that timed out.
    pub timed_out: u64,
    /// The number of resources created.
    pub created: u64,
    /// The number of creations that failed or timed out.
    pub create_failures: u64,
    /// The number of creations that the guard rejected.
    pub create_rejections: u64,
    /// The number of resources that left the pool, by reason.
    pub closed: ResourceCloseCounts,
    /// The resources that callers have held for longer than the
    /// [`leak_threshold`](super::ResourcePoolBuilder::leak_threshold). Empty if there is none.
    pub leaks: Vec<ResourceLeak>,
    /// How long callers waited in the queue before they received a resource. `None` if none did.
    pub waits: Option<LatencySummary>,
}

/// A resource that a caller has held for longer than the
/// [`leak_threshold`](super::ResourcePoolBuilder::leak_threshold).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceLeak {
    /// How long the caller has held it.
    pub held_for: Duration,
    /// The call that acquired it.
    pub acquired_at: &'static Location<'static>,
}

/// Why a resource left the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceCloseReason {
    /// It was idle for longer than the idle timeout.
    Idle,
    /// It reached the end of its lifetime.
    Lifetime,
    /// It failed a check, or the check timed out.
    CheckFailed,
    /// The manager decided to close it when it was returned, or a panic dropped its guard.
    Broken,
    /// Its holder discarded it.
    Discarded,
    /// Its holder detached it.
    Detached,
    /// It was created before the last [`evict`](super::ResourcePool::evict).
    Evicted,
    /// A resize left the pool with too many resources.
    Resized,
    /// The pool was closed.
    PoolClosed,
    /// A caller of another key needed its place within the limit over all keys.
    Reclaimed,
}

impl ResourceCloseReason {
    /// Returns a name for the label of a metric, such as `lifetime`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::CheckFailed => "check_failed",
            Self::Broken => "broken",
            Self::Discarded => "discarded",
            Self::Detached => "detached",
            Self::Evicted => "evicted",
            Self::Resized => "resized",
            Self::PoolClosed => "pool_closed",
            Self::Reclaimed => "reclaimed",
        }
    }
}

/// The number of resources that left the pool, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceCloseCounts([u64; 10]);

impl ResourceCloseCounts {
    /// Returns the number of resources that left the pool for `reason`.
    ///
    /// ```
    /// use mainstay::resource_pool::{ResourceCloseCounts, ResourceCloseReason};
    ///
    /// let counts = ResourceCloseCounts::default();
    /// assert_eq!(counts.of(ResourceCloseReason::Idle), 0);
    /// ```
    #[must_use]
    pub const fn of(&self, reason: ResourceCloseReason) -> u64 {
        self.0[reason as usize]
    }

    /// Returns the number of resources that left the pool.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn count(&mut self, reason: ResourceCloseReason) {
        self.0[reason as usize] += 1;
    }
    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}
