//! What a role tells of itself when it is pinged.

use std::collections::BTreeMap;

use protocol::Op;
use serde::{Deserialize, Serialize};

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
}

/// Counts of answered requests.
#[derive(Clone, Debug)]
pub struct Counters {
    served: [u64; Op::ALL.len()],
    failed: u64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { served: [0; Op::ALL.len()], failed: 0 }
    }
}

impl Counters {
    /// Counts one answer.
    pub fn count(&mut self, op_number: u16, has_failed: bool) {
        if let Some(count) = self.served.get_mut(usize::from(op_number)) {
            *count += 1;
        }
        self.failed += u64::from(has_failed);
    }

    /// Answers with an error so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Answers so far by operation, without the zeros.
    #[must_use]
    pub fn served(&self) -> BTreeMap<String, u64> {
        let counts = Op::ALL.iter().zip(self.served);
        counts.filter(|(_, count)| *count > 0).map(|(op, count)| (op.name().to_owned(), count)).collect()
    }
}
