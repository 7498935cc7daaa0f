//! When the server is in which state.

use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// What the server is going through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Well,
    Slow,
    Failing,
    Dead,
    WellAgain,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] =
        [Self::Well, Self::Slow, Self::Failing, Self::Dead, Self::WellAgain];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Slow => "slow",
            Self::Failing => "failing",
            Self::Dead => "dead",
            Self::WellAgain => "well again",
        }
    }

    /// Its begin and end, in fifteenths of the whole.
    const fn fifteenths(self) -> (u32, u32) {
        match self {
            Self::Well => (0, 2),
            Self::Slow => (2, 5),
            Self::Failing => (5, 8),
            Self::Dead => (8, 11),
            Self::WellAgain => (11, 15),
        }
    }
}

/// The phases in time; all times are counted from its start.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    started: Instant,
    length: Duration,
}

impl Schedule {
    pub(crate) fn starting_now(length: Duration) -> Self {
        Self { started: Instant::now(), length }
    }

    pub(crate) fn length(self) -> Duration {
        self.length
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn begin(self, phase: Phase) -> Duration {
        self.length * phase.fifteenths().0 / 15
    }

    pub(crate) fn end(self, phase: Phase) -> Duration {
        self.length * phase.fifteenths().1 / 15
    }

    /// From when to when a phase lasts; the last one goes on for ever.
    pub(crate) fn span(self, phase: Phase) -> Range<Duration> {
        let end = if phase == Phase::WellAgain { Duration::MAX } else { self.end(phase) };
        self.begin(phase)..end
    }

    /// The phase at `time`.
    pub(crate) fn phase_at(self, time: Duration) -> Phase {
        Phase::ALL
            .into_iter()
            .find(|&phase| self.span(phase).contains(&time))
            .unwrap_or(Phase::WellAgain)
    }

    pub(crate) async fn sleep_until(self, time: Duration) {
        tokio::time::sleep_until(self.started + time).await;
    }
}
