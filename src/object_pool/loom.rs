//! Loom models of the storage: objects move between threads, and a new thread takes over the cache
//! of one that has ended.
//!
//! An object is a token with a cell that loom checks, and every holder writes to it: a transfer
//! without a happens-before edge, or a token in two places, fails the model. At the end of each
//! model every token must be in exactly one place.

use super::TakenObject;
use super::storage::Storage;
use crate::sync::{Arc, ThreadId, ThreadRegistry, UnsafeCell};
use loom::thread;

#[derive(Debug)]
struct Token {
    name: u32,
    writes: UnsafeCell<u32>,
}

impl Token {
    fn new(name: u32) -> TakenObject<Self> {
        TakenObject::from(Self { name, writes: UnsafeCell::new(0) })
    }

    #[allow(unsafe_code)]
    fn hold(&self) {
        // SAFETY: the holder of a token has exclusive access. The models verify this, because loom
        // checks every access to the cell.
        self.writes.with_mut(|writes| unsafe { *writes += 1 });
    }
}

struct Scene {
    storage: Storage<Token>,
    registry: ThreadRegistry,
}

/// The tokens that a thread holds when it ends.
type Held = Vec<TakenObject<Token>>;

impl Scene {
    fn new(max_idle: usize, thread_cache: usize) -> Arc<Self> {
        Arc::new(Self {
            storage: Storage::new(2, max_idle, 0, thread_cache, 0),
            registry: ThreadRegistry::new(),
        })
    }

    /// Acquires an id, runs `act`, and releases the id. Returns the tokens that are still held.
    fn act(&self, act: impl FnOnce(&Self, &ThreadId, &mut Held)) -> Held {
        let mut held = Vec::new();
        let id = self.registry.acquire();
        act(self, &id, &mut held);
        self.registry.release(id);
        held.iter().for_each(|token| token.hold());
        held
    }

    fn take(&self, id: &ThreadId, held: &mut Held) {
        let token =
            self.storage.take_private(Some(id)).or_else(|| self.storage.take_shared(Some(id)));
        token.iter().for_each(|token| token.hold());
        held.extend(token);
    }

    /// Puts a token into the cache or a shard. A rejected token is added to `held`.
    fn put(&self, id: &ThreadId, token: TakenObject<Token>, held: &mut Held) {
        token.hold();
        let rejected = self
            .storage
            .put_private(Some(id), token)
            .or_else(|token| self.storage.put_shared(Some(id), token));
        held.extend(rejected.err());
    }

    /// Asserts, after all threads have ended, that each token from 1 to `count` is in exactly one
    /// place.
    fn assert_each_once(&self, count: u32, held: impl IntoIterator<Item = Held>) {
        let mut found: Held = held.into_iter().flatten().collect();
        // The trim moves the caches of free ids to the shards.
        found.extend(self.storage.trim(Some(&self.registry)));
        found.extend(std::iter::from_fn(|| self.storage.take_shared(None)));
        found.iter().for_each(|token| token.hold());
        let mut names: Vec<u32> = found.iter().map(|token| token.name).collect();
        names.sort_unstable();
        assert_eq!(names, (1..=count).collect::<Vec<_>>());
    }
}

/// Runs [`Scene::act`] on a new thread.
fn spawn(
    scene: &Arc<Scene>,
    act: impl FnOnce(&Scene, &ThreadId, &mut Held) + 'static,
) -> thread::JoinHandle<Held> {
    let scene = scene.clone();
    thread::spawn(move || scene.act(act))
}

/// Without caches all tokens pass through the shards, and each thread may take the other's
/// token.
#[test]
fn two_threads_put_and_take_through_the_shards() {
    loom::model(|| {
        let scene = Scene::new(2, 0);
        let other = spawn(&scene, |scene, id, held| {
            scene.put(id, Token::new(1), held);
            scene.take(id, held);
        });
        let own = scene.act(|scene, id, held| {
            scene.put(id, Token::new(2), held);
            scene.take(id, held);
        });
        scene.assert_each_once(2, [own, other.join().unwrap()]);
    });
}

