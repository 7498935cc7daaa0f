//! A queue from whose middle members can be removed.

/// A doubly linked list in a vector.
///
/// [`push_back`](Self::push_back) returns a [`WaiterKey`] that names the member for good: after the
/// member was removed the key finds nothing, even if its slot was reused. A waiter therefore holds
/// no pointer and need not be pinned. It was served if its key finds nothing.
///
/// Slots are reused: the list allocates no more than the largest number of members at one time
/// needs.
/// Every operation is O(1).
#[derive(Debug)]
pub(crate) struct WaiterList<T> {
    nodes: Vec<Node<T>>,
    front: u32,
    back: u32,
    /// The first vacant node; vacant nodes are linked by `next`.
    vacant: u32,
    /// The number of insertions so far.
    insertions: u64,
}

#[derive(Debug)]
struct Node<T> {
    /// The insertion that filled this node.
    insertion: u64,
    prev: u32,
    next: u32,
    item: Option<T>,
}

/// The name of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaiterKey {
    index: u32,
    insertion: u64,
}

impl WaiterKey {
    /// Returns the slot of the member, which is below `u32::MAX`. Other members use the slot after
    /// this one was removed.
    pub(crate) const fn slot(self) -> u32 {
        self.index
    }
}

const NONE: u32 = u32::MAX;

