//! Models of the depot: objects change hands between threads, slots between owners.
//!
//! An object is a token whose cell loom watches, and every holder writes to it: a hand-over without a
//! happens-before edge, or a token in two places, fails the model by itself. At the end of each model
//! every token is somewhere, once.

use super::Object;
use super::depot::Depot;
use crate::sync::{Arc, Registry, ThreadId, UnsafeCell};
use loom::thread;

#[derive(Debug)]
struct Token {
    name: u32,
    writes: UnsafeCell<u32>,
}

impl Token {
    fn new(name: u32) -> Object<Self> {
        Object::from(Self { name, writes: UnsafeCell::new(0) })
    }

    #[allow(unsafe_code)]
    fn hold(&self) {
        // SAFETY: whoever has a token is alone with it. This is what the models are about, and loom
        // looks whether it is so.
        self.writes.with_mut(|writes| unsafe { *writes += 1 });
    }
}

struct Scene {
    depot: Depot<Token>,
    registry: Registry,
}

/// The tokens that a thread has in its hands when it ends.
type Hands = Vec<Object<Token>>;

impl Scene {
    fn new(max_idle: usize, thread_cache: usize) -> Arc<Self> {
        Arc::new(Self {
            depot: Depot::new(2, max_idle, 0, thread_cache, 0),
            registry: Registry::new(),
        })
    }

    /// Takes an id, acts, and gives the id back.
    fn act(&self, act: impl FnOnce(&Self, &ThreadId, &mut Hands)) -> Hands {
        let mut hands = Vec::new();
        let id = self.registry.acquire();
        act(self, &id, &mut hands);
        self.registry.release(id);
        hands.iter().for_each(|token| token.hold());
        hands
    }

    fn take(&self, id: &ThreadId, hands: &mut Hands) {
        let token = self.depot.take_private(Some(id)).or_else(|| self.depot.take_shared(Some(id)));
        token.iter().for_each(|token| token.hold());
        hands.extend(token);
    }

    /// What there is no room for stays in hand.
    fn put(&self, id: &ThreadId, token: Object<Token>, hands: &mut Hands) {
        token.hold();
        let refused = self
            .depot
            .put_private(Some(id), token)
            .or_else(|token| self.depot.put_shared(Some(id), token));
        hands.extend(refused.err());
    }

    /// After all threads: the tokens 1 to `count` are each in one place.
    fn assert_each_once(&self, count: u32, hands: impl IntoIterator<Item = Hands>) {
        let mut found: Hands = hands.into_iter().flatten().collect();
        // The trim empties the caches that nobody owns on to the shelves.
        found.extend(self.depot.trim(Some(&self.registry)));
        found.extend(std::iter::from_fn(|| self.depot.take_shared(None)));
        found.iter().for_each(|token| token.hold());
        let mut names: Vec<u32> = found.iter().map(|token| token.name).collect();
        names.sort_unstable();
        assert_eq!(names, (1..=count).collect::<Vec<_>>());
    }
}

/// [`Scene::act`] on a thread of its own.
fn spawn(
    scene: &Arc<Scene>,
    act: impl FnOnce(&Scene, &ThreadId, &mut Hands) + 'static,
) -> thread::JoinHandle<Hands> {
    let scene = scene.clone();
    thread::spawn(move || scene.act(act))
}

/// Without caches all goes over the shelves, and each may end with the other's token.
#[test]
fn get_against_put() {
    loom::model(|| {
        let scene = Scene::new(2, 0);
        let other = spawn(&scene, |scene, id, hands| {
            scene.put(id, Token::new(1), hands);
            scene.take(id, hands);
        });
        let own = scene.act(|scene, id, hands| {
            scene.put(id, Token::new(2), hands);
            scene.take(id, hands);
        });
        scene.assert_each_once(2, [own, other.join().unwrap()]);
    });
}

