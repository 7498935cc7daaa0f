//! The shared state of a throttle: the window, the rate in force, the time of the next probe.

use super::POLICY;
use super::state::Strictness;
use crate::error::{Reason, Rejection};
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::random::Random;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{PlainArc, PlainMutex};
use crate::time::{Clock, Instant, Periodic};
use crate::window::{Sample, Window, WindowCounts, WindowGeneration};
use std::convert::Infallible;
use std::time::Duration;

pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    /// Calls that the dependency accepted are successes. Calls that the dependency or the throttle
    /// rejected are failures.
    window: Window,
    /// The rejection rate in force, as the bits of an `f64`. While it is 0, a call costs one load.
    rate: AtomicU64,
    /// The next update of the rate, and the next probe.
    update_at: Periodic,
    probe_at: Periodic,
    pub(super) strictness: PlainMutex<Strictness>,
    probe_interval: Duration,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
    rejections: AtomicU64,
    outbox: Outbox<Infallible>,
}

/// How often the rate is computed.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// The arguments of [`Shared::new`].
pub(super) struct Parts {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    pub(super) window: Window,
    pub(super) strictness: Strictness,
    pub(super) probe_interval: Duration,
    pub(super) random: Random,
    pub(super) observer: Option<PlainArc<dyn Observer>>,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, clock, window, strictness, probe_interval, random, observer } = parts;
        Self {
            name,
            clock,
            window,
            rate: AtomicU64::new(0),
            update_at: Periodic::new(Instant::ORIGIN),
            probe_at: Periodic::new(Instant::ORIGIN),
            strictness: PlainMutex::new(strictness),
            probe_interval,
            random,
            observer,
            rejections: AtomicU64::new(0),
            outbox: Outbox::new(),
        }
    }

    /// Admits or rejects a call; calls `now` only while the rejection rate is above 0.
    #[inline]
    pub(super) fn admit(&self, now: impl FnOnce() -> Instant) -> Result<(), Rejection> {
        // Ordering: relaxed. No other data depends on the rate, and it may be slightly stale.
        match self.rate.load(Relaxed) {
            0 => Ok(()),
            _ => self.admit_some(now()),
        }
    }

    #[cold]
    fn admit_some(&self, now: Instant) -> Result<(), Rejection> {
        self.update_if_due(now);
        let rate = self.rate();
        // Not `<=`: a draw can be 0, and so can the rate.
        if self.random.unit() >= rate || self.take_probe(now) {
            return Ok(());
        }
        self.window.record(WindowGeneration::FIRST, now, Sample::FAILED);
        Err(self.rejected(rate, now))
    }

    /// Records whether the dependency accepted a call.
    pub(super) fn record(&self, accepted: bool) {
        let now = self.clock.now();
        let sample = if accepted { Sample::SUCCESS } else { Sample::FAILED };
        self.window.record(WindowGeneration::FIRST, now, sample);
        self.update_if_due(now);
    }

    /// Returns whether this call is the probe of the interval, which is admitted at any rate.
    pub(super) fn take_probe(&self, now: Instant) -> bool {
        self.probe_at.take(now, self.probe_interval)
    }

    fn update_if_due(&self, now: Instant) {
        if self.update_at.take(now, UPDATE_INTERVAL) {
            self.update(now);
        }
    }

    /// Computes the rate.
    pub(super) fn update(&self, now: Instant) {
        let strictness = *self.strictness.lock();
        let WindowCounts { total, failed, .. } = self.window.counts(now);
        let rate = strictness.rejection_rate(total, total.saturating_sub(failed));
        self.rate.store(rate.to_bits(), Relaxed);
    }

    pub(super) fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Relaxed))
    }

    pub(super) fn counts(&self) -> WindowCounts {
        self.window.counts(self.clock.now())
    }

    fn rejected(&self, rate: f64, now: Instant) -> Rejection {
        let rejection = Rejection::new(Reason::Shed, self.name);
        let sequence = self.rejections.fetch_add(1, Relaxed) + 1;
        if let Some(observer) = &self.observer {
            let fields = [("rejection_percent", EventValue::Count((100.0 * rate) as u64))];
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

    pub(super) fn rejections(&self) -> u64 {
        self.rejections.load(Relaxed)
    }
}
