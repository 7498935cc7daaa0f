//! What the measurements say.

use crate::load::{Call, Ended};
use crate::schedule::{Phase, Schedule};
use std::ops::Range;
use std::time::Duration;

/// All that was measured of one client and its server.
pub(crate) struct Side {
    /// In the order in which they were offered.
    pub(crate) calls: Vec<Call>,
    /// When each attempt reached the server, by the server's own account, in that order.
    pub(crate) reached: Vec<Duration>,
}

/// The figures of a stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) offered: usize,
    pub(crate) ok: usize,
    pub(crate) failed: usize,
    pub(crate) rejected: usize,
    /// How long callers waited, whatever they got.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Attempts that reached the server meanwhile.
    pub(crate) reached: usize,
}

impl Side {
    /// The figures of the calls that were offered in `span`.
    pub(crate) fn figures(&self, span: &Range<Duration>) -> Figures {
        let calls = within(&self.calls, |call| call.offered, span);
        let count = |ended| calls.iter().filter(|call| call.ended == ended).count();
        let mut waits: Vec<Duration> = calls.iter().map(|call| call.took).collect();
        waits.sort_unstable();
        Figures {
            offered: calls.len(),
            ok: count(Ended::Ok),
            failed: count(Ended::Failed),
            rejected: count(Ended::Rejected),
            p50: quantile(&waits, 0.5),
            p99: quantile(&waits, 0.99),
            reached: within(&self.reached, |at| *at, span).len(),
        }
    }

    /// How long after the server was well its callers were: until the first call from which on 95 % of
    /// half a second's calls succeed. `None` if that did not come before the end.
    pub(crate) fn recovery(&self, schedule: Schedule) -> Option<Duration> {
        const STRETCH: Duration = Duration::from_millis(500);
        let well_again = schedule.begin(Phase::WellAgain);
        let candidates = self.calls.iter().map(|call| call.offered).filter(|at| *at >= well_again);
        candidates
            .take_while(|at| *at + STRETCH <= schedule.length())
            .find(|&at| {
                let figures = self.figures(&(at..at + STRETCH));
                figures.ok * 100 >= figures.offered * 95
            })
            .map(|at| at - well_again)
    }
}

/// Those of `sorted` whose time lies in `span`.
fn within<'a, T>(
    sorted: &'a [T],
    time: impl Fn(&T) -> Duration,
    span: &Range<Duration>,
) -> &'a [T] {
    let from = sorted.partition_point(|item| time(item) < span.start);
    let to = sorted.partition_point(|item| time(item) < span.end);
    &sorted[from..to]
}

/// By the nearest rank.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
