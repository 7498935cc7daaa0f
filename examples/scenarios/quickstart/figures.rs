//! Figures computed from the measured calls.

use crate::load::{Call, CallResult};
use crate::schedule::{Phase, Schedule};
use std::ops::Range;
use std::time::Duration;

/// The measurements of one client and its server.
pub(crate) struct Side {
    /// The calls in the order in which they were offered.
    pub(crate) calls: Vec<Call>,
    /// The times at which attempts reached the server, in order, as recorded by the server.
    pub(crate) reached: Vec<Duration>,
}

/// The figures of one span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) offered: usize,
    pub(crate) ok: usize,
    pub(crate) failed: usize,
    pub(crate) rejected: usize,
    /// The median time that callers waited, whatever the result.
    pub(crate) p50: Duration,
    /// The 99th percentile of that time.
    pub(crate) p99: Duration,
    /// The number of attempts that reached the server.
    pub(crate) reached: usize,
}

impl Side {
    /// Returns the figures of the calls offered in `span`.
    pub(crate) fn figures(&self, span: &Range<Duration>) -> Figures {
        let calls = in_span(&self.calls, |call| call.offered, span);
        let count = |ended| calls.iter().filter(|call| call.result == ended).count();
        let mut waits: Vec<Duration> = calls.iter().map(|call| call.took).collect();
        waits.sort_unstable();
        Figures {
            offered: calls.len(),
            ok: count(CallResult::Ok),
            failed: count(CallResult::Failed),
            rejected: count(CallResult::Rejected),
            p50: quantile(&waits, 0.5),
            p99: quantile(&waits, 0.99),
            reached: in_span(&self.reached, |at| *at, span).len(),
        }
    }

    /// Returns the time from the server's recovery to the start of the first half second in which
    /// at least 95 % of the calls succeed, or `None` if there is none before the end of the run.
    pub(crate) fn recovery(&self, schedule: Schedule) -> Option<Duration> {
        const SPAN: Duration = Duration::from_millis(500);
        let recovered = schedule.begin(Phase::Recovered);
        let candidates = self.calls.iter().map(|call| call.offered).filter(|at| *at >= recovered);
        candidates
            .take_while(|at| *at + SPAN <= schedule.length())
            .find(|&at| {
                let figures = self.figures(&(at..at + SPAN));
                figures.ok * 100 >= figures.offered * 95
            })
            .map(|at| at - recovered)
    }
}

/// Returns the items of `sorted` whose time lies in `span`.
fn in_span<'a, T>(
    sorted: &'a [T],
    time: impl Fn(&T) -> Duration,
    span: &Range<Duration>,
) -> &'a [T] {
    let from = sorted.partition_point(|item| time(item) < span.start);
    let to = sorted.partition_point(|item| time(item) < span.end);
    &sorted[from..to]
}

/// Returns the quantile by the nearest-rank method.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
