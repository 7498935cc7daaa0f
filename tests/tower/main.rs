//! Pipelines as Tower layers.
#![cfg(all(not(mainstay_loom), feature = "tower"))]

mod bodies;
mod concurrency;
mod context;
mod ends;
mod layers;
mod ready;
mod support;
