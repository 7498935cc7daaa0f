//! The leases of a pool that looks for leaks.

use super::entry::Entry;
use super::state::State;
use crate::resource_pool::ResourceManager;
use crate::resource_pool::snapshot::ResourceLeak;
use crate::time::Instant;
use crate::wait::{WaiterKey, WaiterList};
use std::panic::Location;

/// Where in the user's code a resource was acquired.
pub(in crate::resource_pool) type Caller = &'static Location<'static>;

/// The leases that began while the pool looks for leaks.
pub(super) struct Leases(WaiterList<Lease>);

/// A resource in use.
struct Lease {
    since: Instant,
    caller: Caller,
    is_reported: bool,
}

/// The name of the lease of a resource, if the pool looks for leaks.
pub(super) type LeaseKey = Option<WaiterKey>;

impl Leases {
    pub(super) const fn new() -> Self {
        Self(WaiterList::new())
    }
}

impl<M: ResourceManager> State<M> {
    /// Records that a caller uses the resource from `now` on, if the pool looks for leaks.
    #[inline]
    pub(super) fn begin_lease(&mut self, entry: &mut Entry<M::Resource>, now: Instant, by: Caller) {
        if self.config.leak_threshold.is_some() {
            let lease = Lease { since: now, caller: by, is_reported: false };
            entry.lease = Some(self.leases.0.push_back(lease));
        }
    }

    /// Records that the caller no longer uses the resource.
    #[inline]
    pub(super) fn end_lease(&mut self, entry: &mut Entry<M::Resource>) {
        if let Some(lease) = entry.lease.take() {
            self.leases.0.remove(lease);
        }
    }

    /// Returns the leases that are older than the threshold.
    pub(super) fn leaks(&mut self, now: Instant) -> Vec<ResourceLeak> {
        self.select_leaks(now, |_| true)
    }

    /// Returns the leases that are older than the threshold and were not returned before.
    pub(super) fn new_leaks(&mut self, now: Instant) -> Vec<ResourceLeak> {
        self.select_leaks(now, |lease| !std::mem::replace(&mut lease.is_reported, true))
    }

    fn select_leaks(
        &mut self,
        now: Instant,
        select: impl Fn(&mut Lease) -> bool,
    ) -> Vec<ResourceLeak> {
        let mut leaks = Vec::new();
        let Some(threshold) = self.config.leak_threshold else { return leaks };
        let mut slot = 0;
        while let Some(lease) = self.leases.0.slot(slot) {
            slot += 1;
            if let Some(lease) = lease
                && now - lease.since >= threshold
                && select(lease)
            {
                leaks.push(ResourceLeak { held_for: now - lease.since, acquired_at: lease.caller });
            }
        }
        leaks
    }
}
