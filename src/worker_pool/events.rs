//! The events that a pool reports to its observer.

use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::{Counter, PlainArc};
use crate::time::{Clock, Instant};

const POLICY: &str = "worker_pool";

/// An event that a pool reports to its observer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PoolEvent {
    /// A job panicked.
    Panicked,
    /// A worker thread could not be started.
    SpawnFailed,
    /// Shedding has begun.
    Overloaded,
    /// Shedding has ended.
    Recovered,
    /// A queued job was dropped to make room for a newer one.
    Evicted,
    /// The pool was shut down.
    ShutDown,
}

impl PoolEvent {
    const COUNT: usize = 6;

    const fn kind(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::SpawnFailed => "spawn_failed",
            Self::Overloaded => "overloaded",
            Self::Recovered => "recovered",
            Self::Evicted => "evicted",
            Self::ShutDown => "shut_down",
        }
    }
}

/// An event with the state of the pool at its time.
#[derive(Clone, Copy)]
struct Emitted {
    event: PoolEvent,
    sequence: u64,
    at: Instant,
    workers: usize,
    queued: usize,
}

/// The reporter of a pool's events, in commit order and outside every lock of the pool.
pub(crate) struct Emitter {
    name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    outbox: Outbox<Emitted>,
    /// The number of events of each kind; written under the outbox's lock.
    counts: [Counter; PoolEvent::COUNT],
}

impl Emitter {
    pub(crate) fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self { name, observer, outbox: Outbox::new(), counts: Default::default() }
    }

    /// Reports `event`. `figures` returns the number of workers and of queued jobs.
    pub(crate) fn emit(
        &self,
        event: PoolEvent,
        clock: &Clock,
        figures: impl FnOnce() -> (usize, usize),
    ) {
        let Some(observer) = &self.observer else { return };
        let (at, (workers, queued)) = (clock.now(), figures());
        self.outbox.commit(|_| {
            let sequence = self.counts[event as usize].increment();
            Some(Emitted { event, sequence, at, workers, queued })
        });
        self.outbox.deliver(|emitted| self.observe(observer, &emitted));
    }

    fn observe(&self, observer: &PlainArc<dyn Observer>, emitted: &Emitted) {
        let fields = [
            ("workers", EventValue::Count(emitted.workers as u64)),
            ("queued", EventValue::Count(emitted.queued as u64)),
        ];
        observer.observe(&Event {
            policy: POLICY,
            name: self.name,
            kind: emitted.event.kind(),
            keyed: false,
            sequence: emitted.sequence,
            at: emitted.at,
            fields: &fields,
        });
    }
}
