//! Resilience primitives for services: what stands between you and a dependency that can be slow,
//! broken or flooded.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backoff;
pub mod breaker;
pub mod error;
pub mod event;
pub mod object_pool;
pub mod outcome;
pub mod pipeline;
pub mod policy;
pub mod random;
pub mod retry;
mod sync;
pub mod time;
pub mod timeout;
pub mod window;
