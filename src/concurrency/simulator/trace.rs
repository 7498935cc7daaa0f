//! The scenario of a simulation: the capacity, faults and clients of a server over time.

use std::time::Duration;

/// A value that changes at given times: a step function.
///
/// ```
/// use mainstay::concurrency::simulator::Steps;
/// use std::time::Duration;
///
/// let rate = Steps::new(100.0).then(Duration::from_secs(30), 400.0);
/// assert_eq!(rate.at(Duration::from_secs(29)), 100.0);
/// assert_eq!(rate.at(Duration::from_secs(30)), 400.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Steps(Vec<(Duration, f64)>);

impl Steps {
    /// Creates a step function that has `value` from the start.
    #[must_use]
    pub fn new(value: f64) -> Self {
        Self(vec![(Duration::ZERO, value)])
    }

    /// Sets the value from `at` on. Steps must be added in the order of time.
    ///
    /// # Panics
    ///
    /// Panics if `at` is earlier than the previous step.
    #[must_use]
    pub fn then(mut self, at: Duration, value: f64) -> Self {
        assert!(self.0.last().is_some_and(|(last, _)| *last <= at), "steps must come in order");
        self.0.push((at, value));
        self
    }

    /// Returns the value at `time`.
    #[must_use]
    pub fn at(&self, time: Duration) -> f64 {
        let after = self.0.partition_point(|(from, _)| *from <= time);
        self.0[after.max(1) - 1].1
    }

    pub(super) fn max(&self) -> f64 {
        self.0.iter().map(|(_, value)| *value).fold(0.0, f64::max)
    }
}

/// The distribution of the time that a worker spends on one call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServiceTime {
    /// A log-normal distribution. With a `sigma` of 0.5 it is narrow, with 0.83 its standard
    /// deviation equals its mean, and with 1.5 it has a heavy tail.
    LogNormal {
        /// The mean of the time.
        mean: Duration,
        /// The standard deviation of the logarithm of the time.
        sigma: f64,
    },
}

impl ServiceTime {
    pub(super) fn mean(self) -> f64 {
        let Self::LogNormal { mean, .. } = self;
        mean.as_secs_f64()
    }

    /// Returns a sample from two uniform numbers, `u` in (0, 1] and `v` in [0, 1), by the
    /// Box–Muller transform.
    pub(super) fn sample(self, u: f64, v: f64) -> f64 {
        let Self::LogNormal { mean, sigma } = self;
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        mean.as_secs_f64() * (sigma * normal - sigma * sigma / 2.0).exp()
    }
}

/// A source of calls: a Poisson process whose rate may change.
#[derive(Clone, Debug)]
pub struct Client {
    /// Calls per second.
    pub rate: Steps,
}

/// The location of the limiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiters {
    /// One limiter in front of the server, for all clients.
    AtServer,
    /// One limiter in each client.
    PerClient,
}

/// A scenario.
///
/// The server is an M/G/c queue: admitted calls wait in FIFO order for one of `workers`. Calls
/// beyond twice that number make it slower, so that a server without a limit collapses. A client
/// stops waiting after `timeout`, but the server still completes the work.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The name of the scenario, without spaces.
    pub name: &'static str,
    /// How long the scenario lasts.
    pub duration: Duration,
    /// The number of calls that the server processes at a time.
    pub workers: Steps,
    /// The time that a worker spends on one call.
    pub service: ServiceTime,
    /// A factor by which the service time is multiplied.
    pub slowdown: Steps,
    /// Each call in the server beyond twice its workers makes the service slower by this share.
    pub contention: f64,
    /// Intervals during which the server does no work: start and length.
    pub pauses: Vec<(Duration, Duration)>,
    /// Intervals during which the server refuses each call after a millisecond: start and length.
    pub outages: Vec<(Duration, Duration)>,
    /// The time after which a client stops waiting for a call.
    pub timeout: Duration,
    /// How many times a client repeats a call that was rejected or failed.
    pub retries: u32,
    /// The mean time that a client waits before it repeats a call.
    pub retry_delay: Duration,
    /// The sources of calls.
    pub clients: Vec<Client>,
    /// The location of the limiters.
    pub limiters: Limiters,
    /// When the last disturbance ends; `None` if the scenario has no disturbance.
    pub recovers_from: Option<Duration>,
    /// The seed of all random numbers.
    pub seed: u64,
}

