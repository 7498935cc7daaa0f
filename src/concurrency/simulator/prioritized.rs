//! A policy that is fair among clients: [`PrioritizedLimit`].

use super::policy::{CallEnd, SimulatedPolicy};
use crate::concurrency::prioritizer::{
    LimitSource, OwnedPrioritizerPermit, Prioritizer, PrioritizerBuilder,
};
use crate::error::ConfigError;
use crate::policy::Caller;
use crate::sync::PlainArc;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::time::{Instant, ManualClock};

/// A policy above which a [`Prioritizer`] rejects excess calls. Each client of the trace is a user,
/// and all calls have the same priority.
///
/// ```
/// use mainstay::concurrency::simulator::{FixedLimit, PrioritizedLimit, Trace, simulate};
/// use mainstay::concurrency::Prioritizer;
/// use mainstay::random::Random;
///
/// let trace = Trace::user_flood();
/// let unfair = simulate(&trace, "fixed", || FixedLimit::new(30));
/// let fair = simulate(&trace, "fair", || {
///     let settings = Prioritizer::builder().random(Random::seeded(1));
///     PrioritizedLimit::new(FixedLimit::new(30), settings).expect("the settings are valid")
/// });
/// assert!(fair.fairness > unfair.fairness);
/// ```
#[derive(Debug)]
pub struct PrioritizedLimit<P> {
    inner: P,
    prioritizer: Prioritizer,
    time: ManualClock,
    load: PlainArc<Load>,
    /// The permits of the calls in flight. They are interchangeable.
    permits: Vec<OwnedPrioritizerPermit>,
}

/// The load of the inner policy, which the prioritizer reads.
#[derive(Debug)]
struct Load {
    /// The bits of an `f64`.
    limit: AtomicU64,
    in_flight: AtomicU32,
}

impl LimitSource for PlainArc<Load> {
    fn limit(&self) -> f64 {
        f64::from_bits(self.limit.load(Relaxed))
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

impl<P: SimulatedPolicy> PrioritizedLimit<P> {
    /// Creates a prioritizer above `inner` with these settings. Their clock is replaced by the
    /// virtual time.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range.
    pub fn new(inner: P, settings: PrioritizerBuilder) -> Result<Self, ConfigError> {
        let time = ManualClock::at(Instant::ORIGIN);
        let load = PlainArc::new(Load {
            limit: AtomicU64::new(inner.limit().to_bits()),
            in_flight: AtomicU32::new(0),
        });
        let prioritizer = settings.limiter(load.clone()).clock(time.clock()).build()?;
        Ok(Self { inner, prioritizer, time, load, permits: Vec::new() })
    }

    fn update_load(&self) {
        self.load.limit.store(self.inner.limit().to_bits(), Relaxed);
        self.load.in_flight.store(self.permits.len() as u32, Relaxed);
    }
}

impl<P: SimulatedPolicy> SimulatedPolicy for PrioritizedLimit<P> {
    fn admit(&mut self, now: Instant, client: usize) -> bool {
        self.time.set(now);
        let caller = Caller::default().with_user(&client);
        let Ok(permit) = self.prioritizer.try_acquire_owned(caller) else { return false };
        let admitted = self.inner.admit(now, client);
        match admitted {
            true => self.permits.push(permit),
            false => permit.rejected(),
        }
        self.update_load();
        admitted
    }

    fn end(&mut self, started: Instant, now: Instant, end: CallEnd) {
        self.time.set(now);
        self.permits.pop();
        self.inner.end(started, now, end);
        self.update_load();
    }

    fn limit(&self) -> f64 {
        self.inner.limit()
    }

    fn signal(&mut self, overloaded: bool) {
        self.inner.signal(overloaded);
    }
}
