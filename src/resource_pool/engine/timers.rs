//! The time limits of waiters.
//!
//! In a busy pool nearly all waits end long before their limit. With the system clock, a timer
//! therefore belongs to a slot of the queue and stays armed when its waiter leaves. The next waiter
//! in that slot keeps the timer if it fires no later than the deadline of the waiter. The timer may
//! then wake the waiter too early, at most once, and the waiter arms it again. With other clocks,
//! each waiter arms a timer of its own, because their timers may belong to a runtime that ends
//! before the pool.

use super::Shared;
use crate::resource_pool::ResourceManager;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{PlainArc, PlainAtomicBool, PlainWeak};
use crate::time::{Clock, Expiry, Instant, SystemTimer};
use crate::wait::WaiterKey;
use std::task::{Context, Poll, Wake, Waker};

/// The time limit of a waiter. It is polled only while the waiter has received nothing.
pub(in crate::resource_pool) struct WaitLimit<M: ResourceManager> {
    deadline: Instant,
    timer: WaitTimer<M>,
}

enum WaitTimer<M: ResourceManager> {
    /// The waiter has no limit, or its timer was returned to the slot.
    None,
    OfSlot(SlotTimer<M>),
    Own(Expiry),
}

/// A timer that belongs to a slot of the queue. While the slot has a waiter, its future owns the
/// timer.
pub(super) struct SlotTimer<M: ResourceManager> {
    /// `None` if the timer is not armed.
    armed_for: Option<Instant>,
    timer: SystemTimer,
    alarm: PlainArc<SlotAlarm<M>>,
    /// Wakes `alarm`.
    waker: Waker,
}

/// Wakes the waiter that is in the slot when the timer fires.
struct SlotAlarm<M: ResourceManager> {
    pool: PlainWeak<Shared<M>>,
    index: usize,
    /// Set under the lock of the pool when the timer fires. If the timer is armed again between its
    /// firing and this write, the flag is wrong: the next waiter then arms the timer needlessly.
    has_fired: PlainAtomicBool,
}

impl<M: ResourceManager> SlotTimer<M> {
    fn new(pool: &PlainArc<Shared<M>>, key: WaiterKey) -> Self {
        let alarm = PlainArc::new(SlotAlarm {
            pool: PlainArc::downgrade(pool),
            index: key.slot() as usize,
            has_fired: PlainAtomicBool::new(false),
        });
        let waker = Waker::from(alarm.clone());
        Self { armed_for: None, timer: SystemTimer::default(), alarm, waker }
    }

    /// Keeps the timer armed if it will wake the waiter that has just entered the slot no later
    /// than at `deadline`. Otherwise the waiter must arm it again. Called under the lock of the
    /// pool: a timer that has not fired yet wakes this waiter when it fires.
    pub(super) fn offer(&mut self, deadline: Instant) {
        // Ordering: relaxed; the lock orders it.
        let has_fired = self.alarm.has_fired.load(Relaxed);
        self.armed_for = self.armed_for.filter(|at| !has_fired && *at <= deadline);
    }

    /// Completes at `deadline`. `now` is the current time, if the caller has read the clock.
    fn poll(&mut self, mut now: Option<Instant>, clock: &Clock, deadline: Instant) -> Poll<()> {
        if deadline == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        let mut cx = Context::from_waker(&self.waker);
        loop {
            let armed_for = match self.armed_for {
                Some(at) if at <= deadline => at,
                _ => {
                    let now = now.take().unwrap_or_else(|| clock.now());
                    if now >= deadline {
                        return Poll::Ready(());
                    }
                    self.timer = SystemTimer::default();
                    self.alarm.has_fired.store(false, Relaxed);
                    *self.armed_for.insert(deadline)
                }
            };
            if self.timer.poll(armed_for, &mut cx).is_pending() {
                return Poll::Pending;
            }
            (self.armed_for, now) = (None, None);
        }
    }
}

impl<M: ResourceManager> Wake for SlotAlarm<M> {
    fn wake(self: PlainArc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &PlainArc<Self>) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut state = pool.state.lock();
        self.has_fired.store(true, Relaxed);
        let waiter = state.waiters.slot(self.index).flatten();
        let waker = waiter.and_then(|waiter| waiter.waker.take());
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<M: ResourceManager> WaitLimit<M> {
    /// Creates the limit of a waiter. `kept` is the timer of its slot.
    pub(super) fn new(
        pool: &PlainArc<Shared<M>>,
        key: WaiterKey,
        deadline: Instant,
        kept: Option<SlotTimer<M>>,
    ) -> Self {
        let timer = match kept {
            Some(timer) => WaitTimer::OfSlot(timer),
            None if deadline == Instant::FAR_FUTURE => WaitTimer::None,
            None if pool.clock.is_system() => WaitTimer::OfSlot(SlotTimer::new(pool, key)),
            None => WaitTimer::Own(Expiry::new(deadline)),
        };
        Self { deadline, timer }
    }

    /// Arms the timer, unless the timer of the slot is already armed. `now` is the current time.
    pub(in crate::resource_pool) fn start(
        &mut self,
        now: Instant,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match &mut self.timer {
            WaitTimer::OfSlot(timer) if timer.armed_for.is_some() => Poll::Pending,
            WaitTimer::OfSlot(timer) => timer.poll(Some(now), clock, self.deadline),
            WaitTimer::Own(expiry) => expiry.poll_at(now, clock, cx),
            WaitTimer::None => Poll::Pending,
        }
    }

    /// Completes at the deadline.
    pub(in crate::resource_pool) fn poll(
        &mut self,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match &mut self.timer {
            WaitTimer::OfSlot(timer) => timer.poll(None, clock, self.deadline),
            WaitTimer::Own(expiry) => expiry.poll(clock, cx),
            WaitTimer::None => Poll::Pending,
        }
    }

    /// Takes the timer that belongs to the slot of the waiter, for its next waiter.
    pub(super) fn take_slot_timer(&mut self) -> Option<SlotTimer<M>> {
        match std::mem::replace(&mut self.timer, WaitTimer::None) {
            WaitTimer::OfSlot(timer) => Some(timer),
            own => {
                self.timer = own;
                None
            }
        }
    }
}
