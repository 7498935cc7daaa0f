//! Construction of a breaker's parts from its builder.

use super::builder::{CircuitBreakerBuilder, WindowKind};
use super::live::Config;
use super::shared::{Closures, SharedConfig};
use crate::breaker::events::{Listener, observer_listener};
use crate::breaker::shared::Group;
use crate::error::ConfigError;
use crate::event::Subscribers;
use crate::sync::{PlainArc, PlainMutex, intern};
use crate::window::Window;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// How a window allocates its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowMemory {
    /// Allocates all memory at once. Used by a single breaker.
    Full,
    /// Allocates only a few words at first, and the rest when the first call fails or is slow. Used
    /// by keyed breakers, of which there may be very many.
    Sparse,
}

impl CircuitBreakerBuilder {
    pub(crate) fn new_window(&self, memory: WindowMemory) -> Result<Window, ConfigError> {
        let window = match (self.window, memory) {
            (WindowKind::Count(calls), WindowMemory::Sparse) => Window::sparse_count_window(calls),
            (WindowKind::Count(calls), WindowMemory::Full) => Window::count_window(calls),
            (WindowKind::Time(span, buckets), _) => Window::time_window(span, buckets),
        }?;
        Ok(if self.record_latency { window.with_latency() } else { window })
    }

    pub(crate) fn shared_config(&self, config: &Config) -> SharedConfig {
        SharedConfig::new(config, self.closures(), self.random.clone())
    }

    pub(crate) fn closures(&self) -> Closures {
        let (_, custom) = self.open_duration.clone().into_parts();
        Closures { open_duration: custom, trip_rule: self.trip_rule.clone() }
    }

    pub(crate) fn group(self, idle_timeout: Duration) -> Group {
        let name = intern(&self.name);
        let observer = self.observer.clone();
        let listener =
            observer.map(|observer| PlainArc::new(observer_listener(name, observer)) as Listener);
        Group {
            name,
            clock: self.clock.clone(),
            listeners: PlainArc::new(Subscribers::new(listener)),
            control: self.control.clone().unwrap_or_default(),
            idle_timeout,
            config: PlainMutex::new(self),
        }
    }
}

// The builder stores the user's closures, but never calls them.
impl UnwindSafe for CircuitBreakerBuilder {}
impl RefUnwindSafe for CircuitBreakerBuilder {}

impl fmt::Debug for CircuitBreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder")
            .field("name", &self.name)
            .field("window", &self.window)
            .field("failure_rate", &self.failure_rate)
            .field("min_calls", &self.min_calls)
            .field("slow_calls", &self.slow_calls)
            .field("slow_min_calls", &self.slow_min_calls)
            .field("consecutive_failures", &self.consecutive_failures)
            .field("open_duration", &self.open_duration)
            .field("max_retry_after", &self.max_retry_after)
            .field("half_open_concurrency", &self.half_open_concurrency)
            .field("half_open_calls", &self.half_open_calls)
            .field("probe_timeout", &self.probe_timeout)
            .field("ramp_up_duration", &self.ramp_up_duration)
            .field("trip_when", &self.trip_rule.is_some())
            .field("track_in_flight", &self.track_in_flight)
            .field("record_latency", &self.record_latency)
            .finish_non_exhaustive()
    }
}
