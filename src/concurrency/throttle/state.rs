//! The rule of the throttle: which share of the calls is rejected.

/// How strict a throttle is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Strictness {
    /// Calls per accepted call that are let through.
    pub(super) multiplier: f64,
    pub(super) max_rate: f64,
    pub(super) min_calls: u64,
}

impl Strictness {
    /// Returns the share of the next calls to be rejected, from 0 to `max_rate`.
    ///
    /// `requests` counts the calls of the window, including those rejected here; `accepts` those
    /// that the dependency accepted.
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
    fn the_rate_follows_its_table() {
        for (requests, accepts, expected) in [
            (0, 0, 0.0),
            (9, 0, 0.0), // too few calls
            (10, 0, 0.9),
            (10, 10, 0.0),
            (100, 50, 0.0), // half of them: just let through
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

    /// At every share of accepted calls there is one rate at which the throttle rests: it does not
    /// flap.
    #[test]
    fn the_rate_comes_to_rest() {
        for accepted in [0.1, 0.25, 0.4] {
            let mut rate = 0.0;
            for _ in 0..200 {
                // Of 1,000 calls, as many as are let through reach the dependency.
                let accepts = (1000.0 * (1.0 - rate) * accepted) as u64;
                rate = 0.9 * rate + 0.1 * RULE.rejection_rate(1000, accepts);
            }
            let accepts = (1000.0 * (1.0 - rate) * accepted) as u64;
            let next = RULE.rejection_rate(1000, accepts);
            assert!((rate - next).abs() < 0.01, "{accepted}: {rate}, then {next}");
        }
    }
}
