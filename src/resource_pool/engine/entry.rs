//! A resource of the pool, and whether it is fit for use.

use super::leases::LeaseKey;
use super::total::TotalPermit;
use crate::resource_pool::config::Config;
use crate::resource_pool::snapshot::ResourceCloseReason;
use crate::time::Instant;
use std::time::Duration;

/// The time after a creation or a check during which the first use needs no check, even if
/// `check_after` is shorter. Otherwise a resource that has just passed its check would be checked
/// again, and never be used.
const CHECK_VALIDITY: Duration = Duration::from_millis(100);

/// A resource with its times, its generation and its number of uses.
pub(in crate::resource_pool) struct Entry<R> {
    pub(in crate::resource_pool) resource: R,
    pub(in crate::resource_pool) created_at: Instant,
    expires_at: Instant,
    /// When it was last returned or, before its first use, created.
    pub(super) idle_since: Instant,
    /// When it was last known to be healthy: created, returned or checked.
    pub(super) healthy_at: Instant,
    pub(in crate::resource_pool) uses: u64,
    generation: u64,
    /// Set while a caller holds it, if leaks are detected.
    pub(super) lease: LeaseKey,
    /// Whether it must be checked even if it was idle for less than `check_after`.
    pub(super) must_check: bool,
    /// Whether it was not used since it was created or passed a check.
    is_checked: bool,
    /// The last field, so that it is released after the resource is dropped.
    pub(super) permit: Option<TotalPermit>,
}

/// Whether an idle resource can be used, must be checked first, or must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// It can be used.
    Fresh,
    /// It must be checked first.
    Stale,
    /// It must be closed, for this reason.
    Unfit(ResourceCloseReason),
}

impl<R> Entry<R> {
    pub(super) fn new(resource: R, now: Instant, expires_at: Instant, generation: u64) -> Self {
        Self {
            resource,
            created_at: now,
            expires_at,
            idle_since: now,
            healthy_at: now,
            uses: 0,
            generation,
            lease: None,
            must_check: false,
            is_checked: true,
            permit: None,
        }
    }

    pub(super) fn returned(&mut self, now: Instant, must_check: bool) {
        (self.idle_since, self.healthy_at, self.must_check) = (now, now, must_check);
        self.is_checked = false;
    }

    pub(super) fn checked(&mut self, now: Instant) {
        (self.healthy_at, self.must_check, self.is_checked) = (now, false, true);
    }

    /// Returns whether the resource can be used at `now`. The idle timeout applies only if
    /// `is_spare`: more than `min_idle` resources are idle.
    pub(super) fn fitness(
        &self,
        now: Instant,
        config: &Config,
        generation: u64,
        is_spare: bool,
    ) -> Fitness {
        if self.generation != generation {
            return Fitness::Unfit(ResourceCloseReason::Evicted);
        }
        if now >= self.expires_at {
            return Fitness::Unfit(ResourceCloseReason::Lifetime);
        }
        if is_spare && config.idle_timeout.is_some_and(|limit| now - self.idle_since >= limit) {
            return Fitness::Unfit(ResourceCloseReason::Idle);
        }
        // A resource that was returned at `now` is fresh, even if `check_after` is zero.
        let since = now - self.healthy_at;
        let check_after = match self.is_checked {
            true => config.check_after.max(CHECK_VALIDITY),
            false => config.check_after,
        };
        match self.must_check || (since >= check_after && !since.is_zero()) {
            true => Fitness::Stale,
            false => Fitness::Fresh,
        }
    }
}
