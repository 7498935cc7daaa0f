//! The priority and the user of a call: [`Caller`].

use super::{Priority, PriorityClass};
use crate::sync::OnceLock;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;

/// The priority of a call, and the user on whose behalf it is made.
///
/// A [`Context`](super::Context) passes the caller from policy to policy. The user is stored as a
/// 32-bit hash, with a random key of this process. Two users with the same hash count as one; among
/// 10,000 users, the probability that there is such a pair is about 1 %.
///
/// ```
/// use mainstay::policy::{Caller, Priority, PriorityClass};
///
/// let caller = Caller::new(PriorityClass::High).with_user("tenant-7");
/// assert_eq!(caller.priority(), PriorityClass::High.into());
/// assert_eq!(caller.user(), Caller::default().with_user("tenant-7").user());
/// assert_eq!(Caller::from(Priority::default()).user(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    priority: Priority,
    user: Option<NonZeroU32>,
}

impl Caller {
    /// Creates a caller with this priority, without a user.
    ///
    /// ```
    /// use mainstay::policy::{Caller, Priority, PriorityClass};
    ///
    /// let caller = Caller::new(Priority::new(PriorityClass::Low, 10));
    /// assert_eq!(caller.priority().level(), 10);
    /// ```
    #[must_use]
    pub fn new(priority: impl Into<Priority>) -> Self {
        Self { priority: priority.into(), user: None }
    }

    /// Returns the caller with the user `user`, such as a tenant, an account or a client address.
    ///
    /// ```
    /// use mainstay::policy::Caller;
    ///
    /// let (tenant, user) = ("tenant-7", 42);
    /// let caller = Caller::default().with_user(&(tenant, user));
    /// assert!(caller.user().is_some());
    /// ```
    #[must_use]
    pub fn with_user(mut self, user: &(impl Hash + ?Sized)) -> Self {
        static HASHER: OnceLock<RandomState> = OnceLock::new();
        let hash = HASHER.get_or_init(RandomState::new).hash_one(user);
        // A `NonZeroU32` cannot be 0, so the hash 0 is replaced.
        self.user = Some(NonZeroU32::new(hash as u32).unwrap_or(NonZeroU32::MAX));
        self
    }

    pub(crate) const fn from_parts(priority: Priority, user: Option<NonZeroU32>) -> Self {
        Self { priority, user }
    }

    /// Returns the priority.
    #[must_use]
    pub const fn priority(self) -> Priority {
        self.priority
    }

    /// Returns the hash of the user, if there is one.
    #[must_use]
    pub const fn user(self) -> Option<NonZeroU32> {
        self.user
    }
}

impl From<Priority> for Caller {
    fn from(priority: Priority) -> Self {
        Self::new(priority)
    }
}

impl From<PriorityClass> for Caller {
    fn from(class: PriorityClass) -> Self {
        Self::new(class)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn equal_users_have_equal_hashes() {
        let hash = |user: &str| Caller::default().with_user(user).user();
        assert_eq!(hash("a"), hash(&String::from("a")));
        assert_ne!(hash("a"), hash("b"));
    }
}
