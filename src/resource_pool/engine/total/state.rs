//! The places of a limit that many pools share, and the choice of the pool that receives the next
//! place. A place is the right to have one resource. This module reads no clock, takes no lock, and
//! runs no user code.

use crate::time::Instant;

/// The index of a pool among the members of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resource_pool) struct MemberId(usize);

/// The places, their holders and the requests for them. `P` is a reference to a pool.
///
/// # Invariants
///
/// 1. `size` is the sum of the places that the members hold, and is never above `max_size`.
/// 2. If there is a request, `size` equals `max_size`.
/// 3. A member has at most one request.
pub(super) struct TotalState<P> {
    pub(super) max_size: usize,
    pub(super) size: usize,
    pub(super) closed: bool,
    members: Vec<Option<Member<P>>>,
    /// In order of arrival.
    requests: Vec<Request>,
}

struct Member<P> {
    pool: P,
    /// The number of places that the pool holds.
    held: usize,
}

/// A pool whose callers need a place.
#[derive(Clone, Copy, Debug)]
struct Request {
    member: MemberId,
    since: Instant,
}

/// The result of [`TotalState::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Granted,
    /// All places are in use, and the pool now has a request.
    Requested,
    /// All places are in use, and the pool had a request before.
    Pending,
}

impl<P: Clone> TotalState<P> {
    pub(super) const fn new(max_size: usize) -> Self {
        Self { max_size, size: 0, closed: false, members: Vec::new(), requests: Vec::new() }
    }

    pub(super) fn join(&mut self, pool: P) -> MemberId {
        let member = Some(Member { pool, held: 0 });
        let vacant = self.members.iter().position(Option::is_none);
        match vacant {
            Some(index) => self.members[index] = member,
            None => self.members.push(member),
        }
        MemberId(vacant.unwrap_or(self.members.len() - 1))
    }

    /// Removes a pool that holds no places, and returns it for the caller to drop outside the lock.
    pub(super) fn leave(&mut self, id: MemberId) -> Option<P> {
        self.withdraw(id);
        self.members[id.0].take().map(|member| member.pool)
    }

    /// Returns references to all pools.
    pub(super) fn pools(&self) -> impl Iterator<Item = P> {
        self.members.iter().flatten().map(|member| member.pool.clone())
    }

    /// Returns the pools that hold places, except `id`.
    pub(super) fn holders_except(&self, id: MemberId) -> impl Iterator<Item = P> {
        let others = self.members.iter().enumerate().filter(move |(index, _)| *index != id.0);
        others
            .filter_map(|(_, member)| member.as_ref())
            .filter(|member| member.held > 0)
            .map(|member| member.pool.clone())
    }

    /// Returns the number of pools that have a request.
    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Takes a place, or requests one if none is free.
    pub(super) fn take(&mut self, id: MemberId, now: Instant) -> Taken {
        if self.try_take(id) {
            return Taken::Granted;
        }
        if self.requests.iter().any(|request| request.member == id) {
            return Taken::Pending;
        }
        self.requests.push(Request { member: id, since: now });
        Taken::Requested
    }

    /// Takes a place if one is free.
    pub(super) fn try_take(&mut self, id: MemberId) -> bool {
        let is_free = self.size < self.max_size;
        if is_free {
            self.size += 1;
            self.add(id, 1);
        }
        is_free
    }

    /// Removes the request of a pool, if it has one.
    pub(super) fn withdraw(&mut self, id: MemberId) {
        self.requests.retain(|request| request.member != id);
    }

    /// Takes back a place of `holder`. If there is a request, removes the first one, gives the
    /// place to its pool and returns that pool.
    pub(super) fn release(&mut self, holder: MemberId) -> Option<(MemberId, P)> {
        self.sub(holder);
        match self.first(None) {
            Some(index) => {
                let to = self.requests.remove(index).member;
                self.add(to, 1);
                Some((to, self.member(to)?.pool.clone()))
            }
            None => {
                self.size -= 1;
                None
            }
        }
    }

    /// Moves a place from one pool to another.
    pub(super) fn transfer(&mut self, from: MemberId, to: MemberId) {
        self.sub(from);
        self.add(to, 1);
    }

    /// Returns whether the request of another pool goes before the callers of `holder`, the first
    /// of which has waited since `oldest`. `None`: the pool has no callers.
    /// [`choose`](Self::choose) states the rules.
    pub(super) fn has_precedence(&self, holder: MemberId, oldest: Option<Instant>) -> bool {
        self.preceding(holder, oldest).is_some()
    }

    /// Removes the request that goes before the callers of `holder`, and returns the pool that made
    /// the request.
    ///
    /// - A pool without callers gives its place to the requesting pool with the fewest places.
    /// - A pool with callers gives a place to a pool that holds at least two places fewer.
    /// - A pool whose callers came after the request gives its last place to a pool that holds
    ///   none.
    ///
    /// The second rule moves places until the numbers differ by at most one. If there are more
    /// pools with callers than places, the third rule makes the pools take turns.
    pub(super) fn choose(&mut self, holder: MemberId, oldest: Option<Instant>) -> Option<P> {
        let index = self.preceding(holder, oldest)?;
        let request = self.requests.remove(index);
        self.member(request.member).map(|member| member.pool.clone())
    }

