//! A disk of our own below filed: one that fails, and one whose power is cut.
//!
//! The disk is a FUSE file system in memory (`model`, `mounted`). `failing` makes it answer with errors, slowly, or with
//! other bytes than were written. `power` records all that is asked of it, and starts the stack on what a disk may hold
//! after the power went at any of these moments.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod disk;
mod failing;
mod model;
mod mounted;
mod node;
mod power;
mod wreck;
