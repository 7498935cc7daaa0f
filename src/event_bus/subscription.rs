//! A subscription, which receives events one by one, as a stream, or through a handler.

use super::BusEvent;
use crate::ring::{
    BroadcastMissed, BroadcastRecvBatchFuture, BroadcastRecvError, BroadcastRecvFuture,
    BroadcastRecvTimeoutError, BroadcastRecvTimeoutFuture, BroadcastStream, BroadcastSubscriber,
    BroadcastTryRecvError,
};
use crate::sync::{discard_panic, keep_panic};
use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

/// A subscription to a [`Bus`](super::Bus). It ends when it is dropped.
///
/// Each clone receives the events that this subscription has not received yet.
pub struct BusSubscription<K, E> {
    events: BroadcastSubscriber<BusEvent<K, E>>,
}

/// The counters of a handler that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusHandlerReport {
    /// The number of calls that returned.
    pub handled: u64,
    /// The number of calls that panicked.
    pub panicked: u64,
    /// The number of events that were overwritten before the handler could receive them.
    pub missed: u64,
}

impl<K, E> BusSubscription<K, E> {
    pub(super) fn new(events: BroadcastSubscriber<BusEvent<K, E>>) -> Self {
        Self { events }
    }

    /// Returns the number of events that have not been received, at most the capacity of the topic.
    /// This is an estimate; see [`BroadcastSubscriber::len`].
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns whether all events that were published so far have been received. See
    /// [`BroadcastSubscriber::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl<K, E: Clone> BusSubscription<K, E> {
    /// Receives the next event, if it has been published.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`BroadcastSubscriber::try_recv`].
    pub fn try_recv(&mut self) -> Result<BusEvent<K, E>, BroadcastTryRecvError> {
        self.events.try_recv()
    }

