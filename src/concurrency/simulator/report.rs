//! The results of a simulation.

use super::trace::Trace;
use std::fmt;
use std::time::Duration;

/// The figures of one second of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The end of the second, less one millisecond.
    pub at: Duration,
    /// The sum of the limits of all limiters at that time.
    pub limit: f64,
    /// The number of workers, which is the highest limit without a queue.
    pub workers: f64,
    /// The number of calls that succeeded in this second.
    pub goodput: f64,
    /// Calls per second that could have succeeded: the smaller of the load and the capacity.
    pub optimal: f64,
    /// The mean latency of the calls that succeeded.
    pub latency: Duration,
}

/// The result of one policy in one scenario.
#[derive(Clone, Debug)]
pub struct SimulationResult {
    /// The name of the scenario.
    pub trace: &'static str,
    /// The name of the policy.
    pub policy: String,
    /// The number of calls that succeeded, divided by the number that could have succeeded. The
    /// latter is the sum, over intervals of ten seconds, of the smaller of arrivals and capacity.
    pub goodput: f64,
    /// The median latency of the calls that succeeded.
    pub p50: Duration,
    /// The 99th percentile of the latency of the calls that succeeded.
    pub p99: Duration,
    /// [`p99`](Self::p99) as a multiple of the 99th percentile without a queue.
    pub p99_ratio: f64,
    /// The relative deviation of the limit from the number of workers: the geometric mean over the
    /// seconds in which the load exceeded the capacity. `None` without a limit or such a second.
    pub limit_error: Option<f64>,
    /// Jain's fairness index of the clients' goodputs, relative to their max-min fair shares. 1 is
    /// fair.
    pub fairness: f64,
    /// The time from the end of the last disturbance until the goodput was at least about 95 % of
    /// the optimum for five seconds. `None` if it never was, or without a disturbance.
    pub recovery: Option<Duration>,
    /// The figures of each second.
    pub points: Vec<Point>,
}

/// The measurements of one run.
pub(super) struct Measured {
    /// The number of calls that succeeded, by client.
    pub(super) good: Vec<u64>,
    /// The number of calls that could have succeeded.
    pub(super) optimal: f64,
    /// The latencies of the calls that succeeded, in seconds.
    pub(super) latencies: Vec<f32>,
    /// The same latencies without the time in the queue and without contention.
    pub(super) services: Vec<f32>,
    pub(super) points: Vec<Point>,
    pub(super) limit_error: Option<f64>,
}

impl SimulationResult {
    pub(super) fn new(trace: &Trace, policy: &str, measured: Measured) -> Self {
        let Measured { good, optimal, mut latencies, mut services, points, limit_error } = measured;
        let quantile = |values: &mut Vec<f32>, quantile: f64| {
            if values.is_empty() {
                return 0.0;
            }
            let rank = ((values.len() - 1) as f64 * quantile) as usize;
            f64::from(*values.select_nth_unstable_by(rank, f32::total_cmp).1)
        };
        let (p50, p99) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
        let unloaded = quantile(&mut services, 0.99);
        Self {
            trace: trace.name,
            policy: policy.to_owned(),
            goodput: good.iter().sum::<u64>() as f64 / optimal,
            p50: Duration::from_secs_f64(p50),
            p99: Duration::from_secs_f64(p99),
            p99_ratio: if unloaded > 0.0 { p99 / unloaded } else { 0.0 },
            limit_error,
            fairness: fairness(trace, &good),
            recovery: recovery(trace, &points),
            points,
        }
    }
}

/// Returns Jain's index of the clients' goodputs, each divided by the client's max-min fair share.
fn fairness(trace: &Trace, good: &[u64]) -> f64 {
    const STEP: Duration = Duration::from_secs(1);
    let mut fair = vec![0.0; good.len()];
    let mut at = Duration::ZERO;
    while at < trace.duration {
        let demands: Vec<f64> = trace.clients.iter().map(|client| client.rate.at(at)).collect();
        for (sum, share) in fair.iter_mut().zip(max_min(&demands, trace.capacity(at))) {
            *sum += share;
        }
        at += STEP;
    }
    let shares = good.iter().zip(&fair).map(|(good, fair)| *good as f64 / fair.max(1.0));
    let (sum, squares) =
        shares.fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    if squares == 0.0 { 1.0 } else { sum * sum / (good.len() as f64 * squares) }
}

/// Returns the max-min fair shares of `capacity`: no client receives more than its demand, and the
/// remaining clients share the rest evenly.
fn max_min(demands: &[f64], capacity: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by(|a, b| demands[*a].total_cmp(&demands[*b]));
    let mut left = capacity;
    let mut shares = vec![0.0; demands.len()];
    for (served, client) in order.iter().enumerate() {
        let share = demands[*client].min(left / (demands.len() - served) as f64);
        shares[*client] = share;
        left -= share;
    }
    shares
}

/// Returns the time from the end of the disturbance to the first five consecutive seconds of
/// sufficient goodput. The threshold is 95 % of the optimum less three standard deviations, which
/// allows for the noise of Poisson arrivals in one second.
fn recovery(trace: &Trace, points: &[Point]) -> Option<Duration> {
    let from = trace.recovers_from?;
    let after: Vec<&Point> = points.iter().filter(|point| point.at > from).collect();
    let good = |point: &&Point| point.goodput >= 0.95 * point.optimal - 3.0 * point.optimal.sqrt();
    let first = after.windows(5).position(|five| five.iter().all(good))?;
    Some(after[first].at.saturating_sub(from).saturating_sub(Duration::from_millis(999)))
}

impl fmt::Display for SimulationResult {
    /// Writes one line of a table: goodput, p50, p99 and its ratio, limit error, fairness,
    /// recovery.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        write!(
            f,
            "{:<17} {:<10} {:>8} {:>7.0} ms {:>7.0} ms {:>6.2} {:>8} {:>6.3} {:>7}",
            self.trace,
            self.policy,
            percent(self.goodput),
            self.p50.as_secs_f64() * 1000.0,
            self.p99.as_secs_f64() * 1000.0,
            self.p99_ratio,
            self.limit_error.map_or("-".to_owned(), |error| format!("{:.0} %", 100.0 * error)),
            self.fairness,
            self.recovery.map_or("-".to_owned(), |after| format!("{} s", after.as_secs())),
        )
    }
}
