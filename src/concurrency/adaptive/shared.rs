//! The shared state of a limiter: the permits, the meter, the controller.

use super::events::{Emitter, LimitChange};
use crate::concurrency::controller::{
    LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow, WindowRule,
};
use crate::concurrency::meter::Meter;
use crate::error::{Reason, Rejection};
use crate::random::Random;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{CachePadded, Mutex, PlainArc};
use crate::time::{Clock, Instant, nanos};
use crate::wait::{Semaphore, SemaphoreError, SemaphorePermit};
use std::time::Duration;

pub(super) type OverloadSignal = PlainArc<dyn Fn() -> bool + Send + Sync>;

/// What a limiter and all its permits share.
///
/// Admission is the semaphore's: one compare-and-swap of the word that holds the free permits. A
/// new limit is an addition to that same word, so no call is admitted by a limit that is no longer
/// in force.
pub(super) struct Shared {
    pub(super) semaphore: PlainArc<Semaphore>,
    meter: CachePadded<Meter>,
    pace: Pace,
    control: Mutex<Control>,
    /// The limit that the semaphore is to have; see [`apply`](Self::apply).
    target: AtomicU32,
    /// Waiting calls.
    pub(super) queued: AtomicU32,
    pub(super) settings: Settings,
    pub(super) emitter: Emitter,
}

/// What does not change after the limiter was built.
pub(super) struct Settings {
    pub(super) clock: Clock,
    pub(super) max_wait: Duration,
    /// As multiples of the limit: waiting calls beyond the first are rejected with a probability
    /// that grows to one at the second.
    pub(super) queue: (f64, f64),
    pub(super) overload_signal: Option<OverloadSignal>,
    pub(super) random: Random,
}

/// The controller and what it said last.
struct Control {
    /// `None` while a thread runs it, outside the lock: it may be the user's code.
    controller: Option<Box<dyn LimitController>>,
    rule: WindowRule,
    /// Counts replacements: a thread that comes back with an older controller drops it.
    generation: u64,
    latest: Latest,
}

/// The latest figures, for snapshots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub(super) limit: f64,
    pub(super) reason: LimitReason,
    pub(super) learned: LearnedLimit,
    pub(super) windows: u64,
    pub(super) window: Option<LimitWindow>,
}

/// Limits below one: the only slot stays unused for a while after each call.
#[derive(Debug)]
struct Pace {
    /// How long, as a multiple of the call, in 1/1024; 0 for limits of one and more.
    factor: AtomicU64,
    /// When the slot may be used again, in nanoseconds.
    next_start: AtomicU64,
}

impl Pace {
    const UNIT: f64 = 1024.0;

    fn set(&self, limit: f64) {
        let factor = if limit < 1.0 { (1.0 / limit - 1.0) * Self::UNIT } else { 0.0 };
        self.factor.store(factor as u64, Relaxed);
        if factor == 0.0 {
            self.next_start.store(0, Relaxed);
        }
    }

    /// A call that took from `started` to `now` ends. Before its permit is released, so that the
    /// next holder sees it.
    #[inline]
    fn ended(&self, started: Instant, now: Instant) {
        let factor = self.factor.load(Relaxed);
        if factor > 0 {
            let pause = nanos(now.since(started)).saturating_mul(factor) / Self::UNIT as u64;
            self.next_start.store(now.as_nanos().saturating_add(pause), Relaxed);
        }
    }

    #[inline]
    fn next_start(&self) -> Instant {
        Instant::from_nanos(self.next_start.load(Relaxed))
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    Success,
    Dropped,
}

impl Shared {
    pub(super) fn new(
        controller: Box<dyn LimitController>,
        semaphore: Semaphore,
        settings: Settings,
        emitter: Emitter,
    ) -> Self {
        let rule = controller.window_rule();
        let limit = controller.limit();
        let shared = Self {
            semaphore: PlainArc::new(semaphore),
            meter: CachePadded::new(Meter::new(settings.clock.now(), rule)),
            pace: Pace { factor: AtomicU64::new(0), next_start: AtomicU64::new(0) },
            target: AtomicU32::new(whole(limit)),
            queued: AtomicU32::new(0),
            control: Mutex::new(Control {
                rule,
                generation: 0,
                latest: Latest {
                    limit,
                    reason: LimitReason::Set,
                    learned: controller.learned(),
                    windows: 0,
                    window: None,
                },
                controller: Some(controller),
            }),
            settings,
            emitter,
        };
        shared.pace.set(limit);
        shared
    }

    /// Takes a permit if one is free and the limit's pause is over.
    #[inline]
    pub(super) fn take(&self, now: Instant) -> Result<SemaphorePermit<'_>, Reason> {
        match self.semaphore.try_acquire() {
            Ok(permit) if now >= self.pace.next_start() => {
                self.started();
                Ok(permit)
            }
            Ok(_) | Err(SemaphoreError::Exhausted) => Err(Reason::ConcurrencyLimited),
            Err(SemaphoreError::Closed) => Err(Reason::ShutDown),
        }
    }

    /// Notes a call that begins.
    #[inline]
    pub(super) fn started(&self) {
        self.meter.under_way(self.semaphore.in_use());
    }

    /// When the slot of a limit below one may be used again.
    pub(super) fn next_start(&self) -> Instant {
        self.pace.next_start()
    }

