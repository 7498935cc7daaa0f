//! A bounded, sharded map from keys to states, shared by the keyed primitives.
//!
//! A rate limit for each tenant or a circuit breaker for each host needs one state per key. The
//! keys come from requests, so an unbounded map is a way to exhaust memory. This map has a hard
//! bound that is exact at every moment. [`KeyedRateLimiter`], [`KeyedCircuitBreaker`] and
//! [`KeyedBulkhead`] are built on it; this page describes what they have in common.
//!
//! [`KeyedBulkhead`]: crate::concurrency::KeyedBulkhead
//! [`KeyedRateLimiter`]: crate::rate::KeyedRateLimiter
//! [`KeyedCircuitBreaker`]: crate::breaker::KeyedCircuitBreaker
//!
//! # How it works
//!
//! The keys are distributed over shards by their hash. Each shard is a hash table behind a lock of
//! its own.
//!
//! ## Removal
//!
//! A state that equals the state of a new key is *disposable*: a rate limiter that is full again, a
//! breaker that has been closed for a long time, a bulkhead without calls. Disposable states are
//! removed under all settings. There is no background thread: each insertion of a new key sweeps
//! the next 8 buckets of its shard, so no call scans all keys. When a shard's table grows or
//! shrinks, one call moves all entries of that shard under its lock.
//!
//! ## Keys and user code
//!
//! Lookups take a borrowed form of the key (`&str` for `String`) and clone it only when it is new.
//! The state of a new key is created before the shard is locked. If two threads create the same key
//! at once, the second discards its own.
//!
//! So `Hash`, `Clone` and `Drop` of a key, and the functions that select a key's settings, run
//! under no lock. **`Eq` and `Borrow` run under the lock of a shard.** An `Eq` or `Borrow` that
//! uses the same keyed primitive may deadlock.
//!
//! ## Hashing
//!
//! Keys come from requests, so by default they are hashed with [`RandomState`] (SipHash with random
//! keys): a client cannot choose keys that collide. If clients cannot choose the keys, a faster
//! `BuildHasher` can be set. Its hashes are mixed once more, so it may leave some of the 64 bits
//! unused: identity hashes and 32-bit hashes are fine.
//!
//! # Overload
//!
//! At `max_keys`, a new key replaces a disposable state if one of the next 128 buckets holds one.
//! If none does, [`KeyOverflowRule`] applies: the new key is rejected, or the least recently used
//! key is evicted, if the primitive allows it. (An open breaker, for instance, is evicted only
//! after it has been ready to admit a probe for its `idle_timeout`.)
//!
//! The least recently used key is found by the CLOCK algorithm, also called second chance (F. J.
//! Corbató, "A Paging Experiment with the Multics System", 1968). The buckets of a shard form a
//! circle with one *hand*. A lookup marks its entry as used. To evict a key, the hand moves
//! forward. It clears the mark of each marked entry that it passes, and evicts the first unmarked
//! entry. So keys that are used once replace one another, and keys that are used repeatedly stay.
//! With up to about a hundred keys the search covers all of them. With more keys the result is an
//! approximation.
//!
//! # Panics
//!
//! If a key's `Hash`, `Eq`, `Borrow`, `Clone` or `Drop` panics, the map stays usable and its number
//! of keys stays exact.
//!
//! # Performance
//!
//! A lookup costs a hash and the lock of one shard. An entry takes the key, its state and 4 bytes;
//! a bucket takes one byte more. A table that has just grown has up to 2.3 buckets for each entry.
//! A table that is less than a quarter full is shrunk.

mod config;
mod map;
mod shard;
#[cfg(test)]
mod tests;

pub use config::KeyOverflowRule;
pub(crate) use config::KeyedConfig;
pub(crate) use map::{Full, Map};
pub(crate) use shard::{KeyState, Retention};

#[allow(unused_imports)] // for the documentation
use std::hash::RandomState;
