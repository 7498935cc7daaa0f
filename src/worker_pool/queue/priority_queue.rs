//! The queue: one ring, or one for each priority.

use crate::ring::{PopError, Ring};
use crate::wait::{Condition, Wait, WaitQueue};
use crate::worker_pool::panics::quietly;

/// Rings in order of priority, the most urgent first.
pub(crate) struct PriorityQueue<J> {
    lanes: Box<[Lane<J>]>,
}

pub(crate) struct Lane<J> {
    ring: Ring<J>,
    for_room: WaitQueue,
}

/// "There is no room" in a lane, for those who wait until there is.
pub(crate) struct Room<'a, J>(&'a Ring<J>);

impl<J> Condition for Room<'_, J> {
    fn set_waiting(&self) -> bool {
        self.0.wait_for_room()
    }

    fn clear_waiting(&self) {
        self.0.nobody_waits_for_room();
    }
}

impl<J> Lane<J> {
    pub(crate) fn ring(&self) -> &Ring<J> {
        &self.ring
    }

    pub(crate) fn wait_for_room(&self) -> Wait<'_, Room<'_, J>> {
        Wait::new(&self.for_room, Room(&self.ring))
    }

    /// Takes the oldest job out for `act`.
    #[inline(always)]
    pub(crate) fn pop<R>(&self, act: impl FnOnce(J) -> R) -> Result<R, PopError> {
        self.ring.pop_with(|job, waited_for| {
            if waited_for {
                self.notify(1);
            }
            act(job)
        })
    }

    /// Wakers run the code of others, whose panic is no business of who makes room.
    #[cold]
    fn notify(&self, count: usize) {
        quietly(|| self.for_room.notify(count, &Room(&self.ring)));
    }
}

/// Which lanes a pop looks into, and in which order.
///
/// Urgent jobs come first, except that of sixteen pops three begin with the middle lane and one with the last:
/// however much urgent work there is, the others get so many at least, and nothing starves.
fn order(turn: u32) -> [usize; 3] {
    match turn % 16 {
        15 => [2, 1, 0],
        3 | 7 | 11 => [1, 0, 2],
        _ => [0, 1, 2],
    }
}

impl<J> PriorityQueue<J> {
    /// `count` is 1 or 3.
    pub(crate) fn new(count: usize, capacity: usize) -> Self {
        let lane = |_| Lane { ring: Ring::new(capacity), for_room: WaitQueue::new() };
        Self { lanes: (0..count).map(lane).collect() }
    }

    /// The lane of a priority, counted from the most urgent; without priorities all go into one.
    #[inline(always)]
    pub(crate) fn lane(&self, index: usize) -> &Lane<J> {
        match &*self.lanes {
            [only] => only,
            lanes => &lanes[index],
        }
    }

    /// Takes the next job out for `act`, which also learns the lane that it comes from. `turn` counts the pops
    /// of whoever asks.
    #[inline(always)]
    pub(crate) fn pop<R>(&self, turn: u32, act: impl FnOnce(J, usize) -> R) -> Result<R, PopError> {
        match &*self.lanes {
            [only] => only.pop(|job| act(job, 0)),
            lanes => Self::pop_in_order(lanes, turn, act),
        }
    }

    fn pop_in_order<R>(
        lanes: &[Lane<J>],
        turn: u32,
        act: impl FnOnce(J, usize) -> R,
    ) -> Result<R, PopError> {
        // The answer about all of them: "closed" if all are, "empty" if none is busy.
        let mut answer = PopError::Closed;
        for index in order(turn) {
            match (lanes[index].pop(|job| job), answer) {
                (Ok(job), _) => return Ok(act(job, index)),
                (Err(PopError::Busy), _) => answer = PopError::Busy,
                (Err(PopError::Empty), PopError::Closed) => answer = PopError::Empty,
                (Err(_), _) => {}
            }
        }
        Err(answer)
    }

    /// Raises the flag of every lane, each in one step with seeing it empty and open; false, with all of
    /// them down, if one may not be.
    pub(crate) fn raise(&self) -> bool {
        let raised = self.lanes.iter().all(|lane| lane.ring.wait_for_items());
        if !raised {
            self.lower();
        }
        raised
    }

    pub(crate) fn lower(&self) {
        for lane in &self.lanes {
            lane.ring.nobody_waits_for_items();
        }
    }

    /// Ends pushing; what is inside stays. Those who wait for room learn of it. True for the call that did
    /// it.
    pub(crate) fn close(&self) -> bool {
        // Each sees to its end that the others are closed: whoever comes second finds all of them so.
        let closed =
            self.lanes.iter().map(|lane| lane.ring.close()).fold(false, std::ops::BitOr::bitor);
        for lane in &self.lanes {
            lane.notify(usize::MAX);
        }
        closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lanes[0].ring.is_closed()
    }

    /// Whether each lane was empty at some instant during the call.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.ring.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.ring.len()).sum()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    fn fill(lanes: &PriorityQueue<usize>, each: usize) {
        for index in 0..3 {
            (0..each).for_each(|_| lanes.lane(index).ring().try_push(index).unwrap());
        }
    }

    #[test]
    fn urgent_first_but_nobody_starves() {
        let lanes = PriorityQueue::new(3, 64);
        fill(&lanes, 64);
        let mut popped = [0; 3];
        for turn in 0..64 {
            let (job, lane) = lanes.pop(turn, |job, lane| (job, lane)).unwrap();
            assert_eq!(job, lane);
            popped[lane] += 1;
        }
        assert_eq!(popped, [48, 12, 4]);
    }

    #[test]
    fn an_empty_lane_costs_no_turn() {
        let lanes = PriorityQueue::new(3, 4);
        lanes.lane(2).ring().try_push(2).unwrap();
        let pop = |turn| lanes.pop(turn, |job, lane| (job, lane));
        assert_eq!(pop(0), Ok((2, 2)));
        assert_eq!(pop(0), Err(PopError::Empty));
        lanes.lane(1).ring().try_push(1).unwrap();
        lanes.close();
        assert_eq!(pop(15), Ok((1, 1)));
        assert_eq!(pop(0), Err(PopError::Closed));
    }

    #[test]
    fn the_flags_go_up_together_or_not_at_all() {
        let lanes = PriorityQueue::new(3, 4);
        assert!(lanes.raise());
        assert_eq!(lanes.lane(1).ring().push_with(1, |job| job), Ok(true));
        assert!(!lanes.raise(), "there is something");
        assert_eq!(lanes.lane(0).ring().push_with(0, |job| job), Ok(false));
    }
}