const WORKERS: f64 = 20.0;
const MEAN: Duration = Duration::from_millis(50);
/// The capacity of the server of all traces, in calls per second: `WORKERS / MEAN`.
const CAPACITY: f64 = 400.0;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Trace {
    /// Creates a scenario of one minute with 20 workers, a mean service time of 50 ms, and one
    /// client that offers `load` times the capacity of the server.
    #[must_use]
    pub fn new(name: &'static str, load: f64) -> Self {
        Self {
            name,
            duration: secs(60),
            workers: Steps::new(WORKERS),
            service: ServiceTime::LogNormal { mean: MEAN, sigma: 0.83 },
            slowdown: Steps::new(1.0),
            contention: 0.02,
            pauses: Vec::new(),
            outages: Vec::new(),
            timeout: secs(2),
            retries: 0,
            retry_delay: Duration::from_millis(200),
            clients: vec![Client { rate: Steps::new(load * CAPACITY) }],
            limiters: Limiters::AtServer,
            recovers_from: None,
            seed: 1,
        }
    }

    /// Returns the eleven scenarios with which the built-in controllers are tested.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::step_in_load(),
            Self::step_in_capacity(),
            Self::heavy_tail(),
            Self::gc_pauses(),
            Self::deploy(),
            Self::retry_storm(),
            Self::incident(),
            Self::low_traffic(),
            Self::nine_clients(),
            Self::tenant_flood(),
            Self::user_flood(),
        ]
    }

    /// Returns a scenario with a load of 0.5 times the capacity, 2 times for 90 seconds, and 0.5
    /// times again.
    #[must_use]
    pub fn step_in_load() -> Self {
        let rate = Steps::new(0.5 * CAPACITY)
            .then(secs(30), 2.0 * CAPACITY)
            .then(secs(120), 0.5 * CAPACITY);
        Self {
            duration: secs(150),
            clients: vec![Client { rate }],
            recovers_from: Some(secs(120)),
            ..Self::new("step_in_load", 1.0)
        }
    }

    /// Returns a scenario that loses half of the workers for a minute, at 1.2 times the capacity.
    #[must_use]
    pub fn step_in_capacity() -> Self {
        Self {
            duration: secs(180),
            workers: Steps::new(WORKERS).then(secs(60), WORKERS / 2.0).then(secs(120), WORKERS),
            recovers_from: Some(secs(120)),
            ..Self::new("step_in_capacity", 1.2)
        }
    }

    /// Returns a scenario in which one call in a hundred takes more than ten times the mean, at 1.5
    /// times the capacity.
    #[must_use]
    pub fn heavy_tail() -> Self {
        Self {
            duration: secs(120),
            service: ServiceTime::LogNormal { mean: MEAN, sigma: 1.5 },
            timeout: secs(10),
            ..Self::new("heavy_tail", 1.5)
        }
    }

    /// Returns a scenario in which the server pauses for 200 ms every ten seconds, at 1.2 times the
    /// capacity.
    #[must_use]
    pub fn gc_pauses() -> Self {
        let pauses = (1..12).map(|n| (secs(10 * n), Duration::from_millis(200))).collect();
        Self { duration: secs(120), pauses, ..Self::new("gc_pauses", 1.2) }
    }

    /// Returns a scenario in which the server restarts: it refuses calls for two seconds and is
    /// slow for the next ten, at 0.9 times the capacity.
    #[must_use]
    pub fn deploy() -> Self {
        Self {
            duration: secs(120),
            outages: vec![(secs(40), secs(2))],
            slowdown: Steps::new(1.0).then(secs(42), 4.0).then(secs(47), 2.0).then(secs(52), 1.0),
            recovers_from: Some(secs(52)),
            ..Self::new("deploy", 0.9)
        }
    }

    /// Returns a scenario that loses three quarters of the workers for ten seconds, while clients
    /// repeat a call up to three times, at 0.9 times the capacity.
    #[must_use]
    pub fn retry_storm() -> Self {
        Self {
            duration: secs(120),
            workers: Steps::new(WORKERS).then(secs(40), WORKERS / 4.0).then(secs(50), WORKERS),
            retries: 3,
            recovers_from: Some(secs(50)),
            ..Self::new("retry_storm", 0.9)
        }
    }

    /// Returns a scenario in which the server is ten times slower for half an hour, at half of its
    /// capacity.
    #[must_use]
    pub fn incident() -> Self {
        Self {
            duration: secs(60 + 1800 + 120),
            slowdown: Steps::new(1.0).then(secs(60), 10.0).then(secs(1860), 1.0),
            timeout: secs(10),
            recovers_from: Some(secs(1860)),
            ..Self::new("incident", 0.5)
        }
    }

    /// Returns a scenario with two calls per second for five minutes.
    #[must_use]
    pub fn low_traffic() -> Self {
        Self { duration: secs(300), ..Self::new("low_traffic", 2.0 / CAPACITY) }
    }

    /// Returns a scenario with nine clients, each with its own limiter. All together, they offer
    /// 1.8 times the capacity. One client starts every ten seconds, and after two minutes one stops
    /// every ten seconds.
    #[must_use]
    pub fn nine_clients() -> Self {
        let client = |n: u64| Client {
            rate: Steps::new(if n == 0 { 0.2 * CAPACITY } else { 0.0 })
                .then(secs(10 * n), 0.2 * CAPACITY)
                .then(secs(210 - 10 * n), 0.0),
        };
        Self {
            duration: secs(210),
            clients: (0..9).map(client).collect(),
            limiters: Limiters::PerClient,
            ..Self::new("nine_clients", 1.0)
        }
    }

    /// Returns a scenario in which one of ten tenants sends, for a minute, 25 times as many calls
    /// as each of the others.
    #[must_use]
    pub fn tenant_flood() -> Self {
        let quiet = Client { rate: Steps::new(0.06 * CAPACITY) };
        let flood = Client {
            rate: Steps::new(0.06 * CAPACITY)
                .then(secs(30), 1.5 * CAPACITY)
                .then(secs(90), 0.06 * CAPACITY),
        };
        let mut clients = vec![quiet; 9];
        clients.push(flood);
        Self {
            duration: secs(120),
            clients,
            recovers_from: Some(secs(90)),
            ..Self::new("tenant_flood", 1.0)
        }
    }

    /// Returns a scenario with the ten users of one tenant, at 2.2 times the capacity for a minute:
    /// seven users send few calls, one sends as many as the server can process in 0.3 of the time,
    /// and two more than a fair share.
    #[must_use]
    pub fn user_flood() -> Self {
        let steady = |load: f64| Client { rate: Steps::new(load * CAPACITY) };
        let flood = Client {
            rate: Steps::new(0.04 * CAPACITY)
                .then(secs(30), 0.8 * CAPACITY)
                .then(secs(90), 0.04 * CAPACITY),
        };
        let mut clients = vec![steady(0.04); 7];
        clients.extend([steady(0.3), flood.clone(), flood]);
        Self {
            duration: secs(120),
            clients,
            recovers_from: Some(secs(90)),
            ..Self::new("user_flood", 1.0)
        }
    }

    /// Returns the capacity of the server at `time`, in calls per second.
    #[must_use]
    pub fn capacity(&self, time: Duration) -> f64 {
        let within =
            |(start, length): &(Duration, Duration)| *start <= time && time < *start + *length;
        if self.outages.iter().any(within) || self.pauses.iter().any(within) {
            return 0.0;
        }
        self.workers.at(time) / (self.service.mean() * self.slowdown.at(time))
    }

    /// Returns the calls per second that all clients make at `time`, without repeated calls.
    #[must_use]
    pub fn offered(&self, time: Duration) -> f64 {
        self.clients.iter().map(|client| client.rate.at(time)).sum()
    }
}