/// Two threads start, fill their caches and end; the third takes over one of the caches.
#[test]
fn a_new_thread_takes_over_a_cache() {
    loom::model(|| {
        let scene = Scene::new(2, 2);
        let first = spawn(&scene, |scene, id, held| scene.put(id, Token::new(1), held));
        let second = spawn(&scene, |scene, id, held| scene.put(id, Token::new(2), held));
        let third = scene.act(|scene, id, held| scene.take(id, held));
        scene.assert_each_once(2, [first.join().unwrap(), second.join().unwrap(), third]);

        // Both threads have ended, so the next thread takes over the slot of one of them.
        let first = scene.act(|scene, id, held| {
            assert_eq!(id.number(), 0);
            scene.put(id, Token::new(1), held);
        });
        let next = scene.act(|scene, id, held| scene.take(id, held));
        assert_eq!(next.len(), 1, "the slot was not taken over");
        scene.assert_each_once(1, [first, next]);
    });
}

/// Two threads whose ids share a bucket of caches allocate the bucket at the same time.
#[test]
fn two_threads_allocate_their_common_bucket_at_the_same_time() {
    loom::model(|| {
        let scene = Scene::new(1, 1);
        // The first id is alone in its bucket.
        let zero = scene.registry.acquire();
        let other = spawn(&scene, |scene, id, held| {
            scene.put(id, Token::new(1), held);
            scene.take(id, held);
            assert_eq!(held.len(), 1, "another thread took from this cache");
        });
        let own = scene.act(|scene, id, held| {
            scene.put(id, Token::new(2), held);
            scene.take(id, held);
            assert_eq!(held.len(), 1, "another thread took from this cache");
        });
        let other = other.join().unwrap();
        scene.registry.release(zero);
        scene.assert_each_once(2, [own, other]);
    });
}

/// A trim empties the caches of free ids and the shards, while a thread acquires one of these ids
/// and takes from the shards.
#[test]
fn a_trim_that_races_with_a_take_loses_no_object() {
    loom::model(|| {
        let scene = Scene::new(1, 2);
        let past = scene.act(|scene, id, held| {
            scene.put(id, Token::new(1), held);
            scene.put(id, Token::new(2), held);
        });
        let other = spawn(&scene, |scene, id, held| {
            scene.take(id, held);
            scene.put(id, Token::new(3), held);
            scene.take(id, held);
        });
        let removed = scene.storage.trim(Some(&scene.registry));
        removed.iter().for_each(|token| token.hold());
        scene.assert_each_once(3, [past, removed, other.join().unwrap()]);
    });
}

/// Two threads put into a shard with room for one object.
#[test]
fn a_full_shard_rejects_an_object() {
    loom::model(|| {
        let scene = Scene::new(1, 0);
        let other = spawn(&scene, |scene, id, held| scene.put(id, Token::new(1), held));
        let own = scene.act(|scene, id, held| scene.put(id, Token::new(2), held));
        let other = other.join().unwrap();
        assert!(own.len() + other.len() >= 1, "the shard holds more than it has room for");
        scene.assert_each_once(2, [own, other]);
    });
}

/// Two threads with full caches put into a shard with room for one object.
#[test]
fn full_caches_and_a_full_shard_reject_an_object() {
    loom::model(|| {
        let scene = Scene::new(1, 1);
        let other = spawn(&scene, |scene, id, held| {
            scene.put(id, Token::new(1), held);
            scene.put(id, Token::new(2), held);
        });
        let own = scene.act(|scene, id, held| {
            scene.put(id, Token::new(3), held);
            scene.put(id, Token::new(4), held);
        });
        let other = other.join().unwrap();
        assert!(
            own.len() + other.len() >= 1,
            "the shard and the caches hold more than they have room for"
        );
        scene.assert_each_once(4, [own, other]);
    });
}

/// A full cache moves half to a shard and an empty one takes half, while a trim recalls all caches.
#[test]
fn batches_move_through_a_shard_during_a_trim() {
    loom::model(|| {
        let scene = Scene::new(4, 2);
        let other = spawn(&scene, |scene, id, held| {
            for name in 1..=3 {
                scene.put(id, Token::new(name), held);
            }
        });
        let own = scene.act(|scene, id, held| {
            scene.take(id, held);
            scene.take(id, held);
        });
        let removed = scene.storage.trim(None);
        scene.assert_each_once(3, [own, removed, other.join().unwrap()]);
    });
}
