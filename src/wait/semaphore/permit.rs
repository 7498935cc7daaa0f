//! What an acquirer gets, or is told.

use std::error::Error;
use std::fmt;

use super::Semaphore;
use crate::sync::PlainArc;

/// The right to go on, given back when dropped.
#[must_use = "a permit is given back when dropped"]
pub struct Permit<'a> {
    pub(super) semaphore: &'a Semaphore,
    pub(super) weight: u32,
}

/// A [`Permit`] that keeps its semaphore alive, so that it can go anywhere.
#[must_use = "a permit is given back when dropped"]
pub struct OwnedPermit {
    pub(super) semaphore: PlainArc<Semaphore>,
    pub(super) weight: u32,
}

impl Permit<'_> {
    /// How much of the limit it takes up.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

impl OwnedPermit {
    /// How much of the limit it takes up.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Where it came from.
    pub fn semaphore(&self) -> &PlainArc<Semaphore> {
        &self.semaphore
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give_back(self.weight);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give_back(self.weight);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("weight", &self.weight).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// Why there was no permit, at once or in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireError {
    /// All are in use, or others wait for them.
    Exhausted,
    /// The semaphore is closed.
    Closed,
}

/// The semaphore is closed: there will be no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl From<Closed> for AcquireError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.write_str("all permits are in use"),
            Self::Closed => Closed.fmt(f),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl Error for AcquireError {}
impl Error for Closed {}
