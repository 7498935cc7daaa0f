//! Tests of the decisions on the state of a pool: tables of states, without jobs or threads.

use super::*;
use crate::resource_pool::ResourcePoolSettings;

const SECOND: Duration = Duration::from_secs(1);
/// The largest size of the pools below.
const MAX_SIZE: usize = 3;

struct Numbers;

impl ResourceManager for Numbers {
    type Resource = u32;
    type Error = std::io::Error;

    async fn create(&self) -> std::io::Result<u32> {
        Ok(0)
    }
}

type Numbered = State<Numbers>;
type Change = fn(&mut Numbered);

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

/// Returns a pool whose resources are checked after a second, and idle for a minute at most.
fn pool() -> Numbered {
    let settings = ResourcePoolSettings::new().max_size(MAX_SIZE).check_after(SECOND);
    State::new(settings.idle_timeout(60 * SECOND).validate().unwrap())
}

/// Returns a resource that was created and returned at the given second, and expires at second 100.
fn entry(second: u64) -> Box<Entry<u32>> {
    Box::new(Entry::new(0, at(second), at(100), 0))
}

/// Returns a pool with resources that became idle at the given seconds.
fn idle(seconds: &[u64]) -> Numbered {
    let mut state = pool();
    state.size = seconds.len();
    state.idle = seconds.iter().map(|second| entry(*second)).collect();
    state
}

fn wait(state: &mut Numbered) {
    state.enqueue(Waker::noop().clone(), Instant::ORIGIN);
}

/// Takes steps until there are no more, and returns their names.
fn steps(state: &mut Numbered, now: Instant) -> Vec<&'static str> {
    let mut steps = Vec::new();
    loop {
        steps.push(match state.next_step(now) {
            Step::Served(_) => "deliver",
            Step::Failed(_) => "fail",
            Step::Close(..) => "close",
            Step::Check(_) => "check",
            Step::Create(..) => "create",
            Step::Reclaim | Step::Transfer(_) => unreachable!("the pool is in no limit"),
            Step::Nothing => return steps,
        });
    }
}

#[test]
fn a_caller_takes_no_resource_ahead_of_waiters_or_from_a_paused_or_closed_pool() {
    let changes: [(Change, bool); 4] = [
        (|_| (), true),
        (wait, false),
        (|state| state.paused = true, false),
        (|state| state.closed = true, false),
    ];
    for (row, (change, taken)) in changes.into_iter().enumerate() {
        let (mut fresh, mut stale) = (idle(&[0]), idle(&[0]));
        change(&mut fresh);
        change(&mut stale);
        assert_eq!(fresh.take(at(0)).is_some(), taken, "row {row}");
        assert_eq!(stale.take_stale(at(2)).is_some(), taken, "row {row}");
    }
}

#[test]
fn a_resource_is_taken_or_checked_depending_on_the_time_since_it_was_healthy() {
    for (now, fresh, stale) in [(0, true, false), (1, false, true), (99, false, false)] {
        assert_eq!(idle(&[0]).take(at(now)).is_some(), fresh, "{now}");
        let mut state = idle(&[0]);
        assert_eq!(state.take_stale(at(now)).is_some(), stale, "{now}");
        assert_eq!(state.checking, usize::from(stale));
    }
}

#[test]
fn a_pool_needs_steps_if_callers_wait_or_a_resource_must_be_closed() {
    let changes: [(Change, bool); 7] = [
        (|_| (), false),
        (wait, true),
        (|state| state.closed = true, true),
        (|state| state.evicting = true, true),
        (|state| state.size = MAX_SIZE, false),
        (|state| state.size = MAX_SIZE + 1, true),
        (|state| state.generation = 1, true),
    ];
    for (row, (change, unsettled)) in changes.into_iter().enumerate() {
        let mut state = idle(&[0]);
        change(&mut state);
        assert_eq!(state.is_unsettled(at(0)), unsettled, "row {row}");
    }
    assert!(idle(&[0]).is_unsettled(at(60)), "idle for too long");
    assert!(idle(&[50]).is_unsettled(at(100)), "expired");
}

