//! The phases that the servers go through.

use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// A phase of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Healthy,
    Slow,
    Failing,
    Dead,
    Recovered,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] =
        [Self::Healthy, Self::Slow, Self::Failing, Self::Dead, Self::Recovered];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Failing => "failing",
            Self::Dead => "dead",
            Self::Recovered => "recovered",
        }
    }

    /// Returns the start and the end in fifteenths of the run.
    const fn fifteenths(self) -> (u32, u32) {
        match self {
            Self::Healthy => (0, 2),
            Self::Slow => (2, 5),
            Self::Failing => (5, 8),
            Self::Dead => (8, 11),
            Self::Recovered => (11, 15),
        }
    }
}

/// The timetable of the phases. Times are relative to the start of the run.
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

    /// Returns the time span of a phase; the last phase has no end.
    pub(crate) fn span(self, phase: Phase) -> Range<Duration> {
        let end = if phase == Phase::Recovered { Duration::MAX } else { self.end(phase) };
        self.begin(phase)..end
    }

    /// Returns the phase at `time`.
    pub(crate) fn phase_at(self, time: Duration) -> Phase {
        Phase::ALL
            .into_iter()
            .find(|&phase| self.span(phase).contains(&time))
            .unwrap_or(Phase::Recovered)
    }

    pub(crate) async fn sleep_until(self, time: Duration) {
        tokio::time::sleep_until(self.started + time).await;
    }
}
