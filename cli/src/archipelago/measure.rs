//! `archipelago metrics`: what the stack measured, for Prometheus, without a role that listens.

use metrics::Sample;

use crate::{config::Configuration, failure::Failed, output, supervision::reach};

/// Prints a sample.
pub(super) fn run(configuration: &Configuration) -> anyhow::Result<()> {
    let stack = reach::join(configuration)?;
    let sample = Sample::take(&stack).map_err(|failure| Failed::by_peer("measure the stack", &failure))?;
    Ok(output::print(&metrics::text(sample))?)
}
