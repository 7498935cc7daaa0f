//! A rate limiter: so much in so much time, provably never more, in order of arrival.
//!
//! # Why
//!
//! A limit protects a server from its callers, or you from paying for more than you agreed to. It is worth
//! what it holds: a limiter that lets through a little more when threads race, when the clock stumbles or
//! when the limit is changed is none; and one that wakes its waiters in any order starves some of them.
//!
//! # Quick start
//!
//! ```
//! use mainstay::rate::{Quota, RateLimiter};
//!
//! let limiter = RateLimiter::new(Quota::per_second(100).burst(20))?;
//! match limiter.try_acquire() {
//!     Ok(answer) => println!("go on; {} left", answer.remaining()),
//!     Err(refused) => println!("not now: {refused}"),
//! }
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! [`acquire`](RateLimiter::acquire) waits instead; a [`Pipeline`](crate::pipeline) takes the limiter as a
//! policy; [`Keyed`] has one limit for each key, of a million tenants if need be; [`AllOf`] asks several
//! limiters at once. Cloning a limiter is cheap, and all clones are one limiter.
//!
//! # The rule
//!
//! Tokens come back evenly, one each `period / count`, and up to a burst of them come together while nobody
//! asks. The algorithm is the generic cell rate algorithm (ATM Forum, 1996), a token bucket that is one
//! number: the instant at which the bucket is full again. There is no counting by fixed windows, and so no
//! double rate at their borders.
//!
//! What it promises: in any window of length *w*, at most `burst + rate · (w + 1 ns)` tokens are granted. The
//! nanosecond is the tick of the clock; the rate is kept to one part in 2^63. That holds for any number of threads; for a `now` that is stale or
//! goes backwards, for time never goes back here; and across [changes](RateLimiter::reconfigure) of the
//! quota, with the larger burst and with each rate for as long as it was in force. What was taken and
//! [given back](RateLimiter::refund) does not count as granted.
//!
//! # Waiting
//!
//! Who waits stands in a line, served in order of arrival, threads and tasks alike. Nobody holds a place in
//! time: the head of the line takes for itself when its time has come. So whoever gives up wastes nothing.
//! Only the head holds a timer, and whoever waits with a limit. While anybody waits nobody gets past:
//! [`try_acquire`](RateLimiter::try_acquire), [`at_most`](RateLimiter::at_most) and
//! [`reserve`](RateLimiter::reserve) are refused, and told when those before them will have been served.
//!
//! As with every fair queue, a future at the head that its task keeps but no longer polls holds up the rest.
//!
//! # How long
//!
//! A limiter tells the time for at least thirteen years after it was built. Then it stands still, and once
//! its burst is used up nothing more is granted.
//!
//! # Cost
//!
//! To be granted is a look at the clock, a few loads and one compare-and-swap; to be refused is the same
//! without the swap, so that who is refused does not slow down who is not. Nothing is allocated; waiting
//! arms a timer.
//!
//! An [observer](Builder::observer) hears of each refusal, on the thread that was refused, and there are most
//! of them when there is least time for them. What it does is then the price of a refusal: with
//! `telemetry::MetricsObserver` a lock that all share, with `telemetry::TracingObserver` a line for each.

mod all_of;
mod answer;
mod config;
mod core;
mod future;
mod gcra;
mod guard;
mod keyed;
mod line;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod quota;
mod reservation;

pub use all_of::AllOf;
pub use answer::{Answer, Refused};
pub use config::Builder;
pub use future::{Acquire, Admitting};
pub use guard::Admission;
pub use keyed::{Keyed, KeyedBuilder, KeyedSnapshot};
pub use quota::Quota;
pub use reservation::Reservation;

use crate::error::ConfigError;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::atomic::Ordering;
use crate::sync::{PlainArc, PlainAtomicU64, PlainMutex};
use crate::time::{Clock, Instant};
use gcra::Plan;
use std::fmt;
use std::time::Duration;

const POLICY: &str = "rate_limiter";

/// So much in so much time; see the [module](self).
#[derive(Clone)]
pub struct RateLimiter(PlainArc<Shared>);

struct Shared {
    core: core::Core,
    /// By the clock, when it was built: the limiter counts from there.
    origin: Instant,
    clock: Clock,
    teller: Teller,
    /// What is in force.
    quota: PlainMutex<Quota>,
}

/// Tells the observer.
struct Teller {
    name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    refusals: PlainAtomicU64,
    changes: Outbox<Change>,
}

/// Another quota was put into force.
#[derive(Clone, Copy)]
struct Change {
    sequence: u64,
    at: Instant,
    limit: u32,
}

/// The figures of a limiter at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The quota in force.
    pub quota: Quota,
    /// How many tokens there can be at once.
    pub limit: u32,
    /// How many there are; none while anybody waits.
    pub remaining: u32,
    /// After which time it is full again, if nobody asks.
    pub reset_after: Duration,
    /// How many wait.
    pub waiting: usize,
    /// For how many tokens they wait together.
    pub queued: u64,
}

