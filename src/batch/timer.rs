//! The timer for the start of the next batch: [`Timer`].

use crate::time::Sleep;

/// The timer for the start of the next batch. It can fire early.
///
/// One driver at a time arms it, outside the lock. If two drivers armed it, the second would
/// replace the sleep of the first, which could then not fire.
#[derive(Debug, Default)]
pub(super) enum Timer {
    #[default]
    Off,
    /// A driver is polling the sleep for the first time.
    Arming {
        has_fired: bool,
    },
    Armed(Sleep),
    /// The sleep has fired, and can be armed again.
    Fired(Sleep),
}

impl Timer {
    /// Returns whether the timer is armed or a driver is arming it. In both cases, no other driver
    /// has to arm it.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Arming { .. } | Self::Armed(_))
    }

    /// Begins to arm a timer that is not waiting. Returns its previous sleep, if there is one.
    pub(super) fn arm(&mut self) -> Option<Sleep> {
        match std::mem::replace(self, Self::Arming { has_fired: false }) {
            Self::Fired(sleep) => Some(sleep),
            _ => None,
        }
    }

    /// Ends the arming with a sleep that is pending. Returns the sleep if it has fired meanwhile.
    pub(super) fn armed(&mut self, sleep: Sleep) -> Option<Sleep> {
        if let Self::Arming { has_fired: true } = self {
            *self = Self::Off;
            return Some(sleep);
        }
        *self = Self::Armed(sleep);
        None
    }

    /// Records that the sleep, or an earlier one, has fired.
    pub(super) fn fire(&mut self) {
        *self = match std::mem::take(self) {
            Self::Arming { .. } => Self::Arming { has_fired: true },
            Self::Armed(sleep) => Self::Fired(sleep),
            other => other,
        };
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::time::{Clock, Instant};

    fn sleep() -> Sleep {
        Clock::system().sleep_until(Instant::FAR_FUTURE)
    }

    #[test]
    fn an_armed_timer_waits_until_it_fires_and_can_be_armed_again() {
        let mut timer = Timer::Off;
        assert!(!timer.is_waiting());
        assert!(timer.arm().is_none() && timer.is_waiting());
        assert!(timer.armed(sleep()).is_none() && timer.is_waiting());
        timer.fire();
        assert!(!timer.is_waiting());
        assert!(timer.arm().is_some() && timer.is_waiting(), "the sleep is used again");
    }

    #[test]
    fn a_timer_that_fires_while_a_driver_arms_it_is_left_to_that_driver() {
        let mut timer = Timer::Off;
        timer.arm();
        timer.fire();
        assert!(timer.is_waiting(), "no other driver arms it meanwhile");
        assert!(timer.armed(sleep()).is_some(), "this driver finds that it has fired");
        assert!(!timer.is_waiting());
    }
}
