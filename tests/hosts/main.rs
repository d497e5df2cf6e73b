//! Several hosts on one RADOS: each a stack with a segment, a node's identity and a network of its own, and one cable to
//! where Ceph listens.
//!
//! `ARCHIPELAGO_TRIAL_SECONDS` says how long [`trials`] go on; `ARCHIPELAGO_TRIAL_SEED` what happens in them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod locks;
mod migration;
mod site;
mod trials;
