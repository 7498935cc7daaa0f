//! The default controller, which compares latencies with a baseline that an overload cannot move.

use super::bounds_setters;
use super::smoothing::{Covariance, Ema, Peaks, Smoother};
use super::{Bounds, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow};
use crate::error::ConfigError;
use crate::random::Random;
use std::time::Duration;

/// The default controller, which keeps a short queue in the server. It derives the queue from the
/// current latency and the latency without load.
///
/// # How it works
///
/// The latency of a window is its p90. The *baseline* is the latency without a queue. If a limit
/// `L` is used up, the number of calls that queue in the server is
///
/// ```text
/// queue = L · (1 − baseline / latency)
/// ```
///
/// The limit grows while the queue is shorter than α = max(3 · log10 L, L / 12), and is lowered to
/// the middle between the thresholds when it is longer than β = max(6 · log10 L, L / 5) for two
/// windows, or at once if the latency has doubled. The latency is smoothed by a median of five and
/// an average over five, which restart whenever the limit changes, because latencies under another
/// limit do not apply to the new one.
///
/// The baseline of all other controllers drifts up in a long overload, until the queue appears
/// short and the limit grows again. The baseline of this controller moves only
///
/// * down, whenever a window is faster, and immediately if two windows in a row are, because every
///   latency is an upper bound of the latency without load;
/// * up or down, as an average over ten windows, while the limit is *not* used up: then the
///   limiter's calls cause no queue;
/// * up after a *probe*, if the server has become slower for all calls alike.
///
/// A probe halves the limit for one window. It is made about every 30 windows while the limit is
/// used up, and sooner when lowering the limit has not brought the latency down. If half the limit
/// halves the latency, the server has a queue, and the baseline is kept. If the latency does not
/// respond, the server is either slower or has a queue caused by other clients. A slower server
/// multiplies all latencies by one factor; a queue adds the same time to each, which moves the
/// median by a larger factor than the p90. The baseline is raised only in the first case. (If all
/// calls take the same time, the two cases cannot be distinguished, and the baseline is raised.)
/// The controller does not probe while the limit is not used up.
///
/// # Overload
///
/// * Windows with more than 5 % dropped calls lower the limit once, by a tenth; more than half, by
///   30 %.
/// * A p90 above [`max_healthy_latency`](Self::max_healthy_latency) lowers the limit, regardless of
///   the baseline.
/// * If nearly all calls take the same time, which is more than twice the usual latency, they are
///   presumed to time out, and the limit is lowered, too.
///
/// After a decrease, the limit grows by half per window up to four fifths of the limit before the
/// decrease, and then by a tenth per window. A limit above five times the peak number of calls in
/// flight of the last 30 windows is lowered to that cap, by at most a tenth per window.
#[derive(Clone, Debug)]
pub struct BaselineController {
    bounds: Bounds,
    limit: f64,
    max_healthy_latency: Option<Duration>,
    probe_limit: f64,
    headroom: f64,
    random: Random,
    latency: Smoother,
    /// The p90 without load, in seconds.
    baseline: Ema,
    /// The approximate minimum of the ratio of median to p90.
    shape: Option<f64>,
    response: Covariance,
    peaks: Peaks,
    phase: Phase,
    /// The limit at which the last decrease began.
    ceiling: f64,
    /// The previous window under the same limit, if any.
    previous: Option<f64>,
    /// The previous window under any limit.
    latest: Option<f64>,
    /// Consecutive windows that used up the limit.
    saturated: u32,
    /// Consecutive windows with a queue above β.
    queued: u32,
    /// Consecutive windows that lowered the limit.
    falling: u32,
    /// Windows that used up the limit since the last probe.
    since_probe: u32,
    /// The value of `since_probe` at which the next probe is due.
    probe_due: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No congestion has been observed yet.
    SlowStart,
    Steady,
    /// One window at a lower limit. The fields are the limit before, and the p90 and the median
    /// under it.
    Probing {
        limit: f64,
        p90: f64,
        p50: f64,
    },
}

/// The average number of windows between probes, counting windows that used up the limit.
const PROBE_INTERVAL: f64 = 30.0;
/// The minimum number of such windows between probes.
const MIN_PROBE_INTERVAL: u32 = 4;
/// The number of such windows between probes while the limit is below half of its earlier value.
const FALLEN_INTERVAL: u32 = 6;
/// The share of dropped calls above which a window lowers the limit.
const DROP_RATE: f64 = 0.05;
/// The factor of the latency below which a slower window may be due to chance.
const NOISE: f64 = 1.25;
/// The ratio of median to p90 below which call durations vary enough for a queue to change it.
const VARIED: f64 = 0.7;

