//! A state of 60 bits whose settings can be replaced while it is in use: [`LiveState`].

use super::atomic::{AtomicU64, Ordering};
use super::{CachePadded, Decision, EpochWord, Live, Mutex, Words};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A state of 60 bits, and the settings that apply to decisions about the state.
///
/// Every decision uses the settings in force at the moment when it takes effect; see [`Live`].
#[derive(Debug)]
pub(crate) struct LiveState<const N: usize> {
    word: CachePadded<AtomicU64>,
    live: Live<N>,
    /// Held while the settings are replaced.
    changes: Mutex<()>,
}

// No user code runs while the lock is held.
impl<const N: usize> UnwindSafe for LiveState<N> {}
impl<const N: usize> RefUnwindSafe for LiveState<N> {}

/// The number of bits of a state.
pub(crate) const STATE_BITS: u32 = 60;

/// The mask of the state within a word.
const STATE: u64 = (1 << STATE_BITS) - 1;

/// The epoch of the settings, and the state. From the most significant bit:
/// `[epoch 4 | state 60]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    const fn new(epoch: u64, state: u64) -> Self {
        Self(epoch << STATE_BITS | state & STATE)
    }

    const fn state(self) -> u64 {
        self.0 & STATE
    }
}

impl EpochWord for Word {
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn epoch(self) -> u64 {
        self.0 >> STATE_BITS
    }
}

impl<const N: usize> LiveState<N> {
    pub(crate) fn new(config: impl Words<N>, state: u64) -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(Word::new(0, state).0)),
            live: Live::new(config),
            changes: Mutex::new(()),
        }
    }

    /// Makes a decision from the state and the settings in force, as [`Live::decide`] does.
    #[inline(always)]
    pub(crate) fn decide<C: Words<N>, R>(
        &self,
        mut decide: impl FnMut(u64, C) -> Decision<u64, R>,
    ) -> R {
        self.live.decide(&self.word, |word: Word, config| match decide(word.state(), config) {
            Decision::Replace(state, result) => {
                Decision::Replace(Word::new(word.epoch(), state), result)
            }
            Decision::Keep(result) => Decision::Keep(result),
            Decision::Done(result) => Decision::Done(result),
            Decision::Retry => Decision::Retry,
        })
    }

    /// Returns the settings in force.
    #[inline]
    pub(crate) fn config<C: Words<N>>(&self) -> C {
        self.decide(|_, config| Decision::Keep(config))
    }

    /// Replaces the settings with `config`, and the state with the result of `convert`, which
    /// receives the previous settings and the state. `convert` may be called several times.
    pub(crate) fn replace<C: Words<N>>(&self, config: C, convert: impl Fn(C, u64) -> u64) {
        let changing = self.changes.lock();
        // Ordering: acquire pairs with the release by the decisions of other threads. The lock
        // makes this thread the only writer of the epoch.
        let mut word = Word(self.word.load(Ordering::Acquire));
        let epoch = word.epoch();
        let old = self.live.read(epoch);
        self.live.write(epoch + 1, config);
        loop {
            let next = Word::new(epoch + 1, convert(old, word.state()));
            // Ordering: release publishes the settings; acquire as for the load.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.word.compare_exchange(word.0, next.0, success, failure) {
                Ok(_) => break,
                Err(changed) => word = Word(changed),
            }
        }
        drop(changing);
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Limit(u64);

    impl Words<1> for Limit {
        fn to_words(self) -> [u64; 1] {
            [self.0]
        }

        fn from_words([limit]: [u64; 1]) -> Self {
            Self(limit)
        }
    }

    #[test]
    fn settings_are_replaced_and_the_state_is_converted() {
        let state = LiveState::new(Limit(9), STATE);
        for limit in 0..40 {
            state.replace(Limit(limit), |_, state| state - limit);
            assert_eq!(state.config::<Limit>(), Limit(limit));
        }
        let read = state.decide(|state, _: Limit| Decision::Keep(state));
        assert_eq!(read, STATE - 39 * 20);
        state.decide(|_, limit: Limit| Decision::Replace(limit.0, ()));
        assert_eq!(state.decide(|state, _: Limit| Decision::Keep(state)), 39);
    }
}
