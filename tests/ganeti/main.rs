//! Ganeti's provider: each script by itself, then under Ganeti's own code, in a copy of this machine where Ganeti is installed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod ganeti;
mod locking;
mod naming;
mod provider;
mod scripts;
