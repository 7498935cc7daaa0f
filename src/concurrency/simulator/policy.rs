//! The policies that a simulation can run: [`SimulatedPolicy`] and its implementations.

use crate::concurrency::controller::{LimitController, LimitReason};
use crate::concurrency::meter::Meter;
use crate::time::Instant;

/// How a simulated call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The call succeeded before its timeout.
    Success,
    /// The call timed out, or the server refused it.
    Overload,
}

/// The interface between a simulation and a limiter. Implement it to simulate a custom policy.
///
/// ```
/// use mainstay::concurrency::simulator::{CallEnd, SimulatedPolicy, Trace, simulate};
/// use mainstay::time::Instant;
///
/// /// Admits at most thirty calls at a time.
/// struct Fixed(u32);
///
/// impl SimulatedPolicy for Fixed {
///     fn admit(&mut self, _now: Instant, _client: usize) -> bool {
///         let admitted = self.0 < 30;
///         self.0 += u32::from(admitted);
///         admitted
///     }
///     fn end(&mut self, _started: Instant, _now: Instant, _end: CallEnd) {
///         self.0 -= 1;
///     }
///     fn limit(&self) -> f64 {
///         30.0
///     }
/// }
///
/// let result = simulate(&Trace::low_traffic(), "fixed", || Fixed(0));
/// assert!(result.goodput > 0.99);
/// ```
pub trait SimulatedPolicy {
    /// Returns whether a call of `client` may start now.
    fn admit(&mut self, now: Instant, client: usize) -> bool;

    /// Records the end of a call that was admitted at `started`.
    fn end(&mut self, started: Instant, now: Instant, end: CallEnd);

    /// Returns the current limit, for the plot. The default is infinity: no limit.
    fn limit(&self) -> f64 {
        f64::INFINITY
    }

    /// Receives the server's own signal of overload, before each [`end`](Self::end).
    ///
    /// The default ignores it.
    fn signal(&mut self, overloaded: bool) {
        let _ = overloaded;
    }
}

/// A policy that admits every call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl SimulatedPolicy for Unlimited {
    fn admit(&mut self, _: Instant, _: usize) -> bool {
        true
    }

    fn end(&mut self, _: Instant, _: Instant, _: CallEnd) {}
}

/// A policy with a constant limit.
#[derive(Clone, Copy, Debug)]
pub struct FixedLimit {
    limit: u32,
    in_flight: u32,
}

impl FixedLimit {
    /// Creates a policy that admits at most `limit` calls at a time.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { limit, in_flight: 0 }
    }
}

impl SimulatedPolicy for FixedLimit {
    fn admit(&mut self, _: Instant, _: usize) -> bool {
        let admitted = self.in_flight < self.limit;
        self.in_flight += u32::from(admitted);
        admitted
    }

    fn end(&mut self, _: Instant, _: Instant, _: CallEnd) {
        self.in_flight -= 1;
    }

    fn limit(&self) -> f64 {
        f64::from(self.limit)
    }
}

/// A policy whose limit is set by a [`LimitController`], with the same windows as
/// [`AdaptiveLimiter`](crate::concurrency::AdaptiveLimiter).
#[derive(Debug)]
pub struct ControlledLimit<C> {
    controller: C,
    meter: Meter,
    in_flight: u32,
    overloaded: bool,
    /// The earliest start of the next call, while the limit is below one.
    next_start: Instant,
}

impl<C: LimitController> ControlledLimit<C> {
    /// Creates a policy whose first window starts at time zero.
    #[must_use]
    pub fn new(controller: C) -> Self {
        let meter = Meter::new(Instant::ORIGIN, controller.window_rule());
        Self { controller, meter, in_flight: 0, overloaded: false, next_start: Instant::ORIGIN }
    }

    /// Returns the controller.
    pub const fn controller(&self) -> &C {
        &self.controller
    }
}

impl<C: LimitController> SimulatedPolicy for ControlledLimit<C> {
    fn admit(&mut self, now: Instant, _: usize) -> bool {
        let limit = self.controller.limit();
        let admitted = match limit < 1.0 {
            true => self.in_flight == 0 && now >= self.next_start,
            false => f64::from(self.in_flight) < limit.floor(),
        };
        if admitted {
            self.in_flight += 1;
            self.meter.under_way(self.in_flight);
        } else {
            self.meter.rejected();
        }
        admitted
    }

    fn end(&mut self, started: Instant, now: Instant, end: CallEnd) {
        self.in_flight -= 1;
        let limit = self.controller.limit();
        if limit < 1.0 {
            self.next_start = now + now.since(started).mul_f64(1.0 / limit - 1.0);
        }
        match end {
            CallEnd::Success => self.meter.succeeded(started, now),
            CallEnd::Overload => self.meter.overload(started),
        }
        let rule = self.controller.window_rule();
        if let Some(mut window) = self.meter.close(now, rule) {
            window.overloaded = self.overloaded;
            if self.controller.update(&window).reason == LimitReason::Probe {
                self.meter.ignore_before(now);
            }
        }
    }

    fn limit(&self) -> f64 {
        self.controller.limit()
    }

    fn signal(&mut self, overloaded: bool) {
        self.overloaded = overloaded;
    }
}
