//! A configuration that can be replaced while other threads make decisions with it.

use super::CasBackoff;
use super::atomic::{AtomicU64, Ordering, fence};

/// A value that fits into `N` words.
///
/// Every pattern of words decodes to *some* value: a reader that races a writer may decode a
/// mixture of two values, which it discards later.
pub(crate) trait Words<const N: usize>: Copy {
    fn to_words(self) -> [u64; N];
    fn from_words(words: [u64; N]) -> Self;
}

/// A state word that holds, in some of its bits, the epoch of the live configuration.
pub(crate) trait EpochWord: Copy {
    fn from_bits(bits: u64) -> Self;
    fn to_bits(self) -> u64;
    /// Returns the number of configurations so far, possibly modulo a power of two.
    fn epoch(self) -> u64;
}

/// A decision made from one read of a state word and of the configuration of its epoch.
#[derive(Debug)]
pub(crate) enum Decision<W, R> {
    /// Replaces the state word and returns the result, unless the word has changed meanwhile.
    Replace(W, R),
    /// Leaves the state word alone and returns the result, unless the configuration has changed
    /// meanwhile.
    Keep(R),
    /// Returns the result even if the word has changed: the result does not depend on the
    /// configuration, or the change was committed by other means.
    Done(R),
    /// Makes the decision again from the start.
    Retry,
}

/// Two slots for a configuration: one live, one to be written next.
///
/// # How it works
///
/// The owner keeps an *epoch* inside its state word; the epoch selects the live slot. A decision
/// reads the state word, reads the slot of that word's epoch, and commits with a compare-and-swap
/// on the same state word. If the configuration changed in between, the epoch changed too, and the
/// decision is made again. No decision outlives the configuration that it was made with. Readers
/// write nothing and never wait, and a read costs a few plain loads.
///
/// [`decide`](Self::decide) runs this loop; [`try_decide`](Self::try_decide) makes one attempt.
///
/// The slots hold atomics, not cells, because a reader that was suspended across two changes reads
/// a slot while it is being rewritten. It reads a mixture, which the check of the epoch discards.
#[derive(Debug)]
pub(crate) struct Live<const N: usize> {
    slots: [[AtomicU64; N]; 2],
}

impl<const N: usize> Live<N> {
    /// Makes `value` live in every epoch until the next [`write`](Self::write).
    pub(crate) fn new(value: impl Words<N>) -> Self {
        let store = |words: [u64; N]| words.map(AtomicU64::new);
        Self { slots: [store(value.to_words()), store(value.to_words())] }
    }

    /// Reads `state` and the configuration of its epoch, and carries out what `decide` returns for
    /// them; repeats this until the decision holds.
    ///
    /// `decide` may be called several times, and may be given a mixture of two configurations. It
    /// must have no effect that a repetition would make wrong.
    #[inline(always)]
    pub(crate) fn decide<W: EpochWord, C: Words<N>, R>(
        &self,
        state: &AtomicU64,
        mut decide: impl FnMut(W, C) -> Decision<W, R>,
    ) -> R {
        let mut backoff = CasBackoff::new();
        loop {
            match self.try_decide(state, &mut decide) {
                Some(result) => return result,
                None => backoff.spin(),
            }
        }
    }

    /// Makes one attempt of [`decide`](Self::decide). Returns `None` if the decision did not hold
    /// or was [`Decision::Retry`].
    #[inline(always)]
    pub(crate) fn try_decide<W: EpochWord, C: Words<N>, R>(
        &self,
        state: &AtomicU64,
        decide: impl FnOnce(W, C) -> Decision<W, R>,
    ) -> Option<R> {
        // Ordering: acquire, with the release by which the owner publishes an epoch: the slot of
        // that epoch has been written.
        let word = W::from_bits(state.load(Ordering::Acquire));
        match decide(word, self.read(word.epoch())) {
            Decision::Replace(next, result) => {
                // Ordering: acquire and release, so that successive decisions form one chain.
                let (from, to) = (word.to_bits(), next.to_bits());
                state
                    .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
                    .then_some(result)
            }
            Decision::Keep(result) => Self::is_current(state, word).then_some(result),
            Decision::Done(result) => Some(result),
            Decision::Retry => None,
        }
    }

    /// Returns whether the configuration that was read for `word` is still live. If not, the value
    /// that was read may be a mixture.
    #[inline(always)]
    pub(crate) fn is_current<W: EpochWord>(state: &AtomicU64, word: W) -> bool {
        // Ordering: the acquire fence, with the release fence in `write`: if one of the words read
        // before belongs to a later epoch, the load below finds the epoch changed.
        fence(Ordering::Acquire);
        W::from_bits(state.load(Ordering::Acquire)).epoch() == word.epoch()
    }

    /// Returns the configuration of `epoch`, or a mixture if that epoch is over.
    #[inline(always)]
    pub(crate) fn read<C: Words<N>>(&self, epoch: u64) -> C {
        let slot = &self.slots[(epoch & 1) as usize];
        // Ordering: relaxed. The epoch came from an acquire load of the state word, which
        // synchronizes with the release that published it after `write`; and a decision holds only
        // if the epoch is found unchanged afterwards.
        C::from_words(std::array::from_fn(|i| slot[i].load(Ordering::Relaxed)))
    }

    /// Returns the word at `index` of the configuration of `epoch`, not decoded.
    #[inline]
    pub(crate) fn read_word(&self, epoch: u64, index: usize) -> u64 {
        // Ordering: as in `read`.
        self.slots[(epoch & 1) as usize][index].load(Ordering::Relaxed)
    }

    /// Writes the configuration of `epoch`, which must be the epoch after the live one.
    ///
    /// The caller serializes writers, and publishes by storing `epoch` into its state word with at
    /// least release ordering.
    pub(crate) fn write<C: Words<N>>(&self, epoch: u64, value: C) {
        // Ordering: release, with the acquire fence in `is_current`: a reader that has read one of
        // the words below finds the epoch before this one gone.
        fence(Ordering::Release);
        let slot = &self.slots[(epoch & 1) as usize];
        for (word, value) in slot.iter().zip(value.to_words()) {
            // Ordering: relaxed; published by the owner's release of `epoch`.
            word.store(value, Ordering::Relaxed);
        }
    }
}
