//! The resource pool: acquiring, creation, health, changes while in use, cancellation,
//! faults of other pools, guards, leaks, storms, a model and stress.
#![cfg(not(mainstay_loom))]

mod acquire;
mod cancel;
mod changes;
mod creation;
mod faults;
mod guard;
mod health;
mod leaks;
mod model;
mod server;
mod storms;
mod stress;
mod timers;
