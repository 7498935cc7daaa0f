//! Tests of the cache: which result a call receives, and when the operation runs.
#![cfg(not(mainstay_loom))]

mod concurrency;
mod errors;
mod lifetimes;
mod model;
mod support;
