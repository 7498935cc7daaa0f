//! The key of a topic: its tenant and its name. The table looks it up by borrowed parts.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

/// The key of a topic.
pub(super) struct Address<K> {
    tenant: K,
    /// `None` for all topics of the tenant.
    topic: Option<K>,
}

/// An [`Address`] whose parts are borrowed.
pub(super) struct AddressRef<'a, Q: ?Sized> {
    pub(super) tenant: &'a Q,
    pub(super) topic: Option<&'a Q>,
}

impl<Q: ToOwned + ?Sized> AddressRef<'_, Q> {
    pub(super) fn to_owned(&self) -> Address<Q::Owned> {
        Address { tenant: self.tenant.to_owned(), topic: self.topic.map(ToOwned::to_owned) }
    }
}

/// The parts of an [`Address`] or an [`AddressRef`]. `dyn Lookup` is the borrowed form of an
/// `Address` in the table, because an `Address` contains no `AddressRef` to which it could return a
/// reference.
pub(super) trait Lookup<Q: ?Sized> {
    fn tenant(&self) -> &Q;
    fn topic(&self) -> Option<&Q>;
}

impl<K: Borrow<Q>, Q: ?Sized> Lookup<Q> for Address<K> {
    fn tenant(&self) -> &Q {
        self.tenant.borrow()
    }

    fn topic(&self) -> Option<&Q> {
        self.topic.as_ref().map(Borrow::borrow)
    }
}

impl<Q: ?Sized> Lookup<Q> for AddressRef<'_, Q> {
    fn tenant(&self) -> &Q {
        self.tenant
    }

    fn topic(&self) -> Option<&Q> {
        self.topic
    }
}

impl<'a, K: Borrow<Q> + 'a, Q: ?Sized + 'a> Borrow<dyn Lookup<Q> + 'a> for Address<K> {
    fn borrow(&self) -> &(dyn Lookup<Q> + 'a) {
        self
    }
}

impl<Q: Hash + ?Sized> Hash for dyn Lookup<Q> + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tenant().hash(state);
        self.topic().hash(state);
    }
}

impl<Q: Eq + ?Sized> PartialEq for dyn Lookup<Q> + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.tenant() == other.tenant() && self.topic() == other.topic()
    }
}

impl<Q: Eq + ?Sized> Eq for dyn Lookup<Q> + '_ {}

impl<K: PartialEq> PartialEq for Address<K> {
    fn eq(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.topic == other.topic
    }
}

impl<K: Eq> Eq for Address<K> {}
