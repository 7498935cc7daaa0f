//! What happens when a future, a permit or a handle is dropped.
//!
//! Every future of this crate may be dropped at every await point. It then releases everything that
//! it holds: permits, half-open slots of a breaker, positions in wait queues. No wake-up is lost: a
//! waiter that is dropped after it was granted a permit, and before it has returned the permit to
//! its caller, passes it to the next waiter.
//!
//! # Futures
//!
//! | future | when it is dropped before it is ready |
//! |---|---|
//! | [`Pipeline::call`] | the operation is dropped; no policy counts an outcome of the attempt |
//! | [`CircuitBreaker::call`] | the operation is dropped; the half-open slot, if any, is released; no outcome is counted |
//! | [`Retry::call`], [`Timeout::call`] | the running attempt or wait is dropped |
//! | [`RateLimiter::acquire`], and those of a key, a rule or several dimensions | leaves the wait queue; takes no token |
//! | [`Chaos::call`](crate::chaos::Chaos::call) | the delay ends, or the operation is dropped; the fault stays counted |
//! | [`Semaphore::acquire`] | leaves the wait queue; a permit granted meanwhile goes to the next waiter |
//! | [`Sender::send`] | the item is dropped and was not sent; use [`try_send`] to keep it |
//! | [`Sender::send_batch`] | items already sent stay sent; the rest stays in the caller's iterator |
//! | [`Receiver::recv`] | takes no item |
//! | [`Receiver::recv_batch`] | takes no item: received items are in the caller's `Vec` |
//! | [`OneshotReceiver`](crate::wait::OneshotReceiver) | the sender's `send` returns the value |
//! | [`WorkerPool::submit`], [`WorkerPool::spawn`] | the job is dropped unrun and was not queued |
//! | [`WorkerPool::call`] | a queued job is cancelled; a job that has begun runs to its end |
//!
//! # Permits and handles
//!
//! | value | when it is dropped |
//! |---|---|
//! | [`CircuitBreakerPermit`](crate::breaker::CircuitBreakerPermit) | released without an outcome: nothing is counted |
//! | [`SemaphorePermit`](crate::wait::SemaphorePermit) | released to the next waiter |
//! | [`DimensionedGrant`](crate::rate::DimensionedGrant) | the estimated costs are kept |
//! | [`Reservation`](crate::rate::Reservation) | refunded if dropped before its start time; used up afterwards |
//! | [`PooledObject`](crate::object_pool::PooledObject) | recycled and returned to the pool |
//! | [`PooledResource`](crate::resource_pool::PooledResource) | recycled and handed to the next caller, or closed if the thread unwinds |
//! | [`JobHandle`](crate::worker_pool::JobHandle) | the job keeps running |
//! | [`Subscription`](crate::event::Subscription) | ends; [`detach`](crate::event::Subscription::detach) keeps it |
//! | the last [`Receiver`] of a channel | closes the channel and drops the items in it |
//! | the last [`Sender`] of a channel | closes the channel; receivers take the remaining items |
//! | the last handle of a [`WorkerPool`] | shuts the pool down as configured by [`on_drop`] |
//!
//! # Timeouts and blocking code
//!
//! A [`Timeout`] around a future drops the future when the time is over. The operation receives no
//! other signal, so it must be as cancel-safe as its caller requires. A blocking closure cannot be
//! interrupted: it receives its deadline in the [`Context`](crate::policy::Context) of
//! `call_with_blocking`, and a late result is returned unchanged.
//!
//! Work that must not be cancelled belongs in a task or a [`WorkerPool`] job; the caller awaits its
//! handle, and dropping the handle does not stop the work.
//!
//! # Panics
//!
//! A panic of an operation unwinds through the policies to the caller. Each policy releases what it
//! holds for the call and counts no outcome.
//!
//! A panic of an observer unwinds through the call that delivers the event, after the other
//! observers have received the event. Two kinds of panics are caught: those of the hooks, observers
//! and wakers of a [`WorkerPool`], and those of wakers on the timer thread.
//!
//! # Tests
//!
//! For every *k* up to completion, the tests poll each future *k* times and then drop it. They also
//! make every user closure panic. Futures of the adaptive limiter are dropped at each of their
//! stages. The tests then assert the exact numbers of permits, items and counted outcomes.
//!
//! [`try_send`]: crate::ring::Sender::try_send
//! [`on_drop`]: crate::worker_pool::WorkerPoolBuilder::on_drop

#[cfg(doc)]
use crate::{
    breaker::CircuitBreaker,
    pipeline::Pipeline,
    rate::RateLimiter,
    retry::Retry,
    ring::{Receiver, Sender},
    timeout::Timeout,
    wait::Semaphore,
    worker_pool::WorkerPool,
};
