//! The shared state of a limiter: permits, meter and controller.

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

/// The state shared by a limiter and its permits.
///
/// The semaphore admits calls, by one compare-and-swap of the word that holds the free permits. A
/// new limit is an addition to the same word, so no call is admitted under an outdated limit.
pub(super) struct Shared {
    pub(super) semaphore: PlainArc<Semaphore>,
    meter: CachePadded<Meter>,
    pace: Pace,
    control: Mutex<Control>,
    /// The limit to which the semaphore is to be resized; see [`apply`](Self::apply).
    target: AtomicU32,
    /// The number of waiting calls.
    pub(super) queued: AtomicU32,
    pub(super) settings: Settings,
    pub(super) emitter: Emitter,
}

/// The settings that are fixed when the limiter is built.
pub(super) struct Settings {
    pub(super) clock: Clock,
    pub(super) max_wait: Duration,
    /// Two queue lengths, as multiples of the limit. From the first to the second, the probability
    /// that a call is rejected grows from zero to one.
    pub(super) queue: (f64, f64),
    pub(super) overload_signal: Option<OverloadSignal>,
    pub(super) random: Random,
}

/// The controller and its latest decision.
struct Control {
    /// `None` while a thread runs the controller outside the lock, because it may be user code.
    controller: Option<Box<dyn LimitController>>,
    rule: WindowRule,
    /// The number of times that the controller was replaced. A thread that ran the controller
    /// outside the lock drops it if this number has changed meanwhile.
    generation: u64,
    latest: Latest,
}

/// The data for snapshots, as of the latest decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub(super) limit: f64,
    pub(super) reason: LimitReason,
    pub(super) learned: LearnedLimit,
    pub(super) windows: u64,
    pub(super) window: Option<LimitWindow>,
}

/// The pause of the only slot after each call, if the limit is below one.
#[derive(Debug)]
struct Pace {
    /// The pause as a multiple of the call's duration, in units of 1/1024; 0 if the limit is at
    /// least one.
    factor: AtomicU64,
    /// The instant from which the slot may be used again, in nanoseconds.
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

    /// Starts the pause after a call that lasted from `started` to `now`. Must be called before the
    /// permit is released, so that its next holder observes the pause.
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

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    Success,
    Overload,
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

    /// Records the start of a call.
    #[inline]
    pub(super) fn started(&self) {
        self.meter.under_way(self.semaphore.in_use());
    }

    /// Returns the instant from which the only slot may be used again if the limit is below one,
    /// and a past instant otherwise.
    pub(super) fn next_start(&self) -> Instant {
        self.pace.next_start()
    }

    /// Counts a call that was rejected, or has to wait.
    pub(super) fn saturated(&self) {
        self.meter.rejected();
    }

    /// Creates a rejection, and reports it to the observer.
    #[cold]
    pub(super) fn reject(&self, reason: Reason) -> Rejection {
        let rejection = Rejection::new(reason, self.emitter.name);
        self.emitter.rejected(rejection, self.semaphore.limit(), || self.settings.clock.now());
        rejection
    }

    /// Counts a waiting call, unless too many calls are waiting.
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

    /// Counts a call that lasted from `started` to `now`. Must be called before its permit is
    /// released.
    #[inline]
    pub(super) fn count(&self, started: Instant, now: Instant, end: CallEnd) {
        match end {
            CallEnd::Success => self.meter.succeeded(started, now),
            CallEnd::Overload => self.meter.overload(started),
        }
        self.pace.ended(started, now);
    }

    /// Closes the window if it is due. Must be called after the permit is released.
    #[inline]
    pub(super) fn after(&self, now: Instant) {
        if self.meter.is_due(now) {
            self.close_window(now);
        }
    }

    /// Closes the window if it holds enough calls, and updates the limit.
    #[cold]
    fn close_window(&self, now: Instant) {
        // The thread that holds the lock closes the window for all others.
        let Some(mut control) = self.control.try_lock() else { return };
        if control.controller.is_none() {
            return;
        }
        let rule = control.rule;
        // Closes the window before user code is called.
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
        if turn.finish(update, learned, window, now) {
            self.apply();
            self.emitter.deliver();
        }
    }

    /// Resizes the semaphore to the latest limit.
    ///
    /// Two threads may resize in the reverse order of their decisions, so each reads the target
    /// again.
    fn apply(&self) {
        loop {
            let target = self.target.load(Relaxed);
            self.semaphore.resize(target);
            if self.target.load(Relaxed) == target {
                return;
            }
        }
    }

    /// Stores a decision made at `at`. Must be called under the lock, so it does not read the
    /// clock, which may be user code.
    fn decide(
        &self,
        control: &mut Control,
        update: LimitUpdate,
        learned: LearnedLimit,
        at: Instant,
    ) {
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
                at,
            });
        }
    }

    /// Replaces the controller, and applies the limit of the new one.
    pub(super) fn replace(&self, controller: Box<dyn LimitController>) {
        let update = LimitUpdate { limit: controller.limit(), reason: LimitReason::Set };
        let (rule, learned) = (controller.window_rule(), controller.learned());
        let now = self.settings.clock.now();
        let old = {
            let mut control = self.control.lock();
            control.generation += 1;
            control.rule = rule;
            self.decide(&mut control, update, learned, now);
            control.controller.replace(controller)
        };
        drop(old); // may run user code, so outside the lock
        self.apply();
        self.emitter.deliver();
    }

    pub(super) fn latest(&self) -> Latest {
        self.control.lock().latest
    }
}

/// Returns the number of permits for `limit`, at least one.
fn whole(limit: f64) -> u32 {
    limit.max(1.0) as u32
}

/// A guard that holds the controller while it runs outside the lock, and puts it back, also after a
/// panic.
struct Turn<'a> {
    shared: &'a Shared,
    controller: Option<Box<dyn LimitController>>,
    generation: u64,
}

impl Turn<'_> {
    /// Puts the controller back and stores its decision; returns false if it has been replaced.
    fn finish(
        mut self,
        update: LimitUpdate,
        learned: LearnedLimit,
        window: LimitWindow,
        now: Instant,
    ) -> bool {
        let mut control = self.shared.control.lock();
        if control.generation != self.generation {
            return false;
        }
        control.latest.windows += 1;
        control.latest.window = Some(window);
        self.shared.decide(&mut control, update, learned, now);
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
