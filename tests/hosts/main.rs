//! Several hosts on one RADOS: each a stack with a segment, a node's identity and a network of its own, and one cable to
//! where Ceph listens.
//!
//! `ARCHIPELAGO_TRIAL_SECONDS` says how long [`trials`] go on; `ARCHIPELAGO_TRIAL_SEED` what happens in them.

mod site;
mod trials;
