//! How long a blocked thread pauses before it tries again: [`Pace`].

use crate::sync::atomic::Ordering;
use crate::sync::{PlainAtomicU32, PlainAtomicU64, SpinWait};

/// Chooses the first pause of the threads that wait on one side of a channel.
///
/// A stream of items and a conversation need opposite pauses. In a stream, a consumer that pauses
/// finds several items and leaves the producer alone meanwhile. A consumer that tries again
/// immediately gets one item and waits again, and every item costs several cache misses. In a
/// conversation there is only one item, and each pause delays it.
///
/// The number of items that the side has moved since its previous wait tells which of the two it
/// is. Waits begin with the long pause. After [`SHORT_RUNS`] waits in a row with fewer than
/// [`RUN_LENGTH`] items between them, they begin with the short pause. Short pauses alone would
/// keep a stream in short runs, so every [`PROBE_INTERVAL`]th wait uses the long pause.
///
/// All accesses are relaxed, and concurrent waits may overwrite each other's values: a wrong pause
/// costs a fraction of a microsecond. Loom does not model them.
pub(super) struct Pace {
    /// The number of items that the side had moved when its previous wait began.
    moved: PlainAtomicU64,
    /// The number of waits since the last long run.
    short_runs: PlainAtomicU32,
}

/// The number of items between two waits from which a run counts as part of a stream.
const RUN_LENGTH: u64 = 4;
const SHORT_RUNS: u32 = 4;
const PROBE_INTERVAL: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Short,
    Long,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { moved: PlainAtomicU64::new(0), short_runs: PlainAtomicU32::new(0) }
    }

    /// Returns the spin policy of a wait that begins when the side has moved `moved` items through
    /// a channel of the given capacity.
    pub(super) fn spin_wait(&self, moved: u64, capacity: usize) -> SpinWait {
        let run = moved.saturating_sub(self.moved.load(Ordering::Relaxed));
        let (short_runs, pause) = next(self.short_runs.load(Ordering::Relaxed), run);
        self.moved.store(moved, Ordering::Relaxed);
        self.short_runs.store(short_runs, Ordering::Relaxed);
        match pause {
            Pause::Short => SpinWait::new(),
            Pause::Long => SpinWait::for_capacity(capacity),
        }
    }
}

/// Returns the next number of short runs, and the pause of a wait after a run of `run` items.
fn next(short_runs: u32, run: u64) -> (u32, Pause) {
    if run >= RUN_LENGTH {
        return (0, Pause::Long);
    }
    let short_runs = short_runs + 1;
    if short_runs < SHORT_RUNS {
        (short_runs, Pause::Long)
    } else if short_runs < SHORT_RUNS + PROBE_INTERVAL {
        (short_runs, Pause::Short)
    } else {
        (SHORT_RUNS, Pause::Long)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::{PROBE_INTERVAL, Pause, RUN_LENGTH, SHORT_RUNS, next};

    /// Returns the pauses of waits that begin after runs of the given lengths.
    fn pauses(runs: impl IntoIterator<Item = u64>) -> Vec<Pause> {
        let mut short_runs = 0;
        let pause = |run| {
            let pause;
            (short_runs, pause) = next(short_runs, run);
            pause
        };
        runs.into_iter().map(pause).collect()
    }

    #[test]
    fn a_stream_uses_the_long_pause() {
        assert!(pauses([RUN_LENGTH; 100]).iter().all(|&pause| pause == Pause::Long));
    }

    #[test]
    fn a_conversation_uses_the_short_pause_but_for_one_wait_in_an_interval() {
        let pauses = pauses([RUN_LENGTH - 1; 1000]);
        let first_short = pauses.iter().position(|&pause| pause == Pause::Short);
        assert_eq!(first_short, Some(SHORT_RUNS as usize - 1));
        let long = pauses[SHORT_RUNS as usize..].iter().filter(|&&pause| pause == Pause::Long);
        assert_eq!(long.count(), (1000 - SHORT_RUNS) as usize / (PROBE_INTERVAL as usize + 1) + 1);
    }

    #[test]
    fn one_long_run_restores_the_long_pause() {
        let runs = [1; 50].into_iter().chain([RUN_LENGTH, 1, 1]);
        assert_eq!(pauses(runs)[50..], [Pause::Long; 3]);
    }
}