impl RateLimiter {
    /// A limiter of `quota`, by the system clock.
    ///
    /// # Errors
    /// The quota is out of range.
    pub fn new(quota: Quota) -> Result<Self, ConfigError> {
        Self::builder(quota).build()
    }

    /// A limiter to be set up.
    #[must_use]
    pub fn builder(quota: Quota) -> Builder {
        Builder::new(quota)
    }

    fn shared(&self) -> &Shared {
        &self.0
    }

    /// Takes one token if it is there and nobody waits. Never waits.
    ///
    /// # Errors
    /// It is not there: the figures say when it will be.
    #[inline]
    pub fn try_acquire(&self) -> Result<Answer, Refused> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens, all or none, if they are there and nobody waits. None at all are always there.
    ///
    /// # Errors
    /// They are not there. More than the limit never will be.
    #[inline]
    pub fn try_acquire_n(&self, n: u32) -> Result<Answer, Refused> {
        self.0.admit(n, self.0.now())
    }

    /// Takes up to `n` tokens, as many as are there, if nobody waits:
    /// [`granted`](Answer::granted) says how many.
    ///
    /// # Errors
    /// There is not one, or others wait.
    pub fn at_most(&self, n: u32) -> Result<Answer, Refused> {
        self.0.core.take_up_to(n, self.0.now()).map_err(|answer| self.0.refuse(answer))
    }

    /// Waits for one token, in order of arrival.
    ///
    /// # Errors
    /// There never will be one, because the quota is zero.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line; nothing had been taken.
    #[inline]
    pub fn acquire(&self) -> Acquire<'_> {
        self.acquire_n(1)
    }

    /// Waits for `n` tokens, all at once, in order of arrival.
    ///
    /// # Errors
    /// `n` is more than the limit, or becomes so while it waits.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_n(&self, n: u32) -> Acquire<'_> {
        Acquire::new(self.shared(), n, None)
    }

    /// As [`acquire_n`](Self::acquire_n), for no longer than `patience`.
    ///
    /// # Errors
    /// As [`acquire_n`](Self::acquire_n); also, and at once, if `n` tokens cannot be had within that time.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_within(&self, n: u32, patience: Duration) -> Acquire<'_> {
        Acquire::new(self.shared(), n, Some(self.0.clock.now() + patience))
    }

    /// [`acquire_n`](Self::acquire_n) for a thread.
    ///
    /// # Errors
    /// As [`acquire_n`](Self::acquire_n).
    pub fn acquire_blocking(&self, n: u32) -> Result<Answer, Refused> {
        self.0.acquire_blocking(n, None, self.0.clock.now())
    }

    /// [`acquire_within`](Self::acquire_within) for a thread.
    ///
    /// # Errors
    /// As [`acquire_within`](Self::acquire_within).
    pub fn acquire_timeout(&self, n: u32, patience: Duration) -> Result<Answer, Refused> {
        let now = self.0.clock.now();
        self.0.acquire_blocking(n, Some(now + patience), now)
    }

    /// Takes `n` tokens now, for use as soon as they would have been there: at once, or after the
    /// reservation's delay. Nobody gets between, so a reservation is a place in time; refused while others
    /// wait in line.
    ///
    /// # Errors
    /// `n` is more than the limit, others wait, or the delay would be beyond four years.
    pub fn reserve(&self, n: u32) -> Result<Reservation, Refused> {
        match self.0.core.promise(n, self.0.now()) {
            Ok(answer) => Ok(Reservation::new(self.clone(), answer)),
            Err(answer) => Err(self.0.refuse(answer)),
        }
    }

    /// The figures, without taking anything: as if one token had been asked for.
    #[must_use]
    pub fn peek(&self) -> Answer {
        self.0.core.peek(1, self.0.now())
    }

    /// Charges `n` tokens whether they are there or not, for what turned out to be dearer than what was
    /// taken for it. Those who come later wait for it; those already in line, too.
    ///
    /// A debt of more than four years is one of four years.
    pub fn debit(&self, n: u32) -> Answer {
        self.0.core.debit(n, self.0.now())
    }

    /// Gives back `n` of the tokens that `granted` says were granted: for what turned out to be cheaper, or
    /// was not done at all. Give back each token once, and to the limiter that granted it: an answer is
    /// `Copy` and knows neither what came of it nor whose it is, and a limiter that is given back what it
    /// did not grant grants too much.
    ///
    /// What time has given back meanwhile is not given back again: from a limiter that was idle in between,
    /// nothing comes of it. The limiter never becomes fuller than if the tokens had not been taken. An answer
    /// from before the last [`reconfigure`](Self::reconfigure) gives back nothing.
    ///
    /// ```
    /// # use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
    /// # let clock = ManualClock::new().clock();
    /// let limiter = RateLimiter::builder(Quota::per_minute(1000)).clock(clock).build()?;
    /// let estimate = limiter.try_acquire_n(300)?;
    /// let (used, given) = (120, 300); // known when the work is done
    /// if used < given { limiter.refund(&estimate, given - used) } else { limiter.debit(used - given); }
    /// assert_eq!(limiter.peek().remaining(), 880);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refund(&self, granted: &Answer, n: u32) {
        self.0.core.refund(granted, n, || self.0.now());
    }

    /// Puts another quota into force, while calls go on.
    ///
    /// The tokens that are in use stay in use, rounded up to the new quota's next unit of time: of a limit of
    /// 10 with 4 left, 6 are in use; if the limit becomes 100, there are 94 left; if it becomes 5, there is
    /// one to wait for. When this returns, no decision by the old quota comes any more, and those who wait do
    /// so for the new one. A quota of zero holds everything, and time with it; an unlimited one forgets what
    /// was in use.
    ///
    /// # Errors
    /// The quota is out of range. Then nothing is changed.
    pub fn reconfigure(&self, quota: Quota) -> Result<(), ConfigError> {
        let plan = Plan::new(&quota)?;
        let head = loop {
            let word = self.0.core.word();
            // After the word was read, and not under a lock, as in `Core::refund`.
            let now = self.0.now();
            // One at a time: what `quota` says and what is in force must agree.
            let mut present = self.0.quota.lock();
            if let Some(head) = self.0.core.reconfigure(word, plan, now) {
                *present = quota;
                break head;
            }
        };
        head.wake();
        self.0.teller.changed(plan, self.0.clock.now());
        Ok(())
    }

    /// The quota in force.
    #[must_use]
    pub fn quota(&self) -> Quota {
        *self.0.quota.lock()
    }

    /// The name it was built with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.teller.name
    }

    /// The present figures.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let answer = self.peek();
        Snapshot {
            quota: self.quota(),
            limit: answer.limit(),
            remaining: answer.remaining(),
            reset_after: answer.reset_after(),
            waiting: self.0.core.line.len(),
            queued: self.0.core.line.queued(),
        }
    }
}

