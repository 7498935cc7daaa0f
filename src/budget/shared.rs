//! The shared state of a budget: one word, counters, and the observer.

use super::POLICY;
use super::state::Rule;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{CachePadded, Counter, PlainArc};
use crate::time::{Clock, Instant};
use std::convert::Infallible;

pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    pub(super) rule: Rule,
    pub(super) timeout_cost: u32,
    /// Ordering: relaxed throughout. The word protects no other memory.
    word: CachePadded<AtomicU64>,
    keyed: bool,
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
    pub(super) rule: Rule,
    pub(super) timeout_cost: u32,
    /// Whether the budget is that of one of many keys.
    pub(super) keyed: bool,
    pub(super) observer: Option<PlainArc<dyn Observer>>,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, clock, rule, timeout_cost, keyed, observer } = parts;
        let word = CachePadded::new(AtomicU64::new(rule.initial(clock.now())));
        Self {
            name,
            clock,
            rule,
            timeout_cost,
            word,
            keyed,
            grants: Counter::default(),
            denials: Counter::default(),
            observer,
            outbox: Outbox::new(),
        }
    }

    pub(super) fn start_call(&self) {
        let now = self.now();
        self.update(|word| self.rule.start_call(word, now));
    }

    pub(super) fn end_call(&self) {
        self.update(|word| self.rule.end_call(word));
    }

    /// Withdraws `cost` in one atomic step. Returns whether the budget covers it.
    pub(super) fn start_repeat(&self, cost: u32) -> bool {
        let now = self.now();
        let start = |word| self.rule.start_repeat(word, now, cost);
        let is_granted = self.word.fetch_update(Relaxed, Relaxed, start).is_ok();
        match is_granted {
            true => _ = self.grants.add(1),
            false => self.denied(cost),
        }
        is_granted
    }

    pub(super) fn end_repeat(&self, cost: u32) {
        self.update(|word| self.rule.end_repeat(word, cost));
    }

    pub(super) fn available(&self) -> u64 {
        self.rule.available(self.word.load(Relaxed), self.now())
    }

    /// Returns whether the state equals that of a new budget.
    pub(super) fn is_as_new(&self, now: Instant) -> bool {
        self.rule.is_as_new(self.word.load(Relaxed), now)
    }

    pub(super) fn grants(&self) -> u64 {
        self.grants.get()
    }

    pub(super) fn denials(&self) -> u64 {
        self.denials.get()
    }

    /// Returns the current time if the rule depends on it, otherwise an arbitrary instant.
    fn now(&self) -> Instant {
        if self.rule.needs_time() { self.clock.now() } else { Instant::ORIGIN }
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        let change = |word| {
            let changed = change(word);
            (changed != word).then_some(changed)
        };
        // An error means that the word needs no change.
        _ = self.word.fetch_update(Relaxed, Relaxed, change);
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