    /// Counts a call that was rejected, or has to wait.
    pub(super) fn saturated(&self) {
        self.meter.rejected();
    }

    /// Rejects a call, and reports it.
    #[cold]
    pub(super) fn reject(&self, reason: Reason) -> Rejection {
        let rejection = Rejection::new(reason, self.emitter.name);
        self.emitter.rejected(rejection, self.semaphore.limit(), || self.settings.clock.now());
        rejection
    }

    /// Adds a waiting call, unless there are too many.
    pub(super) fn enter_queue(&self) -> Result<(), Reason> {
        let waiting = f64::from(self.queued.fetch_add(1, Relaxed));
        let limit = f64::from(self.semaphore.limit());
        let (free, full) = (self.settings.queue.0 * limit, self.settings.queue.1 * limit);
        let admitted = match waiting {
            waiting if waiting < free => true,
            waiting if waiting >= full => false,
            waiting => self.settings.random.unit() >= (waiting - free) / (full - free),
        };
        if admitted {
            return Ok(());
        }
        self.leave_queue();
        Err(Reason::QueueFull)
    }

    pub(super) fn leave_queue(&self) {
        self.queued.fetch_sub(1, Relaxed);
    }

    /// Counts a call that took from `started` to `now`; before its permit is released.
    #[inline]
    pub(super) fn count(&self, started: Instant, now: Instant, end: CallEnd) {
        match end {
            CallEnd::Success => self.meter.succeeded(started, now),
            CallEnd::Dropped => self.meter.dropped(started),
        }
        self.pace.ended(started, now);
    }

    /// Closes the window if its time is over; after the permit was released.
    #[inline]
    pub(super) fn after(&self, now: Instant) {
        if self.meter.is_due(now) {
            self.close_window(now);
        }
    }

    /// Closes the window if it holds enough calls, and moves the limit.
    #[cold]
    fn close_window(&self, now: Instant) {
        // The thread that holds the lock closes the window for all others.
        let Some(mut control) = self.control.try_lock() else { return };
        if control.controller.is_none() {
            return;
        }
        let rule = control.rule;
        // A first look, before the user's code is asked.
        let Some(mut window) = self.meter.close(now, rule) else { return };
        let Some(controller) = control.controller.take() else { return };
        let generation = control.generation;
        drop(control);

        let mut turn = Turn { shared: self, controller: Some(controller), generation };
        window.overloaded = self.settings.overload_signal.as_ref().is_some_and(|signal| signal());
        let Some(controller) = turn.controller.as_mut() else { return };
        let update = controller.update(&window);
        let learned = controller.learned();
        if update.reason == LimitReason::Probe {
            self.meter.ignore_before(now);
        }
        if turn.finish(update, learned, window) {
            self.apply();
            self.emitter.deliver();
        }
    }

    /// Gives the semaphore the limit that was decided last.
    ///
    /// Two threads that decide one after the other may resize in the other order; each looks again.
    fn apply(&self) {
        loop {
            let target = self.target.load(Relaxed);
            self.semaphore.resize(target);
            if self.target.load(Relaxed) == target {
                return;
            }
        }
    }

    /// Writes a decision down; under the lock.
    fn decide(&self, control: &mut Control, update: LimitUpdate, learned: LearnedLimit) {
        let from = std::mem::replace(&mut control.latest.limit, update.limit);
        control.latest.reason = update.reason;
        control.latest.learned = learned;
        self.target.store(whole(update.limit), Relaxed);
        self.pace.set(update.limit);
        if whole(from) != whole(update.limit) {
            self.emitter.changed(LimitChange {
                sequence: 0,
                from: whole(from),
                to: whole(update.limit),
                reason: update.reason,
                at: self.settings.clock.now(),
            });
        }
    }

    /// Puts another controller into force, at its own limit.
    pub(super) fn replace(&self, controller: Box<dyn LimitController>) {
        let update = LimitUpdate { limit: controller.limit(), reason: LimitReason::Set };
        let (rule, learned) = (controller.window_rule(), controller.learned());
        let old = {
            let mut control = self.control.lock();
            control.generation += 1;
            control.rule = rule;
            self.decide(&mut control, update, learned);
            control.controller.replace(controller)
        };
        drop(old); // the user's code
        self.apply();
        self.emitter.deliver();
    }

    pub(super) fn latest(&self) -> Latest {
        self.control.lock().latest
    }
}

/// The permits that a limit stands for: a limit below one still has one.
fn whole(limit: f64) -> u32 {
    limit.max(1.0) as u32
}

/// Holds the controller while it runs outside the lock, and brings it back, also after a panic.
struct Turn<'a> {
    shared: &'a Shared,
    controller: Option<Box<dyn LimitController>>,
    generation: u64,
}

impl Turn<'_> {
    /// Brings the controller back with what it said; false if another has taken its place.
    fn finish(mut self, update: LimitUpdate, learned: LearnedLimit, window: LimitWindow) -> bool {
        let mut control = self.shared.control.lock();
        if control.generation != self.generation {
            return false;
        }
        control.latest.windows += 1;
        control.latest.window = Some(window);
        self.shared.decide(&mut control, update, learned);
        control.controller = self.controller.take();
        true
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(controller) = self.controller.take() else { return };
        let mut control = self.shared.control.lock();
        if control.generation == self.generation {
            control.controller = Some(controller);
        }
    }
}
