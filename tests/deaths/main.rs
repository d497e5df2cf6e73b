//! Processes that die: every role of a stack, and its clients, under verified load.
//!
//! `ARCHIPELAGO_DEATHS_SECONDS` says how long each test kills; `cargo xtask deaths --minutes N` sets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod clients;
mod clock;
mod files;
mod loads;
mod pauses;
mod roles;
mod settled;

use std::time::Duration;

/// The environment variable that seeds what happens.
const SEED: &str = "ARCHIPELAGO_DEATHS_SEED";
/// How long a test kills if nobody says: together with their beginning and end, what a test command has time for.
const SECONDS: u64 = 15;

/// How long a test kills.
fn duration() -> Duration {
    let told = std::env::var("ARCHIPELAGO_DEATHS_SECONDS").ok();
    Duration::from_secs(told.and_then(|told| told.parse().ok()).unwrap_or(SECONDS))
}
