//! Configuration that changes while it is read.

use super::atomic::{AtomicU64, Ordering, fence};

/// A value that fits into `N` words, any pattern of which decodes to *some* value.
///
/// The second half matters: a reader that races a writer may decode a mixture of two values before it
/// learns that it must throw it away.
pub(crate) trait Words<const N: usize>: Copy {
    fn to_words(self) -> [u64; N];
    fn from_words(words: [u64; N]) -> Self;
}

/// Two slots for a configuration, one live and one to be written next.
///
/// Which of them is live is said by an *epoch* that the owner keeps inside its own state word. A
/// decision reads the state word, reads the slot of the epoch it found there, and commits with a
/// compare-and-swap on that same state word: if the configuration changed in between, the epoch did
/// too and the decision is taken again. So no decision outlives the configuration it was taken under,
/// readers write nothing and never wait, and a read costs a few plain loads.
///
/// The slots hold atomics, not cells, because a reader that was suspended across two changes reads a
/// slot while it is being rewritten. What it gets is a mixture, which its compare-and-swap discards.
#[derive(Debug)]
pub(crate) struct Live<const N: usize> {
    slots: [[AtomicU64; N]; 2],
}

impl<const N: usize> Live<N> {
    /// `value` is live in every even epoch until the next [`write`](Self::write).
    pub(crate) fn new(value: impl Words<N>) -> Self {
        let store = |words: [u64; N]| words.map(AtomicU64::new);
        Self { slots: [store(value.to_words()), store(value.to_words())] }
    }

    /// The configuration of `epoch`, or a mixture if that epoch is over.
    #[inline(always)]
    pub(crate) fn read<C: Words<N>>(&self, epoch: u64) -> C {
        let slot = &self.slots[(epoch & 1) as usize];
        // Ordering: relaxed. The epoch came from an acquire load of the state word, which synchronises
        // with the release that published it after `write`; and no decision stands unless the owner's
        // compare-and-swap finds the same epoch still there.
        C::from_words(std::array::from_fn(|i| slot[i].load(Ordering::Relaxed)))
    }

    /// The word at `index` of what [`read`](Self::read) would decode.
    #[inline]
    pub(crate) fn read_word(&self, epoch: u64, index: usize) -> u64 {
        // Ordering: as in `read`.
        self.slots[(epoch & 1) as usize][index].load(Ordering::Relaxed)
    }

    /// Prepares the configuration of `epoch`, which must be the one after the live epoch.
    ///
    /// The caller serialises writers, and publishes by storing `epoch` into its state word with at
    /// least release ordering.
    pub(crate) fn write<C: Words<N>>(&self, epoch: u64, value: C) {
        // Ordering: release, with the acquire fence of one who reads and then looks at the epoch again
        // instead of swapping: if any of what follows was read, the epoch before this one is seen.
        fence(Ordering::Release);
        let slot = &self.slots[(epoch & 1) as usize];
        for (word, value) in slot.iter().zip(value.to_words()) {
            // Ordering: relaxed; published by the owner's release of `epoch`.
            word.store(value, Ordering::Relaxed);
        }
    }
}
