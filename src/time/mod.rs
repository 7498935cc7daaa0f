//! Clocks and points in time: [`Clock`], [`ManualClock`], [`Instant`], [`Deadline`].
//!
//! Every policy owns a [`Clock`] and reads time from no other source. With a [`ManualClock`], a
//! test of a timing rule is a table of (instant, input, expected). All clocks are monotonic:
//! setting the wall-clock time has no effect on them.
//!
//! Every policy uses [`Clock::system`] unless another clock is set. No runtime is detected: the
//! system clock works with every runtime and without one.
//!
//! | clock | reads | sleeps by |
//! |---|---|---|
//! | [`Clock::system`] | `std::time::Instant` | a helper thread named `mainstay-timer`, started by the first sleep of the process |
//! | `Clock::tokio` (feature `tokio`) | `tokio::time::Instant` | `tokio::time::sleep` |
//! | `Clock::quanta` (feature `quanta`) | the processor's counter | the same thread as the system clock |
//! | [`ManualClock::clock`] | the time set by the test | [`ManualClock::advance`] and [`ManualClock::drive`] |
//! | [`Clock::custom`] | a [`TimeSource`] | the same [`TimeSource`] |
//!
//! # How it works
//!
//! A sleep never ends early. How late it ends depends on the clock. The `mainstay-timer` thread
//! wakes the task as soon as the operating system runs that thread.
//! tokio's timer counts milliseconds, and can add up to two milliseconds.
//!
//! A child process after `fork` has no `mainstay-timer` thread: in the child, a [`Sleep`] of the
//! system clock or of `Clock::quanta` never completes. Use another clock there, or call `exec`.
//!
//! # Panics
//!
//! If a task's waker panics, the `mainstay-timer` thread continues, and other sleeps end as usual.
//! A sleep of the system clock panics if the operating system cannot start that thread.
//!
//! # Performance
//!
//! Most timers are timeouts that are dropped before they fire. A sleep of the system clock that is
//! polled once and then dropped costs two short critical sections, each under the lock of one of
//! eight shards. It does not allocate once the shard has held as many timers. The timer thread is
//! woken only for a timer that is earlier than all others.

mod instant;
mod manual;
mod periodic;
#[cfg(feature = "quanta")]
mod quanta;
mod sleep;
mod timeout;
mod timer;
#[cfg(feature = "tokio")]
mod tokio;

pub use instant::{Deadline, Instant};
pub(crate) use instant::{nanos, seconds};
pub use manual::ManualClock;
pub(crate) use periodic::Periodic;
use sleep::ArmedTimer;
pub use sleep::Sleep;
pub(crate) use timeout::{Expire, Expiry};
pub(crate) use timer::SystemTimer;

use crate::sync::atomic::Ordering;
use crate::sync::thread::{ParkDeadline, Parker};
use crate::sync::{OnceLock, PlainArc, PlainAtomicU32, block_on};
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::time::Duration;

/// A source of time: reads the current instant and sleeps.
///
/// All policies use this one type. Cloning is cheap: the system clock has no state, and any other
/// clock is a reference-counted handle.
///
/// ```
/// use mainstay::time::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let system = Clock::system();
/// assert!(system.now() <= system.now());
///
/// let manual = ManualClock::new();
/// let clock = manual.clock();
/// let before = clock.now();
/// manual.advance(Duration::from_secs(5));
/// assert_eq!(clock.now() - before, Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock {
    id: ClockId,
    /// `None` for the system clock: the common case then costs a predictable branch and no
    /// indirection.
    source: Option<PlainArc<dyn TimeSource>>,
}

// A `TimeSource` must stay usable after a panic, and only its `&self` methods are called.
impl UnwindSafe for Clock {}
impl RefUnwindSafe for Clock {}

/// The identity of a clock, so that an instant is never compared with one of another clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockId(u32);

impl ClockId {
    pub(crate) const SYSTEM: Self = Self(0);
}

/// A user-defined source of time, for [`Clock::custom`].
///
/// A source must stay usable after a panic in one of its methods.
///
/// ```
/// use mainstay::time::{Clock, TimeSource};
/// use std::{future::Future, pin::Pin, time::Duration};
///
/// /// The system clock at double speed.
/// #[derive(Debug)]
/// struct Double;
///
/// impl TimeSource for Double {
///     fn now(&self) -> Duration {
///         Duration::from_nanos(Clock::system().now().as_nanos() * 2)
///     }
///
///     fn sleep(
///         &self,
///         duration: Duration,
///     ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
///         Box::pin(Clock::system().sleep(duration / 2))
///     }
/// }
///
/// let clock = Clock::custom(Double);
/// let before = clock.now();
/// clock.sleep_blocking(Duration::from_millis(2));
/// assert!(clock.now() - before >= Duration::from_millis(2));
/// ```
pub trait TimeSource: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the time since this source's origin.
    ///
    /// The time should not go backwards. If it does, policies stay within their limits and do not
    /// panic.
    fn now(&self) -> Duration;

    /// Returns a future that completes once `duration` has passed.
    ///
    /// The future can be dropped at any time. If it completes early, the clock calls `sleep` again
    /// for the remaining time.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Blocks the calling thread until `duration` has passed. The default implementation runs
    /// [`sleep`](Self::sleep) on the calling thread.
    fn sleep_blocking(&self, duration: Duration) {
        block_on(self.sleep(duration));
    }
}

