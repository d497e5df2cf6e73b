//! The whole stack, as a person runs it: `archipelago run` on a private configuration, in a directory of its own.
//!
//! ```no_run
//! let stack = tests::TestStack::start();
//! stack.vlmc(&["create", "volume1", "--size", "64"]).done();
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod ceph;
mod dice;
pub mod history;
mod migration;
mod namespace;
mod network;
mod outcome;
pub mod place;
mod skip;
mod stack;
mod stop;
mod supervised;
mod trial;

pub use ceph::{Ceph, Disk, Trust};
pub use dice::Dice;
pub use migration::{Trouble, migrate};
pub use namespace::Namespace;
pub use network::{Host, Network};
pub use outcome::Outcome;
pub use skip::{is_root, skip, tool};
pub use stack::{TestStack, is_stopped, pattern, run};
pub use stop::is_run_over;
pub use supervised::Supervised;
pub use trial::Trial;
