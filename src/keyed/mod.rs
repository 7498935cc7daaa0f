//! State for each key, for very many keys: bounded, sharded, and forgotten bit by bit.
//!
//! A limit for each tenant or a breaker for each host needs a map from keys to states, and whoever
//! chooses the keys chooses its size: a map that only grows is a way to be run out of memory. This one has
//! a hard bound, exact at every moment. It holds the keyed forms of other modules, which say what a state
//! is and when it may be forgotten; here stands what they have in common.
//!
//! # Forgetting
//!
//! A state that is what a new one would be (a limiter that is full again, a breaker that has long been
//! closed) is worth nothing, and is forgotten whatever the settings say. There is no background thread:
//! each new key pays for a few steps of a hand that goes around its shard, a small constant, so that no
//! call pays for all. A key with which its shard's table grows, or becomes smaller, pays for one shard: all
//! entries of it are moved, under its lock.
//!
//! At the bound a new key takes the place of such a state, if one of the next 128 places holds one. If
//! none does, [`WhenFull`] decides: the new key is refused, or the least recently used state goes that its
//! owner can spare. Which that is is found by second chance: the hand spares once what was used since it
//! last came by. So many keys that are seen once push out one another, not those that come again. Below
//! some hundred keys the search sees all of them, above it is a good guess.
//!
//! # Keys and user code
//!
//! Look-ups take a borrowed form of the key (`&str` for `String`), and clone it only when it is new. The
//! state of a new key is made before the shard is locked and put in afterwards; of two who make one at once
//! the second discards its own. So resolvers, `Clone`, `Drop` and `Hash` of a key run outside the lock,
//! and only `Eq` and `Borrow` inside. Whichever of them panics, the map stays whole and its count right.
//! An `Eq` that calls into the map it is compared for may wait for itself for ever.
//!
//! Keys come from strangers. So they are hashed by `std`'s [`RandomState`], SipHash with secret keys,
//! which makes no stranger's keys collide; where keys are your own, a faster `BuildHasher` can take its
//! place.
//!
//! # Memory
//!
//! Four bytes and a little for each key beside the key and its state, and between one and one and a third
//! vacant places for each taken one when the map grows to a number of keys just above a power of two. A
//! shard that has become nearly empty gives memory back.

mod config;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod map;
mod shard;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;

pub(crate) use config::Settings;
pub use config::WhenFull;
pub(crate) use map::{Full, Map};
pub(crate) use shard::{State, Worth};

#[allow(unused_imports)] // for the documentation
use std::hash::RandomState;
