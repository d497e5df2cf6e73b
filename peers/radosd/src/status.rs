//! What a store tells of itself.

use serde::Serialize;

/// The state of a store, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether there is a connection to the cluster.
    pub is_connected: bool,
    /// Its client as the blocklist names it; empty without a connection.
    pub client: String,
    /// Operations that the cluster has.
    pub under_way: usize,
    /// Locks under which this client may write.
    pub locks_held: usize,
    /// Requests that wait for a lock.
    pub lock_waiters: usize,
    /// How often the cluster shut a client of this store out.
    pub shut_outs: u64,
}
