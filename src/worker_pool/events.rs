//! What the pool tells an observer.

use super::panics::quietly;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::Counter;
use crate::sync::PlainArc;
use crate::time::{Clock, Instant};

pub(crate) const POLICY: &str = "worker_pool";

/// Something worth telling.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PoolEvent {
    Panicked,
    SpawnFailed,
    Overloaded,
    Recovered,
    ShutDown,
}

const KINDS: [&str; 5] = ["panicked", "spawn_failed", "overloaded", "recovered", "shut_down"];

#[derive(Clone, Copy)]
struct Emitted {
    what: PoolEvent,
    sequence: u64,
    at: Instant,
    workers: usize,
    queued: usize,
}

pub(crate) struct Emitter {
    name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    outbox: Outbox<Emitted>,
    /// By kind; written under the outbox's lock.
    counts: [Counter; KINDS.len()],
}

impl Emitter {
    pub(crate) fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self { name, observer, outbox: Outbox::new(), counts: Default::default() }
    }

    /// `figures`: how many workers there are, and how many jobs wait.
    #[cold]
    pub(crate) fn tell(
        &self,
        what: PoolEvent,
        clock: &Clock,
        figures: impl FnOnce() -> (usize, usize),
    ) {
        let Some(observer) = &self.observer else { return };
        let (at, (workers, queued)) = (clock.now(), figures());
        self.outbox.commit(|_| {
            let count = &self.counts[what as usize];
            count.increment();
            Some(Emitted { what, sequence: count.get(), at, workers, queued })
        });
        // The observer's panic is none of the job's or the submitter's business.
        quietly(|| {
            self.outbox.deliver(|told| {
                let fields = [
                    ("workers", EventValue::Count(told.workers as u64)),
                    ("queued", EventValue::Count(told.queued as u64)),
                ];
                let kind = KINDS[told.what as usize];
                observer.observe(&Event::new(
                    (POLICY, self.name),
                    kind,
                    (told.sequence, told.at),
                    &fields,
                ));
            });
        });
    }
}
