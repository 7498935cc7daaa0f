//! Calls with the same key share one execution, even if some of them are cancelled.
#![cfg(not(mainstay_loom))]

mod scripts;
mod sharing;
mod support;
