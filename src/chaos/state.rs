//! The decisions of a chaos policy, which depend only on their arguments: [`Plan`], [`Numbers`].

use super::fault::{Fault, FaultKind};
use crate::random::unit_at;
use std::time::Duration;

/// The faults of a policy, with the seed of its decisions.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// At most [`MAX_FAULTS`].
    pub(super) faults: Box<[Fault]>,
}

/// The input of a decision about one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// The position of the call in its run, from 0.
    pub(super) number: u64,
    pub(super) key: Option<u64>,
    /// The time since the start of the run.
    pub(super) elapsed: Duration,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) delay: Duration,
    /// The fault that replaces the operation. `None` if the operation runs after the delay.
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The call hangs until this time after the start of the run. Then the operation runs.
    Hang(Duration),
    Panic,
    Error,
    Rejection,
}

pub(super) const MAX_FAULTS: usize = 64;
/// The number of random numbers per call: two for each fault, and one for the user's function.
const DRAWS: u64 = 2 * MAX_FAULTS as u64 + 1;

impl Plan {
    /// Decides what happens to a call. The decision depends only on the seed, the faults and
    /// `call`.
    pub(super) fn decide(&self, call: &Call) -> Decision {
        let mut decision = Decision::default();
        for (draw, fault) in (0..).step_by(2).zip(&self.faults) {
            let affects = fault.is_active(call.elapsed)
                && self.selects_key(fault, call.key)
                && self.draw(call.number, draw) < fault.probability;
            if !affects {
                continue;
            }
            let end = match &fault.kind {
                FaultKind::Latency(latency) => {
                    let delay = latency.at(self.draw(call.number, draw + 1));
                    decision.delay = decision.delay.saturating_add(delay);
                    continue;
                }
                FaultKind::Hang => End::Hang(fault.ends),
                FaultKind::Panic => End::Panic,
                FaultKind::Error => End::Error,
                FaultKind::Rejection => End::Rejection,
            };
            decision.end = decision.end.or(Some(end));
        }
        decision
    }

    /// Returns the random number that the user's function receives for call `number`.
    pub(super) fn user_draw(&self, number: u64) -> f64 {
        self.draw(number, DRAWS - 1)
    }

    fn selects_key(&self, fault: &Fault, key: Option<u64>) -> bool {
        // The complement of the seed gives the keys other random numbers than the calls.
        fault.key_share >= 1.0 || key.is_some_and(|key| unit_at(!self.seed, key) < fault.key_share)
    }

    fn draw(&self, number: u64, draw: u64) -> f64 {
        unit_at(self.seed, number.wrapping_mul(DRAWS).wrapping_add(draw))
    }
}

/// The counter that numbers the calls of each run from 0.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    run: u64,
    next: u64,
}

