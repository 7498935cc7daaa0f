//! Offers calls at a steady pace, and notes how each ended.

use crate::schedule::Schedule;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A rejection that comes later than this was not one at once: an attempt went before it, and the breaker
/// rejected the next. The caller had to wait for it, so it counts as failed.
const AT_ONCE: Duration = Duration::from_millis(5);

/// How a call ended, for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Ok,
    Failed,
    /// At once, without an attempt.
    Rejected,
}

/// One call, as its caller saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When it was offered.
    pub(crate) offered: Duration,
    /// How long its caller waited, whatever for.
    pub(crate) took: Duration,
    pub(crate) ended: Ended,
}

impl Call {
    pub(crate) fn finished(&self) -> Duration {
        self.offered + self.took
    }
}

/// The calls that have ended.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Call>>>);

impl Journal {
    fn note(&self, call: Call) {
        self.0.lock().expect("nobody panics while noting").push(call);
    }

    /// The calls so far, in the order in which they ended.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.lock().expect("nobody panics while noting").clone()
    }

    /// All calls, in the order in which they were offered.
    pub(crate) fn into_calls(self) -> Vec<Call> {
        let mut calls = self.calls();
        calls.sort_by_key(|call| call.offered);
        calls
    }
}

/// Begins a call every `1 / rps` seconds, whether those before it have ended or not, as independent users
/// do: a load that waits for slow answers would spare the server just when it matters. Returns when all
/// calls have ended.
pub(crate) async fn offer<F, Fut>(schedule: Schedule, rps: u32, journal: &Journal, call: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Ended> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for due in
        (0..).map(|n| Duration::from_secs(1) * n / rps).take_while(|due| *due < schedule.length())
    {
        schedule.sleep_until(due).await;
        let (call, journal) = (call(), journal.clone());
        calls.spawn(async move {
            let begun = Instant::now();
            let ended = call.await;
            let took = begun.elapsed();
            let ended =
                if ended == Ended::Rejected && took > AT_ONCE { Ended::Failed } else { ended };
            journal.note(Call { offered: due, took, ended });
        });
    }
    calls.join_all().await;
}
