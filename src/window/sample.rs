//! The samples that a window records, the counts that it returns, and its generations.

use std::fmt;

/// The outcome of one call, as a [`Window`](super::Window) counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Whether the call failed.
    pub failed: bool,
    /// Whether the call was slow, whether it failed or not.
    pub slow: bool,
}

impl Sample {
    /// A fast success.
    pub const SUCCESS: Self = Self { failed: false, slow: false };
    /// A fast failure.
    pub const FAILED: Self = Self { failed: true, slow: false };
    /// A slow success.
    pub const SLOW: Self = Self { failed: false, slow: true };
    /// A slow failure.
    pub const SLOW_AND_FAILED: Self = Self { failed: true, slow: true };
}

/// The counts of a [`Window`](super::Window) at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// The number of calls.
    pub total: u64,
    /// The number of calls that failed.
    pub failed: u64,
    /// The number of calls that were slow, failed or not.
    pub slow: u64,
}

impl WindowCounts {
    /// Returns the share of calls that failed, from 0 to 1; 0 for an empty window.
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        rate(self.failed, self.total)
    }

    /// Returns the share of calls that were slow, from 0 to 1; 0 for an empty window.
    #[must_use]
    pub fn slow_rate(&self) -> f64 {
        rate(self.slow, self.total)
    }
}

fn rate(part: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { part as f64 / total as f64 }
}

/// Identifies the period between two resets of a [`Window`](super::Window).
///
/// A sample is recorded with the generation in which its call was admitted, so that a call that
/// ends after a reset is not counted. Generations repeat after 16,777,215 resets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowGeneration(u32);

impl WindowGeneration {
    /// The width of a generation within a packed state word.
    pub(crate) const BITS: u32 = 24;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// The generation of a new window.
    pub const FIRST: Self = Self(1);

    /// Returns the generation after this one.
    ///
    /// ```
    /// use mainstay::window::WindowGeneration;
    ///
    /// let second = WindowGeneration::FIRST.next();
    /// assert_ne!(second, WindowGeneration::FIRST);
    /// ```
    #[must_use]
    pub const fn next(self) -> Self {
        // Zero is not a generation: it marks slots that were never written.
        match (self.0 + 1) & Self::MASK {
            0 => Self::FIRST,
            next => Self(next),
        }
    }

    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }
}

impl fmt::Debug for WindowGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowGeneration({})", self.0)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shares_of_the_total() {
        let counts = WindowCounts { total: 8, failed: 2, slow: 6 };
        assert_eq!((counts.failure_rate(), counts.slow_rate()), (0.25, 0.75));
        let all = WindowCounts { total: 8, failed: 8, slow: 8 };
        assert_eq!((all.failure_rate(), all.slow_rate()), (1.0, 1.0));
        let empty = WindowCounts::default();
        assert_eq!((empty.failure_rate(), empty.slow_rate()), (0.0, 0.0));
    }

    #[test]
    fn debug_of_a_generation_shows_its_number() {
        assert_eq!(format!("{:?}", WindowGeneration::FIRST.next()), "WindowGeneration(2)");
    }
}