impl<T> WaiterList<T> {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), front: NONE, back: NONE, vacant: NONE, insertions: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.front == NONE
    }

    /// Returns the key of the member that is inserted next.
    pub(crate) fn next_key(&self) -> WaiterKey {
        let index = if self.vacant == NONE { self.nodes.len() as u32 } else { self.vacant };
        WaiterKey { index, insertion: self.insertions + 1 }
    }

    pub(crate) fn push_back(&mut self, item: T) -> WaiterKey {
        let key = self.fill(item);
        self.link(self.back, key.index, NONE);
        key
    }

    pub(crate) fn push_front(&mut self, item: T) -> WaiterKey {
        let key = self.fill(item);
        self.link(NONE, key.index, self.front);
        key
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.nodes.get(self.front as usize)?.item.as_ref()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.nodes.get_mut(self.front as usize)?.item.as_mut()
    }

    pub(crate) fn is_front(&self, key: WaiterKey) -> bool {
        key.index == self.front && self.nodes[key.index as usize].insertion == key.insertion
    }

    pub(crate) fn front_key(&self) -> Option<WaiterKey> {
        self.key_at(self.front)
    }

    pub(crate) fn back_key(&self) -> Option<WaiterKey> {
        self.key_at(self.back)
    }

    /// Returns the key of the member in this slot.
    pub(crate) fn key_at(&self, index: u32) -> Option<WaiterKey> {
        Some(WaiterKey { index, insertion: self.nodes.get(index as usize)?.insertion })
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        self.remove(self.front_key()?)
    }

    pub(crate) fn get(&self, key: WaiterKey) -> Option<&T> {
        let node = self.nodes.get(key.index as usize)?;
        if node.insertion == key.insertion { node.item.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: WaiterKey) -> Option<&mut T> {
        let node = self.nodes.get_mut(key.index as usize)?;
        if node.insertion == key.insertion { node.item.as_mut() } else { None }
    }

    /// Returns the member in the n-th slot, if it is filled; `None` after the last slot.
    pub(crate) fn slot(&mut self, n: usize) -> Option<Option<&mut T>> {
        self.nodes.get_mut(n).map(|node| node.item.as_mut())
    }

    /// Returns the key of the member in the n-th slot, if it is filled.
    pub(crate) fn slot_key(&self, n: usize) -> Option<WaiterKey> {
        let node = self.nodes.get(n).filter(|node| node.item.is_some())?;
        Some(WaiterKey { index: u32::try_from(n).ok()?, insertion: node.insertion })
    }

    pub(crate) fn remove(&mut self, key: WaiterKey) -> Option<T> {
        let node = self.nodes.get_mut(key.index as usize)?;
        if node.insertion != key.insertion {
            return None;
        }
        let item = node.item.take()?;
        let (prev, next) = (node.prev, node.next);
        self.join(prev, next);
        self.nodes[key.index as usize].next = self.vacant;
        self.vacant = key.index;
        Some(item)
    }

    /// Takes a member out of the queue. Its key finds it until it is [removed](Self::remove).
    pub(crate) fn detach(&mut self, key: WaiterKey) {
        if self.get_mut(key).is_none() {
            return;
        }
        let node = &mut self.nodes[key.index as usize];
        let (prev, next) = (node.prev, node.next);
        // A queue of its own: to remove it later joins it to itself.
        (node.prev, node.next) = (key.index, key.index);
        if (prev, next) != (key.index, key.index) {
            self.join(prev, next);
        }
    }

    /// Moves a [detached](Self::detach) member to the back of the queue. Does nothing if the member
    /// is in the queue.
    pub(crate) fn attach_back(&mut self, key: WaiterKey) {
        if self.get_mut(key).is_some() && self.nodes[key.index as usize].prev == key.index {
            self.link(self.back, key.index, NONE);
        }
    }

    /// Moves all members to `into`, which is empty. The keys of the moved members find nothing here
    /// from now on. Costs O(1), and this list continues with the memory of `into`.
    pub(crate) fn move_to(&mut self, into: &mut Self) {
        debug_assert!(into.is_empty());
        std::mem::swap(self, into);
        // An insertion number is never used twice, so the old keys match no new member.
        self.insertions = into.insertions;
    }

    /// Stores `item` in a node that is not linked yet.
    fn fill(&mut self, item: T) -> WaiterKey {
        self.insertions += 1;
        let node = Node { insertion: self.insertions, prev: NONE, next: NONE, item: Some(item) };
        let index = self.vacant;
        if let Some(slot) = self.nodes.get_mut(index as usize) {
            self.vacant = slot.next;
            *slot = node;
            return WaiterKey { index, insertion: self.insertions };
        }
        let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index != NONE);
        self.nodes.push(node);
        WaiterKey { index: index.expect("fewer than 2^32 - 1 waiters"), insertion: self.insertions }
    }

    fn link(&mut self, prev: u32, index: u32, next: u32) {
        self.join(prev, index);
        self.join(index, next);
    }

    /// Makes `prev` and `next` neighbors; `NONE` is the end on either side.
    fn join(&mut self, prev: u32, next: u32) {
        match self.nodes.get_mut(prev as usize) {
            Some(node) => node.next = next,
            None => self.front = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(node) => node.prev = prev,
            None => self.back = prev,
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::{WaiterKey, WaiterList};

    #[derive(Debug, Clone)]
    enum Step {
        PushBack,
        PushFront,
        PopFront,
        /// Removes by the n-th key that was ever returned, whether or not its member is gone.
        Remove(usize),
        /// Detaches by the n-th key.
        Detach(usize),
        /// Attaches by the n-th key.
        Attach(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::PushBack),
            1 => Just(Step::PushFront),
            1 => Just(Step::PopFront),
            2 => (0usize..64).prop_map(Step::Remove),
            1 => (0usize..64).prop_map(Step::Detach),
            1 => (0usize..64).prop_map(Step::Attach),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_deque(steps in proptest::collection::vec(step(), 0..200)) {
            let mut list = WaiterList::new();
            let mut model: VecDeque<usize> = VecDeque::new();
            let mut detached: Vec<usize> = Vec::new();
            let mut keys: Vec<WaiterKey> = Vec::new();
            let mut most = 0;
            for step in steps {
                let id = keys.len();
                let next = list.next_key();
                match step {
                    Step::PushBack => {
                        keys.push(list.push_back(id));
                        model.push_back(id);
                    }
                    Step::PushFront => {
                        keys.push(list.push_front(id));
                        model.push_front(id);
                    }
                    Step::PopFront => prop_assert_eq!(list.pop_front(), model.pop_front()),
                    Step::Remove(n) if n < keys.len() => {
                        let index = model.iter().position(|id| *id == n);
                        let queued = index.and_then(|index| model.remove(index));
                        let index = detached.iter().position(|id| *id == n);
                        let expected = queued.or(index.map(|index| detached.swap_remove(index)));
                        prop_assert_eq!(list.get_mut(keys[n]).map(|id| *id), expected);
                        prop_assert_eq!(list.remove(keys[n]), expected);
                    }
                    Step::Detach(n) if n < keys.len() => {
                        list.detach(keys[n]);
                        if let Some(index) = model.iter().position(|id| *id == n) {
                            detached.extend(model.remove(index));
                        }
                    }
                    Step::Attach(n) if n < keys.len() => {
                        list.attach_back(keys[n]);
                        if let Some(index) = detached.iter().position(|id| *id == n) {
                            model.push_back(detached.swap_remove(index));
                        }
                    }
                    Step::Remove(_) | Step::Detach(_) | Step::Attach(_) => {}
                }
                if let Some(key) = keys.get(id) {
                    prop_assert_eq!(*key, next);
                }
                most = most.max(model.len() + detached.len());
                prop_assert_eq!(list.back_key().map(|key| key.insertion as usize - 1),
                    model.back().copied());
                prop_assert_eq!(list.front(), model.front());
                prop_assert_eq!(list.is_empty(), model.is_empty());
                prop_assert_eq!(list.front_mut().copied(), model.front().copied());
                for (id, key) in keys.iter().enumerate() {
                    prop_assert_eq!(list.is_front(*key), model.front() == Some(&id));
                }
            }
            prop_assert!(list.nodes.len() <= most, "a vacant slot was not reused");
            while let Some(id) = list.pop_front() {
                prop_assert_eq!(Some(id), model.pop_front());
            }
            prop_assert!(model.is_empty());
        }
    }
}
