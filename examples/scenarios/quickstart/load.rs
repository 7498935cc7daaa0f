//! Offers calls at a constant rate and records the result of each.

use crate::schedule::Schedule;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The maximum duration of an immediate rejection. A slower rejection follows an attempt that
/// failed: the caller had to wait, so the call counts as failed.
const IMMEDIATE: Duration = Duration::from_millis(5);

/// The result of a call as its caller receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallResult {
    Ok,
    Failed,
    /// Rejected immediately, without an attempt.
    Rejected,
}

/// One call as its caller measures it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// The time at which the call was offered.
    pub(crate) offered: Duration,
    /// The time that the caller waited, whatever the result.
    pub(crate) took: Duration,
    pub(crate) result: CallResult,
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
    fn record(&self, call: Call) {
        self.0.lock().expect("no panic under the lock").push(call);
    }

    /// Returns the calls so far, in the order in which they ended.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.lock().expect("no panic under the lock").clone()
    }

    /// Returns all calls, in the order in which they were offered.
    pub(crate) fn into_calls(self) -> Vec<Call> {
        let mut calls = self.calls();
        calls.sort_by_key(|call| call.offered);
        calls
    }
}

/// Starts a call every `1 / rps` seconds, whether earlier calls have ended or not. The load is
/// open-loop, like that of independent users: clients that wait for slow responses would send less
/// in the phases that matter. Returns when all calls have ended.
pub(crate) async fn offer<F, Fut>(schedule: Schedule, rps: u32, journal: &Journal, call: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = CallResult> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for due in
        (0..).map(|n| Duration::from_secs(1) * n / rps).take_while(|due| *due < schedule.length())
    {
        schedule.sleep_until(due).await;
        let (call, journal) = (call(), journal.clone());
        calls.spawn(async move {
            let started = Instant::now();
            let result = call.await;
            let took = started.elapsed();
            let result = match result {
                CallResult::Rejected if took > IMMEDIATE => CallResult::Failed,
                result => result,
            };
            journal.record(Call { offered: due, took, result });
        });
    }
    calls.join_all().await;
}
