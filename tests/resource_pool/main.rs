//! The resource pool: acquiring, creation, health, changes while in use, cancellation, a model and
//! stress.
#![cfg(not(mainstay_loom))]

mod acquire;
mod cancel;
mod changes;
mod creation;
mod health;
mod model;
mod server;
mod stress;
