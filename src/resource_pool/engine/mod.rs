//! The shell around the state: applies decisions under the lock, and runs user code outside the
//! lock.

mod creation;
pub(in crate::resource_pool) mod driver;
pub(super) mod entry;
mod jobs;
mod leases;
mod queue;
mod run;
mod state;
mod timers;
pub(super) mod total;
mod waiting;

use super::ResourceManager;
use super::config::{Config, Fixed};
use super::error::AcquireTimedOut;
use super::events::{Emitter, PoolEvent};
use super::pooled::Lease;
use super::snapshot::{ResourceCloseReason, ResourcePoolSnapshot};
use crate::backoff::Backoff;
use crate::error::ConfigError;
use crate::random::Random;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{
    Mutex, MutexGuard, PlainArc, PlainAtomicBool, Wakers, discard_panic, keep_panic,
};
use crate::time::{Clock, Instant};
use crate::wait::WaiterKey;
use crate::window::LatencyBuckets;
use creation::Creation;
use entry::Entry;
use jobs::{JobKind, JobOutput, PermitUse};
use state::{Failure, State, Step};
use std::any::Any;
use std::panic::resume_unwind;
use std::task::Waker;
use std::time::Duration;
use total::{Reclaimed, TotalPermit};

pub(super) use creation::CreationGuard;
pub(super) use leases::Caller;
pub(super) use timers::WaitLimit;
pub(super) use waiting::{Delivery, Enqueued};

/// The state that all handles of a pool share.
pub(super) struct Shared<M: ResourceManager> {
    manager: PlainArc<M>,
    guard: Option<PlainArc<dyn CreationGuard<M>>>,
    pub(super) clock: Clock,
    backoff: Backoff,
    random: Random,
    emitter: PlainArc<Emitter>,
    /// Whether callers are likely to wait. Only a hint: the state is authoritative.
    has_waiters: PlainAtomicBool,
    state: Mutex<State<M>>,
}

/// A resource, which is boxed when it is created.
type BoxedEntry<M> = Box<Entry<<M as ResourceManager>::Resource>>;

impl<M: ResourceManager> Shared<M> {
    pub(super) fn new(manager: M, config: Config, fixed: Fixed<M>) -> Self {
        Self {
            manager: PlainArc::new(manager),
            guard: fixed.guard,
            clock: fixed.clock,
            backoff: fixed.backoff,
            random: fixed.random,
            emitter: fixed.emitter,
            has_waiters: PlainAtomicBool::new(false),
            state: Mutex::new(State::new(config)),
        }
    }

    pub(super) fn manager(&self) -> &M {
        &self.manager
    }

