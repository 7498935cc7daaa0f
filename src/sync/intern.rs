//! Interned names, which are cheap to copy.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Returns the one `&'static str` that equals `name`.
///
/// Every rejection contains the name of its policy. Cloning an `Arc<str>` would be a contended
/// write during overload, so each distinct name is leaked once and shared by reference. The leak is
/// bounded by the number of distinct names, which come from configuration: keyed policies use their
/// own name, never the key.
pub(crate) fn intern(name: &str) -> &'static str {
    // The mutex is not loom's, because a static outlives every model.
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_with(HashSet::new);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.into());
    names.insert(name);
    name
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::intern;

    #[test]
    fn equal_names_are_interned_once() {
        let first = intern("search");
        let again = intern(&String::from("search"));
        assert!(std::ptr::eq(first, again));
        assert_ne!(intern("billing"), first);
    }
}
