//! Load and verification from inside the segment.
//!
//! A [`Job`] says what to do to what, how much of it and how fast; [`run`] does it and returns a [`Report`] with rates, latencies
//! as percentiles, and what was found wrong with the content.
//!
//! ```no_run
//! # fn example(stack: &client::Stack) -> Result<(), client::Failure> {
//! let job = bench::Job { write_percent: 30, depth: 32, is_verified: true, ..bench::Job::on_volume("disk01") };
//! let report = bench::run(stack, &job)?;
//! assert!(report.is_good());
//! # Ok(()) }
//! ```
//!
//! It goes through the same client as every endpoint, and never looks into a store or a map.

#![deny(missing_docs)]

mod content;
mod job;
mod lane;
mod order;
mod pace;
mod report;
mod run;
#[cfg(test)]
mod tests;
mod versions;

pub use job::{Job, Pattern, Target};
pub use report::{Fault, Faults, Latency, Measured, Report};
pub use run::run;
