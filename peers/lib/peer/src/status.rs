//! What a role tells of itself when it is pinged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measures::Measured;

/// The argument of a `ping` that wants [`Status::measured`] too.
pub const MEASURED: &[u8] = b"measured";

/// A role's answer to `ping`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The role's name in the configuration.
    pub role: String,
    /// Its process.
    pub pid: u32,
    /// The port that answered.
    pub port: u32,
    /// When this incarnation started, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Requests answered, by operation; those never asked for are left out.
    pub served: BTreeMap<String, u64>,
    /// Requests answered with an error.
    pub failed: u64,
    /// Requests being worked on.
    pub in_flight: u64,
    /// Requests waiting for their turn.
    pub waiting: u64,
    /// What only this kind of role knows.
    #[serde(default)]
    pub details: serde_json::Value,
    /// What its requests came to, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}
