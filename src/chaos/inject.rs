//! Applies the faults of one call: decides, waits, and returns how the call continues.

use super::state::{Call, End, Numbers, Plan};
use super::switch::ChaosSwitch;
use super::{ChaosInjection, events::Emitter};
use crate::policy::Context;
use crate::sync::Mutex;
use crate::time::{Instant, Sleep};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

/// The state that the clones of a chaos policy share.
pub(super) struct Shared {
    pub(super) switch: ChaosSwitch,
    pub(super) plan: Plan,
    pub(super) numbers: Mutex<Numbers>,
    pub(super) emitter: Emitter,
}

// No user code runs under a lock, so a panic of user code leaves the state valid.
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

/// How a call continues.
#[derive(Clone, Copy, Debug)]
pub(super) enum Continuation {
    /// The operation runs.
    Run,
    /// The call returns the result of the user's function.
    Error(ChaosInjection),
    Reject,
    /// The deadline of a blocking call passed after this wait.
    TimedOut(Duration),
}

/// A call that is affected by faults.
pub(super) struct Injection {
    /// The number of the run.
    run: u64,
    /// The number of the call in the run.
    number: u64,
    started: Instant,
    /// The end of the delay or of the hang.
    until: Instant,
    /// The fault after the delay. Never a hang.
    end: Option<End>,
    sleep: Option<Sleep>,
}

/// The interval at which a waiting call checks whether the switch was turned off.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

impl Shared {
    /// Decides which faults affect a call. Returns `None` if there is none.
    #[inline(always)]
    pub(super) fn inject(&self, key: Option<u64>, cx: Context) -> Option<Box<Injection>> {
        match self.switch.may_be_on() {
            true => self.inject_in_run(key, cx),
            false => None,
        }
    }

    #[cold]
    fn inject_in_run(&self, key: Option<u64>, cx: Context) -> Option<Box<Injection>> {
        let now = cx.on(self.switch.clock()).now();
        let run = self.switch.run_at(now)?;
        let number = self.numbers.lock().take(run.number)?;
        self.emitter.calls.add(1);
        let key = key.or_else(|| cx.caller().user().map(|user| user.get().into()));
        let decision = self.plan.decide(&Call { number, key, elapsed: now - run.started });

        let mut until = now + decision.delay;
        if !decision.delay.is_zero() {
            self.emitter.latency(number, decision.delay, now);
        }
        let end = match decision.end {
            Some(End::Hang(elapsed)) => {
                self.emitter.hang(number, now);
                until = until.max(run.started + elapsed).min(run.ends);
                None
            }
            end => end,
        };
        match end {
            Some(End::Panic) => self.emitter.panic(number, now),
            Some(End::Error) => self.emitter.error(number, now),
            Some(End::Rejection) => self.emitter.rejection(number, now),
            Some(End::Hang(_)) | None if until == now => return None,
            Some(End::Hang(_)) | None => {}
        }
        let (run, started, sleep) = (run.number, now, None);
        Some(Box::new(Injection { run, number, started, until, end, sleep }))
    }

    /// Blocks the thread while the call is delayed or hangs, but not longer than until the deadline
    /// of the call.
    pub(super) fn inject_blocking(&self, key: Option<u64>, cx: Context) -> Continuation {
        let Some(mut injection) = self.inject(key, cx) else { return Continuation::Run };
        let clock = self.switch.clock();
        let deadline = cx.on(clock).deadline();
        loop {
            let now = clock.now();
            let Some(next) = injection.next_check(self, now) else {
                return injection.continuation(self);
            };
            match deadline.remaining(now) {
                Some(Duration::ZERO) => return Continuation::TimedOut(now - injection.started),
                Some(left) => clock.sleep_blocking(left.min(next - now)),
                None => clock.sleep_blocking(next - now),
            }
        }
    }
}

impl Injection {
    /// Completes when the delay or the hang is over.
    pub(super) fn poll(
        &mut self,
        shared: &Shared,
        task: &mut task::Context<'_>,
    ) -> Poll<Continuation> {
        let clock = shared.switch.clock();
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(Pin::new(sleep).poll(task));
            }
            match self.next_check(shared, clock.now()) {
                Some(next) => self.sleep = Some(clock.sleep_until(next)),
                None => return Poll::Ready(self.continuation(shared)),
            }
        }
    }

    /// Returns the time until which the call waits before the next check, or `None` if its wait is
    /// over. If the run has ended, also cancels the fault that would follow the wait.
    fn next_check(&mut self, shared: &Shared, now: Instant) -> Option<Instant> {
        if self.until == self.started {
            return None;
        }
        if shared.switch.run_at(now).is_none_or(|run| run.number != self.run) {
            self.end = None;
            return None;
        }
        (now < self.until).then(|| self.until.min(now + CHECK_INTERVAL))
    }

    fn continuation(&self, shared: &Shared) -> Continuation {
        match self.end {
            None | Some(End::Hang(_)) => Continuation::Run,
            Some(End::Rejection) => Continuation::Reject,
            Some(End::Error) => Continuation::Error(ChaosInjection {
                number: self.number,
                unit: shared.plan.user_draw(self.number),
            }),
            Some(End::Panic) => {
                panic!("panic injected by the chaos policy {:?}", shared.emitter.name)
            }
        }
    }
}
