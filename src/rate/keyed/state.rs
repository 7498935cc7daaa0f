//! The state that is stored per key, and the quota that all keys have in common.

use crate::keyed::{KeyState, Retention};
use crate::rate::Quota;
use crate::rate::engine::{Gcra, Word};
use crate::rate::timeline::Nanos;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::{EpochWord, Live, PlainMutex};

/// The state of a key with the common quota: one word, aligned to 4 bytes to reduce padding.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(super) struct CommonState(Word);

/// The state of a key with its own quota.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnState {
    pub(super) tat: u64,
    pub(super) gcra: Gcra,
}

impl CommonState {
    /// Creates the state of a new key, which has all of its tokens under any quota.
    pub(super) const fn new(epoch: u64) -> Self {
        Self(Word::new(0, epoch))
    }
}

impl KeyState for CommonState {
    /// The state of a key that becomes full now.
    type Now = Word;

    fn retention(&self, full: Word) -> Retention {
        let word = self.0;
        match word.epoch() == full.epoch() && word.tat() <= full.tat() {
            true => Retention::Disposable,
            false => Retention::Evictable,
        }
    }
}

impl KeyState for OwnState {
    type Now = Nanos;

    fn retention(&self, now: Nanos) -> Retention {
        match self.tat <= self.gcra.units(now) {
            true => Retention::Disposable,
            false => Retention::Evictable,
        }
    }
}

/// The common quota of all keys. The epoch in a state identifies the quota in whose units its TAT
/// is stored.
pub(super) struct CommonQuota {
    live: Live<2>,
    epoch: AtomicU64,
    pub(super) quota: PlainMutex<Quota>,
}

impl CommonQuota {
    pub(super) fn new(quota: Quota, gcra: Gcra) -> Self {
        Self { live: Live::new(gcra), epoch: AtomicU64::new(0), quota: PlainMutex::new(quota) }
    }

    #[inline(always)]
    pub(super) fn epoch(&self) -> u64 {
        // Ordering: acquire pairs with the release in `publish`, which publishes the quota.
        self.epoch.load(Acquire)
    }

    /// Returns whether `epoch` is the current epoch. The caller holds the lock of `quota`, under
    /// which the epoch changes.
    pub(super) fn is_epoch(&self, epoch: u64) -> bool {
        self.epoch.load(Relaxed) == epoch
    }

    /// Returns the state of a key that becomes full at `now`. The read of the quota may be torn,
    /// but only when the epoch is so old that no state has it anymore.
    pub(super) fn full(&self, epoch: u64, now: Nanos) -> Word {
        Word::new(self.live.read::<Gcra>(epoch).units(now), epoch)
    }

    /// Makes `gcra` the quota in force, with the epoch after `epoch`. All states must have been
    /// converted to `epoch`. The caller serializes calls.
    pub(super) fn publish(&self, epoch: u64, gcra: Gcra) {
        self.live.write(epoch + 1, gcra);
        // Ordering: release publishes the quota. A swap with acquire ordering, so that a later
        // reading of the clock is not moved before it.
        self.epoch.swap(epoch + 1, AcqRel);
    }

    /// Calls `act` with the quota in force and the TAT of `state`. The caller holds the lock of the
    /// shard. Returns `None` if `epoch` is no longer the current epoch.
    ///
    /// The caller must read the clock (`now`) after it has read the epoch. Then all grants by the
    /// previous quota have used earlier readings, and are not credited with time at the rate of
    /// this quota.
    ///
    /// The quota is not overwritten while the lock of the shard is held. Overwriting it takes two
    /// changes, and the second first converts the states of all shards, for which it needs this
    /// lock.
    #[inline(always)]
    pub(super) fn with<R>(
        &self,
        state: &mut CommonState,
        (epoch, now): (u64, Nanos),
        act: impl FnOnce(&Gcra, &mut u64) -> R,
    ) -> Option<R> {
        let present = self.epoch();
        if present != epoch {
            return None;
        }
        let gcra = self.live.read(present);
        self.convert(state, epoch, now);
        let mut tat = { state.0 }.tat();
        let result = act(&gcra, &mut tat);
        state.0 = Word::new(tat, epoch);
        Some(result)
    }

    /// Converts `state` from the previous quota to the quota of `epoch`, unless it has that epoch
    /// already.
    #[inline(always)]
    pub(super) fn convert(&self, state: &mut CommonState, epoch: u64, now: Nanos) {
        if { state.0 }.epoch() != Word::new(0, epoch).epoch() {
            *state = self.converted(*state, epoch, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn converted(&self, state: CommonState, epoch: u64, now: Nanos) -> CommonState {
        let (gcra, old) = (self.live.read::<Gcra>(epoch), self.live.read::<Gcra>(epoch + 1));
        CommonState(Word::new(gcra.convert(&old, { state.0 }.tat(), now), epoch))
    }
}
