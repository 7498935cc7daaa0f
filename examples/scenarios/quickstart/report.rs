//! The printed output: progress during the run, then the table, then a summary sentence.

use crate::figures::{Figures, Side};
use crate::load::{CallResult, Journal};
use crate::options::Options;
use crate::schedule::{Phase, Schedule};
use crate::server::{SLOW_WORK, Server, WORK};
use crate::{ATTEMPT_LIMIT, ATTEMPTS, CALL_LIMIT};
use mainstay::event::{Event, EventValue, Observer};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Prints the breaker's transitions as they happen and stores them for the picture.
#[derive(Clone)]
pub(crate) struct BreakerLog {
    schedule: Schedule,
    transitions: Arc<Mutex<Vec<Transition>>>,
}

/// A transition of the breaker into the state `to`.
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
        self.transitions.lock().expect("no panic under the lock").clone()
    }
}

impl Observer for BreakerLog {
    fn observe(&self, event: &Event<'_>) {
        let at = self.schedule.elapsed();
        let Some(EventValue::Label(to)) = event.field("to") else { return };
        self.transitions.lock().expect("no panic under the lock").push(Transition { at, to });
        if to == "half-open" {
            return; // the transition that ends the probes prints a line
        }
        let field = |name| event.field(name).map(|value| value.to_string()).unwrap_or_default();
        let cause = match field("cause").as_str() {
            "failure rate" => format!("{} of {} attempts failed", field("failed"), field("total")),
            other => other.to_string(),
        };
        let wait = match event.field("open_duration") {
            Some(EventValue::Duration(wait)) => format!("; probes in {}", rounded(wait)),
            _ => String::new(),
        };
        println!("{:>5.1} s    breaker: {} → {to}: {cause}{wait}", at.as_secs_f64(), field("from"));
    }
}

pub(crate) fn introduce(options: &Options, server: &Server) {
    println!(
        "\
Two clients offer {rps} calls per second for {seconds} s, each to an HTTP server of its own.
Both servers go through the same phases at the same times:

  healthy   a request takes {WORK:?}; capacity for {healthy:.0} per second
  slow      a request takes {SLOW_WORK:?}, less than a client waits; capacity for \
{slow:.0} per second
  failing   responds 503 immediately
  dead      accepts requests and never responds

  without   {ATTEMPTS} attempts of {ATTEMPT_LIMIT:?}, one after the other
  mainstay  timeout {CALL_LIMIT:?} > retry, {ATTEMPTS} attempts > circuit breaker \
> timeout {ATTEMPT_LIMIT:?}

                         without          with mainstay
   time  server         ok   failed        ok   failed   rejected",
        rps = options.rps,
        seconds = options.length.as_secs_f64(),
        healthy = server.capacity(WORK),
        slow = server.capacity(SLOW_WORK),
    );
}

/// Prints one line per second with the number of calls that ended in it, by result.
pub(crate) async fn progress(schedule: Schedule, plain: &Journal, guarded: &Journal) {
    let step = Duration::from_secs(1).min(schedule.length() / 8);
    let mut from = Duration::ZERO;
    while from < schedule.length() {
        let to = (from + step).min(schedule.length());
        schedule.sleep_until(to).await;
        let count = |journal: &Journal, result| {
            let calls = journal.calls();
            calls
                .iter()
                .filter(|call| call.result == result && (from..to).contains(&call.finished()))
                .count()
        };
        println!(
            "{:>5.1} s  {:<10} {:>6} {:>8}    {:>6} {:>8} {:>10}",
            to.as_secs_f64(),
            schedule.phase_at(from + step / 2).name(),
            count(plain, CallResult::Ok),
            count(plain, CallResult::Failed),
            count(guarded, CallResult::Ok),
            count(guarded, CallResult::Failed),
            count(guarded, CallResult::Rejected),
        );
        from = to;
    }
}

pub(crate) fn table(schedule: Schedule, plain: &Side, guarded: &Side) {
    println!(
        "
                                                          callers waited   reached
phase       client    offered     ok  failed  rejected     p50      p99    server"
    );
    let whole = ("total", Duration::ZERO..Duration::MAX);
    let phases = Phase::ALL.map(|phase| (phase.name(), schedule.span(phase)));
    for (name, span) in phases.into_iter().chain([whole]) {
        row(name, "without", plain.figures(&span));
        row("", "mainstay", guarded.figures(&span));
    }
    println!(
        "
time to recover   without   {}
                  mainstay  {}
  (from the server's recovery until 95 % of half a second's calls are ok)",
        recovered(schedule, plain),
        recovered(schedule, guarded),
    );
}

fn row(phase: &str, client: &str, figures: Figures) {
    let Figures { offered, ok, failed, rejected, p50, p99, reached } = figures;
    let (p50, p99) = (rounded(p50), rounded(p99));
    println!(
        "{phase:<10}  {client:<8} {offered:>8} {ok:>6} {failed:>7} {rejected:>9} {p50:>8} {p99:>8} \
         {reached:>8}"
    );
}

/// Prints what mainstay did, as measured, in one sentence.
pub(crate) fn sentence(schedule: Schedule, plain: &Side, guarded: &Side) {
    let all = Duration::ZERO..Duration::MAX;
    let outage = schedule.begin(Phase::Slow)..schedule.end(Phase::Dead);
    let dead = schedule.span(Phase::Dead);
    println!(
        "
With mainstay {} of {} calls succeeded instead of {}: during the outage the server received
{} requests instead of {}, half the callers of the dead server had a result within {}
instead of {}, and after its recovery calls succeeded within {} instead of {}.",
        guarded.figures(&all).ok,
        guarded.calls.len(),
        plain.figures(&all).ok,
        guarded.figures(&outage).reached,
        plain.figures(&outage).reached,
        rounded(guarded.figures(&dead).p50),
        rounded(plain.figures(&dead).p50),
        recovered(schedule, guarded),
        recovered(schedule, plain),
    );
    let (phase, plain_limit) = (dead.end - dead.start, ATTEMPTS * ATTEMPT_LIMIT);
    if phase < 3 * plain_limit {
        println!(
            "
(A phase lasted only {} and the plain client waits up to {}, so it can outlast a phase in
which the breaker is open. The default length shows an outage that it cannot outlast.)",
            rounded(phase),
            rounded(plain_limit),
        );
    }
}

/// Formats the time to recover.
pub(crate) fn recovered(schedule: Schedule, side: &Side) -> String {
    match side.recovery(schedule) {
        Some(after) => format!("{:.2} s", after.as_secs_f64()),
        None => {
            let all = schedule.end(Phase::Recovered) - schedule.begin(Phase::Recovered);
            format!("more than {:.1} s", all.as_secs_f64())
        }
    }
}

/// Formats a duration with two or three digits.
pub(crate) fn rounded(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        1e3..1e4 => format!("{:.1} ms", micros / 1e3),
        1e4..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}
