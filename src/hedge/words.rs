//! The settings of a hedge that can be replaced, in the form that
//! [`LiveState`](crate::sync::LiveState) stores: [`Config`].

use crate::sync::Words;
use crate::time::nanos;
use std::time::Duration;

/// The settings of a hedge that can be replaced while it is in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) delay: DelayConfig,
    pub(super) max_attempts: u32,
    pub(super) hedges_failures: bool,
    pub(super) is_idempotent: bool,
    pub(super) is_shadow: bool,
}

/// The delay before a further attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DelayConfig {
    Fixed(Duration),
    /// The quantile of the latencies, at least `min`; `initial` until it is known.
    Quantile {
        quantile: f64,
        initial: Duration,
        min: Duration,
    },
}

const HEDGES_FAILURES: u64 = 1;
const IS_IDEMPOTENT: u64 = 2;
const IS_FIXED: u64 = 4;
const IS_SHADOW: u64 = 8;

/// The words are `[max_attempts 32 | flags 32]`, the quantile, and the two durations in
/// nanoseconds. All settings of one hedge are of one kind, so a mixture of two is, too.
impl Words<4> for Config {
    #[inline]
    fn to_words(self) -> [u64; 4] {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let head = u64::from(self.max_attempts) << 32
            | flag(self.hedges_failures, HEDGES_FAILURES)
            | flag(self.is_idempotent, IS_IDEMPOTENT)
            | flag(self.is_shadow, IS_SHADOW);
        match self.delay {
            DelayConfig::Fixed(delay) => [head | IS_FIXED, 0, nanos(delay), 0],
            DelayConfig::Quantile { quantile, initial, min } => {
                [head, quantile.to_bits(), nanos(initial), nanos(min)]
            }
        }
    }

    #[inline]
    fn from_words([head, quantile, first, second]: [u64; 4]) -> Self {
        let (first, min) = (Duration::from_nanos(first), Duration::from_nanos(second));
        let quantile = f64::from_bits(quantile);
        Self {
            delay: match head & IS_FIXED != 0 {
                true => DelayConfig::Fixed(first),
                false => DelayConfig::Quantile { quantile, initial: first, min },
            },
            max_attempts: (head >> 32) as u32,
            hedges_failures: head & HEDGES_FAILURES != 0,
            is_idempotent: head & IS_IDEMPOTENT != 0,
            is_shadow: head & IS_SHADOW != 0,
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_their_encoding() {
        let (initial, min) = (Duration::from_millis(100), Duration::from_millis(1));
        for delay in [
            DelayConfig::Fixed(Duration::from_secs(3)),
            DelayConfig::Quantile { quantile: 0.95, initial, min },
        ] {
            for flag in 0..3 {
                let config = Config {
                    delay,
                    max_attempts: 10,
                    hedges_failures: flag == 0,
                    is_idempotent: flag == 1,
                    is_shadow: flag == 2,
                };
                assert_eq!(Config::from_words(config.to_words()), config);
            }
        }
    }
}
