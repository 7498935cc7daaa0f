//! Controlled delay, which distinguishes a queue that absorbs a burst from one that only adds
//! delay: [`CoDel`].

use crate::time::Instant;
use std::time::Duration;

/// The decision about a job or a caller that was taken from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Run,
    Shed,
}

/// The estimator of CoDel ([RFC 8289](https://www.rfc-editor.org/rfc/rfc8289)). The queue is
/// *standing* if, for a whole `interval`, every job that left it had waited for at least `target`.
/// It stops standing when a job that waited for less leaves it, or when the last job leaves it. (A
/// job is anything that waits: in a bulkhead, a caller.)
///
/// The reaction differs from the RFC, which drops single packets at shorter and shorter intervals,
/// and relies on senders that slow down when a packet is lost. Submitters do not slow down: at
/// twice the capacity, half of all jobs must be dropped immediately. So while the queue is
/// standing, every job that has waited for more than twice the target is shed, as in Facebook's
/// adaptation ([*Fail at Scale*](https://queue.acm.org/detail.cfm?id=2839461)). The backlog is
/// dropped at once, and waits stay at twice the target for as long as the overload lasts.
#[derive(Debug)]
pub(crate) struct CoDel {
    target: Duration,
    interval: Duration,
    delay: Delay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delay {
    BelowTarget,
    /// Above the target, for less than one interval so far. The queue is standing once a job leaves
    /// it at `standing_from` or later, if no job has ended the delay before.
    AboveTarget {
        standing_from: Instant,
    },
    /// Above the target for at least one interval.
    Standing,
}

impl CoDel {
    /// The RFC's recommendation.
    pub(crate) const TARGET: Duration = Duration::from_millis(5);
    /// The RFC's recommendation: about as long as a burst lasts.
    pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
    pub(crate) const MAX_INTERVAL: Duration = Duration::from_secs(3600);

    pub(crate) const fn new(target: Duration, interval: Duration) -> Self {
        Self { target, interval, delay: Delay::BelowTarget }
    }

    /// Decides whether to run or shed a job that leaves the queue after it has waited for `waited`.
    /// `is_last` is `true` if the job leaves the queue empty.
    pub(crate) fn dequeue(&mut self, now: Instant, waited: Duration, is_last: bool) -> Verdict {
        self.delay = match self.delay {
            _ if waited < self.target || is_last => Delay::BelowTarget,
            Delay::BelowTarget => Delay::AboveTarget { standing_from: now + self.interval },
            Delay::AboveTarget { standing_from } if now >= standing_from => Delay::Standing,
            unchanged => unchanged,
        };
        match self.delay {
            Delay::Standing if waited > self.target * 2 => Verdict::Shed,
            _ => Verdict::Run,
        }
    }

    pub(crate) fn is_standing(&self) -> bool {
        self.delay == Delay::Standing
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::Verdict::{Run, Shed};
    use super::*;
    use crate::time::ManualClock;

    /// Rows of (time since the row before, waited, is last, expected verdict). Times are in
    /// milliseconds; the target is 5 and the interval 100.
    fn check(rows: &[(u64, u64, bool, Verdict)]) {
        let ms = Duration::from_millis;
        let clock = ManualClock::new();
        let mut codel = CoDel::new(ms(5), ms(100));
        for (number, &(later, waited, is_last, verdict)) in rows.iter().enumerate() {
            clock.advance(ms(later));
            assert_eq!(codel.dequeue(clock.now(), ms(waited), is_last), verdict, "row {number}");
        }
    }

    #[test]
    fn a_burst_shorter_than_the_interval_is_not_shed() {
        check(&[
            (0, 50, false, Run),
            (50, 80, false, Run),
            (49, 90, false, Run),
            (0, 4, false, Run),
        ]);
    }

    #[test]
    fn a_standing_queue_sheds_jobs_that_waited_longer_than_twice_the_target() {
        check(&[
            (0, 5, false, Run),
            (99, 500, false, Run),
            (1, 11, false, Shed),
            (0, 10, false, Run),
            (1, 500, false, Shed),
            (1, 6, false, Run),
            (1, 11, false, Shed),
        ]);
    }

    const STANDING: [(u64, u64, bool, Verdict); 2] = [(0, 20, false, Run), (100, 20, false, Shed)];

    #[test]
    fn a_job_that_waited_for_less_than_the_target_ends_shedding() {
        let rows = [(1, 4, false, Run), (1, 20, false, Run), (100, 20, false, Shed)];
        check(&[&STANDING[..], &rows].concat());
    }

    #[test]
    fn the_last_job_in_the_queue_is_run() {
        check(&[&STANDING[..], &[(1, 400, true, Run), (1, 20, false, Run)]].concat());
    }
}
