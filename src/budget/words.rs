//! The settings of a budget that can be replaced, in the form that
//! [`LiveState`](crate::sync::LiveState) stores: [`Config`].

use super::state::Rule;
use crate::sync::Words;

/// The settings of a budget that can be replaced while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) rule: Rule,
    pub(super) timeout_cost: u32,
}

const IN_FLIGHT: u8 = 0;
const DEPOSITS: u8 = 1;
const BUCKET: u8 = 2;

/// The words are `[timeout_cost 32 | percent 24 | kind 8]`, the amount of the rule, and the length
/// of half a window. All settings of one budget are of one kind, so a mixture of two is, too.
impl Words<3> for Config {
    #[inline(always)]
    fn to_words(self) -> [u64; 3] {
        let (kind, percent, amount, half_nanos) = match self.rule {
            Rule::InFlight { percent, min } => (IN_FLIGHT, percent, min.into(), 0),
            Rule::Deposits { percent, reserve, half_nanos } => {
                (DEPOSITS, percent, reserve, half_nanos)
            }
            Rule::Bucket { percent, capacity } => (BUCKET, percent, capacity, 0),
        };
        let head = u64::from(self.timeout_cost) << 32 | u64::from(percent) << 8 | u64::from(kind);
        [head, amount, half_nanos]
    }

    #[inline(always)]
    fn from_words([head, amount, half_nanos]: [u64; 3]) -> Self {
        let percent = head as u32 >> 8;
        let rule = match head as u8 {
            IN_FLIGHT => Rule::InFlight { percent, min: amount as u32 },
            DEPOSITS => Rule::Deposits { percent, reserve: amount, half_nanos },
            _ => Rule::Bucket { percent, capacity: amount },
        };
        Self { rule, timeout_cost: (head >> 32) as u32 }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_their_encoding() {
        for rule in [
            Rule::InFlight { percent: 20, min: 40_000 },
            Rule::Deposits { percent: 100, reserve: 4_000_000, half_nanos: 1_800_000_000_000 },
            Rule::Bucket { percent: 1, capacity: 100 * u64::from(u32::MAX) },
        ] {
            let config = Config { rule, timeout_cost: 1000 };
            assert_eq!(Config::from_words(config.to_words()), config);
        }
    }
}
