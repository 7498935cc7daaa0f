//! Permits that are held by a stream until it ends: [`PermitStream`], [`StreamGuard`].
//!
//! The result of an operation can be a stream, such as the body of a response. The operation then
//! ends long after its result has been returned. With a [`PermitStream`], the permit of a call is
//! held until the stream ends, and the outcome is recorded then.
//!
//! # Examples
//!
//! ```
//! use futures::{StreamExt, stream};
//! use mainstay::policy::{PermitStream, StreamGuard};
//! use mainstay::{Bulkhead, Pipeline};
//! use std::io;
//!
//! # fn main() -> Result<(), mainstay::ConfigError> {
//! # futures::executor::block_on(async {
//! let bulkhead = Bulkhead::builder().max_concurrent(1).build()?;
//! let pipeline = Pipeline::builder()
//!     .guard(StreamGuard::new(bulkhead.clone(), |rows: &PermitStream<_>| {
//!         Some(rows.permits())
//!     }))
//!     .build();
//!
//! let query = || async {
//!     let rows = stream::iter([Ok::<u32, io::Error>(1), Ok(2)]);
//!     Ok::<_, io::Error>(PermitStream::new(rows))
//! };
//! let mut rows = pipeline.call(query).await.unwrap();
//! assert!(bulkhead.try_acquire().is_err()); // held by the rows
//! while let Some(row) = rows.next().await {
//!     row.unwrap();
//! }
//! assert!(bulkhead.try_acquire().is_ok());
//! # Ok(())
//! # })
//! # }
//! ```

mod guard;
mod permits;

pub use guard::{StreamAdmitFuture, StreamGuard};
pub use permits::{PermitStream, StreamPermits};
