//! The whole stack, as a person runs it: `archipelago run` on a private configuration, in a directory of its own.
//!
//! ```no_run
//! let stack = tests::TestStack::start();
//! stack.vlmc(&["create", "volume1", "--size", "64"]).done();
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod ceph;
mod outcome;
mod skip;
mod stack;
mod supervised;

pub use ceph::{Ceph, Disk};
pub use outcome::Outcome;
pub use skip::{is_root, skip, tool};
pub use stack::{TestStack, pattern, run};
pub use supervised::Supervised;
