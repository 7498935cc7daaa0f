//! The shared state of a budget: one word, counters, and the observer.

use super::POLICY;
use super::state::Rule;
use super::words::Config;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::{Counter, Decision, LiveState, PlainArc};
use crate::time::{Clock, Instant};
use std::convert::Infallible;

pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    state: LiveState<3>,
    needs_time: bool,
    pub(super) keyed: bool,
    is_shadow: bool,
    grants: Counter,
    denials: Counter,
    observer: Option<PlainArc<dyn Observer>>,
    outbox: Outbox<Infallible>,
}

/// The arguments of [`Shared::new`].
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    pub(super) config: Config,
    /// Whether the budget is that of one of many keys.
    pub(super) keyed: bool,
    pub(super) is_shadow: bool,
    pub(super) observer: Option<PlainArc<dyn Observer>>,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, clock, config, keyed, is_shadow, observer } = parts;
        let state = LiveState::new(config, config.rule.initial(clock.now()));
        Self {
            name,
            clock,
            state,
            needs_time: config.rule.needs_time(),
            keyed,
            is_shadow,
            grants: Counter::default(),
            denials: Counter::default(),
            observer,
            outbox: Outbox::new(),
        }
    }

    pub(super) fn start_call(&self) {
        let now = self.now();
        self.change(|rule, state| rule.start_call(state, now));
    }

    pub(super) fn end_call(&self) {
        self.change(Rule::end_call);
    }

    /// Withdraws `cost` in one atomic step, and returns it. If the budget does not cover it, returns
    /// 0 in shadow mode, otherwise `None`.
    pub(super) fn start_repeat(&self, cost: u32) -> Option<u32> {
        let now = self.now();
        let is_granted = self.state.decide(|state, config: Config| {
            match config.rule.start_repeat(state, now, cost) {
                Some(state) => Decision::Replace(state, true),
                None => Decision::Keep(false),
            }
        });
        if is_granted {
            self.grants.add(1);
            return Some(cost);
        }
        self.denied(cost);
        self.is_shadow.then_some(0)
    }

    pub(super) fn end_repeat(&self, cost: u32) {
        self.change(|rule, state| rule.end_repeat(state, cost));
    }

    pub(super) fn available(&self) -> u64 {
        let now = self.now();
        self.read(|rule, state| rule.available(state, now))
    }

    /// Returns whether the state equals that of a new budget.
    pub(super) fn is_as_new(&self, now: Instant) -> bool {
        self.read(|rule, state| rule.is_as_new(state, now))
    }

    /// Returns the settings in force.
    pub(super) fn config(&self) -> Config {
        self.state.config()
    }

    /// Replaces the settings by `config`, whose rule is of the same kind.
    pub(super) fn reconfigure(&self, config: Config) {
        let now = self.now();
        let convert = |old: Config, state| config.rule.convert(old.rule, state, now);
        self.state.replace(config, convert);
    }

    pub(super) fn grants(&self) -> u64 {
        self.grants.get()
    }

    pub(super) fn denials(&self) -> u64 {
        self.denials.get()
    }

    /// Returns the current time if the rule depends on it, otherwise an arbitrary instant.
    fn now(&self) -> Instant {
        if self.needs_time { self.clock.now() } else { Instant::ORIGIN }
    }

    #[inline]
    fn change(&self, change: impl Fn(Rule, u64) -> u64) {
        self.state.decide(|state, config: Config| match change(config.rule, state) {
            changed if changed == state => Decision::Keep(()),
            changed => Decision::Replace(changed, ()),
        });
    }

    fn read<R>(&self, read: impl Fn(Rule, u64) -> R) -> R {
        self.state.decide(|state, config: Config| Decision::Keep(read(config.rule, state)))
    }

    #[cold]
    fn denied(&self, cost: u32) {
        let sequence = self.denials.add(1);
        let Some(observer) = &self.observer else { return };
        let event = Event {
            policy: POLICY,
            name: self.name,
            kind: "exhausted",
            keyed: self.keyed,
            sequence,
            at: self.clock.now(),
            fields: &[("cost", EventValue::Count(cost.into()))],
        };
        self.outbox.notify(|| observer.observe(&event), |never| match never {});
    }
}
