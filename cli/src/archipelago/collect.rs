//! `archipelago gc`: has the mapper look at all objects, step by step.

use client::Client;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::arguments::Gc;
use crate::{config::Configuration, failure::Failed, output, size, supervision::reach};

/// What is tried, for errors.
const ACTION: &str = "collect what no volume uses";
/// Steps without moving on: each looks at thousands of objects, so that only a mapper that is lost takes more.
const MAX_STEPS_HERE: u32 = 1 << 20;

/// What a collection did in all.
#[derive(Debug, Default, Serialize)]
struct Sum {
    seen: u64,
    removed: u64,
    removed_bytes: u64,
    dry_run: bool,
    /// Bytes that were free below the blocks before; none where their store cannot tell.
    free_bytes_before: Option<u64>,
    free_bytes_after: Option<u64>,
    /// Why blocks of the original were left alone, if they were.
    spared: Option<String>,
}

/// Runs a collection to its end.
pub(super) fn run(configuration: &Configuration, wanted: &Gc) -> anyhow::Result<()> {
    let stack = reach::join(configuration)?;
    reach::await_served(configuration, &stack, &[stack.mapper])?;
    let failed = |failure: client::Failure| Failed::by_peer(ACTION, &failure);
    let mut client = Client::connect(&stack).map_err(failed)?;
    // Draws nothing where standard error is no terminal.
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        progress.set_style(style);
    }
    let free_bytes_before = free_bytes(&mut client, stack.blocker_blocks);
    let mut sum = Sum { dry_run: wanted.dry_run, free_bytes_before, ..Sum::default() };
    let (mut resume, mut steps_here) = (Vec::new(), 0_u32);
    loop {
        let step = client.collect(&resume, wanted.dry_run).map_err(failed)?;
        sum.seen += step.seen;
        sum.removed += step.removed;
        sum.removed_bytes += step.removed_bytes;
        sum.spared = step.spared.or(sum.spared);
        progress.set_message(sum.line());
        progress.tick();
        match step.resume {
            None => break,
            // It marks what is in use before it moves on.
            Some(next) if next == resume => {
                steps_here += 1;
                if steps_here > MAX_STEPS_HERE {
                    return Err(Failed::new(ACTION, "the mapper makes no progress").into());
                }
            }
            Some(next) => (resume, steps_here) = (next, 0),
        }
    }
    progress.finish_and_clear();
    sum.free_bytes_after = free_bytes(&mut client, stack.blocker_blocks);
    if wanted.output.json {
        output::print_json(&sum)?;
    } else {
        output::print(&sum.text())?;
    }
    Ok(())
}

/// What a store's status tells of its space.
fn free_bytes(client: &mut Client, store: u32) -> Option<u64> {
    client.ping(store).ok()?.details["free_bytes"].as_u64()
}

impl Sum {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.line());
        if let (Some(before), Some(after)) = (self.free_bytes_before, self.free_bytes_after) {
            text += &format!("free space: {} before, {} after\n", size::human(before), size::human(after));
        }
        if let Some(reason) = &self.spared {
            text += &format!("blocks of the original are left alone: {reason}\n");
        }
        text
    }

    fn line(&self) -> String {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        format!("{} objects seen, {} {verb} ({})", self.seen, self.removed, size::human(self.removed_bytes))
    }
}
