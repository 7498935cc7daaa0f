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

/// The caller that has waited longest in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oldest {
    pub(super) partition: usize,
    /// The sequence number of its arrival among the callers of all partitions.
    pub(super) arrival: u64,
}

impl State {
    /// Creates the state of partitions with these minima and maxima, without permits in use.
    pub(super) fn new(max: u32, shares: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let shares = shares.into_iter().map(|(min, max)| Share { min, max, in_use: 0 });
        Self { max, in_use: 0, shares: shares.collect() }
    }

    /// Returns whether a permit is free that the partition may take. Waiting callers are not
    /// considered.
    pub(super) fn has_room(&self, partition: usize) -> bool {
        let share = self.shares[partition];
        self.in_use < self.max && share.in_use < share.max
    }

    /// Returns the partition whose oldest caller receives the next permit, or `None` if no caller
    /// can receive one.
    ///
    /// Callers within the guarantees of their partitions come first. Among them, and among the
    /// others, the one that arrived first is next. Therefore no partition receives a permit beyond
    /// its guarantee while a caller of another partition waits within its guarantee.
    pub(super) fn next(&self, waiting: impl Iterator<Item = Oldest>) -> Option<usize> {
        let next = waiting.filter(|oldest| self.has_room(oldest.partition)).min_by_key(|oldest| {
            let share = self.shares[oldest.partition];
            (share.in_use >= share.min, oldest.arrival)
        });
        next.map(|oldest| oldest.partition)
    }

    pub(super) fn take(&mut self, partition: usize) {
        self.in_use += 1;
        self.shares[partition].in_use += 1;
    }

    pub(super) fn give_back(&mut self, partition: usize) {
        self.in_use -= 1;
        self.shares[partition].in_use -= 1;
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
            (0..in_use).for_each(|_| state.take(partition));
        }
        state
    }

    #[test]
    fn a_permit_goes_to_guaranteed_callers_first_then_in_order_of_arrival() {
        for (in_use, arrivals, expected) in [
            ([0, 0, 0], [None, None, None], None),
            ([0, 0, 10], [Some(1), None, None], None), // no permit is free
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
            let oldest = arrivals
                .into_iter()
                .enumerate()
                .filter_map(|(partition, arrival)| Some(Oldest { partition, arrival: arrival? }));
            assert_eq!(state(in_use).next(oldest), expected, "{in_use:?} {arrivals:?}");
        }
    }

    #[test]
    fn a_partition_has_room_below_its_maximum_and_the_common_limit() {
        for (in_use, expected) in [
            ([0, 0, 0], [true, true, true]),
            ([0, 3, 0], [true, false, true]),
            ([9, 0, 0], [true, true, true]),
            ([10, 0, 0], [false, false, false]),
        ] {
            let state = state(in_use);
            assert_eq!([0, 1, 2].map(|partition| state.has_room(partition)), expected);
        }
        let mut lowered = state([4, 1, 0]);
        lowered.max = 3;
        assert_eq!([0, 1, 2].map(|partition| lowered.has_room(partition)), [false; 3]);
        lowered.give_back(0);
        lowered.give_back(0);
        lowered.give_back(1);
        assert!(lowered.has_room(0));
        assert_eq!((lowered.in_use, lowered.shares[0].in_use, lowered.shares[1].in_use), (2, 2, 0));
    }
}
