//! The identity of a pool.

use crate::sync::atomic::Ordering;
use crate::sync::{CachePadded, PlainAtomicBool, PlainMutex};

/// The identity of a pool, with a flag that records that a queued job has ended.
///
/// A job handle must be able to set the flag without keeping the pool alive, and without a
/// reference count, which would add a cost to every spawned job. So the mark that an identity
/// points to is never freed; a later pool reuses it. A handle of an earlier pool can then set the
/// flag of the later pool, which costs that pool one needless search of its queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolId(&'static Mark);

#[derive(Debug)]
struct Mark {
    has_ended_jobs: CachePadded<PlainAtomicBool>,
}

/// Marks of pools that have ended, for reuse.
static UNUSED: PlainMutex<Vec<&'static Mark>> = PlainMutex::new(Vec::new());

impl PartialEq for PoolId {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl PoolId {
    /// Creates the identity of a new pool.
    pub(crate) fn acquire() -> Self {
        let unused = UNUSED.lock().pop();
        Self(unused.unwrap_or_else(|| {
            let has_ended_jobs = CachePadded::new(PlainAtomicBool::new(false));
            Box::leak(Box::new(Mark { has_ended_jobs }))
        }))
    }

    /// Ends the use of an identity by a pool whose jobs have all ended.
    pub(crate) fn release(self) {
        UNUSED.lock().push(self.0);
    }

    /// Records that a job that may still be queued has ended. Called after its end.
    pub(crate) fn record_ended_job(self) {
        let flag = &self.0.has_ended_jobs;
        // Ordering: release, pairs with the acquire in `take_ended_jobs`. A thread that finds the
        // flag set need not set it again: the thread that clears the flag later takes the lock of
        // the job afterwards, and so observes its end.
        if !flag.load(Ordering::Relaxed) {
            flag.store(true, Ordering::Release);
        }
    }

    /// Returns whether a job has ended since the last [`take_ended_jobs`](Self::take_ended_jobs).
    pub(crate) fn has_ended_jobs(self) -> bool {
        self.0.has_ended_jobs.load(Ordering::Acquire)
    }

    /// Clears the flag and returns whether it was set. Called before the queue is searched.
    pub(crate) fn take_ended_jobs(self) -> bool {
        self.has_ended_jobs() && self.0.has_ended_jobs.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn identities_are_distinct_and_their_memory_is_reused() {
        let (first, second) = (PoolId::acquire(), PoolId::acquire());
        assert!(first == first && first != second);
        first.record_ended_job();
        assert!(!second.take_ended_jobs());
        assert!(first.take_ended_jobs() && !first.take_ended_jobs());
        second.release();
        assert!(!UNUSED.lock().is_empty() || PoolId::acquire() != first);
    }
}
