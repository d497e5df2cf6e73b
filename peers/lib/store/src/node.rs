//! Nodes that use a store: docs/formats.md#node-record

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a stack tells of itself to all who use the same store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRecord {
    /// Of its layout: 1.
    pub version: u32,
    /// The node's identity: the owner of its locks.
    pub name: String,
    /// The host's own name.
    pub host: String,
    /// Which start of the host it is.
    pub boot_id: String,
    /// Which stack it is: its segment's id.
    pub stack: u64,
    /// When it began to use the store, or stopped, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// False once it stopped in order.
    pub is_running: bool,
    /// How the store's cluster knows it; empty where there is none.
    pub address: String,
    /// Locks that it waits for; at most [`NodeRecord::WAITS_MAX`].
    pub waits: Vec<LockWait>,
}

/// A lock that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockWait {
    /// The lock's name; what is not UTF-8 in it is replaced.
    pub lock: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// A node as it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it said last.
    pub record: NodeRecord,
    /// Whether it lives, as far as that can be seen from here.
    pub is_alive: bool,
    /// Whether it is the stack that was asked.
    pub is_here: bool,
}

const VERSION: u32 = 1;

impl NodeRecord {
    /// How many locks that are waited for are told.
    pub const WAITS_MAX: usize = 64;
    /// How many nodes are told, and remembered.
    pub const NODES_MAX: usize = 128;
    /// How long a node that does not live is remembered, in milliseconds: 30 days.
    pub const MEMORY_MS: u64 = 30 * 24 * 3_600_000;

    /// A stack that begins.
    #[must_use]
    pub fn new(name: &str, host: &str, boot_id: &str, stack: u64, since_unix_ms: u64) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            host: host.to_owned(),
            boot_id: boot_id.to_owned(),
            stack,
            since_unix_ms,
            is_running: true,
            address: String::new(),
            waits: Vec::new(),
        }
    }

    /// Whether it is laid out as this version does it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.version == VERSION
    }

    /// Whether this and `other` are one stack.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.stack) == (&other.name, other.stack)
    }

    /// Whether it stopped or died so long before `now_unix_ms` that nobody wants to know.
    #[must_use]
    pub fn is_history(&self, now_unix_ms: u64) -> bool {
        self.since_unix_ms.saturating_add(Self::MEMORY_MS) < now_unix_ms
    }

    /// It waits for these locks now. Each is told once, with the oldest wait, as far as there is room: the oldest first.
    pub fn set_waits(&mut self, mut waits: Vec<LockWait>) {
        waits.sort_by(|one, other| (&one.lock, one.since_unix_ms).cmp(&(&other.lock, other.since_unix_ms)));
        waits.dedup_by(|later, first| later.lock == first.lock);
        waits.sort_by_key(|wait| wait.since_unix_ms);
        waits.truncate(Self::WAITS_MAX);
        self.waits = waits;
    }
}

impl fmt::Display for NodeRecord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "a running stack on host {} (boot {}, segment {:016x})",
            self.host, self.boot_id, self.stack
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_told_once_with_its_oldest_wait_and_the_oldest_waits_come_first() {
        let mut record = NodeRecord::new("n1", "host", "boot", 7, 1);
        let wait = |lock: &str, since_unix_ms| LockWait { lock: lock.to_owned(), since_unix_ms };
        record.set_waits(vec![wait("b", 9), wait("a", 8), wait("b", 5), wait("a", 8)]);
        assert_eq!(record.waits, [wait("b", 5), wait("a", 8)]);
        record.set_waits((0..200).map(|number| wait(&number.to_string(), number)).collect());
        assert_eq!((record.waits.len(), record.waits[63].since_unix_ms), (64, 63));
    }
}