impl Shared {
    #[inline(always)]
    fn now(&self) -> u64 {
        self.nanos(self.clock.now())
    }

    /// Nanoseconds since the limiter's own origin.
    #[inline(always)]
    fn nanos(&self, instant: Instant) -> u64 {
        instant.as_nanos().saturating_sub(self.origin.as_nanos())
    }

    fn instant(&self, nanos: u64) -> Instant {
        Instant::from_nanos(self.origin.as_nanos().saturating_add(nanos))
    }

    #[inline(always)]
    fn admit(&self, n: u32, nanos: u64) -> Result<Answer, Refused> {
        match self.core.take_at_once(n, nanos) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(answer)) => Err(self.refuse(answer)),
            None => self.admit_or_refuse(n, nanos),
        }
    }

    #[cold]
    fn admit_or_refuse(&self, n: u32, nanos: u64) -> Result<Answer, Refused> {
        self.core.take(n, nanos).map_err(|answer| self.refuse(answer))
    }

    #[inline(always)]
    fn refuse(&self, answer: Answer) -> Refused {
        self.teller.refused(Refused::new(answer, self.teller.name), || self.instant(answer.now))
    }
}

impl Teller {
    fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self { name, observer, refusals: PlainAtomicU64::new(0), changes: Outbox::new() }
    }

    /// An event of kind `refused` with `wanted`, `limit`, `remaining` and, if it is known, `retry_after`.
    #[inline(always)]
    fn refused(&self, refused: Refused, at: impl FnOnce() -> Instant) -> Refused {
        if let Some(observer) = &self.observer {
            // By value: lent, it would have to live in memory also where nobody listens.
            self.tell_refused(&**observer, refused, at());
        }
        refused
    }

    #[cold]
    #[inline(never)]
    fn tell_refused(&self, observer: &dyn Observer, refused: Refused, at: Instant) {
        let retry_after = refused.retry_after();
        let fields = [
            ("wanted", EventValue::Count(refused.answer.wanted.into())),
            ("limit", EventValue::Count(refused.answer.limit().into())),
            ("remaining", EventValue::Count(refused.answer.remaining().into())),
            ("retry_after", EventValue::Duration(retry_after.unwrap_or_default())),
        ];
        let fields = &fields[..fields.len() - usize::from(retry_after.is_none())];
        // Ordering: relaxed; only the number matters, and it is unique.
        let sequence = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        let event = Event {
            policy: POLICY,
            name: self.name,
            kind: "refused",
            keyed: false,
            sequence,
            at,
            fields,
        };
        self.changes.notify(|| observer.observe(&event), |change| self.emit(observer, change));
    }

    /// An event of kind `reconfigured` with the new `limit`.
    fn changed(&self, plan: Plan, at: Instant) {
        if let Some(observer) = &self.observer {
            let limit = plan.limit();
            self.changes.commit(|sequence| Some(Change { sequence, at, limit }));
            self.changes.deliver(|change| self.emit(&**observer, change));
        }
    }

    fn emit(&self, observer: &dyn Observer, Change { sequence, at, limit }: Change) {
        let fields = [("limit", EventValue::Count(limit.into()))];
        observer.observe(&Event {
            policy: POLICY,
            name: self.name,
            kind: "reconfigured",
            keyed: false,
            sequence,
            at,
            fields: &fields,
        });
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.name())
            .field("quota", &self.quota())
            .finish()
    }
}
