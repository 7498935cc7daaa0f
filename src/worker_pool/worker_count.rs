//! The number of workers of a pool.

use crate::error::ConfigError;
use std::fmt;
use std::ops::RangeInclusive;

const WORKERS_LIMIT: usize = 65_535;

/// The number of workers of a pool: fixed, or between two limits.
///
/// ```
/// use mainstay::worker_pool::WorkerPool;
///
/// let fixed = WorkerPool::builder().workers(2).build()?;
/// let elastic = WorkerPool::builder().workers(1..=8).build()?;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WorkerCount {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl From<usize> for WorkerCount {
    fn from(count: usize) -> Self {
        Self { min: count, max: count }
    }
}

impl From<RangeInclusive<usize>> for WorkerCount {
    fn from(range: RangeInclusive<usize>) -> Self {
        Self { min: *range.start(), max: *range.end() }
    }
}

impl fmt::Debug for WorkerCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.min == self.max {
            true => write!(f, "{}", self.min),
            false => write!(f, "{}..={}", self.min, self.max),
        }
    }
}

impl WorkerCount {
    pub(crate) fn validate(self) -> Result<Self, ConfigError> {
        let valid = 1 <= self.min && self.min <= self.max && self.max <= WORKERS_LIMIT;
        if valid {
            Ok(self)
        } else {
            Err(ConfigError::new("workers", self, "1 to 65535, or a range of these"))
        }
    }
}
