//! Calls with the same key share one execution, whichever of them is cancelled.
#![cfg(not(mainstay_loom))]

mod scripts;
mod sharing;
mod support;
