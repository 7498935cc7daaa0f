//! Models of [`Live`], the configuration that can be replaced while it is in use.

use super::atomic::{AtomicU64, Ordering};
use super::{Decision, EpochWord, Live, Words};
use loom::sync::Arc;
use loom::thread::spawn;

/// The state word: `[value | epoch: 8]`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl EpochWord for Word {
    fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    fn to_bits(self) -> u64 {
        self.0
    }

    fn epoch(self) -> u64 {
        self.0 & 0xff
    }
}

impl Word {
    fn value(self) -> u64 {
        self.0 >> 8
    }

    fn with_value(self, value: u64) -> Self {
        Self(value << 8 | self.epoch())
    }
}

/// A configuration with two equal words. If they differ, they come from two configurations.
#[derive(Clone, Copy)]
struct Pair(u64, u64);

impl Words<2> for Pair {
    fn to_words(self) -> [u64; 2] {
        [self.0, self.1]
    }

    fn from_words([first, second]: [u64; 2]) -> Self {
        Self(first, second)
    }
}

impl Pair {
    /// Returns the configuration of `epoch`.
    fn of(epoch: u64) -> Self {
        Self(epoch * 10, epoch * 10)
    }
}

struct Shared {
    state: AtomicU64,
    live: Live<2>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU64::new(0), live: Live::new(Pair::of(0)) })
    }

    /// Replaces the configuration. Called by one thread only.
    fn reconfigure(&self) {
        loop {
            let word = Word(self.state.load(Ordering::Acquire));
            let epoch = word.epoch() + 1;
            self.live.write(epoch, Pair::of(epoch));
            let next = Word(word.value() << 8 | epoch);
            let swapped =
                self.state.compare_exchange(word.0, next.0, Ordering::AcqRel, Ordering::Relaxed);
            if swapped.is_ok() {
                return;
            }
        }
    }
}

#[test]
fn a_decision_that_keeps_the_word_reads_one_configuration() {
    loom::model(|| {
        let shared = Shared::new();
        let writer = spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.reconfigure();
                shared.reconfigure();
            }
        });
        let (epoch, pair) = shared
            .live
            .decide(&shared.state, |word: Word, pair: Pair| Decision::Keep((word.epoch(), pair)));
        assert_eq!((pair.0, pair.1), (epoch * 10, epoch * 10));
        writer.join().unwrap();
    });
}

#[test]
fn a_decision_that_replaces_the_word_reads_one_configuration() {
    loom::model(|| {
        let shared = Shared::new();
        let writer = spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.reconfigure();
                shared.reconfigure();
            }
        });
        let (epoch, pair) = shared.live.decide(&shared.state, |word: Word, pair: Pair| {
            Decision::Replace(word.with_value(word.value() + 1), (word.epoch(), pair))
        });
        assert_eq!((pair.0, pair.1), (epoch * 10, epoch * 10));
        writer.join().unwrap();
        let word = Word(shared.state.load(Ordering::Relaxed));
        assert_eq!((word.value(), word.epoch()), (1, 2), "both changes are in the word");
    });
}

#[test]
fn concurrent_decisions_all_take_effect() {
    loom::model(|| {
        let shared = Shared::new();
        let count = |shared: &Shared| {
            shared.live.decide(&shared.state, |word: Word, _: Pair| {
                Decision::Replace(word.with_value(word.value() + 1), ())
            });
        };
        let other = spawn({
            let shared = Arc::clone(&shared);
            move || count(&shared)
        });
        count(&shared);
        other.join().unwrap();
        assert_eq!(Word(shared.state.load(Ordering::Relaxed)).value(), 2);
    });
}