impl Numbers {
    /// Returns the number of the next call of run `run`, or `None` if a later run has started.
    pub(super) fn take(&mut self, run: u64) -> Option<u64> {
        if run > self.run {
            *self = Self { run, next: 0 };
        }
        let number = self.next;
        (run == self.run).then(|| {
            self.next += 1;
            number
        })
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn plan(seed: u64, faults: impl IntoIterator<Item = Fault>) -> Plan {
        Plan { seed, faults: faults.into_iter().collect() }
    }

    fn call(number: u64) -> Call {
        Call { number, key: None, elapsed: Duration::ZERO }
    }

    #[test]
    fn latencies_add_up_and_the_first_other_fault_ends_the_call() {
        let end = |end| Decision { delay: Duration::ZERO, end: Some(end) };
        let delay = |ms| Decision { delay: ms * MS, end: None };
        for (faults, expected) in [
            (vec![], Decision::default()),
            (vec![Fault::latency(5 * MS)], delay(5)),
            (vec![Fault::latency(5 * MS), Fault::latency(2 * MS)], delay(7)),
            (vec![Fault::error(), Fault::panic()], end(End::Error)),
            (vec![Fault::panic(), Fault::error()], end(End::Panic)),
            (vec![Fault::rejection()], end(End::Rejection)),
            (vec![Fault::hang().lasts_for(SECOND)], end(End::Hang(SECOND))),
            (vec![Fault::hang()], end(End::Hang(Duration::MAX))),
            (
                vec![Fault::error(), Fault::latency(3 * MS)],
                Decision { delay: 3 * MS, end: Some(End::Error) },
            ),
            (
                vec![Fault::latency(Duration::MAX), Fault::latency(MS)],
                Decision { delay: Duration::MAX, end: None },
            ),
        ] {
            assert_eq!(plan(1, faults.clone()).decide(&call(0)), expected, "{faults:?}");
        }
    }

    #[test]
    fn a_fault_is_active_in_its_window() {
        let fault = Fault::error().starts_after(2 * SECOND).lasts_for(3 * SECOND);
        let in_step = Fault::error().starts_after(SECOND).within(4 * SECOND, 6 * SECOND);
        let until_end = Fault::error().within(4 * SECOND, 6 * SECOND);
        for (millis, alone, with_start, whole_step) in [
            (0, false, false, false),
            (1_999, false, false, false),
            (2_000, true, false, false),
            (4_000, true, false, true),
            (4_999, true, false, true),
            (5_000, false, true, true),
            (5_999, false, true, true),
            (6_000, false, false, false),
        ] {
            let call = Call { elapsed: millis * MS, ..call(0) };
            let is_active = |fault: &Fault| plan(1, [fault.clone()]).decide(&call).end.is_some();
            assert_eq!(
                (is_active(&fault), is_active(&in_step), is_active(&until_end)),
                (alone, with_start, whole_step),
                "{millis} ms"
            );
        }
    }

    #[test]
    fn the_order_of_start_and_duration_does_not_matter() {
        let one = Fault::error().starts_after(2 * SECOND).lasts_for(3 * SECOND);
        let other = Fault::error().lasts_for(3 * SECOND).starts_after(2 * SECOND);
        assert_eq!((one.starts, one.ends), (other.starts, other.ends));
        let again = other.starts_after(SECOND);
        assert_eq!((again.starts, again.ends), (SECOND, 4 * SECOND));
    }

    #[test]
    fn a_fault_affects_a_share_of_calls_equal_to_its_probability() {
        for probability in [0.01, 0.1, 0.5, 0.99] {
            let plan = plan(7, [Fault::error().probability(probability)]);
            let hits = (0..100_000).filter(|n| plan.decide(&call(*n)).end.is_some()).count();
            let share = hits as f64 / 100_000.0;
            assert!((share - probability).abs() < 0.005, "{probability}: {share}");
        }
    }

    /// One call in four has both faults only if the random numbers of the two are independent.
    #[test]
    fn faults_of_one_policy_are_independent() {
        let half = |fault: Fault| fault.probability(0.5);
        let plan = plan(3, [half(Fault::latency(MS)), half(Fault::error())]);
        let both = |n: &u64| {
            let Decision { delay, end } = plan.decide(&call(*n));
            !delay.is_zero() && end.is_some()
        };
        let share = (0..100_000).filter(both).count() as f64 / 100_000.0;
        assert!((share - 0.25).abs() < 0.005, "{share}");
    }

    #[test]
    fn the_decision_on_the_nth_call_depends_only_on_the_seed_and_n() {
        let faults = || [Fault::error().probability(0.3), Fault::latency_exponential(SECOND)];
        let run = |seed| {
            let plan = plan(seed, faults());
            (0..1000).map(|n| plan.decide(&call(n))).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let backwards: Vec<_> =
            (0..1000).rev().map(|n| plan(7, faults()).decide(&call(n))).collect();
        assert!(backwards.iter().rev().eq(&run(7)));
    }

    #[test]
    fn a_larger_share_of_keys_contains_every_smaller_one() {
        let selects = |share: f64, key: u64| {
            let plan = plan(5, [Fault::error().key_share(share)]);
            plan.decide(&Call { key: Some(key), ..call(0) }).end.is_some()
        };
        let mut selected = [0; 3];
        for key in 0..10_000 {
            let by_share = [0.05, 0.2, 1.0].map(|share| selects(share, key));
            assert!(by_share.is_sorted(), "{key}: {by_share:?}");
            for (count, is_selected) in selected.iter_mut().zip(by_share) {
                *count += u32::from(is_selected);
            }
        }
        assert!((400..600).contains(&selected[0]) && (1900..2100).contains(&selected[1]));
        assert_eq!(selected[2], 10_000);
        let without_key = plan(5, [Fault::error().key_share(0.99)]);
        assert_eq!(without_key.decide(&call(0)), Decision::default());
    }

    #[test]
    fn latencies_follow_their_distribution() {
        use super::super::fault::Latency;
        let quantiles = [0.0, 0.5, 0.99, 1.0 - f64::EPSILON];
        let at = |latency: Latency| quantiles.map(|unit| latency.at(unit).as_millis());
        assert_eq!(at(Latency::Fixed(5 * MS)), [5; 4]);
        assert_eq!(at(Latency::Between(100 * MS, 200 * MS)), [100, 150, 199, 199]);
        assert_eq!(at(Latency::Between(100 * MS, 50 * MS)), [100; 4]);
        assert_eq!(at(Latency::Exponential(SECOND)), [0, 693, 4605, 36043]);
        assert_eq!(Latency::Exponential(Duration::MAX).at(0.99), Duration::MAX);
        let by = Fault::latency_by(|unit| SECOND.mul_f64(unit));
        let FaultKind::Latency(by) = by.kind else { panic!("expected a latency") };
        assert_eq!(at(by), [0, 500, 990, 1000]);
    }

    #[test]
    fn calls_are_numbered_from_zero_in_each_run() {
        let mut numbers = Numbers::default();
        for (run, expected) in [
            (1, Some(0)),
            (1, Some(1)),
            (2, Some(0)),
            (1, None), // a call that read the switch before run 2 started
            (2, Some(1)),
            (4, Some(0)),
        ] {
            assert_eq!(numbers.take(run), expected, "run {run}");
        }
    }

    #[test]
    fn the_random_number_for_the_user_function_differs_from_those_of_the_faults() {
        let plan = plan(1, []);
        let draws: std::collections::BTreeSet<_> =
            (0..DRAWS - 1).map(|draw| plan.draw(3, draw).to_bits()).collect();
        assert_eq!(draws.len() as u64, DRAWS - 1);
        assert!(!draws.contains(&plan.user_draw(3).to_bits()));
        assert_ne!(plan.user_draw(3), plan.user_draw(4));
    }
}
