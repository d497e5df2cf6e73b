//! The stack as a person uses it, one file a story.
//!
//! The numbers in test names are those of the original's acceptance cases.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod blockers;
mod checks;
mod clones;
mod commands;
mod handbook;
mod legacy;
mod locks;
mod names;
mod nodes;
mod scrub;
mod snapshots;
mod supervision;
mod volumes;
mod watching;
