//! Controlled delay: tells a queue that absorbs a burst from one that only adds delay.

use crate::time::Instant;
use std::time::Duration;

/// What to do with the job at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Run,
    Shed,
}

/// The estimator of CoDel ([RFC 8289](https://www.rfc-editor.org/rfc/rfc8289)): the queue stands if for a
/// whole `interval` no job came out after less than `target`. It stands no longer as soon as one does,
/// or as the queue is empty.
///
/// What happens then is not the law of the RFC, which drops one packet after ever shorter pauses and counts
/// on senders that slow down when they miss one. Submitters do not: at twice the capacity, half of all
/// jobs must go, at once. So while the queue stands every job is shed that has waited for more than twice
/// the target, as in Facebook's adaptation ([*Fail at Scale*](https://queue.acm.org/detail.cfm?id=2839461)):
/// the backlog goes in one sweep, and the queue then stays at that length for as long as the overload
/// lasts.
#[derive(Debug)]
pub(crate) struct CoDel {
    target: Duration,
    interval: Duration,
    delay: Delay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delay {
    Below,
    /// Above the target since an interval before this instant.
    AboveUntil(Instant),
    /// Above for an interval: the queue stands.
    Standing,
}

impl CoDel {
    /// What the RFC advises: a delay that nobody notices,
    pub(crate) const TARGET: Duration = Duration::from_millis(5);
    /// and about as long as a burst lasts.
    pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
    pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

    pub(crate) const fn new(target: Duration, interval: Duration) -> Self {
        Self { target, interval, delay: Delay::Below }
    }

    /// A job comes out after `waited`; `last` says that the queue is empty behind it.
    pub(crate) fn dequeue(&mut self, now: Instant, waited: Duration, last: bool) -> Verdict {
        self.delay = match self.delay {
            _ if waited < self.target || last => Delay::Below,
            Delay::Below => Delay::AboveUntil(now + self.interval),
            Delay::AboveUntil(end) if now >= end => Delay::Standing,
            above => above,
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

    /// (time since the row before, waited, last, verdict), all in milliseconds; target 5, interval 100.
    fn table(rows: &[(u64, u64, bool, Verdict)]) {
        let ms = Duration::from_millis;
        let clock = ManualClock::new();
        let mut codel = CoDel::new(ms(5), ms(100));
        for (number, &(later, waited, last, verdict)) in rows.iter().enumerate() {
            clock.advance(ms(later));
            assert_eq!(codel.dequeue(clock.now(), ms(waited), last), verdict, "row {number}");
        }
    }

    #[test]
    fn a_burst_passes() {
        table(&[
            (0, 50, false, Run),
            (50, 80, false, Run),
            (49, 90, false, Run),
            (0, 4, false, Run),
        ]);
    }

    #[test]
    fn a_standing_queue_is_cut_to_twice_the_target() {
        table(&[
            (0, 5, false, Run),
            (99, 500, false, Run),
            (1, 11, false, Shed),
            (0, 10, false, Run),
            (1, 500, false, Shed),
            (1, 6, false, Run),
            (1, 11, false, Shed),
        ]);
    }

    #[test]
    fn one_prompt_job_ends_it() {
        let standing = [(0, 20, false, Run), (100, 20, false, Shed)];
        table(
            &[&standing[..], &[(1, 4, false, Run), (1, 20, false, Run), (100, 20, false, Shed)]]
                .concat(),
        );
    }

    #[test]
    fn the_last_in_the_queue_is_run() {
        let standing = [(0, 20, false, Run), (100, 20, false, Shed)];
        table(&[&standing[..], &[(1, 400, true, Run), (1, 20, false, Run)]].concat());
    }
}
