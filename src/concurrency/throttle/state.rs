//! The formula for the share of calls that a throttle rejects.

/// The settings that determine the rejection rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Strictness {
    /// How many calls are admitted for each call that the dependency accepts.
    pub(super) multiplier: f64,
    pub(super) max_rate: f64,
    pub(super) min_calls: u64,
}

impl Strictness {
    /// Returns the share of calls to reject from now on, from 0 to `max_rate`.
    ///
    /// `requests` is the number of calls in the window, including those that the throttle rejected.
    /// `accepts` is the number of calls that the dependency accepted.
    pub(super) fn rejection_rate(self, requests: u64, accepts: u64) -> f64 {
        if requests < self.min_calls {
            return 0.0;
        }
        let excess = requests as f64 - self.multiplier * accepts as f64;
        (excess / (requests as f64 + 1.0)).clamp(0.0, self.max_rate)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const RULE: Strictness = Strictness { multiplier: 2.0, max_rate: 0.9, min_calls: 10 };

    #[test]
    fn the_rate_grows_as_the_dependency_accepts_fewer_calls() {
        for (requests, accepts, expected) in [
            (0, 0, 0.0),
            (9, 0, 0.0), // too few calls
            (10, 0, 0.9),
            (10, 10, 0.0),
            (100, 50, 0.0), // the lowest share at which no call is rejected
            (100, 49, 2.0 / 101.0),
            (100, 25, 50.0 / 101.0),
            (100, 0, 0.9),
            (u64::MAX, 0, 0.9),
            (u64::MAX, u64::MAX, 0.0),
        ] {
            let rate = RULE.rejection_rate(requests, accepts);
            assert!((rate - expected).abs() < 1e-9, "{requests}, {accepts}: {rate}");
        }
    }

    /// For every share of accepted calls the rate converges to one value, so the throttle does not
    /// flap.
    #[test]
    fn the_rate_converges() {
        for accepted in [0.1, 0.25, 0.4] {
            let mut rate = 0.0;
            for _ in 0..200 {
                // Of 1,000 calls, the admitted ones reach the dependency.
                let accepts = (1000.0 * (1.0 - rate) * accepted) as u64;
                rate = 0.9 * rate + 0.1 * RULE.rejection_rate(1000, accepts);
            }
            let accepts = (1000.0 * (1.0 - rate) * accepted) as u64;
            let next = RULE.rejection_rate(1000, accepts);
            assert!((rate - next).abs() < 0.01, "{accepted}: {rate}, then {next}");
        }
    }
}