    fn preceding(&self, holder: MemberId, oldest: Option<Instant>) -> Option<usize> {
        let index = self.first(Some(holder))?;
        let Some(oldest) = oldest else { return Some(index) };
        let Request { member, since } = self.requests[index];
        let (theirs, ours) = (self.held(member), self.held(holder));
        (theirs + 2 <= ours || (theirs == 0 && since < oldest)).then_some(index)
    }

    /// Returns the index of the request to serve first: that of the pool with the fewest places,
    /// and among equal pools the oldest request.
    fn first(&self, except: Option<MemberId>) -> Option<usize> {
        let others = self.requests.iter().enumerate();
        others
            .filter(|(_, request)| Some(request.member) != except)
            .min_by_key(|(_, request)| self.held(request.member))
            .map(|(index, _)| index)
    }

    fn member(&self, id: MemberId) -> Option<&Member<P>> {
        self.members.get(id.0)?.as_ref()
    }

    pub(super) fn held(&self, id: MemberId) -> usize {
        self.member(id).map_or(0, |member| member.held)
    }

    fn add(&mut self, id: MemberId, places: usize) {
        if let Some(member) = &mut self.members[id.0] {
            member.held += places;
        }
    }

    fn sub(&mut self, id: MemberId) {
        if let Some(member) = &mut self.members[id.0] {
            member.held -= 1;
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    /// Creates a limit without free places, whose three pools hold these numbers of places.
    fn state(held: [usize; 3]) -> (TotalState<char>, [MemberId; 3]) {
        let mut state = TotalState::new(held.iter().sum());
        let ids = ['a', 'b', 'c'].map(|pool| state.join(pool));
        for (id, held) in ids.into_iter().zip(held) {
            (0..held).for_each(|_| assert!(state.try_take(id)));
        }
        (state, ids)
    }

    #[test]
    fn a_free_place_goes_to_the_pool_with_the_fewest_places_then_to_the_oldest_request() {
        for (held, requests, expected) in [
            ([2, 1, 1], [1, 2], 'b'),
            ([2, 1, 1], [2, 1], 'c'),
            ([2, 2, 1], [1, 2], 'c'),
            ([3, 0, 1], [2, 1], 'b'),
        ] {
            let (mut state, ids) = state(held);
            for request in requests {
                assert_eq!(state.take(ids[request], at(1)), Taken::Requested);
            }
            let to = state.release(ids[0]).map(|(_, pool)| pool);
            assert_eq!(to, Some(expected), "{held:?} {requests:?}");
            assert_eq!(state.size, state.max_size);
        }
    }

    #[test]
    fn a_pool_with_callers_keeps_its_places_unless_a_rule_gives_one_away() {
        // The places of the holder, the places of the other pool, and when the oldest caller of the
        // holder began to wait. The other pool makes its request at 5.
        for (ours, theirs, oldest, expected) in [
            (1, 0, Some(4), false),
            (1, 0, Some(6), true),
            (2, 0, Some(4), true),
            (2, 1, Some(6), false),
            (3, 1, Some(4), true),
            (3, 2, Some(6), false),
            (4, 2, Some(4), true),
            (1, 5, Some(6), false),
            (1, 5, None, true),
        ] {
            let (mut state, ids) = state([ours, theirs, 0]);
            state.take(ids[1], at(5));
            let oldest = oldest.map(at);
            assert_eq!(state.has_precedence(ids[0], oldest), expected, "{ours} {theirs}");
            assert_eq!(state.choose(ids[0], oldest).is_some(), expected);
            assert_eq!(state.requests(), usize::from(!expected));
        }
    }

    #[test]
    fn a_pool_has_one_request_at_most_and_does_not_serve_itself() {
        let (mut state, ids) = state([1, 0, 0]);
        assert_eq!(state.take(ids[0], at(1)), Taken::Requested);
        assert_eq!(state.take(ids[0], at(2)), Taken::Pending);
        assert!(!state.has_precedence(ids[0], None));
        state.withdraw(ids[0]);
        assert!(state.release(ids[0]).is_none());
        assert_eq!((state.size, state.requests()), (0, 0));
    }

    #[test]
    fn a_pool_that_leaves_loses_its_request_and_another_reuses_its_index() {
        let (mut state, ids) = state([1, 0, 0]);
        state.take(ids[1], at(1));
        assert_eq!(state.leave(ids[1]), Some('b'));
        assert_eq!(state.requests(), 0);
        assert_eq!(state.join('d'), ids[1]);
        assert_eq!(state.pools().collect::<String>(), "adc");
        assert_eq!(state.holders_except(ids[1]).collect::<String>(), "a");
    }
}
