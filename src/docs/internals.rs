//! The layers of the crate and the ideas that they share.
//!
//! # Layers
//!
//! A module imports only from layers below its own; modules of one layer do not import each other.
//! A test of the repository enforces both.
//!
//! | layer | modules |
//! |---|---|
//! | 5 integration | `tower`, `telemetry` |
//! | 4 composition | [`pipeline`](crate::pipeline) |
//! | 3 primitives | [`breaker`](crate::breaker), [`rate`](crate::rate), [`concurrency`](crate::concurrency), [`retry`](crate::retry), [`timeout`](crate::timeout), [`worker_pool`](crate::worker_pool), [`object_pool`](crate::object_pool), [`resource_pool`](crate::resource_pool) |
//! | 2 building blocks | [`backoff`](crate::backoff), [`window`](crate::window), [`ring`](crate::ring), [`keyed`](crate::keyed) |
//! | 1 vocabulary | [`error`](crate::error), [`outcome`](crate::outcome), [`event`](crate::event), [`policy`](crate::policy), [`wait`](crate::wait) |
//! | 0 platform | `sync` (std and parking_lot, or loom), [`time`](crate::time), [`random`](crate::random) |
//!
//! # Pure state, thin shell
//!
//! A decision is a plain function or state machine. It receives the current instant and returns an
//! enum; it has no clock, no lock and no await. The code around it, the *shell*, reads the clock
//! once, applies the decision atomically and then emits events, outside every lock. Decisions are
//! tested with tables of (instant, input, expected result) on a
//! [`ManualClock`](crate::time::ManualClock).
//!
//! # One word per decision
//!
//! A breaker's state, a limiter's schedule and a semaphore's permits are each one atomic word, so
//! that a decision is one compare-and-swap. Configuration that can change while it is read is kept
//! in two slots; some bits of the state word, the *epoch*, select the live slot. A decision that
//! raced a reconfiguration fails its compare-and-swap and is made again. No decision outlives the
//! configuration that it was made with.
//!
//! An outcome carries the *generation* of the state that admitted its call. An outcome of an
//! earlier generation is counted as stale and changes nothing: a call that was admitted before a
//! breaker opened cannot close it.
//!
//! # Waiting
//!
//! Waiters are queued in FIFO order; threads and tasks share one queue. A wake-up is handed to one
//! waiter instead of being broadcast, and a waiter that gives up passes it on. A flag in
//! the state word records whether there are waiters. The fast path changes this word anyway, so the
//! flag adds no cost.
//!
//! # User code
//!
//! User code (operations, classifiers, hooks, observers, wakers, destructors) never runs under a
//! lock. There is one exception: `Eq` and `Borrow` of a key run under the lock of one shard of a
//! keyed primitive. A panic in it leaves every structure usable and every permit returned.
//!
//! # Verification
//!
//! Every concurrent structure has [loom](https://docs.rs/loom) models beside its code, a stress
//! test that checks exact counts, and a property test against a simple model. `cargo loom` runs
//! the models. A counting allocator in the tests verifies the promises about allocations. Each
//! model was seen to fail when the line that it guards was broken.
