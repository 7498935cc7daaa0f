//! What is printed: progress while it runs, then the table, then the sentence.

use crate::figures::{Figures, Side};
use crate::load::{Ended, Journal};
use crate::options::Options;
use crate::schedule::{Phase, Schedule};
use crate::server::{SLOW_WORK, Server, WORK};
use crate::{ATTEMPT_LIMIT, ATTEMPTS, CALL_LIMIT};
use mainstay::event::{Event, EventValue, Observer};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Prints the breaker's transitions as they happen, and keeps them for the picture.
#[derive(Clone)]
pub(crate) struct BreakerLog {
    schedule: Schedule,
    transitions: Arc<Mutex<Vec<Transition>>>,
}

/// The breaker went into another state.
#[derive(Clone, Copy)]
pub(crate) struct Transition {
    pub(crate) at: Duration,
    pub(crate) to: &'static str,
}

impl BreakerLog {
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self { schedule, transitions: Arc::default() }
    }

    pub(crate) fn transitions(&self) -> Vec<Transition> {
        self.transitions.lock().expect("nobody panics while noting").clone()
    }
}

impl Observer for BreakerLog {
    fn observe(&self, event: &Event<'_>) {
        let at = self.schedule.elapsed();
        let Some(EventValue::Label(to)) = event.field("to") else { return };
        self.transitions.lock().expect("nobody panics while noting").push(Transition { at, to });
        if to == "half-open" {
            return; // the line that tells how the probes ended says it too
        }
        let field = |name| event.field(name).map(|value| value.to_string()).unwrap_or_default();
        let why = match field("cause").as_str() {
            "failure rate" => format!("{} of {} attempts failed", field("failed"), field("total")),
            cause => cause.to_string(),
        };
        let wait = match event.field("wait") {
            Some(EventValue::Duration(wait)) => format!("; asks again in {}", rounded(wait)),
            _ => String::new(),
        };
        println!("{:>5.1} s    breaker: {} → {to}: {why}{wait}", at.as_secs_f64(), field("from"));
    }
}

pub(crate) fn introduce(options: &Options, server: &Server) {
    println!(
        "\
Two clients offer {rps} calls a second for {seconds} s, whatever becomes of them, each to an
HTTP server of its own. Both servers go through the same at the same moments:

  well      a request takes {WORK:?}; capacity for {well:.0} a second
  slow      a request takes {SLOW_WORK:?}, less than a client waits; capacity for {slow:.0} a second
  failing   503 at once
  dead      requests are accepted, and never answered

  without   {ATTEMPTS} tries of {ATTEMPT_LIMIT:?}, one after the other
  mainstay  timeout {CALL_LIMIT:?} > retry, {ATTEMPTS} attempts > circuit breaker > timeout {ATTEMPT_LIMIT:?}

                         without          with mainstay
   time  server         ok   failed        ok   failed   rejected",
        rps = options.rps,
        seconds = options.length.as_secs_f64(),
        well = server.capacity(WORK),
        slow = server.capacity(SLOW_WORK),
    );
}

/// Prints a line a second: how many calls ended in it, and how.
pub(crate) async fn progress(schedule: Schedule, plain: &Journal, guarded: &Journal) {
    let step = Duration::from_secs(1).min(schedule.length() / 8);
    let mut from = Duration::ZERO;
    while from < schedule.length() {
        let to = (from + step).min(schedule.length());
        schedule.sleep_until(to).await;
        let count = |journal: &Journal, ended| {
            let calls = journal.calls();
            calls
                .iter()
                .filter(|call| call.ended == ended && (from..to).contains(&call.finished()))
                .count()
        };
        println!(
            "{:>5.1} s  {:<10} {:>6} {:>8}    {:>6} {:>8} {:>10}",
            to.as_secs_f64(),
            schedule.phase_at(from + step / 2).name(),
            count(plain, Ended::Ok),
            count(plain, Ended::Failed),
            count(guarded, Ended::Ok),
            count(guarded, Ended::Failed),
            count(guarded, Ended::Rejected),
        );
        from = to;
    }
}

pub(crate) fn table(schedule: Schedule, plain: &Side, guarded: &Side) {
    println!(
        "
                                              rejected   callers waited   reached
phase       client    offered     ok  failed   at once     p50      p99    server"
    );
    let whole = ("in all", Duration::ZERO..Duration::MAX);
    let phases = Phase::ALL.map(|phase| (phase.name(), schedule.span(phase)));
    for (name, span) in phases.into_iter().chain([whole]) {
        row(name, "without", plain.figures(&span));
        row("", "mainstay", guarded.figures(&span));
    }
    println!(
        "
time to recover   without   {}
                  mainstay  {}
  (from the moment the server is well, until 95 % of half a second's calls are ok)",
        recovered(schedule, plain),
        recovered(schedule, guarded),
    );
}

fn row(phase: &str, client: &str, figures: Figures) {
    let Figures { offered, ok, failed, rejected, p50, p99, reached } = figures;
    let (p50, p99) = (rounded(p50), rounded(p99));
    println!(
        "{phase:<10}  {client:<8} {offered:>8} {ok:>6} {failed:>7} {rejected:>9} {p50:>8} {p99:>8} {reached:>8}"
    );
}

/// What mainstay did, in one sentence, out of what was measured.
pub(crate) fn sentence(schedule: Schedule, plain: &Side, guarded: &Side) {
    let all = Duration::ZERO..Duration::MAX;
    let ill = schedule.begin(Phase::Slow)..schedule.end(Phase::Dead);
    let dead = schedule.span(Phase::Dead);
    println!(
        "
With mainstay {} of {} calls succeeded instead of {}: the ill server got {} requests
instead of {}, half the callers of the dead one knew within {} instead of {},
and once it was well again it took {} instead of {} until calls succeeded.",
        guarded.figures(&all).ok,
        guarded.calls.len(),
        plain.figures(&all).ok,
        guarded.figures(&ill).reached,
        plain.figures(&ill).reached,
        rounded(guarded.figures(&dead).p50),
        rounded(plain.figures(&dead).p50),
        recovered(schedule, guarded),
        recovered(schedule, plain),
    );
    let (phase, patience) = (dead.end - dead.start, ATTEMPTS * ATTEMPT_LIMIT);
    if phase < 3 * patience {
        println!(
            "
(A phase lasted only {}, and the plain client is patient for {}: it may sit an illness
out where a breaker gives up. The default length shows one that cannot be sat out.)",
            rounded(phase),
            rounded(patience),
        );
    }
}

/// How long the recovery took.
pub(crate) fn recovered(schedule: Schedule, side: &Side) -> String {
    match side.recovery(schedule) {
        Some(after) => format!("{:.2} s", after.as_secs_f64()),
        None => {
            let all = schedule.end(Phase::WellAgain) - schedule.begin(Phase::WellAgain);
            format!("more than {:.1} s", all.as_secs_f64())
        }
    }
}

/// To three digits or so.
pub(crate) fn rounded(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        1e3..1e4 => format!("{:.1} ms", micros / 1e3),
        1e4..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}
