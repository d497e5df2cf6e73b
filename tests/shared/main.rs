//! Several hosts on one directory: each a stack with a segment, a node's identity and a network of its own, and `filed` on the same
//! folders for blocks and maps.
//!
//! `ARCHIPELAGO_TRIAL_SECONDS` says how long [`trials`] go on; `ARCHIPELAGO_TRIAL_SEED` what happens in them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod folder;
mod migration;
mod promises;
mod trials;
