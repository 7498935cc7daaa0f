//! A server on a manual clock, shared by the tests of the prioritizer.

use mainstay::concurrency::{Bulkhead, Prioritizer, PrioritizerBuilder};
use mainstay::random::Random;
use mainstay::time::ManualClock;

/// A server that runs ten calls at a time, each for 10 ms: 1,000 calls per second.
pub(crate) struct Server {
    pub(crate) time: ManualClock,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) prioritizer: Prioritizer,
}

/// The calls of one class or user that were offered and that the server completed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) offered: u32,
    pub(crate) served: u32,
}

impl Counts {
    pub(crate) fn share(self) -> f64 {
        f64::from(self.served) / f64::from(self.offered)
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(set: impl FnOnce(PrioritizerBuilder) -> PrioritizerBuilder) -> Self {
        let time = ManualClock::new();
        let bulkhead = Bulkhead::builder().max_concurrent(10).clock(time.clock()).build().unwrap();
        let builder = Prioritizer::builder()
            .limiter(bulkhead.clone())
            .clock(time.clock())
            .random(Random::seeded(1));
        Self { prioritizer: set(builder).build().unwrap(), time, bulkhead }
    }
}
