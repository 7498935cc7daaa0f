//! Names that cost nothing to copy.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The one `&'static str` that equals `name`.
///
/// A rejection carries the name of the policy that refused. Cloning an `Arc<str>` for it would be a
/// contended write at exactly the moment of overload, so each distinct name is leaked once and shared
/// by reference ever after. The leak is bounded by the number of distinct names, which come from
/// configuration; keyed policies use their parent's name, never the key.
pub(crate) fn intern(name: &str) -> &'static str {
    // Not loom's mutex: a static outlives every model, and nothing here is worth modelling.
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
    fn equal_names_are_one_name() {
        let first = intern("search");
        let again = intern(&String::from("search"));
        assert!(std::ptr::eq(first, again));
        assert_ne!(intern("billing"), first);
    }
}
