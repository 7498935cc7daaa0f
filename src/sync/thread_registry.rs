//! Dense numbers for threads.

use super::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;

/// A small number that one living thread holds.
///
/// *Invariant:* while a `ThreadId` of some number exists, whoever has it is alone with that number: the
/// registry issues it once, the value stays on its thread (it is not `Send`), and it comes back under the
/// registry's lock. The lock is also the edge by which everything the last holder did with its number
/// happens before everything the next holder does.
#[derive(Debug)]
pub(crate) struct ThreadId {
    pub(super) place: Place,
    /// Neither `Send` nor `Sync`.
    stays: PhantomData<*const ()>,
}

/// Where the number stands in a table that grows by doubling: bucket `b` holds `2^b` numbers, from
/// `2^b - 1` on. Worked out once a thread, not at every look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: u32,
    pub(super) index: u32,
}

impl ThreadId {
    /// So many buckets are enough for every `u32`.
    pub(crate) const BUCKETS: usize = 32;

    /// Only for one who has the number already.
    #[inline]
    pub(super) fn held(place: Place) -> Self {
        Self { place, stays: PhantomData }
    }

    pub(crate) fn number(&self) -> u32 {
        (1 << self.place.bucket) - 1 + self.place.index
    }

    #[inline]
    pub(crate) fn bucket(&self) -> usize {
        self.place.bucket as usize
    }

    /// Below `2^bucket`.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.place.index as usize
    }
}

impl Place {
    fn of(number: u32) -> Self {
        let bucket = (number + 1).ilog2();
        Self { bucket, index: number + 1 - (1 << bucket) }
    }
}

/// Issues the smallest free number, so that numbers stay as dense as the living threads.
#[derive(Debug)]
pub(crate) struct Registry {
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

impl Registry {
    /// Takes the lock ready made, because loom's cannot be made in a const.
    pub(super) const fn over(numbers: Mutex<Numbers>) -> Self {
        Self { numbers }
    }

    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::over(Mutex::new(Numbers::new()))
    }

    pub(crate) fn acquire(&self) -> ThreadId {
        let mut numbers = self.numbers.lock();
        let number = match numbers.free.pop() {
            Some(Reverse(number)) => number,
            None => {
                let number = numbers.issued;
                numbers.issued += 1;
                // Room for all of them now: a thread on its way out shall not have to allocate.
                numbers.free.reserve(number as usize + 1);
                number
            }
        };
        ThreadId::held(Place::of(number))
    }

    /// The caller does nothing more in the name of `id`.
    #[allow(clippy::needless_pass_by_value)] // It is given back.
    pub(crate) fn release(&self, id: ThreadId) {
        self.numbers.lock().free.push(Reverse(id.number()));
    }

    /// Acts in the name of every number that nobody holds now, and keeps all of them from being issued
    /// meanwhile. Does nothing when the registry is busy. `act` runs under the lock: no user code in it.
    pub(crate) fn for_each_free(&self, mut act: impl FnMut(&ThreadId)) {
        if let Some(numbers) = self.numbers.try_lock() {
            for Reverse(number) in &numbers.free {
                act(&ThreadId::held(Place::of(*number)));
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
        let registry = Registry::new();
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
    fn a_place_is_a_number() {
        for number in (0..100).chain([u32::MAX - 2, u32::MAX - 1]) {
            let id = ThreadId::held(Place::of(number));
            assert_eq!(id.number(), number);
            assert!(id.bucket() < ThreadId::BUCKETS && id.index() < 1 << id.bucket());
        }
    }

    /// The locals of a thread are destroyed in an order that is the platform's affair: whichever comes
    /// first, no thread goes on using an id that it has handed back.
    #[test]
    fn an_id_that_was_handed_back_is_forgotten() {
        use std::cell::RefCell;
        use std::sync::mpsc;

        /// Sends the thread's id, and whether the registry may issue it already.
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
            assert!(!free, "{at_exit:?} is used and may be issued");
        }
    }
}