fn ratio(window: &LimitWindow) -> f64 {
    window.p50.as_secs_f64() / window.p90.as_secs_f64().max(1e-9)
}

impl BaselineController {
    /// Creates a controller with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bounds: Bounds::DEFAULT,
            limit: Bounds::DEFAULT.initial,
            max_healthy_latency: None,
            probe_limit: 3.0,
            headroom: 5.0,
            random: Random::system(),
            latency: Smoother::new(),
            baseline: Ema::over(10),
            shape: None,
            response: Covariance::new(),
            peaks: Peaks::new(),
            phase: Phase::SlowStart,
            ceiling: 0.0,
            previous: None,
            latest: None,
            saturated: 0,
            queued: 0,
            falling: 0,
            since_probe: 0,
            probe_due: 10,
        }
    }

    bounds_setters!();

    /// Sets the p90 from which the server is unhealthy, regardless of the baseline. Default: none.
    ///
    /// Set it if there is a latency that no healthy call exceeds.
    ///
    /// ```
    /// use mainstay::concurrency::BaselineController;
    /// # use std::time::Duration;
    ///
    /// let controller = BaselineController::new().max_healthy_latency(Duration::from_millis(300));
    /// ```
    #[must_use]
    pub const fn max_healthy_latency(mut self, latency: Duration) -> Self {
        self.max_healthy_latency = Some(latency);
        self
    }

    /// Sets the minimum limit of a probe, which is independent of [`min_limit`](Self::min_limit).
    /// Default: 3, because with fewer calls a window would take long.
    ///
    /// ```
    /// # use mainstay::concurrency::BaselineController;
    /// let controller = BaselineController::new().probe_limit(5.0);
    /// ```
    #[must_use]
    pub const fn probe_limit(mut self, limit: f64) -> Self {
        self.probe_limit = limit;
        self
    }

    /// Sets the cap of the limit, as a multiple of the peak number of calls in flight. Default: 5,
    /// high enough for a burst, and low enough to limit the first overload.
    ///
    /// ```
    /// # use mainstay::concurrency::BaselineController;
    /// let controller = BaselineController::new().headroom_factor(3.0);
    /// ```
    #[must_use]
    pub const fn headroom_factor(mut self, factor: f64) -> Self {
        self.headroom = factor;
        self
    }

    /// Sets the source of the jitter between probes, which keeps many clients of one server from
    /// probing together.
    ///
    /// ```
    /// use mainstay::concurrency::BaselineController;
    /// # use mainstay::Random;
    /// let controller = BaselineController::new().random(Random::seeded(1));
    /// ```
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Returns the p90 without load that the limit is measured against, if it is known yet.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.baseline.get()?).ok()
    }

    fn decide(&mut self, window: &LimitWindow) -> (f64, LimitReason) {
        if window.drop_rate() > DROP_RATE {
            let factor = if window.drop_rate() > 0.5 { 0.7 } else { 0.9 };
            return self.lower(self.limit * factor, LimitReason::Dropped);
        }
        if window.succeeded == 0 {
            return (self.limit, LimitReason::Steady);
        }
        if self.is_unhealthy(window) {
            return self.lower(self.limit * 0.9, LimitReason::Unhealthy);
        }
        self.learn_shape(window);
        if let Phase::Probing { limit, p90, p50 } = self.phase {
            return self.end_probe(window, limit, (p90, p50));
        }
        let sample = window.p90.as_secs_f64();
        self.lower_baseline(sample);
        let saturated = window.saturates(self.limit);
        let baseline = match self.baseline.get() {
            Some(baseline) if sample >= baseline && (saturated || self.is_queued(window)) => {
                baseline
            }
            _ => self.baseline.add(sample),
        };
        // A rising latency is smoothed. For a falling latency two windows suffice, so that
        // recovered capacity is used soon.
        let latest = self.previous.replace(sample).map_or(f64::INFINITY, |last| last.max(sample));
        let smoothed = self.latency.add(sample);
        let latency = match self.phase {
            // The limit doubles in each window, so an average would lag behind.
            Phase::SlowStart => sample,
            _ => smoothed.min(latest),
        };
        self.saturated = if saturated { self.saturated + 1 } else { 0 };
        if !saturated {
            return self.steer_unsaturated(window, baseline, latency);
        }
        self.response.add(window.mean_in_flight(), window.throughput());
        self.since_probe += 1;
        self.steer(window, baseline, latency)
    }

    /// Lowers the baseline to the slower one of the last two windows if both are faster than it. One
    /// fast window can be due to chance.
    ///
    /// A client that starts while others overload the server learns a baseline that includes the
    /// queue. Without this, it would long claim the largest share of the server.
    fn lower_baseline(&mut self, sample: f64) {
        let bound = self.latest.replace(sample).map_or(f64::INFINITY, |latest| latest.max(sample));
        if self.baseline.get().is_some_and(|baseline| bound < baseline) {
            self.baseline.set(bound);
        }
    }

    /// Returns the queue below which `limit` grows, and the queue above which it is lowered.
    fn thresholds(limit: f64) -> (f64, f64) {
        let log = limit.max(1.0).log10();
        let alpha = (3.0 * log).max(limit / 12.0).min(0.22 * limit);
        let beta = (6.0 * log).max(limit / 5.0).min(0.45 * limit);
        (alpha, beta)
    }

    /// Adjusts a limit that is not used up. It is only lowered, if there is nevertheless a queue:
    /// other clients cause the queue, and this client contributes to shortening it.
    fn steer_unsaturated(
        &mut self,
        window: &LimitWindow,
        baseline: f64,
        latency: f64,
    ) -> (f64, LimitReason) {
        let calls = f64::from(window.peak_in_flight).min(self.limit);
        let (_, beta) = Self::thresholds(calls);
        let queued = calls * (1.0 - baseline / latency) > beta;
        self.queued = if queued { self.queued + 1 } else { 0 };
        if self.queued >= 2 && self.is_queued(window) {
            return self.lower(0.9 * calls, LimitReason::Queueing);
        }
        self.falling = 0;
        (self.limit, LimitReason::ApplicationLimited)
    }

    /// Adjusts a limit that is used up.
    fn steer(&mut self, window: &LimitWindow, baseline: f64, latency: f64) -> (f64, LimitReason) {
        let limit = self.limit;
        let (alpha, beta) = Self::thresholds(limit);
        let queue = limit * (1.0 - baseline / latency).max(0.0);
        if queue > beta {
            self.queued += 1;
            let doubled = latency > 2.0 * baseline;
            if !doubled && self.queued < 2 && self.phase != Phase::SlowStart {
                return (limit, LimitReason::Steady);
            }
            // If lowering the limit has not helped, or throughput follows the limit, the baseline
            // may be wrong.
            let follows = self.response.elasticity().is_some_and(|elasticity| elasticity > 0.8);
            if (self.falling >= 2 || follows) && self.since_probe >= MIN_PROBE_INTERVAL {
                return self.begin_probe(window);
            }
            let target = limit - queue + (alpha + beta) / 2.0;
            // Below the limit of a probe, latencies give no further information.
            let target = target.max(0.7 * limit).max(self.probe_limit.min(limit));
            return self.lower(target, LimitReason::Queueing);
        }
        self.queued = 0;
        self.falling = 0;
        // A wrong baseline may have caused a large decrease.
        let due = if limit < 0.5 * self.ceiling { FALLEN_INTERVAL } else { self.probe_due };
        if self.since_probe >= due && self.phase == Phase::Steady {
            return self.begin_probe(window);
        }
        if queue > alpha {
            self.phase = Phase::Steady;
            return (limit, LimitReason::Steady);
        }
        // A single burst does not raise the limit beyond its earlier level.
        let known = self.phase == Phase::SlowStart || limit < 0.8 * self.ceiling;
        if !known && self.saturated < 2 {
            return (limit, LimitReason::Steady);
        }
        self.moved();
        match self.phase {
            Phase::SlowStart => (limit * 2.0, LimitReason::SlowStart),
            _ if limit < 0.8 * self.ceiling => {
                ((limit * 1.5).min(0.8 * self.ceiling).max(limit + 1.0), LimitReason::Growth)
            }
            _ => (limit + (0.1 * limit).max(1.0), LimitReason::Growth),
        }
    }

    /// Discards the measurements under the previous limit.
    fn moved(&mut self) {
        self.latency.clear();
        self.previous = None;
    }

    /// Returns true if the window is slower by the same time for all calls, which indicates a
    /// queue, and not by the same factor.
    fn is_queued(&self, window: &LimitWindow) -> bool {
        let (Some(baseline), Some(shape)) = (self.baseline.get(), self.shape) else {
            return false;
        };
        let slower = window.p90.as_secs_f64() / baseline;
        shape < VARIED && slower > 1.1 && ratio(window) > 1.4 * shape
    }

    /// Adjusts the learned ratio of median to p90, quickly downwards and slowly upwards. A queue
    /// raises the ratio and must not be learned, so it is raised only at latencies near the
    /// baseline.
    fn learn_shape(&mut self, window: &LimitWindow) {
        let now = ratio(window);
        let shape = self.shape.get_or_insert(now);
        let near =
            self.baseline.get().is_none_or(|baseline| window.p90.as_secs_f64() < NOISE * baseline);
        *shape += match now < *shape {
            true => 0.2 * (now - *shape),
            false if near => 0.005 * (now - *shape),
            false => 0.0,
        };
    }

    fn lower(&mut self, to: f64, reason: LimitReason) -> (f64, LimitReason) {
        if self.falling == 0 {
            self.ceiling = match self.phase {
                Phase::Probing { limit, .. } => limit,
                Phase::SlowStart => self.limit / 2.0,
                Phase::Steady => self.limit,
            };
        }
        self.falling += 1;
        self.phase = Phase::Steady;
        self.moved();
        (to, reason)
    }

    fn is_unhealthy(&self, window: &LimitWindow) -> bool {
        let above = |limit: Duration| window.p90 > limit;
        if self.max_healthy_latency.is_some_and(above) {
            return true;
        }
        let (Some(baseline), Some(shape)) = (self.baseline.get(), self.shape) else {
            return false;
        };
        // The latency buckets are an eighth wide.
        let constant = window.p99.as_secs_f64() <= 1.13 * window.p50.as_secs_f64();
        constant && shape < VARIED && window.p50.as_secs_f64() > 2.0 * baseline
    }

    fn begin_probe(&mut self, window: &LimitWindow) -> (f64, LimitReason) {
        let limit = self.limit;
        let (p90, p50) = (window.p90.as_secs_f64(), window.p50.as_secs_f64());
        self.phase = Phase::Probing { limit, p90, p50 };
        self.since_probe = 0;
        self.probe_due = (PROBE_INTERVAL * (0.75 + self.random.unit() / 2.0)) as u32;
        self.moved();
        ((limit / 2.0).max(self.probe_limit).min(limit), LimitReason::Probe)
    }

    /// Ends a probe. `limit` is the limit before it; `before` is the p90 and the median under it.
    fn end_probe(
        &mut self,
        window: &LimitWindow,
        limit: f64,
        before: (f64, f64),
    ) -> (f64, LimitReason) {
        let queued = self.is_queued(window);
        self.phase = Phase::Steady;
        self.moved();
        let (p90, p50) = (window.p90.as_secs_f64(), window.p50.as_secs_f64());
        let slower = self.baseline.get().map_or(1.0, |baseline| p90 / baseline);
        // The p90 and the median together are less noisy than the p90 alone.
        let response = (p90 / before.0 * (p50 / before.1)).sqrt();
        if slower < NOISE {
            self.baseline.add(p90);
        } else if response > 0.8 && !queued {
            self.baseline.set(p90);
            let restored = if self.falling > 0 { limit.max(0.8 * self.ceiling) } else { limit };
            self.falling = 0;
            return (restored, LimitReason::ProbeEnd);
        } else if response < 0.7 {
            // Half the limit was sufficient, so at least half of the calls were queued.
            return self.lower(self.limit.max(0.6 * limit), LimitReason::Queueing);
        }
        (limit, LimitReason::ProbeEnd)
    }
}

