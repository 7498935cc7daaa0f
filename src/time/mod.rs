//! Time as a value that is passed in: [`Clock`], [`ManualClock`], [`Instant`], [`Deadline`].
//!
//! Every policy owns a [`Clock`] and never asks the machine directly, so that a test can put a
//! [`ManualClock`] in its place and a timing rule becomes a table of (instant, input, expected).
//! Nothing here looks at wall-clock time: a clock that is set back by an administrator or by NTP
//! changes nothing.
//!
//! Which clock to use is always said, never guessed. [`Clock::system`] is the default everywhere and
//! works under any runtime or none. `Clock::tokio` (feature `tokio`) follows tokio's own time, and so
//! its paused clock; it must be used inside a tokio runtime whose timer is enabled.
//!
//! | clock | `now` | `sleep` |
//! |---|---|---|
//! | [`Clock::system`] | `std::time::Instant` | `futures-timer`: one helper thread named `futures-timer` for the process, started by the first sleep |
//! | `Clock::tokio` | `tokio::time::Instant` | `tokio::time::sleep` |
//! | `Clock::quanta` | the processor's counter, calibrated | as the system clock |
//! | [`ManualClock::clock`] | what the test says | when the test says |
//! | [`Clock::custom`] | yours | yours |

mod block_on;
mod instant;
mod manual;
#[cfg(feature = "quanta")]
mod quanta;
mod sleep;
mod timeout;
#[cfg(feature = "tokio")]
mod tokio;

pub use instant::{Deadline, Instant};
pub(crate) use instant::{nanos, seconds};
pub use manual::ManualClock;
pub use sleep::Sleep;
pub(crate) use timeout::{Expire, Expiry};

use crate::sync::atomic::Ordering;
use crate::sync::thread::{ParkDeadline, Parker};
use crate::sync::{OnceLock, PlainArc, PlainAtomicU32};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Tells the time and sleeps; one concrete type for every policy.
///
/// Cloning is cheap: a system clock is nothing at all, any other an `Arc`.
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
    /// `None` is the system clock: the common case then costs a predictable branch and no pointer.
    source: Option<PlainArc<dyn TimeSource>>,
}

/// Tells clocks apart, so that an instant is never compared with one of another clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockId(u32);

impl ClockId {
    pub(crate) const SYSTEM: Self = Self(0);
}

/// A source of time of your own, for [`Clock::custom`].
pub trait TimeSource: std::fmt::Debug + Send + Sync + 'static {
    /// How long it is since this source's origin. Should not go backwards; where it does, policies
    /// grant nothing beyond their limit and never panic.
    fn now(&self) -> Duration;

    /// A future that completes once `duration` has passed. It is polled at least once before it is
    /// expected to do anything, and may be dropped at any time.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Holds the calling thread until `duration` has passed. By default it drives
    /// [`sleep`](Self::sleep) on the calling thread.
    fn sleep_blocking(&self, duration: Duration) {
        block_on::block_on(self.sleep(duration));
    }
}

impl Clock {
    /// The machine's monotonic clock. All system clocks share one origin: the first time any is read.
    #[must_use]
    pub const fn system() -> Self {
        Self { id: ClockId::SYSTEM, source: None }
    }

    /// A clock that reads and sleeps by `source`.
    #[must_use]
    pub fn custom(source: impl TimeSource) -> Self {
        Self::from_source(PlainArc::new(source))
    }

    fn from_source(source: PlainArc<dyn TimeSource>) -> Self {
        static NEXT: PlainAtomicU32 = PlainAtomicU32::new(1);
        // Ordering: relaxed; only the number matters, and it is unique.
        Self { id: ClockId(NEXT.fetch_add(1, Ordering::Relaxed)), source: Some(source) }
    }

    /// The present instant, in nanoseconds since this clock's origin.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.source {
            None => system_now(),
            Some(source) => Instant::from_origin(source.now()),
        }
    }

    /// A future that completes once `duration` has passed, counted from this call.
    ///
    /// Nothing is armed and nothing allocated until the future is first polled. Dropping it disarms it.
    #[must_use = "futures do nothing unless polled"]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.clone(), self.now() + duration)
    }

    /// As [`sleep`](Self::sleep), until an instant of this clock.
    #[must_use = "futures do nothing unless polled"]
    pub fn sleep_until(&self, instant: Instant) -> Sleep {
        Sleep::new(self.clone(), instant)
    }

    /// Holds the calling thread until `duration` has passed.
    pub fn sleep_blocking(&self, duration: Duration) {
        match &self.source {
            None => std::thread::sleep(duration),
            Some(source) => source.sleep_blocking(duration),
        }
    }

    /// Holds the calling thread until `instant`, or until `parker` is woken, or for no reason.
    pub(crate) fn park(&self, parker: &Parker, instant: Instant) {
        // Other clocks sleep in a way of their own, which cannot be woken: so they look up now and then.
        const LOOK_UP: Duration = Duration::from_millis(10);
        if instant == Instant::FAR_FUTURE {
            return parker.park();
        }
        let left = instant - self.now();
        match &self.source {
            None => drop(parker.park_until(ParkDeadline::after(left))),
            Some(source) => source.sleep_blocking(left.min(LOOK_UP)),
        }
    }

    #[inline]
    pub(crate) const fn id(&self) -> ClockId {
        self.id
    }

    fn is_system(&self) -> bool {
        self.source.is_none()
    }

    fn arm(&self, duration: Duration) -> sleep::Timer {
        match &self.source {
            None => sleep::Timer::System(futures_timer::Delay::new(duration)),
            Some(source) => sleep::Timer::Source(source.sleep(duration)),
        }
    }
}

/// A clock that is read at most once: one step of a policy has one `now`.
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

    /// A reading that was taken already.
    #[inline]
    pub(crate) const fn known(clock: &'a Clock, now: Instant) -> Self {
        Self { clock, now: Some(now) }
    }

    #[inline]
    pub(crate) fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(|| self.clock.now())
    }

    /// Reads the clock once more, to tell time that has passed since from a clock that was set back.
    pub(crate) fn read_again(&mut self) -> Instant {
        *self.now.insert(self.clock.now())
    }
}

#[inline]
fn system_now() -> Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    Instant::from_origin(ORIGIN.get_or_init(std::time::Instant::now).elapsed())
}