    /// Receives the next event, and waits until it is published. Cancel safe.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`BroadcastSubscriber::recv`].
    pub fn recv(&mut self) -> BroadcastRecvFuture<'_, BusEvent<K, E>> {
        self.events.recv()
    }

    /// Receives the next event, and waits up to `timeout` until it is published. Cancel safe.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`BroadcastSubscriber::recv_timeout`].
    pub fn recv_timeout(
        &mut self,
        timeout: Duration,
    ) -> BroadcastRecvTimeoutFuture<'_, BusEvent<K, E>> {
        self.events.recv_timeout(timeout)
    }

    /// Receives the next event, and blocks the thread until it is published.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`BroadcastSubscriber::recv_blocking`].
    pub fn recv_blocking(&mut self) -> Result<BusEvent<K, E>, BroadcastRecvError> {
        self.events.recv_blocking()
    }

    /// Receives the next event, and blocks the thread up to `timeout` until it is published.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`BroadcastSubscriber::recv_blocking_timeout`].
    pub fn recv_blocking_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<BusEvent<K, E>, BroadcastRecvTimeoutError> {
        self.events.recv_blocking_timeout(timeout)
    }

    /// Waits until there is an event, then receives all available events, up to `max`. Cancel safe.
    ///
    /// The events are appended to `into`; the future returns their number.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`BroadcastSubscriber::recv_batch`].
    pub fn recv_batch<'a>(
        &'a mut self,
        into: &'a mut Vec<BusEvent<K, E>>,
        max: usize,
    ) -> BroadcastRecvBatchFuture<'a, BusEvent<K, E>> {
        self.events.recv_batch(into, max)
    }

    /// Converts this subscription into a [`Stream`](futures_core::Stream) of events, which reports
    /// missed events as errors and ends when the bus is closed.
    pub fn into_stream(self) -> BroadcastStream<BusEvent<K, E>> {
        self.events.into_stream()
    }

    /// Calls `handler` with each event, in the task that polls the future, until `handler` returns
    /// `Break` or the bus is closed.
    ///
    /// If events were missed, `handler` receives their number as an error. If `handler` panics, the
    /// panic is counted, and the next event is handled. Dropping the future ends the subscription.
    /// After every 64 events, the future yields once to other futures of the same task.
    ///
    /// ```
    /// use mainstay::event_bus::Bus;
    /// use std::ops::ControlFlow;
    ///
    /// # futures::executor::block_on(async {
    /// let bus = Bus::<String, u32>::builder().build()?;
    /// let orders = bus.subscribe("acme", "orders")?;
    /// bus.publish("acme", "orders", 17)?;
    /// bus.close();
    /// let mut seen = Vec::new();
    /// let report = orders
    ///     .handle(|event| {
    ///         seen.extend(event.map(|event| event.into_event()));
    ///         ControlFlow::Continue(())
    ///     })
    ///     .await;
    /// assert_eq!((report.handled, seen), (1, vec![17]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn handle(
        mut self,
        mut handler: impl FnMut(Result<BusEvent<K, E>, BroadcastMissed>) -> ControlFlow<()>,
    ) -> BusHandlerReport {
        let mut report = BusHandlerReport::default();
        let mut events: usize = 0;
        while let ControlFlow::Continue(()) = report.call(self.recv().await, &mut handler) {
            events += 1;
            if events.is_multiple_of(EVENTS_PER_POLL) {
                yield_once().await;
            }
        }
        report
    }

    /// Calls `handler` with each event on the calling thread, until `handler` returns `Break` or
    /// the bus is closed.
    ///
    /// If events were missed, `handler` receives their number as an error. If `handler` panics, the
    /// panic is counted, and the next event is handled.
    ///
    /// ```
    /// use mainstay::event_bus::Bus;
    /// use std::ops::ControlFlow;
    ///
    /// let bus = Bus::<String, u32>::builder().build()?;
    /// let orders = bus.subscribe("acme", "orders")?;
    /// let thread = std::thread::spawn(move || {
    ///     orders.handle_blocking(|event| {
    ///         println!("{event:?}");
    ///         ControlFlow::Continue(())
    ///     })
    /// });
    /// bus.publish("acme", "orders", 17)?;
    /// bus.close();
    /// assert_eq!(thread.join().unwrap().handled, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle_blocking(
        mut self,
        mut handler: impl FnMut(Result<BusEvent<K, E>, BroadcastMissed>) -> ControlFlow<()>,
    ) -> BusHandlerReport {
        let mut report = BusHandlerReport::default();
        while let ControlFlow::Continue(()) = report.call(self.recv_blocking(), &mut handler) {}
        report
    }
}

/// The number of events after which [`handle`](BusSubscription::handle) yields to the other futures
/// of its task. Otherwise, the future would never be pending while the publisher is faster than the
/// handler.
const EVENTS_PER_POLL: usize = 64;

/// Returns `Pending` once, and wakes the task immediately.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl BusHandlerReport {
    /// Calls `handler` with an event or the number of missed events, and counts the result.
    fn call<K, E>(
        &mut self,
        received: Result<BusEvent<K, E>, BroadcastRecvError>,
        handler: &mut impl FnMut(Result<BusEvent<K, E>, BroadcastMissed>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let event = match received {
            Ok(event) => Ok(event),
            Err(BroadcastRecvError::Missed(count)) => {
                self.missed += count;
                Err(BroadcastMissed(count))
            }
            Err(BroadcastRecvError::Closed) => return ControlFlow::Break(()),
        };
        let mut flow = ControlFlow::Continue(());
        let mut panic = None;
        keep_panic(&mut panic, || flow = handler(event));
        match panic {
            None => self.handled += 1,
            Some(payload) => {
                self.panicked += 1;
                discard_panic(|| drop(payload));
            }
        }
        flow
    }
}

impl<K, E> Clone for BusSubscription<K, E> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone() }
    }
}

impl<K, E> fmt::Debug for BusSubscription<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusSubscription").field("len", &self.len()).finish()
    }
}