    pub(super) fn name(&self) -> &'static str {
        self.emitter.name()
    }

    /// Returns whether callers are likely to wait.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        // Ordering: relaxed; an old value selects a slower path with the same result.
        self.has_waiters.load(Relaxed)
    }

    /// Takes an idle resource that needs no check.
    ///
    /// # Errors
    ///
    /// Returns the error `Closed` if the pool is closed.
    #[inline]
    pub(super) fn try_take(
        &self,
        now: Instant,
        by: Caller,
    ) -> Result<Option<BoxedEntry<M>>, Failure<M>> {
        let mut state = self.state.lock();
        match state.take(now) {
            Some(mut entry) => {
                state.stats.acquired += 1;
                state.begin_lease(&mut entry, now, by);
                Ok(Some(entry))
            }
            None if state.closed => Err(Failure::<M>::Closed),
            None => Ok(None),
        }
    }

    /// Takes an idle resource. If it must be checked, polls the check once.
    #[cold]
    pub(super) fn try_check(
        self: &PlainArc<Self>,
        now: Instant,
        by: Caller,
    ) -> Result<Option<BoxedEntry<M>>, Failure<M>> {
        let mut state = self.state.lock();
        let Some(entry) = state.take_stale(now) else { return Ok(None) };
        let key = self.start_check(&mut state, entry);
        drop(state);
        let mut panic = None;
        keep_panic(&mut panic, || self.poll_job(key));
        let now = self.clock.now();
        self.settle_with(now, panic);
        self.try_take(now, by)
    }

    /// Records that a caller acquired a resource at `at` after a wait.
    pub(super) fn waited(&self, lease: &mut Lease<M>, since: Instant, at: Instant, by: Caller) {
        let mut state = self.state.lock();
        state.stats.acquired_after(at - since);
        if let Some(entry) = lease.entry_mut() {
            state.begin_lease(entry, at, by);
        }
    }

    /// Counts and reports the timeout of a caller that has waited for `waited`, and returns its
    /// error.
    #[cold]
    pub(super) fn timed_out(&self, waited: Duration, now: Instant) -> Failure<M> {
        let mut state = self.state.lock();
        state.stats.timed_out += 1;
        let last = state.last_error.as_ref();
        let timed_out = AcquireTimedOut {
            waited,
            max_size: state.config.max_size,
            in_use: state.in_use(),
            waiting: state.waiting,
            creating: state.creating,
            last_creation_error: last.map(|last| (last.error.clone(), now - last.at)),
            last_creation_rejection: state.rejections.last.map(|(last, at)| (last, now - at)),
            total: state.total.as_ref().map(total::Membership::usage),
        };
        drop(state);
        let (in_use, waiting) = (timed_out.in_use, timed_out.waiting);
        self.emitter.emit(PoolEvent::TimedOut { waited, in_use, waiting }, now);
        self.report_leaks(now);
        Failure::<M>::TimedOut(Box::new(timed_out))
    }

    /// Reports the leaks that were not reported before.
    pub(super) fn report_leaks(&self, now: Instant) {
        let leaks = self.state.lock().new_leaks(now);
        leaks.into_iter().for_each(|leak| self.emitter.emit(PoolEvent::Leaked(leak), now));
    }

    /// Takes back a resource that was used.
    #[inline]
    pub(super) fn recycle(
        self: &PlainArc<Self>,
        mut entry: Box<Entry<M::Resource>>,
        must_check: bool,
    ) {
        let now = self.clock.now();
        entry.returned(now, must_check);
        self.place(entry, now);
    }

    /// Takes back a resource that was not used.
    pub(super) fn put_back(self: &PlainArc<Self>, entry: Box<Entry<M::Resource>>) {
        self.place(entry, self.clock.now());
    }

    #[inline]
    fn place(self: &PlainArc<Self>, mut entry: Box<Entry<M::Resource>>, now: Instant) {
        let mut state = self.state.lock();
        state.end_lease(&mut entry);
        if let Some(reason) = state.unfit(&entry, now) {
            drop(state);
            return self.close_entry(entry, reason);
        }
        let entry = match state.hand_over(entry, now) {
            Err(entry) => entry,
            Ok([waiter, driver]) => {
                self.update_hint(&state);
                drop(state);
                return wake_both(waiter, driver);
            }
        };
        state.idle.push_back(entry);
        if state.is_unsettled(now) {
            let step = state.next_step(now);
            self.take_steps(state, step, now, None);
        }
    }

    /// Closes a resource that its holder does not return.
    #[cold]
    pub(super) fn close_entry(
        self: &PlainArc<Self>,
        entry: Box<Entry<M::Resource>>,
        reason: ResourceCloseReason,
    ) {
        let now = self.clock.now();
        let mut panic = None;
        self.close_now(entry, reason, now, &mut panic);
        self.settle_with(now, panic);
    }

    /// Removes a detached resource from the counts.
    #[cold]
    pub(super) fn detach(self: &PlainArc<Self>, entry: &mut Entry<M::Resource>) {
        let mut state = self.state.lock();
        state.end_lease(entry);
        state.size -= 1;
        state.stats.closed.count(ResourceCloseReason::Detached);
        drop(state);
        self.settle(self.clock.now());
    }

    /// Starts to close a resource and polls the job once, because most closings end at their first
    /// poll.
    fn close_now(
        self: &PlainArc<Self>,
        mut entry: Box<Entry<M::Resource>>,
        reason: ResourceCloseReason,
        now: Instant,
        panic: &mut Option<Box<dyn Any + Send>>,
    ) {
        let age = now - entry.created_at;
        let mut state = self.state.lock();
        state.end_lease(&mut entry);
        state.count_closing(reason);
        let timeout = state.config.close_timeout;
        let future = JobOutput::close(self.manager.clone(), self.clock.clone(), entry, timeout);
        let key = state.start(self, JobKind::Close, future);
        drop(state);
        discard_panic(|| self.poll_job(key));
        keep_panic(panic, || self.emitter.emit(PoolEvent::Closed { reason, age }, now));
    }

    /// Takes all steps that the state allows, then wakes a task if a job is ready.
    #[cold]
    pub(super) fn settle(self: &PlainArc<Self>, now: Instant) {
        self.settle_with(now, None);
    }

    /// Settles as [`settle`](Self::settle) does, then resumes `panic` or the first panic of user
    /// code.
    fn settle_with(self: &PlainArc<Self>, now: Instant, panic: Option<Box<dyn Any + Send>>) {
        let mut state = self.state.lock();
        let step = state.next_step(now);
        self.take_steps(state, step, now, panic);
    }

    /// Takes `step` and all later ones. Wakers are called outside the lock.
    #[cold]
    fn take_steps<'a>(
        self: &'a PlainArc<Self>,
        mut state: MutexGuard<'a, State<M>>,
        mut step: Step<M>,
        now: Instant,
        mut panic: Option<Box<dyn Any + Send>>,
    ) {
        let mut wakers = Wakers::new();
        loop {
            match step {
                Step::Served(waker) | Step::Failed(waker) => {
                    waker.into_iter().for_each(|waker| wakers.push(waker));
                }
                Step::Close(entry, reason) => {
                    drop(state);
                    self.close_now(entry, reason, now, &mut panic);
                    state = self.state.lock();
                }
                Step::Check(entry) => {
                    self.start_check(&mut state, entry);
                }
                Step::Create(starts_at, permit) => {
                    self.start_creation(&mut state, starts_at, now, permit, None);
                }
                Step::Reclaim => {
                    drop(state);
                    keep_panic(&mut panic, || self.reclaim(now));
                    state = self.state.lock();
                }
                Step::Transfer(transfer) => {
                    drop(state);
                    keep_panic(&mut panic, || self.transfer(transfer, now));
                    state = self.state.lock();
                }
                Step::Nothing => break,
            }
            if wakers.is_full() {
                drop(state);
                wakers.wake_all();
                state = self.state.lock();
            }
            step = state.next_step(now);
        }
        self.update_hint(&state);
        let driver = state.take_driver();
        drop(state);
        keep_panic(&mut panic, || driver.into_iter().for_each(Waker::wake));
        keep_panic(&mut panic, || wakers.finish());
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn start_creation(
        self: &PlainArc<Self>,
        state: &mut State<M>,
        starts_at: Instant,
        now: Instant,
        permit: Option<TotalPermit>,
        reclaimed: Option<Reclaimed<M>>,
    ) {
        let (generation, begins_at) = (state.generation, starts_at.max(now));
        let kind = |permit| JobKind::Create { generation, starts_at: begins_at, permit };
        if state.total.is_some() && permit.is_none() {
            let future = JobOutput::wait(self.clock.clone(), starts_at);
            state.start(self, kind(PermitUse::Later), future);
            return;
        }
        let creation = Creation {
            manager: self.manager.clone(),
            clock: self.clock.clone(),
            starts_at,
            timeout: state.config.create_timeout,
            pool: self.name(),
            permit,
        };
        let future = match &self.guard {
            Some(guard) => guard.clone().guarded(creation),
            None => creation.unguarded(),
        };
        let future = match reclaimed {
            Some(reclaimed) => JobOutput::replace(reclaimed, self.clock.clone(), future),
            None => future,
        };
        state.start(self, kind(PermitUse::Held), future);
    }

    fn start_check(
        self: &PlainArc<Self>,
        state: &mut State<M>,
        entry: Box<Entry<M::Resource>>,
    ) -> WaiterKey {
        let timeout = state.config.check_timeout;
        let future = JobOutput::check(self.manager.clone(), self.clock.clone(), entry, timeout);
        state.start(self, JobKind::Check, future)
    }

    /// Updates `has_waiters`. Called under the lock whenever the number of waiters may have
    /// changed.
    #[inline]
    fn update_hint(&self, state: &State<M>) {
        self.has_waiters.store(state.waiting > 0, Relaxed);
    }

    /// Replaces the configuration with the one that `change` returns.
    pub(super) fn configure(
        self: &PlainArc<Self>,
        change: impl FnOnce(&Config) -> Result<Config, ConfigError>,
    ) -> Result<(), ConfigError> {
        let mut state = self.state.lock();
        state.config = change(&state.config)?;
        state.evicting = true; // examines all idle resources again
        drop(state);
        self.settle(self.clock.now());
        Ok(())
    }

    /// Replaces the configuration with `config`, which is valid.
    pub(super) fn set_config(self: &PlainArc<Self>, config: Config) {
        let mut state = self.state.lock();
        state.config = config;
        state.evicting = true;
        drop(state);
        self.settle(self.clock.now());
    }

    /// Returns whether the pool has no resources, no waiting callers and no failures, and is not
    /// paused.
    pub(super) fn is_as_new(&self) -> bool {
        let state = self.state.lock();
        state.size == 0 && state.waiting == 0 && state.failures == 0 && !state.paused
    }

    pub(super) fn pause(self: &PlainArc<Self>, paused: bool) {
        self.state.lock().paused = paused;
        self.settle(self.clock.now());
    }

    pub(super) fn evict(self: &PlainArc<Self>) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.evicting = true;
        // Creations of the new generation may succeed, so they need not wait.
        state.failures = 0;
        drop(state);
        self.settle(self.clock.now());
    }

    /// Closes the pool. Returns `false` if it was already closed.
    pub(super) fn close(self: &PlainArc<Self>) -> bool {
        let was_closed = std::mem::replace(&mut self.state.lock().closed, true);
        self.settle(self.clock.now());
        !was_closed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(super) fn snapshot(&self) -> ResourcePoolSnapshot {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let leaks = state.leaks(now);
        let stats = &state.stats;
        ResourcePoolSnapshot {
            max_size: state.config.max_size,
            min_idle: state.config.min_idle,
            size: state.size,
            idle: state.idle.len(),
            in_use: state.in_use(),
            creating: state.creating,
            checking: state.checking,
            closing: state.closing,
            waiting: state.waiting,
            is_paused: state.paused,
            is_closed: state.closed,
            acquired: stats.acquired,
            timed_out: stats.timed_out,
            created: stats.created,
            create_failures: stats.create_failures,
            create_rejections: stats.create_rejections,
            closed: stats.closed,
            leaks,
            waits: LatencyBuckets::ALL.summary(&stats.waits),
        }
    }
}

/// Wakes a waiter that was served and the task that must poll the ready jobs.
#[inline]
fn wake_both(waiter: Option<Waker>, driver: Option<Waker>) {
    let Some(driver) = driver else {
        return waiter.into_iter().for_each(Waker::wake);
    };
    let mut panic = None;
    keep_panic(&mut panic, || driver.wake());
    keep_panic(&mut panic, || waiter.into_iter().for_each(Waker::wake));
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

impl<M: ResourceManager> Drop for Shared<M> {
    /// Wakes the maintenance futures, which then end.
    fn drop(&mut self) {
        self.retire();
        loop {
            let driver = self.state.lock().drivers.pop_front();
            match driver {
                Some(waker) => discard_panic(|| waker.into_iter().for_each(Waker::wake)),
                None => return,
            }
        }
    }
}
