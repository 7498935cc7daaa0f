//! The queue of a bulkhead: how callers wait for permits, and in which order they are served.

mod acquire;
mod caller_queue;
mod rules;

pub(super) use acquire::{Acquire, Entry, Granted, Handle, Limit, Request, block};
pub(super) use caller_queue::{CallerQueue, NextWaiter, WaiterStatus};
pub(super) use rules::{QueueConfig, WaitTimes};
