//! Waiting in line: as a task, and as a thread.

use super::core::Core;
use super::line::{Hold, Look, Turn};
use super::{Answer, RateLimiter, Refused, Shared};
use crate::error::Rejection;
use crate::sync::thread::Parker;
use crate::time::{Instant, Sleep};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of [`RateLimiter::acquire`](super::RateLimiter::acquire) and its like.
///
/// # Cancel safety
///
/// Dropping it leaves the line; nothing had been taken, and whoever stands behind moves up.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a>(#[pin] Wait<&'a Shared>);

/// A call's wait for admission, which keeps its limiter alive; made by
/// [`admit_owned`](crate::policy::OwnedGuard::admit_owned). Dropping it leaves the line.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Admitting(#[pin] Wait<RateLimiter>);

#[pin_project]
struct Wait<H: Limiter> {
    limiter: H,
    cost: u32,
    deadline: Option<Instant>,
    /// `None` before the first look.
    turn: Option<Turn<H>>,
    #[pin]
    sleep: Option<Sleep>,
    ended: bool,
}

/// A limiter, borrowed or held.
trait Limiter: Hold + Clone {
    fn shared(&self) -> &Shared;
}

impl Hold for &Shared {
    fn core(&self) -> &Core {
        &self.core
    }
}

impl Limiter for &Shared {
    fn shared(&self) -> &Shared {
        self
    }
}

impl Hold for RateLimiter {
    fn core(&self) -> &Core {
        &self.0.core
    }
}

impl Limiter for RateLimiter {
    fn shared(&self) -> &Shared {
        &self.0
    }
}

/// What a wait is to do next.
enum Next {
    End(Result<Answer, Refused>),
    /// Look again when woken, or then.
    Wait(Option<Instant>),
}

impl Shared {
    /// One look of somebody who waits.
    fn look(
        &self,
        turn: &mut Turn<impl Hold>,
        now: Instant,
        deadline: Option<Instant>,
        waker: &std::task::Waker,
    ) -> Next {
        let nanos = self.nanos(now);
        match turn.look(nanos, deadline.map(|deadline| self.nanos(deadline)), waker) {
            Look::Granted(answer) => Next::End(Ok(answer)),
            Look::Refused(answer) => Next::End(Err(self.refuse(answer))),
            Look::Wait(_) if deadline.is_some_and(|deadline| now >= deadline) => {
                turn.give_up();
                Next::End(Err(self.refuse(self.core.peek(turn.cost(), nanos))))
            }
            Look::Wait(due) => {
                let due = due.map(|due| self.instant(due));
                Next::Wait(due.into_iter().chain(deadline).min())
            }
        }
    }

    pub(super) fn acquire_blocking(
        &self,
        cost: u32,
        deadline: Option<Instant>,
        mut now: Instant,
    ) -> Result<Answer, Refused> {
        if let Some(Ok(answer)) = self.core.take_at_once(cost, self.nanos(now)) {
            return Ok(answer);
        }
        let parker = Parker::current();
        let mut turn = Turn::new(&self.core, cost);
        loop {
            match self.look(&mut turn, now, deadline, parker.waker()) {
                Next::End(result) => return result,
                Next::Wait(until) => self.clock.park(&parker, until.unwrap_or(Instant::FAR_FUTURE)),
            }
            now = self.clock.now();
        }
    }
}

impl<'a> Acquire<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a Shared, cost: u32, deadline: Option<Instant>) -> Self {
        Self(Wait::new(limiter, cost, deadline))
    }
}

impl Admitting {
    pub(super) fn new(limiter: RateLimiter, cost: u32, deadline: Instant) -> Self {
        Self(Wait::new(limiter, cost, Some(deadline)))
    }
}

impl<H: Limiter> Wait<H> {
    #[inline]
    fn new(limiter: H, cost: u32, deadline: Option<Instant>) -> Self {
        Self { limiter, cost, deadline, turn: None, sleep: None, ended: false }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<Answer, Refused>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

impl Future for Admitting {
    type Output = Result<(), Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx).map(|result| result.map(drop).map_err(Into::into))
    }
}

impl<H: Limiter> Future for Wait<H> {
    type Output = Result<Answer, Refused>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        assert!(!*this.ended, "`Acquire` polled after it was ready");
        let limiter = this.limiter.shared();
        let mut now = limiter.clock.now();
        if this.turn.is_none()
            && let Some(Ok(answer)) = limiter.core.take_at_once(*this.cost, limiter.nanos(now))
        {
            *this.ended = true;
            return Poll::Ready(Ok(answer));
        }
        let turn = this.turn.get_or_insert_with(|| Turn::new(this.limiter.clone(), *this.cost));
        loop {
            let until = match limiter.look(turn, now, *this.deadline, cx.waker()) {
                Next::End(result) => {
                    *this.ended = true;
                    this.sleep.set(None);
                    return Poll::Ready(result);
                }
                Next::Wait(until) => until,
            };
            if this.sleep.as_ref().get_ref().as_ref().map(Sleep::until) != until {
                this.sleep.set(until.map(|until| limiter.clock.sleep_until(until)));
            }
            match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                Some(Poll::Ready(())) => now = limiter.clock.now(),
                _ => return Poll::Pending,
            }
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<H: Limiter> fmt::Debug for Wait<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("cost", &self.cost)
            .field("deadline", &self.deadline)
            .field("waits", &self.turn.is_some())
            .finish_non_exhaustive()
    }
}
