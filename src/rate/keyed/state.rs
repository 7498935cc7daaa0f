//! The state of one key, and the quota that all keys have in common.

use crate::keyed::{KeyState, Retention};
use crate::rate::Quota;
use crate::rate::engine::{Gcra, Word};
use crate::rate::timeline::Nanos;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::{EpochWord, Live, PlainMutex};

/// The state of a key whose quota is that of all keys: one word, which is aligned to 4 bytes so
/// that it packs well.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(super) struct CommonState(Word);

/// The state of a key that has a quota of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnState {
    pub(super) tat: u64,
    pub(super) gcra: Gcra,
}

impl CommonState {
    /// The state of a new key: full, whatever the quota is.
    pub(super) const fn new(epoch: u64) -> Self {
        Self(Word::new(0, epoch))
    }
}

impl KeyState for CommonState {
    /// The word of a limiter that becomes full now.
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

/// The quota of all keys. The epoch of a state says which quota's units its TAT is in.
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
        // Ordering: acquire, with the release by which `publish` publishes a quota.
        self.epoch.load(Acquire)
    }

    /// Whether `epoch` is the present epoch; under the lock of `quota`, which no change of it
    /// leaves.
    pub(super) fn is_epoch(&self, epoch: u64) -> bool {
        self.epoch.load(Relaxed) == epoch
    }

    /// The state of a key that becomes full at `now`. It may be that of a mixture of two quotas,
    /// but then no state is of the same epoch any more.
    pub(super) fn full(&self, epoch: u64, now: Nanos) -> Word {
        Word::new(self.live.read::<Gcra>(epoch).units(now), epoch)
    }

    /// Puts `gcra` into force as that of the epoch after `epoch`. All states must have been
    /// converted to `epoch`. The caller serializes calls.
    pub(super) fn publish(&self, epoch: u64, gcra: Gcra) {
        self.live.write(epoch + 1, gcra);
        // Ordering: release, because it publishes the quota; and a swap, so that the clock is not
        // read before it.
        self.epoch.swap(epoch + 1, AcqRel);
    }

    /// Calls `act` with the quota in force and the TAT of `state`, under the lock of its shard.
    /// Returns `None` if `epoch` is over.
    ///
    /// The clock must have been read at `now` after the epoch was read. Then all grants by the
    /// quota before had read the clock earlier, and are not credited with the time in between by
    /// this quota.
    ///
    /// Under the lock of a shard the quota can be read until the lock is released: before it is
    /// overwritten there must be two changes, and the second first converts the states of that
    /// shard.
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

    /// Converts `state` to the quota of `epoch` from that of the one before.
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
