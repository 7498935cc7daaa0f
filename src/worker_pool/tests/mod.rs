//! Loom models of the pool.

mod loom;
