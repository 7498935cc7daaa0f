//! What happens to a simulated server: its capacity, its faults and its callers, over time.

use std::time::Duration;

/// A value that changes at given times.
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
    /// Creates a value that holds from the start.
    #[must_use]
    pub fn new(value: f64) -> Self {
        Self(vec![(Duration::ZERO, value)])
    }

    /// Sets the value from `at` on. Times must come in order.
    ///
    /// # Panics
    ///
    /// If `at` is earlier than the change before it.
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
    /// Log-normal, by its mean and the standard deviation of its logarithm: 0.5 is narrow, 0.83 has
    /// a standard deviation as large as its mean, 1.5 has a heavy tail.
    LogNormal {
        /// The mean.
        mean: Duration,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
}

impl ServiceTime {
    pub(super) fn mean(self) -> f64 {
        let Self::LogNormal { mean, .. } = self;
        mean.as_secs_f64()
    }

    /// A sample from two uniform numbers in (0, 1].
    pub(super) fn sample(self, u: f64, v: f64) -> f64 {
        let Self::LogNormal { mean, sigma } = self;
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        mean.as_secs_f64() * (sigma * normal - sigma * sigma / 2.0).exp()
    }
}

/// One source of calls, Poisson at a rate that may change.
#[derive(Clone, Debug)]
pub struct Client {
    /// Calls per second.
    pub rate: Steps,
}

/// How clients and limiters belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiters {
    /// One limiter in front of the server, for all clients.
    AtServer,
    /// One limiter in each client.
    PerClient,
}

/// A scenario.
///
/// The server is an M/G/c queue: calls that are admitted wait, first come first served, for one of
/// `workers`. Beyond a knee it also slows down, so that a server without a limit collapses. A
/// client gives up after `timeout`, but the server still does the work.
#[derive(Clone, Debug)]
pub struct Trace {
    /// A name, without spaces.
    pub name: &'static str,
    /// How long the scenario lasts.
    pub duration: Duration,
    /// How many calls the server works on at one time.
    pub workers: Steps,
    /// How long one takes.
    pub service: ServiceTime,
    /// A factor on the service time.
    pub slowdown: Steps,
    /// Each call in the server beyond twice its workers makes the service slower by this share.
    pub contention: f64,
    /// Times during which no work is done: start and length.
    pub pauses: Vec<(Duration, Duration)>,
    /// Times during which the server refuses all calls within a millisecond.
    pub outages: Vec<(Duration, Duration)>,
    /// When a client gives up.
    pub timeout: Duration,
    /// How often a client repeats a call that was rejected or failed.
    pub retries: u32,
    /// How long a client waits before it repeats a call, on average.
    pub retry_delay: Duration,
    /// The sources of calls.
    pub clients: Vec<Client>,
    /// Where the limiters are.
    pub limiters: Limiters,
    /// When the last disturbance is over, if there is one to recover from.
    pub recovers_from: Option<Duration>,
    /// Seeds all randomness.
    pub seed: u64,
}

const WORKERS: f64 = 20.0;
const MEAN: Duration = Duration::from_millis(50);
/// Calls per second that the server of all traces can do: 400.
const CAPACITY: f64 = 400.0;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Trace {
    /// Creates a scenario of a minute: 20 workers, 50 ms a call, and one client that offers `load`
    /// times what the server can do.
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

    /// Returns the ten scenarios that mainstay's own controller is tested with.
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
        ]
    }

    /// Half the capacity, then twice as much for 90 seconds, then half again.
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

    /// Half the workers are lost for a minute, under a load of 1.2.
    #[must_use]
    pub fn step_in_capacity() -> Self {
        Self {
            duration: secs(180),
            workers: Steps::new(WORKERS).then(secs(60), WORKERS / 2.0).then(secs(120), WORKERS),
            recovers_from: Some(secs(120)),
            ..Self::new("step_in_capacity", 1.2)
        }
    }

    /// One call in a hundred takes twelve times the mean, under a load of 1.5.
    #[must_use]
    pub fn heavy_tail() -> Self {
        Self {
            duration: secs(120),
            service: ServiceTime::LogNormal { mean: MEAN, sigma: 1.5 },
            timeout: secs(10),
            ..Self::new("heavy_tail", 1.5)
        }
    }

    /// The server stands still for 200 ms every ten seconds, under a load of 1.2.
    #[must_use]
    pub fn gc_pauses() -> Self {
        let pauses = (1..12).map(|n| (secs(10 * n), Duration::from_millis(200))).collect();
        Self { duration: secs(120), pauses, ..Self::new("gc_pauses", 1.2) }
    }

    /// The server is restarted: it refuses calls for two seconds, and is slow for the next ten.
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

    /// Most workers are lost for ten seconds, and clients repeat a call up to three times.
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

    /// The server is ten times slower for half an hour.
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

    /// Two calls per second for five minutes.
    #[must_use]
    pub fn low_traffic() -> Self {
        Self { duration: secs(300), ..Self::new("low_traffic", 2.0 / CAPACITY) }
    }

    /// Nine clients with a limiter each; together they offer 1.8 times the capacity while all are
    /// there. One joins every ten seconds, and one leaves every ten seconds after two minutes.
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

    /// One tenant of ten sends 25 times as much as each other for a minute.
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

    /// Returns the calls per second that the server can do at `time`.
    #[must_use]
    pub fn capacity(&self, time: Duration) -> f64 {
        let within =
            |(start, length): &(Duration, Duration)| *start <= time && time < *start + *length;
        if self.outages.iter().any(within) || self.pauses.iter().any(within) {
            return 0.0;
        }
        self.workers.at(time) / (self.service.mean() * self.slowdown.at(time))
    }

    /// Returns the calls per second that all clients offer at `time`, repeated calls not included.
    #[must_use]
    pub fn offered(&self, time: Duration) -> f64 {
        self.clients.iter().map(|client| client.rate.at(time)).sum()
    }
}
