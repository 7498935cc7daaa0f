//! The shared state of a prioritizer: the counters of an interval and the current threshold.

use super::fairness::Fairness;
use super::state::{Interval, Threshold};
use super::{LimitSource, POLICY};
use crate::error::{Reason, Rejection};
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::policy::{Caller, Priority};
use crate::random::Random;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{CachePadded, PlainArc, PlainMutex};
use crate::time::{Clock, Instant, Periodic, nanos};
use std::convert::Infallible;
use std::time::Duration;

pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    limiters: Vec<Box<dyn LimitSource>>,
    /// In nanoseconds.
    update_interval: AtomicU64,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
    outbox: Outbox<Infallible>,
    /// The current [`Threshold`], packed; 0 while no call is rejected.
    threshold: CachePadded<AtomicU64>,
    update_at: Periodic,
    /// Recently offered calls, by the index of their priority.
    offered: Box<[AtomicU32]>,
    calls: CachePadded<Calls>,
    fairness: Fairness,
    control: PlainMutex<Control>,
    rejections: AtomicU64,
}

/// The counters that every admitted call changes.
struct Calls {
    admitted: AtomicU64,
    /// The admitted calls that have ended for any reason.
    ended: AtomicU64,
    /// The admitted calls whose operation has run.
    completed: AtomicU64,
}

/// The state of the controller between two updates.
#[derive(Default)]
struct Control {
    rate: f64,
    /// The number of completed calls at the last update.
    completed: u64,
    /// The sum of the counts in `offered` after the last update.
    offered: u64,
}

/// The arguments of [`Shared::new`].
pub(super) struct Parts {
    pub(super) name: &'static str,
    pub(super) limiters: Vec<Box<dyn LimitSource>>,
    pub(super) update_interval: Duration,
    pub(super) max_users: usize,
    pub(super) usage_half_life: Duration,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) observer: Option<PlainArc<dyn Observer>>,
}

/// If more calls than this are counted, an update halves all counts, so that recent calls have more
/// weight.
const RECENT_CALLS: u64 = 1000;

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, limiters, update_interval, clock, random, observer, .. } = parts;
        let now = clock.now();
        Self {
            name,
            clock,
            limiters,
            update_interval: AtomicU64::new(nanos(update_interval)),
            random,
            observer,
            outbox: Outbox::new(),
            threshold: CachePadded::new(AtomicU64::new(Threshold::NONE.to_bits())),
            update_at: Periodic::new(now + update_interval),
            offered: (0..Priority::COUNT).map(|_| AtomicU32::new(0)).collect(),
            calls: CachePadded::new(Calls {
                admitted: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                completed: AtomicU64::new(0),
            }),
            fairness: Fairness::new(parts.max_users, parts.usage_half_life, now),
            control: PlainMutex::new(Control::default()),
            rejections: AtomicU64::new(0),
        }
    }

    /// Admits or rejects a call.
    pub(super) fn admit(&self, caller: Caller, now: Instant) -> Result<(), Rejection> {
        let priority = caller.priority();
        // Ordering: relaxed, here and below. The counters protect no other data, and the threshold
        // may be slightly stale.
        self.offered[priority.index()].fetch_add(1, Relaxed);
        if self.update_at.take(now, Duration::from_nanos(self.update_interval.load(Relaxed))) {
            self.update(now);
        }
        let threshold = self.threshold();
        let admitted = match caller.user() {
            None => !threshold.rejects(priority, || self.random.unit()),
            Some(user) => {
                self.fairness.admit(user, priority.class(), now, self.random.unit(), |position| {
                    !threshold.rejects(priority, || position)
                })
            }
        };
        if !admitted {
            return Err(self.rejected(priority, now));
        }
        self.calls.admitted.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(super) fn reconfigure(&self, update_interval: Duration, usage_half_life: Duration) {
        self.update_interval.store(nanos(update_interval), Relaxed);
        self.fairness.set_half_life(usage_half_life);
    }

    /// Records the end of an admitted call.
    pub(super) fn end(&self, end: CallEnd) {
        if end == CallEnd::Completed {
            self.calls.completed.fetch_add(1, Relaxed);
        }
        self.calls.ended.fetch_add(1, Relaxed);
    }

    #[cold]
    fn update(&self, now: Instant) {
        self.fairness.update(now);
        // Limiters may be user code, so they are called before the lock is acquired.
        let (mut limit, mut in_flight) = (0.0, 0.0);
        for limiter in &self.limiters {
            limit += limiter.limit();
            in_flight += f64::from(limiter.in_flight());
        }
        let free_share = if limit > 0.0 { (1.0 - in_flight / limit).max(0.0) } else { 0.0 };
        let waiting = (self.in_flight() as f64 - in_flight).max(0.0);
        let completed = self.calls.completed.load(Relaxed);
        let counts: Vec<u32> = self.offered.iter().map(|count| count.load(Relaxed)).collect();
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let mut control = self.control.lock();
        let interval = Interval {
            offered: total.saturating_sub(control.offered),
            completed: completed.saturating_sub(control.completed),
            free_share,
            waiting,
        };
        control.rate = interval.rejection_rate(control.rate);
        control.completed = completed;
        let threshold = match control.rate {
            0.0 => Threshold::NONE,
            rate => Threshold::of(rate, &counts),
        };
        self.threshold.store(threshold.to_bits(), Relaxed);
        control.offered = if total > RECENT_CALLS { self.forget_half(&counts) } else { total };
    }

    /// Halves the counts of the offered calls, and returns their new sum.
    fn forget_half(&self, counts: &[u32]) -> u64 {
        let mut left = 0;
        for (slot, count) in self.offered.iter().zip(counts) {
            let forgotten = count / 2;
            slot.fetch_sub(forgotten, Relaxed);
            left += u64::from(count - forgotten);
        }
        left
    }

    fn rejected(&self, priority: Priority, now: Instant) -> Rejection {
        let rejection = Rejection::new(Reason::Shed, self.name);
        let sequence = self.rejections.fetch_add(1, Relaxed) + 1;
        if let Some(observer) = &self.observer {
            let fields = [
                ("class", EventValue::Count(priority.class() as u64)),
                ("level", EventValue::Count(priority.level().into())),
                ("rejection_percent", EventValue::Count((100.0 * self.rate()) as u64)),
            ];
            let event = Event {
                policy: POLICY,
                name: self.name,
                kind: "rejected",
                keyed: false,
                sequence,
                at: now,
                fields: &fields,
            };
            self.outbox.notify(|| observer.observe(&event), |never| match never {});
        }
        rejection
    }

    pub(super) fn rate(&self) -> f64 {
        self.control.lock().rate
    }

    pub(super) fn threshold(&self) -> Threshold {
        Threshold::from_bits(self.threshold.load(Relaxed))
    }

    /// Returns the number of admitted calls that have not ended.
    pub(super) fn in_flight(&self) -> u64 {
        let ended = self.calls.ended.load(Relaxed);
        self.calls.admitted.load(Relaxed).saturating_sub(ended)
    }

    /// Returns the number of users whose usage is stored.
    pub(super) fn users(&self) -> usize {
        self.fairness.users()
    }

    pub(super) fn rejections(&self) -> u64 {
        self.rejections.load(Relaxed)
    }
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// The operation ran.
    Completed,
    /// A limiter below the prioritizer rejected the call.
    Rejected,
}
