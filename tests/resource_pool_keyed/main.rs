//! The keyed resource pool: one pool per key, and a limit over all keys.
#![cfg(not(mainstay_loom))]

mod hosts;
mod keys;
mod model;
#[allow(dead_code)]
#[path = "../resource_pool/server.rs"]
mod server;
mod total;