impl Clock {
    /// Returns the machine's monotonic clock. All system clocks share one origin: the instant at
    /// which one of them is first read.
    #[must_use]
    pub const fn system() -> Self {
        Self { id: ClockId::SYSTEM, source: None }
    }

    /// Creates a clock that reads the time from `source` and sleeps by it.
    #[must_use]
    pub fn custom(source: impl TimeSource) -> Self {
        Self::from_source(PlainArc::new(source))
    }

    fn from_source(source: PlainArc<dyn TimeSource>) -> Self {
        static NEXT: PlainAtomicU32 = PlainAtomicU32::new(1);
        // Ordering: relaxed; the number only has to be unique.
        Self { id: ClockId(NEXT.fetch_add(1, Ordering::Relaxed)), source: Some(source) }
    }

    /// Returns the current instant.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.source {
            None => system_now(),
            Some(source) => Instant::from_origin(source.now()),
        }
    }

    /// Returns a future that completes once `duration` has passed, counted from this call.
    ///
    /// The future never completes early; the [module documentation](self#how-it-works) says how
    /// late it can be. It arms its timer when it is first polled.
    ///
    /// ```
    /// use mainstay::time::Clock;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let clock = Clock::system();
    /// clock.sleep(Duration::from_millis(1)).await;
    /// # });
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.clone(), self.now() + duration)
    }

    /// Returns a future that completes when this clock reaches `instant`.
    ///
    /// ```
    /// use mainstay::time::Clock;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let clock = Clock::system();
    /// let next = clock.now() + Duration::from_millis(1);
    /// clock.sleep_until(next).await;
    /// assert!(clock.now() >= next);
    /// # });
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub fn sleep_until(&self, instant: Instant) -> Sleep {
        Sleep::new(self.clone(), instant)
    }

    /// Blocks the calling thread until `duration` has passed. With a [`ManualClock`], advances the
    /// clock instead.
    ///
    /// ```
    /// use mainstay::time::ManualClock;
    /// use std::time::Duration;
    ///
    /// let time = ManualClock::new();
    /// let before = time.now();
    /// time.clock().sleep_blocking(Duration::from_secs(60)); // returns immediately
    /// assert_eq!(time.now() - before, Duration::from_secs(60));
    /// ```
    pub fn sleep_blocking(&self, duration: Duration) {
        match &self.source {
            None => std::thread::sleep(duration),
            Some(source) => source.sleep_blocking(duration),
        }
    }

    /// Blocks the calling thread until `instant` or until `parker` is woken. Can return spuriously.
    pub(crate) fn park(&self, parker: &Parker, instant: Instant) {
        // A blocking sleep of another clock cannot be interrupted, so it is limited to a short
        // slice.
        const SLICE: Duration = Duration::from_millis(10);
        if instant == Instant::FAR_FUTURE {
            return parker.park();
        }
        let left = instant - self.now();
        match &self.source {
            None => drop(parker.park_until(ParkDeadline::after(left))),
            Some(source) => source.sleep_blocking(left.min(SLICE)),
        }
    }

    #[inline]
    pub(crate) const fn id(&self) -> ClockId {
        self.id
    }

    pub(crate) fn is_system(&self) -> bool {
        self.source.is_none()
    }

    /// Returns a timer for `instant`, which is later than `now`.
    fn arm(&self, now: Instant, instant: Instant) -> ArmedTimer {
        match &self.source {
            None => ArmedTimer::System(SystemTimer::default()),
            Some(source) => ArmedTimer::Source(source.sleep(instant - now)),
        }
    }
}

/// A clock that is read at most once, so that one step of a policy uses one instant.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    clock: &'a Clock,
    now: Option<Instant>,
}

impl<'a> Reading<'a> {
    #[inline]
    pub(crate) const fn of(clock: &'a Clock) -> Self {
        Self { clock, now: None }
    }

    /// Creates a reading with a known instant.
    #[inline]
    pub(crate) const fn known(clock: &'a Clock, now: Instant) -> Self {
        Self { clock, now: Some(now) }
    }

    #[inline]
    pub(crate) fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(|| self.clock.now())
    }

    /// Reads the clock again. The caller uses this to distinguish elapsed time from a clock that
    /// was set back.
    pub(crate) fn read_again(&mut self) -> Instant {
        *self.now.insert(self.clock.now())
    }
}

#[inline]
fn system_now() -> Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    Instant::from_origin(ORIGIN.get_or_init(std::time::Instant::now).elapsed())
}
