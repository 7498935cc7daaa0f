//! Small, dense numbers for threads.

use super::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;

/// A small number that one living thread holds.
///
/// # Invariant
///
/// While a `ThreadId` of some number exists, only its holder uses that number: the registry issues
/// it once, the value stays on its thread (it is not `Send`), and it is returned under the
/// registry's lock. By that lock, everything the last holder did with the number happens before
/// everything the next holder does.
#[derive(Debug)]
pub(crate) struct ThreadId {
    pub(super) position: Position,
    /// Neither `Send` nor `Sync`.
    stays: PhantomData<*const ()>,
}

/// The position of a number in a table that grows by doubling: bucket `b` holds the `2^b` numbers
/// from `2^b - 1` on. It is computed once per thread, not at every look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) bucket: u32,
    pub(super) index: u32,
}

impl ThreadId {
    /// The number of buckets that hold every `u32`.
    pub(crate) const BUCKETS: usize = 32;

    /// Creates the id of a number that the caller holds.
    #[inline]
    pub(super) fn held(position: Position) -> Self {
        Self { position, stays: PhantomData }
    }

    pub(crate) fn number(&self) -> u32 {
        (1 << self.position.bucket) - 1 + self.position.index
    }

    #[inline]
    pub(crate) fn bucket(&self) -> usize {
        self.position.bucket as usize
    }

    /// Returns the index in the bucket, which is less than `2^bucket`.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.position.index as usize
    }
}

impl Position {
    fn of(number: u32) -> Self {
        let bucket = (number + 1).ilog2();
        Self { bucket, index: number + 1 - (1 << bucket) }
    }
}

/// A registry that issues the smallest free number. Every number is therefore less than the largest
/// number of threads that were alive at the same time.
#[derive(Debug)]
pub(crate) struct ThreadRegistry {
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
pub(super) struct Numbers {
    issued: u32,
    free: BinaryHeap<Reverse<u32>>,
}

impl Numbers {
    pub(super) const fn new() -> Self {
        Self { issued: 0, free: BinaryHeap::new() }
    }
}

impl ThreadRegistry {
    /// Creates a registry with the given lock. The caller creates it, because loom's lock has no
    /// const constructor.
    pub(super) const fn over(numbers: Mutex<Numbers>) -> Self {
        Self { numbers }
    }

    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::over(Mutex::new(Numbers::new()))
    }

    /// Issues the smallest free number.
    pub(crate) fn acquire(&self) -> ThreadId {
        let mut numbers = self.numbers.lock();
        let number = match numbers.free.pop() {
            Some(Reverse(number)) => number,
            None => {
                let number = numbers.issued;
                numbers.issued += 1;
                // Reserves space for all numbers now, so that a thread that ends need not allocate.
                numbers.free.reserve(number as usize + 1);
                number
            }
        };
        ThreadId::held(Position::of(number))
    }

    /// Gives `id` back to the registry. The caller must not use the number afterwards.
    #[allow(clippy::needless_pass_by_value)] // The caller gives it up.
    pub(crate) fn release(&self, id: ThreadId) {
        self.numbers.lock().free.push(Reverse(id.number()));
    }

    /// Calls `act` for every number that no thread holds, and keeps these numbers from being issued
    /// meanwhile. Does nothing if the registry is locked. `act` runs under the lock and must not
    /// run user code.
    pub(crate) fn for_each_free(&self, mut act: impl FnMut(&ThreadId)) {
        if let Some(numbers) = self.numbers.try_lock() {
            for Reverse(number) in &numbers.free {
                act(&ThreadId::held(Position::of(*number)));
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::thread_id;
    use super::*;

    #[test]
    fn the_smallest_free_number_comes_first() {
        let registry = ThreadRegistry::new();
        let ids: Vec<_> = (0..4).map(|_| registry.acquire()).collect();
        assert_eq!(ids.iter().map(ThreadId::number).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let mut ids = ids.into_iter();
        let (_zero, one, _two, three) =
            (ids.next().unwrap(), ids.next().unwrap(), ids.next().unwrap(), ids.next().unwrap());
        registry.release(three);
        registry.release(one);
        let mut free = Vec::new();
        registry.for_each_free(|id| free.push(id.number()));
        free.sort_unstable();
        assert_eq!(free, [1, 3]);
        assert_eq!(registry.acquire().number(), 1);
        assert_eq!(registry.acquire().number(), 3);
        assert_eq!(registry.acquire().number(), 4);
    }

    #[test]
    fn a_position_converts_back_to_its_number() {
        for number in (0..100).chain([u32::MAX - 2, u32::MAX - 1]) {
            let id = ThreadId::held(Position::of(number));
            assert_eq!(id.number(), number);
            assert!(id.bucket() < ThreadId::BUCKETS && id.index() < 1 << id.bucket());
        }
    }

    /// The platform chooses the order in which the locals of a thread are destroyed. In either
    /// order the thread stops using its id before it returns it.
    #[test]
    fn an_id_that_was_returned_is_not_used() {
        use std::cell::RefCell;
        use std::sync::mpsc;

        /// Sends the thread's id, and whether the registry could already issue it.
        struct AtExit(mpsc::Sender<(Option<u32>, bool)>);
        impl Drop for AtExit {
            fn drop(&mut self) {
                let own = thread_id::current().map(|id| id.number());
                let mut free = false;
                thread_id::registry().unwrap().for_each_free(|id| free |= own == Some(id.number()));
                self.0.send((own, free)).unwrap();
            }
        }
        thread_local! {
            static EARLY: RefCell<Option<AtExit>> = const { RefCell::new(None) };
            static LATE: RefCell<Option<AtExit>> = const { RefCell::new(None) };
        }

        let (sender, receiver) = mpsc::channel();
        let seen = std::thread::spawn(move || {
            EARLY.set(Some(AtExit(sender.clone())));
            let own = thread_id::current().map(|id| id.number());
            LATE.set(Some(AtExit(sender)));
            own
        })
        .join()
        .unwrap();
        assert!(seen.is_some());
        for (at_exit, free) in receiver {
            assert!(at_exit.is_none() || at_exit == seen);
            assert!(!free, "{at_exit:?} is in use and could be issued");
        }
    }
}
