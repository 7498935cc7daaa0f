//! Resilience primitives for services: what stands between you and a dependency that can be slow,
//! broken or flooded.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod ring;
mod sync;
pub mod wait;
