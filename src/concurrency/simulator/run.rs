//! The event loop of a simulation.

use super::policy::{CallEnd, SimulatedPolicy};
use super::report::{Measured, Point, SimulationResult};
use super::trace::{Limiters, Trace};
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Simulates `trace` with a policy, in virtual time, and returns the result.
///
/// `policy` is called once, or once for each client if the trace has
/// [`PerClient`](Limiters::PerClient) limiters. The same trace and policy give the same result on
/// every run.
///
/// ```
/// use mainstay::concurrency::BaselineController;
/// use mainstay::concurrency::simulator::{ControlledLimit, Trace, simulate};
/// use mainstay::random::Random;
///
/// let trace = Trace::step_in_load();
/// let result = simulate(&trace, "baseline", || {
///     ControlledLimit::new(BaselineController::new().random(Random::seeded(1)))
/// });
/// assert!(result.goodput > 0.95, "{}", result.goodput);
/// ```
pub fn simulate<P: SimulatedPolicy>(
    trace: &Trace,
    name: &str,
    mut policy: impl FnMut() -> P,
) -> SimulationResult {
    let limiters = match trace.limiters {
        Limiters::AtServer => 1,
        Limiters::PerClient => trace.clients.len(),
    };
    let policies = (0..limiters).map(|_| policy()).collect();
    let mut simulation = Simulation::new(trace, policies);
    simulation.run();
    simulation.finish(name)
}

/// A scheduled event. Events at the same time are handled in the order in which they were
/// scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A client makes a call for the first time.
    Arrival(usize),
    /// A client repeats a call that it first made at `first`.
    Retry { client: usize, attempt: u32, first: u64 },
    /// A worker finishes a call.
    Departure(usize),
    /// The server refuses a call.
    Refusal(usize),
    /// A second of the simulation ends.
    Tick,
}

/// A call that was admitted.
#[derive(Clone, Copy, Debug)]
struct Call {
    client: usize,
    /// When the limiter admitted the call.
    started: u64,
    /// When the client made the first attempt.
    first: u64,
    attempt: u32,
    /// Whether the end was reported to the limiter: the call returned or timed out.
    ended: bool,
    /// Whether the server has finished or refused the call.
    left: bool,
    service: f64,
}

struct Simulation<'a, P> {
    trace: &'a Trace,
    policies: Vec<P>,
    random: fastrand::Rng,
    now: u64,
    number: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    calls: Vec<Call>,
    free: Vec<usize>,
    /// Deadlines and calls in the order of admission, which is also the order of deadlines.
    deadlines: VecDeque<(u64, usize)>,
    queue: VecDeque<usize>,
    busy: u32,
    in_server: u32,
    /// The number of first attempts in each interval of ten seconds.
    arrivals: Vec<u32>,
    good: Vec<u64>,
    latencies: Vec<f32>,
    services: Vec<f32>,
    points: Vec<Point>,
    /// The figures since the last tick.
    second: Second,
    limit_error: (f64, u32),
}

#[derive(Default)]
struct Second {
    good: u32,
    latency: f64,
}

const SECOND: u64 = 1_000_000_000;
const ARRIVAL_BIN: u64 = 10 * SECOND;

