//! The builder of a chaos policy: [`ChaosBuilder`].

use super::events::Emitter;
use super::fault::Fault;
use super::inject::Shared;
use super::state::{MAX_FAULTS, Numbers, Plan};
use super::{Chaos, ChaosSwitch, POLICY};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::{Mutex, PlainArc};
use crate::time::Clock;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A builder of a [`Chaos`] policy, returned by [`Chaos::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ChaosBuilder {
    name: String,
    seed: u64,
    faults: Vec<Fault>,
    steps: Vec<(Duration, Vec<Fault>)>,
    switch: ChaosSwitch,
    observer: Option<PlainArc<dyn Observer>>,
}

// A builder calls no observer.
impl UnwindSafe for ChaosBuilder {}
impl RefUnwindSafe for ChaosBuilder {}

impl ChaosBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            seed: 0,
            faults: Vec::new(),
            steps: Vec::new(),
            switch: ChaosSwitch::new(),
            observer: None,
        }
    }

    /// Sets the name that rejections and events carry. Default: `chaos`.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// let built = Chaos::builder().name("search drill").fault(Fault::error()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the seed of all decisions. Default: 0, so that every run can be repeated. Give each
    /// instance of a service its own seed; otherwise all instances inject faults for the same keys
    /// and calls.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// let built = Chaos::builder().seed(7).fault(Fault::error()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a fault. It is active for the whole run, unless it has a shorter window of its own.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// # use std::time::Duration;
    /// let built = Chaos::builder()
    ///     .fault(Fault::latency(Duration::from_millis(200)).probability(0.1))
    ///     .fault(Fault::error().probability(0.01))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Adds a step to the script: `faults` are active for `duration` after the previous step, and
    /// then end. The first step begins with the run. A step without faults is a pause.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// # use std::time::Duration;
    /// let seconds = Duration::from_secs;
    /// let built = Chaos::builder()
    ///     .step(seconds(60), [Fault::latency(seconds(1)).probability(0.1)])
    ///     .step(seconds(30), [])
    ///     .step(seconds(60), [Fault::hang()])
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn step(mut self, duration: Duration, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.steps.push((duration, faults.into_iter().collect()));
        self
    }

    /// Sets the switch that turns the policy on and off. The policy uses the clock of the switch.
    /// Default: a switch for this policy only, returned by [`Chaos::switch`].
    ///
    /// ```
    /// # use mainstay::{Chaos, ChaosSwitch, Fault};
    /// let drill = ChaosSwitch::new();
    /// let search = Chaos::builder().switch(&drill).fault(Fault::error()).build()?;
    /// let mail = Chaos::builder().switch(&drill).fault(Fault::hang()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn switch(mut self, switch: &ChaosSwitch) -> Self {
        self.switch = switch.clone();
        self
    }

    /// Sets the clock, by giving the policy a new switch with this clock. Replaces the switch that
    /// was set by [`switch`](Self::switch). Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault, ManualClock};
    /// let time = ManualClock::new();
    /// let built = Chaos::builder().clock(time.clock()).fault(Fault::hang()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.switch = ChaosSwitch::with_clock(clock);
        self
    }

    /// Sets the observer; see [Observability](super#observability). Default: none.
    ///
    /// ```
    /// # use mainstay::{Chaos, Event, Fault};
    /// let built = Chaos::builder()
    ///     .fault(Fault::error())
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the policy.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range. There must be 1
    /// to 64 faults, including those of the steps.
    pub fn build(self) -> Result<Chaos, ConfigError> {
        let name = policy::name(&self.name)?;
        let mut faults = self.faults;
        let mut start = Duration::ZERO;
        for (duration, step_faults) in self.steps {
            if duration.is_zero() {
                return Err(ConfigError::new("step", duration, "longer than zero"));
            }
            let end = start.saturating_add(duration);
            faults.extend(step_faults.into_iter().map(|fault| fault.within(start, end)));
            start = end;
        }
        if !(1..=MAX_FAULTS).contains(&faults.len()) {
            return Err(ConfigError::new("fault", faults.len(), "1 to 64 faults"));
        }
        faults.iter().try_for_each(Fault::validate)?;
        let shared = Shared {
            switch: self.switch,
            plan: Plan { seed: self.seed, faults: faults.into() },
            numbers: Mutex::new(Numbers::default()),
            emitter: Emitter::new(name, self.observer),
        };
        Ok(Chaos { shared: PlainArc::new(shared), key: None })
    }
}

impl fmt::Debug for ChaosBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosBuilder")
            .field("name", &self.name)
            .field("seed", &self.seed)
            .field("faults", &self.faults)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}