impl Default for BaselineController {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitController for BaselineController {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
        let peak = self.peaks.add(window.peak_in_flight);
        let (mut limit, mut reason) = self.decide(window);
        let cap = (self.headroom * f64::from(peak)).max(self.bounds.min);
        if limit > cap {
            // Approaches the cap in steps, because the number of calls in flight fluctuates.
            limit = cap.max(0.9 * limit.min(self.limit));
            reason = LimitReason::Headroom;
        }
        self.limit = self.bounds.clamp(limit);
        LimitUpdate { limit: self.limit, reason }
    }

    fn adopt(&mut self, learned: LearnedLimit) {
        self.limit = self.bounds.clamp(learned.limit);
        if let Some(baseline) = learned.baseline {
            self.baseline.set(baseline.as_secs_f64());
            self.phase = Phase::Steady;
        }
    }

    fn learned(&self) -> LearnedLimit {
        LearnedLimit { limit: self.limit, baseline: self.baseline() }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.bounds.validate()?;
        if self.max_healthy_latency.is_some_and(|latency| latency.is_zero()) {
            return Err(ConfigError::new("max_healthy_latency", Duration::ZERO, "above zero"));
        }
        if !(1.0..=1e6).contains(&self.probe_limit) {
            return Err(ConfigError::new("probe_limit", self.probe_limit, "1 to 1000000"));
        }
        match (1.0..=100.0).contains(&self.headroom) {
            true => Ok(()),
            false => Err(ConfigError::new("headroom_factor", self.headroom, "1 to 100")),
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
#[path = "tests/baseline.rs"]
mod tests;
