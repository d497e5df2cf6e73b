//! Real file systems, real clients, real trouble: the slow part.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod clients;
mod filesystem;
mod trouble;
