//! The layers of the crate and the ideas that they share.
//!
//! # Layers
//!
//! A module imports only from layers below its own. Modules of one layer do not import each other,
//! except for a few imports in layers 0 and 1. `tests/layering.rs` enforces these rules and lists
//! the exceptions.
//!
//! | layer | modules |
//! |---|---|
//! | 5 integration | `tower`, `telemetry` |
//! | 4 composition | [`pipeline`](crate::pipeline) |
//! | 3 primitives | [`breaker`](crate::breaker), [`rate`](crate::rate), [`concurrency`](crate::concurrency), [`retry`](crate::retry), [`hedge`](crate::hedge), [`fallback`](crate::fallback), [`timeout`](crate::timeout), [`deadline`](crate::deadline), [`coalesce`](crate::coalesce), [`cache`](crate::cache), [`batch`](crate::batch), [`worker_pool`](crate::worker_pool), [`object_pool`](crate::object_pool), [`resource_pool`](crate::resource_pool) |
//! | 2 building blocks | [`backoff`](crate::backoff), [`budget`](crate::budget), `codel`, [`window`](crate::window), [`ring`](crate::ring), [`keyed`](crate::keyed), `singleflight` |
//! | 1 vocabulary | [`error`](crate::error), [`outcome`](crate::outcome), [`event`](crate::event), [`policy`](crate::policy), [`wait`](crate::wait) |
//! | 0 platform | `sync` (std and parking_lot, or loom), `share`, [`time`](crate::time), [`random`](crate::random) |
//!
//! # Pure state, thin shell
//!
//! A decision is a plain function or state machine. It receives the current instant and returns an
//! enum; it has no clock, no lock and no await. The code around it, the *shell*, reads the clock
//! once and applies the decision atomically. It then emits events, without holding a lock.
//! Decisions are tested with tables of (instant, input, expected result) on a
//! [`ManualClock`](crate::time::ManualClock).
//!
//! # One word per decision
//!
//! A breaker's state, a limiter's schedule and a semaphore's permits are each one atomic word, so
//! that a decision is one compare-and-swap. Configuration that can change while it is read is
//! stored in two slots. Some bits of the state word, the *epoch*, select the current slot. If the
//! configuration changes during a decision, the compare-and-swap fails and the decision is made
//! again. So every decision is made with the configuration under which it takes effect.
//!
//! An outcome carries the *generation* of the state that admitted its call. An outcome of an
//! earlier generation is counted as stale and changes nothing: a call that was admitted before a
//! breaker opened cannot close it.
//!
//! # Waiting
//!
//! Waiters are queued in FIFO order; threads and tasks share one queue. Each wake-up goes to one
//! waiter; none is broadcast. A waiter that is woken and then cancelled passes the wake-up to the
//! next one. A flag in the state word records whether there are waiters. The fast path changes this
//! word anyway, so the flag adds no cost.
//!
//! # User code
//!
//! User code (operations, classifiers, hooks, observers, wakers, destructors) never runs under a
//! lock. There is one exception: `Eq` and `Borrow` of a key run under the lock of one shard of a
//! keyed primitive. If user code panics, every structure stays usable and every permit is released.
//!
//! # Verification
//!
//! Every concurrent structure has [loom](https://docs.rs/loom) models beside its code, a stress
//! test that checks exact counts, and a property test against a simple model. `cargo loom` runs the
//! models. A counting allocator in the tests verifies the documented numbers of allocations. Each
//! model has been verified to fail when the line of code that it covers is broken.
