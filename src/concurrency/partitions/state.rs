//! The rule that distributes the permits among the partitions.

/// The permits of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) in_use: u32,
}

/// The permits of all partitions.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) max: u32,
    pub(super) in_use: u32,
    pub(super) shares: Box<[Share]>,
}

/// A caller that is the next of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) partition: usize,
    /// The number of permits that it needs.
    pub(super) cost: u32,
    /// The sequence number of its arrival among the callers of all partitions.
    pub(super) arrival: u64,
}

impl State {
    /// Creates the state of partitions with these minima and maxima, without permits in use.
    pub(super) fn new(max: u32, shares: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let shares = shares.into_iter().map(|(min, max)| Share { min, max, in_use: 0 });
        Self { max, in_use: 0, shares: shares.collect() }
    }

    /// Returns the largest number of permits that one call of the partition can ever take.
    pub(super) fn max_cost(&self, partition: usize) -> u32 {
        self.max.min(self.shares[partition].max)
    }

    /// Returns whether this number of permits is free.
    pub(super) fn is_free(&self, cost: u32) -> bool {
        self.in_use.saturating_add(cost) <= self.max
    }

    /// Returns whether the partition may take `cost` permits once they are free.
    pub(super) fn is_within_max(&self, partition: usize, cost: u32) -> bool {
        let share = self.shares[partition];
        share.in_use.saturating_add(cost) <= share.max
    }

    /// Returns the caller that receives permits next, or `None` if no partition may take more.
    ///
    /// Callers within the guarantees of their partitions come first. Among them, and among the
    /// others, the one that arrived first is next. If too few permits are free for it, the free
    /// permits are reserved for it. Otherwise, callers that need few permits would starve it.
    ///
    /// Therefore no partition receives a permit beyond its guarantee while a caller of another
    /// partition waits within its guarantee.
    pub(super) fn next(&self, candidates: impl Iterator<Item = Candidate>) -> Option<Candidate> {
        candidates.filter(|next| self.is_within_max(next.partition, next.cost)).min_by_key(|next| {
            let share = self.shares[next.partition];
            (share.in_use.saturating_add(next.cost) > share.min, next.arrival)
        })
    }

    pub(super) fn take(&mut self, partition: usize, cost: u32) {
        self.in_use += cost;
        self.shares[partition].in_use += cost;
    }

    pub(super) fn give_back(&mut self, partition: usize, cost: u32) {
        self.in_use -= cost;
        self.shares[partition].in_use -= cost;
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    /// Of ten permits, partition 0 is guaranteed 5, partition 1 is guaranteed 2 and limited to 3,
    /// and partition 2 is guaranteed none.
    fn state(in_use: [u32; 3]) -> State {
        let mut state = State::new(10, [(5, 10), (2, 3), (0, 10)]);
        for (partition, in_use) in in_use.into_iter().enumerate() {
            state.take(partition, in_use);
        }
        state
    }

    /// Returns the partition of the next caller. `callers` are the arrival and the cost of the next
    /// caller of each partition.
    fn next(in_use: [u32; 3], callers: [Option<(u64, u32)>; 3]) -> Option<usize> {
        let candidates = callers.into_iter().enumerate().filter_map(|(partition, caller)| {
            let (arrival, cost) = caller?;
            Some(Candidate { partition, cost, arrival })
        });
        state(in_use).next(candidates).map(|next| next.partition)
    }

    #[test]
    fn a_permit_goes_to_guaranteed_callers_first_then_in_order_of_arrival() {
        for (in_use, arrivals, expected) in [
            ([0, 0, 0], [None, None, None], None),
            ([0, 0, 9], [Some(3), None, Some(1)], Some(0)),
            ([4, 0, 5], [Some(3), None, Some(1)], Some(0)),
            ([5, 0, 4], [Some(3), None, Some(1)], Some(2)), // partition 0 has its guarantee
            ([5, 0, 4], [Some(1), None, Some(3)], Some(0)),
            ([4, 1, 4], [Some(2), Some(1), Some(0)], Some(1)), // two below their guarantees
            ([4, 1, 4], [Some(1), Some(2), Some(0)], Some(0)),
            ([4, 2, 3], [Some(2), Some(1), Some(0)], Some(0)),
            ([5, 3, 1], [Some(2), Some(1), Some(0)], Some(2)),
            ([5, 3, 1], [Some(2), Some(1), None], Some(0)), // partition 1 has its maximum
            ([5, 3, 1], [None, Some(1), None], None),
        ] {
            let callers = arrivals.map(|arrival| arrival.map(|arrival| (arrival, 1)));
            assert_eq!(next(in_use, callers), expected, "{in_use:?} {arrivals:?}");
        }
    }

    #[test]
    fn a_caller_of_several_permits_is_guaranteed_if_all_of_them_are() {
        for (in_use, callers, expected) in [
            ([2, 0, 8], [Some((2, 3)), None, Some((1, 1))], Some(0)),
            ([2, 0, 8], [Some((2, 4)), None, Some((1, 1))], Some(2)),
            ([2, 0, 8], [Some((1, 4)), None, Some((2, 1))], Some(0)), // though only one is free
            ([0, 1, 9], [None, Some((1, 2)), Some((2, 1))], Some(1)),
            ([0, 1, 9], [None, Some((1, 3)), Some((2, 1))], Some(2)), // above the maximum
            ([0, 0, 0], [Some((1, u32::MAX)), None, None], None),
        ] {
            assert_eq!(next(in_use, callers), expected, "{in_use:?} {callers:?}");
        }
    }

    #[test]
    fn a_partition_takes_permits_up_to_its_maximum_and_the_common_limit() {
        for (in_use, cost, is_free, within_max) in [
            ([0, 0, 0], 1, true, [true, true, true]),
            ([0, 0, 0], 4, true, [true, false, true]),
            ([0, 3, 0], 1, true, [true, false, true]),
            ([9, 0, 0], 1, true, [true, true, true]),
            ([9, 0, 0], 2, false, [false, true, true]),
            ([10, 0, 0], 1, false, [false, true, true]),
            ([10, 0, 0], u32::MAX, false, [false, false, false]),
        ] {
            let state = state(in_use);
            assert_eq!(state.is_free(cost), is_free, "{in_use:?} {cost}");
            let within = [0, 1, 2].map(|partition| state.is_within_max(partition, cost));
            assert_eq!(within, within_max, "{in_use:?} {cost}");
        }
        assert_eq!([0, 1, 2].map(|partition| state([0; 3]).max_cost(partition)), [10, 3, 10]);
        let mut lowered = state([4, 1, 0]);
        lowered.max = 2;
        assert!(!lowered.is_free(1));
        assert_eq!([0, 1].map(|partition| lowered.max_cost(partition)), [2, 2]);
        lowered.give_back(0, 3);
        lowered.give_back(1, 1);
        assert!(lowered.is_free(1));
        assert_eq!((lowered.in_use, lowered.shares[0].in_use, lowered.shares[1].in_use), (1, 1, 0));
    }
}