/// Two threads come, fill their caches and go; the third inherits a cache, or finds one beside it.
#[test]
fn a_successor_inherits_the_slot() {
    loom::model(|| {
        let scene = Scene::new(2, 2);
        let first = spawn(&scene, |scene, id, hands| scene.put(id, Token::new(1), hands));
        let second = spawn(&scene, |scene, id, hands| scene.put(id, Token::new(2), hands));
        let third = scene.act(|scene, id, hands| scene.take(id, hands));
        scene.assert_each_once(2, [first.join().unwrap(), second.join().unwrap(), third]);

        // Both are gone: whoever comes now has the slot of one of them.
        let heir = scene.act(|scene, id, hands| {
            assert_eq!(id.number(), 0);
            scene.put(id, Token::new(1), hands);
        });
        let next = scene.act(|scene, id, hands| scene.take(id, hands));
        assert_eq!(next.len(), 1, "the slot was not inherited");
        scene.assert_each_once(1, [heir, next]);
    });
}

/// Two ids of one bucket meet in making it.
#[test]
fn one_bucket_for_two_threads() {
    loom::model(|| {
        let scene = Scene::new(1, 1);
        // The first id has a bucket of its own.
        let zero = scene.registry.acquire();
        let other = spawn(&scene, |scene, id, hands| {
            scene.put(id, Token::new(1), hands);
            scene.take(id, hands);
            assert_eq!(hands.len(), 1, "one's own cache is nobody else's");
        });
        let own = scene.act(|scene, id, hands| {
            scene.put(id, Token::new(2), hands);
            scene.take(id, hands);
            assert_eq!(hands.len(), 1, "one's own cache is nobody else's");
        });
        let other = other.join().unwrap();
        scene.registry.release(zero);
        scene.assert_each_once(2, [own, other]);
    });
}

/// A trim empties the slots that nobody owns while a thread comes for one of them, and the shelves
/// while it takes from these.
#[test]
fn trim_against_get() {
    loom::model(|| {
        let scene = Scene::new(1, 2);
        let past = scene.act(|scene, id, hands| {
            scene.put(id, Token::new(1), hands);
            scene.put(id, Token::new(2), hands);
        });
        let other = spawn(&scene, |scene, id, hands| {
            scene.take(id, hands);
            scene.put(id, Token::new(3), hands);
            scene.take(id, hands);
        });
        let let_go = scene.depot.trim(Some(&scene.registry));
        let_go.iter().for_each(|token| token.hold());
        scene.assert_each_once(3, [past, let_go, other.join().unwrap()]);
    });
}

/// One place is left for two threads.
#[test]
fn shelf_overflow() {
    loom::model(|| {
        let scene = Scene::new(1, 0);
        let other = spawn(&scene, |scene, id, hands| scene.put(id, Token::new(1), hands));
        let own = scene.act(|scene, id, hands| scene.put(id, Token::new(2), hands));
        let other = other.join().unwrap();
        assert!(own.len() + other.len() >= 1, "more on the shelf than it has room for");
        scene.assert_each_once(2, [own, other]);
    });
}

/// As before, with full caches pushing on.
#[test]
fn cache_overflow() {
    loom::model(|| {
        let scene = Scene::new(1, 1);
        let other = spawn(&scene, |scene, id, hands| {
            scene.put(id, Token::new(1), hands);
            scene.put(id, Token::new(2), hands);
        });
        let own = scene.act(|scene, id, hands| {
            scene.put(id, Token::new(3), hands);
            scene.put(id, Token::new(4), hands);
        });
        let other = other.join().unwrap();
        assert!(
            own.len() + other.len() >= 1,
            "more idle than one shelf and two caches have room for"
        );
        scene.assert_each_once(4, [own, other]);
    });
}

/// Full caches give half to the shelf, an empty one takes half, with a trim that tells all to give up
/// theirs.
#[test]
fn batches_through_a_shelf() {
    loom::model(|| {
        let scene = Scene::new(4, 2);
        let other = spawn(&scene, |scene, id, hands| {
            for name in 1..=3 {
                scene.put(id, Token::new(name), hands);
            }
        });
        let own = scene.act(|scene, id, hands| {
            scene.take(id, hands);
            scene.take(id, hands);
        });
        let let_go = scene.depot.trim(None);
        scene.assert_each_once(3, [own, let_go, other.join().unwrap()]);
    });
}
