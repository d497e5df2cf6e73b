//! Composes volumes: splits their I/O into I/O on objects, by the map entries that the mapper granted.
//!
//! ```text
//! client ── read 6 MiB at 3 MiB ──> vlmc ──> object b.…0: 1 MiB at 3 MiB ──> store
//!                                       ──> object b.…1: 4 MiB            ──> store
//!                                       ──> (a hole: zeros)
//! ```
//!
//! In the steady state it asks the mapper nothing: all that changes a volume's map passes through the port that keeps its
//! entries. It copies no data, keeps nothing on disk, and may be killed at any time: requests are idempotent here, and those
//! that are not are passed on under their own id.

#![deny(missing_docs)]

mod asking;
mod cache;
mod completing;
mod composer;
mod config;
mod dirty;
mod filling;
mod flow;
mod flushing;
mod lost;
mod map_calls;
mod moving;
mod object;
mod operation;
mod overlay;
mod partial;
mod replies;
mod scanning;
mod serve;
mod slab;
mod starving;
#[cfg(test)]
mod tests;
mod volume;

pub use config::{Config, ConfigError};
pub use serve::{Error, composer, serve};
