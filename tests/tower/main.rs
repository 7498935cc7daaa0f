//! Pipelines as Tower layers.
#![cfg(all(not(mainstay_loom), feature = "tower"))]

mod context;
mod ends;
mod layers;
mod ready;
mod support;