fn nanos(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

const fn duration(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

impl<'a, P: SimulatedPolicy> Simulation<'a, P> {
    fn new(trace: &'a Trace, policies: Vec<P>) -> Self {
        Self {
            trace,
            policies,
            random: fastrand::Rng::with_seed(trace.seed),
            now: 0,
            number: 0,
            events: BinaryHeap::new(),
            calls: Vec::new(),
            free: Vec::new(),
            deadlines: VecDeque::new(),
            queue: VecDeque::new(),
            busy: 0,
            in_server: 0,
            arrivals: vec![0; (trace.duration.as_nanos() as u64 / ARRIVAL_BIN + 1) as usize],
            good: vec![0; trace.clients.len()],
            latencies: Vec::new(),
            services: Vec::new(),
            points: Vec::new(),
            second: Second::default(),
            limit_error: (0.0, 0),
        }
    }

    fn run(&mut self) {
        for client in 0..self.trace.clients.len() {
            self.schedule_arrival(client);
        }
        self.schedule(SECOND, Event::Tick);
        let end = self.trace.duration.as_nanos() as u64;
        while let Some(&Reverse((at, _, event))) = self.events.peek() {
            let at = at.min(end);
            self.expire(at);
            self.now = at;
            if at == end {
                self.tick();
                return;
            }
            self.events.pop();
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival(client) => {
                self.schedule_arrival(client);
                // Arrivals are scheduled at the client's highest rate. Accepting each with the
                // probability `rate / max` gives the current rate (thinning).
                let rate = &self.trace.clients[client].rate;
                if self.random.f64() * rate.max() < rate.at(duration(self.now)) {
                    self.arrivals[(self.now / ARRIVAL_BIN) as usize] += 1;
                    self.attempt(client, 1, self.now);
                }
            }
            Event::Retry { client, attempt, first } => self.attempt(client, attempt, first),
            Event::Departure(call) => {
                self.busy -= 1;
                self.in_server -= 1;
                self.calls[call].left = true;
                if !self.calls[call].ended {
                    self.end(call, CallEnd::Success);
                }
                self.free_if_done(call);
                self.dispatch();
            }
            Event::Refusal(call) => {
                self.calls[call].left = true;
                if !self.calls[call].ended {
                    self.end(call, CallEnd::Overload);
                }
                self.free_if_done(call);
            }
            Event::Tick => {
                self.tick();
                self.dispatch(); // the number of workers may have grown
                self.schedule(self.now + SECOND, Event::Tick);
            }
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn schedule_arrival(&mut self, client: usize) {
        let rate = self.trace.clients[client].rate.max();
        if rate > 0.0 {
            let pause = -(1.0 - self.random.f64()).ln() / rate;
            self.schedule(self.now + nanos(pause).max(1), Event::Arrival(client));
        }
    }

    fn attempt(&mut self, client: usize, attempt: u32, first: u64) {
        let now = Instant::from_nanos(self.now);
        let policy = client % self.policies.len();
        if !self.policies[policy].admit(now, client) {
            return self.retry(client, attempt, first);
        }
        let call = Call {
            client,
            started: self.now,
            first,
            attempt,
            ended: false,
            left: false,
            service: 0.0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.calls[id] = call;
                id
            }
            None => {
                self.calls.push(call);
                self.calls.len() - 1
            }
        };
        self.deadlines.push_back((self.now + self.trace.timeout.as_nanos() as u64, id));
        let now = duration(self.now);
        let down = self.trace.outages.iter().any(|(at, length)| *at <= now && now < *at + *length);
        if down {
            return self.schedule(self.now + SECOND / 1000, Event::Refusal(id));
        }
        self.in_server += 1;
        self.queue.push_back(id);
        self.dispatch();
    }

    fn retry(&mut self, client: usize, attempt: u32, first: u64) {
        if attempt <= self.trace.retries {
            let delay = self.trace.retry_delay.as_secs_f64() * (0.5 + self.random.f64());
            let event = Event::Retry { client, attempt: attempt + 1, first };
            self.schedule(self.now + nanos(delay), event);
        }
    }

    /// Assigns queued calls to idle workers.
    fn dispatch(&mut self) {
        let now = duration(self.now);
        let workers = self.trace.workers.at(now) as u32;
        while self.busy < workers
            && let Some(id) = self.queue.pop_front()
        {
            self.busy += 1;
            let excess = f64::from(self.in_server.saturating_sub(2 * workers));
            let factor = self.trace.slowdown.at(now) * (1.0 + self.trace.contention * excess);
            let (u, v) = (1.0 - self.random.f64(), self.random.f64());
            let service = self.trace.service.sample(u, v) * self.trace.slowdown.at(now);
            let worked = nanos(service / self.trace.slowdown.at(now) * factor).max(1);
            self.calls[id].service = service;
            let departure = self.after_pauses(self.now, worked);
            self.schedule(departure, Event::Departure(id));
        }
    }

    /// Returns when work that starts at `from` and takes `worked`, without pauses, is finished.
    fn after_pauses(&self, from: u64, worked: u64) -> u64 {
        let (mut at, mut left) = (from, worked);
        for (start, length) in &self.trace.pauses {
            let (start, end) = (start.as_nanos() as u64, (*start + *length).as_nanos() as u64);
            if end <= at {
                continue;
            }
            if at + left <= start {
                break;
            }
            left -= start.saturating_sub(at).min(left);
            at = end;
        }
        at + left
    }

    /// Ends the calls whose deadline is before `at`.
    fn expire(&mut self, at: u64) {
        while let Some(&(deadline, id)) = self.deadlines.front()
            && deadline < at
        {
            self.deadlines.pop_front();
            if !self.calls[id].ended {
                self.now = deadline;
                self.end(id, CallEnd::Overload);
            }
            // The deadline is no longer in the queue of deadlines; see `free_if_done`.
            self.calls[id].started = u64::MAX;
            self.free_if_done(id);
        }
    }

    /// Frees the slot of a call that has left the server and whose deadline has passed.
    fn free_if_done(&mut self, id: usize) {
        if self.calls[id].left && self.calls[id].started == u64::MAX {
            self.free.push(id);
        }
    }

    fn end(&mut self, id: usize, end: CallEnd) {
        self.calls[id].ended = true;
        let Call { client, started, first, attempt, service, .. } = self.calls[id];
        let workers = self.trace.workers.at(duration(self.now));
        let policy = client % self.policies.len();
        self.policies[policy].signal(f64::from(self.in_server) > 1.2 * workers);
        let now = Instant::from_nanos(self.now);
        self.policies[policy].end(Instant::from_nanos(started), now, end);
        match end {
            CallEnd::Success => {
                let latency = (self.now - started) as f64 / SECOND as f64;
                self.good[client] += 1;
                self.second.good += 1;
                self.second.latency += latency;
                self.latencies.push(latency as f32);
                self.services.push(service as f32);
            }
            CallEnd::Overload => self.retry(client, attempt, first),
        }
    }

    fn tick(&mut self) {
        let at = duration(self.now).saturating_sub(Duration::from_millis(1));
        let limit: f64 = self.policies.iter().map(P::limit).sum();
        let (offered, capacity) = (self.trace.offered(at), self.trace.capacity(at));
        let workers = self.trace.workers.at(at);
        if offered > capacity && capacity > 0.0 && limit.is_finite() {
            self.limit_error.0 += (limit / workers).ln().abs();
            self.limit_error.1 += 1;
        }
        let Second { good, latency } = std::mem::take(&mut self.second);
        self.points.push(Point {
            at,
            limit,
            workers,
            goodput: f64::from(good),
            optimal: offered.min(capacity),
            latency: Duration::from_secs_f64(latency / f64::from(good.max(1))),
        });
    }

    /// Returns the number of calls that could have succeeded: the sum of the smaller of arrivals
    /// and capacity over all intervals of ten seconds.
    fn optimal(&self) -> f64 {
        const STEP: Duration = Duration::from_millis(100);
        let bin = |(index, arrivals): (usize, &u32)| {
            let start = duration(index as u64 * ARRIVAL_BIN);
            let capacity: f64 = (0..100)
                .map(|step| self.trace.capacity(start + STEP * step) * STEP.as_secs_f64())
                .sum();
            capacity.min(f64::from(*arrivals))
        };
        self.arrivals.iter().enumerate().map(bin).sum()
    }

    fn finish(self, name: &str) -> SimulationResult {
        let optimal = self.optimal();
        let limit_error = match self.limit_error {
            (_, 0) => None,
            (sum, seconds) => Some((sum / f64::from(seconds)).exp() - 1.0),
        };
        let measured = Measured {
            good: self.good,
            optimal,
            latencies: self.latencies,
            services: self.services,
            points: self.points,
            limit_error,
        };
        SimulationResult::new(self.trace, name, measured)
    }
}