#[test]
fn a_returned_resource_is_closed_for_one_reason() {
    let changes: [(Change, Option<ResourceCloseReason>); 6] = [
        (|_| (), None),
        (|state| state.closed = true, Some(ResourceCloseReason::PoolClosed)),
        (|state| state.generation = 1, Some(ResourceCloseReason::Evicted)),
        (|state| state.size = MAX_SIZE, None),
        (|state| state.size = MAX_SIZE + 1, Some(ResourceCloseReason::Resized)),
        (|state| (state.size, state.closing) = (MAX_SIZE + 1, 1), None),
    ];
    for (row, (change, reason)) in changes.into_iter().enumerate() {
        let mut state = pool();
        state.size = 1;
        change(&mut state);
        assert_eq!(state.unfit(&entry(0), at(0)), reason, "row {row}");
    }
    let lifetime = Some(ResourceCloseReason::Lifetime);
    assert_eq!(pool().unfit(&entry(0), at(100)), lifetime);
    assert_eq!(pool().unfit(&entry(0), at(99)), None, "the idle timeout begins with the return");
}

#[test]
fn a_resource_in_a_job_is_not_in_use() {
    let mut state = idle(&[0, 0]);
    (state.size, state.creating, state.checking, state.closing) = (20, 3, 5, 7);
    assert_eq!(state.in_use(), 3);
}

#[test]
fn no_more_resources_are_checked_than_callers_wait() {
    for (waiters, expected) in [
        (0, &[][..]),
        (1, &["check"]),
        (2, &["check", "check"]),
        (3, &["check", "check", "create"]),
    ] {
        let mut state = idle(&[0, 0]);
        (0..waiters).for_each(|_| wait(&mut state));
        assert_eq!(steps(&mut state, at(2)), expected, "{waiters}");
    }
}

#[test]
fn waiters_receive_idle_resources_and_the_others_new_ones() {
    let mut state = idle(&[0]);
    (0..9).for_each(|_| wait(&mut state));
    // No more than `max_creating` at a time, and no more than `max_size` in total.
    assert_eq!(steps(&mut state, at(0)), ["deliver", "create", "create"]);
    assert_eq!((state.waiting, state.creating, state.size), (8, 2, MAX_SIZE));
    state.paused = true;
    state.creating = 0;
    state.idle.push_back(entry(0));
    assert_eq!(steps(&mut state, at(0)), [""; 0]);
}

#[test]
fn only_maintenance_keeps_the_minimum_of_idle_resources() {
    for (maintainers, expected) in [(0, &[][..]), (1, &["create", "create"]), (2, &["create"; 2])] {
        let mut state = pool();
        state.config.min_idle = 2;
        state.maintainers = maintainers;
        assert_eq!(steps(&mut state, at(0)), expected, "{maintainers}");
    }
}

#[test]
fn spare_resources_are_closed_after_the_idle_timeout() {
    for (min_idle, expected) in [(0, 3), (1, 2), (3, 0)] {
        let mut state = idle(&[0, 0, 0]);
        state.config.min_idle = min_idle;
        state.evicting = true;
        assert_eq!(steps(&mut state, at(60)).len(), expected, "{min_idle}");
        assert_eq!(state.idle.len(), 3 - expected);
    }
}

#[test]
fn a_smaller_pool_closes_idle_resources_except_for_those_being_closed_already() {
    for (closing, expected) in [(0, &["close", "close"][..]), (1, &["close"]), (2, &[])] {
        let mut state = idle(&[0, 0]);
        (state.size, state.closing) = (MAX_SIZE + 2, closing);
        let mut taken = Vec::new();
        while let Step::Close(_, reason) = state.next_step(at(0)) {
            assert_eq!(reason, ResourceCloseReason::Resized);
            state.closing += 1;
            taken.push("close");
        }
        assert_eq!(taken, expected, "{closing}");
    }
}

#[test]
fn a_closed_pool_rejects_its_waiters_then_closes_its_idle_resources() {
    let mut state = idle(&[0]);
    (0..2).for_each(|_| wait(&mut state));
    state.closed = true;
    assert_eq!(steps(&mut state, at(0)), ["fail", "fail", "close"]);
    assert_eq!(state.waiting, 0);
}

#[test]
fn maintenance_checks_resources_that_are_due_and_two_at_a_time() {
    let due = |state: &mut Numbered| state.take_for_check(at(30), 30 * SECOND).is_some();
    for (since, expected) in [(0, true), (1, false)] {
        assert_eq!(due(&mut idle(&[since])), expected, "{since}");
    }
    let mut state = idle(&[0, 0, 0]);
    assert_eq!([(); 3].map(|()| due(&mut state)), [true, true, false]);
    assert_eq!(state.checking, 2);
    let mut closed = idle(&[0]);
    closed.closed = true;
    assert!(!due(&mut closed));
}
