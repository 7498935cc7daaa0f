//! Sweeps and searches of one shard, and the distribution of hashes.

use super::*;
use crate::keyed::shard::{Hash, Shard};
use crate::keyed::{KeyOverflowRule, KeyedConfig, Map};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// Returns a shard in which the state of key `k` is disposable from second `k` on.
fn shard(keys: impl IntoIterator<Item = u32>, evictable: bool) -> Shard<u32, Until> {
    let mut shard = Shard::new();
    for key in keys {
        let busy_until = at(key.into());
        let state = Until { key, busy_until, reads: 0, evictable };
        shard.insert(hash(key), key, state);
    }
    shard
}

/// Returns a hash that puts consecutive keys into consecutive buckets.
fn hash(key: u32) -> Hash {
    Hash::of(u64::from(key) << 1)
}

fn keys(shard: &mut Shard<u32, Until>) -> Vec<u32> {
    let mut keys = Vec::new();
    shard.for_each(|state| keys.push(state.key));
    keys.sort_unstable();
    keys
}

#[test]
fn a_sweep_removes_only_disposable_states_in_the_next_buckets() {
    let mut shard = shard(0..28, true);
    let buckets = 32;
    // Two sweeps of 8 cover half of the 32 buckets: those of the keys 0 to 15.
    let mut removed = [const { None }; 8];
    shard.sweep(at(11), &mut removed);
    assert_eq!(removed.iter().flatten().count(), 8);
    let mut removed = [const { None }; 8];
    shard.sweep(at(11), &mut removed);
    assert_eq!(removed.iter().flatten().count(), 4);
    assert_eq!(keys(&mut shard), (12..28).collect::<Vec<_>>());
    // At second 99 all are disposable. Four sweeps of 8 cover all buckets.
    for _ in 0..buckets / 8 {
        shard.sweep(at(99), &mut [const { None }; 8]);
    }
    assert!(keys(&mut shard).is_empty());
}

#[test]
fn a_search_examines_each_bucket_once_and_at_most_the_allowed_number() {
    let mut shard = shard(1..28, false);
    for (allowed, left) in [(5, 0), (32, 0), (100, 68)] {
        let mut buckets = allowed;
        assert!(shard.search(at(0), &mut buckets, true).is_none());
        assert_eq!(buckets, left);
    }
}

#[test]
fn a_search_prefers_a_disposable_state_to_an_evictable_one() {
    let mut shard = shard(10..20, true);
    // All are marked as used, so the hand has to pass them.
    (10..20).for_each(|key| _ = shard.get(hash(key), |known| *known == key));
    // A search that may not evict finds only the disposable state.
    for evict in [false, true] {
        let now = if evict { 11 } else { 10 };
        assert!(shard.search(at(now), &mut 32, evict).is_some());
        let first = if evict { 12 } else { 11 };
        assert_eq!(keys(&mut shard), (first..20).collect::<Vec<_>>());
    }
    assert!(shard.search(at(0), &mut 32, false).is_none());
}

#[test]
fn a_search_gives_marked_entries_a_second_chance() {
    let mut shard = shard(10..14, true);
    for key in [10, 11, 13] {
        shard.get(hash(key), |known| *known == key);
    }
    assert!(shard.search(at(0), &mut 32, true).is_some());
    assert_eq!(keys(&mut shard), [10, 11, 13], "12 was not marked");
    // The hand has cleared the marks of 10 and 11. It continues at 13, which is marked, and
    // then finds 10.
    assert!(shard.search(at(0), &mut 32, true).is_some());
    assert_eq!(keys(&mut shard), [11, 13]);
}

#[test]
fn a_search_that_finds_only_marked_entries_takes_the_first() {
    let mut shard = shard(10..14, true);
    (10..14).for_each(|key| _ = shard.get(hash(key), |known| *known == key));
    assert!(shard.search(at(0), &mut 32, true).is_some());
    assert_eq!(keys(&mut shard), [11, 12, 13]);
}

/// Inserts `before` keys into a shard, removes all but `kept` of them, and sweeps `swept` buckets.
/// Returns the number of buckets that the shard then has.
fn buckets_after_a_sweep(before: u32, kept: u32, swept: usize) -> usize {
    let mut shard = shard(1_000..1_000 + before, false);
    for key in 1_000 + kept..1_000 + before {
        shard.remove(hash(key), |known| *known == key).unwrap();
    }
    (0..swept).for_each(|_| shard.sweep(at(0), &mut [const { None }; 1]));
    shard.buckets()
}

#[test]
fn a_table_less_than_a_quarter_full_is_shrunk_to_twice_its_keys() {
    for (before, kept, buckets) in
        [(112, 28, 128), (112, 27, 64), (112, 20, 64), (112, 3, 8), (56, 3, 64)]
    {
        let after = buckets_after_a_sweep(before, kept, 128);
        assert_eq!(after, buckets, "{kept} of {before} keys");
    }
}

#[test]
fn a_table_is_shrunk_once_the_hand_has_passed_its_last_bucket() {
    assert_eq!(buckets_after_a_sweep(112, 3, 127), 128);
    assert_eq!(buckets_after_a_sweep(112, 3, 128), 8);
}

/// Returns the key itself as its hash.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are u64")
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Regression: with hashers that leave half of the bits constant, insertion took quadratic time,
/// 8.5 µs per key at 320,000 keys.
#[test]
fn keys_are_distributed_evenly_even_if_half_of_the_hash_is_constant() {
    type Map64 = Map<u64, Until, BuildHasherDefault<Identity>>;
    let config = KeyedConfig {
        max_keys: 1 << 20,
        when_full: KeyOverflowRule::Reject,
        shards: Some(64),
        hasher: BuildHasherDefault::default(),
    };
    let map: Map64 = Map::new(config);
    let keys = 1 << 16;
    assert_eq!(BuildHasherDefault::<Identity>::default().hash_one(7_u64), 7);
    for (name, nth) in [
        ("sequential", (|n| n) as fn(u64) -> u64),
        ("low half constant", |n| n << 32),
        ("every 4,096th", |n| n << 12),
        ("high bits only", |n| n << 48),
        ("floating point", |n| (n as f64).to_bits()),
    ] {
        let mut shards = [0; 64];
        let mut in_bucket: HashMap<_, u32> = HashMap::new();
        let mut tags = [0; 128];
        for n in 0..keys {
            let address = map.address(&nth(n));
            shards[address.shard] += 1;
            let hash = address.hash.spread();
            // hashbrown selects the bucket (here one of 1,024) by the low bits of the hash, and
            // uses the seven highest bits as a tag.
            *in_bucket.entry((address.shard, hash & 1023)).or_default() += 1;
            tags[(hash >> 57) as usize] += 1;
        }
        let mean = keys as u32 / 64;
        let (least, most) = (shards.iter().min().unwrap(), shards.iter().max().unwrap());
        assert!(*least > mean * 3 / 4 && *most < mean * 5 / 4, "{name}: shards {least}..{most}");
        // One key per bucket on average. With random hashes the fullest of 65,536 has 8 or 9.
        let fullest = in_bucket.values().max().unwrap();
        assert!(*fullest <= 12, "{name}: {fullest} keys in one bucket");
        assert!(tags.iter().all(|tag| *tag > 0), "{name}: unused tags");
    }
}
