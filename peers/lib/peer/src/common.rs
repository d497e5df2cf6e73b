//! What every role is told, whatever it does.

use std::{ops::RangeInclusive, path::PathBuf};

/// The settings that all roles share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The role's name in the configuration, as in `blockerb`.
    pub role: String,
    /// The ports it serves, one thread each.
    pub ports: RangeInclusive<u32>,
    /// How many requests a port serves at a time; more wait their turn.
    pub nr_ops: u32,
    /// This node's identity: the owner of the locks it takes.
    pub node: String,
    /// Where sockets and small state files of the stack are.
    pub run_dir: PathBuf,
}
