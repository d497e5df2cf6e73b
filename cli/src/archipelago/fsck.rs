//! `archipelago fsck`: has the mapper look at maps, blocks, locks and names, step by step.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

use client::Client;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{Finding, Severity};
use serde::Serialize;

use super::{arguments::Fsck, load};
use crate::{
    failure::{Failed, tell},
    output::{self, printable},
    size,
    supervision::reach,
};

/// What is tried, for errors.
const ACTION: &str = "check";
/// What stands for all volumes.
const ALL: &str = "*";
/// Steps without moving on: each looks at a node at least, so that only a mapper that is lost takes more.
const STEPS_HERE_MAX: u32 = 1 << 30;
/// Misused, or not done: what `--help` says.
const NOT_DONE: u8 = 2;

/// What a check found.
#[derive(Debug, Default, Serialize)]
struct Report {
    seen: u64,
    findings: Vec<Finding>,
    /// What a collection would take; none if not all was looked at, or it could not tell.
    unused: Option<Unused>,
}

/// Objects that no volume uses: no fault, but something to know.
#[derive(Debug, Default, Serialize)]
struct Unused {
    objects: u64,
    bytes: u64,
}

/// Checks and reports; its exit status is its own, so that a timer tells damage from a stack that is down.
pub(super) fn run(file: &Path, wanted: &Fsck) -> ExitCode {
    match check(file, wanted) {
        Ok(report) if report.findings.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            tell("archipelago", &error);
            ExitCode::from(NOT_DONE)
        }
    }
}

fn check(file: &Path, wanted: &Fsck) -> anyhow::Result<Report> {
    let configuration = load(file)?;
    let stack = reach::join(&configuration)?;
    reach::await_served(&configuration, &stack, &[stack.mapper])?;
    let mut client = Client::connect(&stack).map_err(|failure| Failed::by_peer(ACTION, &failure))?;
    // Draws nothing where standard error is no terminal.
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        progress.set_style(style);
    }
    let all = [ALL.to_owned()];
    let volumes = if wanted.volumes.is_empty() { &all[..] } else { &wanted.volumes };
    let mut report = Report::default();
    let mut told = BTreeSet::new();
    for volume in volumes {
        check_volume(&mut client, volume, wanted.repair, &mut |step| {
            report.seen += step.seen;
            // What was begun again is told again.
            let lines = step.findings.into_iter().filter(|found| {
                told.insert((
                    found.kind.clone(),
                    found.volume.clone(),
                    found.object.clone(),
                    found.first_block,
                ))
            });
            report.findings.extend(lines);
            progress.set_message(report.summary());
            progress.tick();
        })?;
    }
    if wanted.volumes.is_empty() {
        progress.set_message(format!("{}, looking for what no volume uses", report.summary()));
        report.unused = unused(&mut client, &mut || progress.tick());
    }
    progress.finish_and_clear();
    if wanted.output.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    Ok(report)
}

/// What a collection would take; it stops at a map that cannot be read, which is a finding already.
fn unused(client: &mut Client, took: &mut impl FnMut()) -> Option<Unused> {
    let (mut sum, mut resume) = (Unused::default(), Vec::new());
    for _ in 0..STEPS_HERE_MAX {
        let step = client.collect(&resume, true).ok()?;
        sum.objects += step.removed;
        sum.bytes += step.removed_bytes;
        took();
        match step.resume {
            Some(next) => resume = next,
            None => return Some(sum),
        }
    }
    None
}

/// All steps of one volume, or of all.
fn check_volume(
    client: &mut Client,
    volume: &str,
    repairs: bool,
    took: &mut impl FnMut(protocol::Checked),
) -> anyhow::Result<()> {
    let action = if volume == ALL { ACTION.to_owned() } else { format!("check {volume}") };
    let (mut resume, mut steps_here) = (Vec::new(), 0_u32);
    loop {
        let mut step = client
            .check(volume, &resume, repairs)
            .map_err(|failure| Failed::by_peer(action.clone(), &failure))?;
        let next = step.resume.take();
        took(step);
        match next {
            None => return Ok(()),
            Some(next) if next == resume => {
                steps_here += 1;
                if steps_here > STEPS_HERE_MAX {
                    return Err(Failed::new(action, "the mapper makes no progress").into());
                }
            }
            Some(next) => (resume, steps_here) = (next, 0),
        }
    }
}

impl Report {
    fn summary(&self) -> String {
        let count = self.findings.len();
        let mended = self.findings.iter().filter(|line| line.is_mended).count();
        let tail = if mended > 0 { format!(", {mended} mended") } else { String::new() };
        format!("{} objects looked at, {count} findings{tail}", self.seen)
    }

    fn text(&self) -> String {
        let lines: String = self.findings.iter().map(line).collect();
        let unused = match &self.unused {
            Some(Unused { objects, bytes }) if *objects > 0 => {
                format!(
                    "{objects} objects ({}) are used by no volume: `archipelago gc`\n",
                    size::human(*bytes)
                )
            }
            _ => String::new(),
        };
        format!("{lines}{}\n{unused}", self.summary())
    }
}

/// A finding for people.
fn line(found: &Finding) -> String {
    let severity = match found.severity {
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let blocks = match found.first_block {
        Some(first) if found.block_count > 1 => {
            format!(", blocks {first} to {}", first.saturating_add(found.block_count - 1))
        }
        Some(first) => format!(", block {first}"),
        None => String::new(),
    };
    let object = if found.object == found.volume { String::new() } else { format!(" ({})", found.object) };
    let next = if found.is_mended { "mended".to_owned() } else { format!("next: {}", found.next) };
    let Finding { kind, volume, text, .. } = found;
    let shown = printable(&format!("{severity}: {kind}: {volume}{blocks}{object}: {text}")).to_string();
    format!("{shown}\n  {}\n", printable(&next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_it_is_and_what_to_do() {
        let found = Finding {
            kind: "block-missing".to_owned(),
            severity: Severity::Error,
            volume: "volume1".to_owned(),
            object: "b.1".to_owned(),
            first_block: Some(2),
            block_count: 3,
            text: "gone".to_owned(),
            next: "look".to_owned(),
            is_mended: false,
        };
        assert_eq!(line(&found), "error: block-missing: volume1, blocks 2 to 4 (b.1): gone\n  next: look\n");
        let whole = Finding { object: "volume1".to_owned(), first_block: None, is_mended: true, ..found };
        assert_eq!(line(&whole), "error: block-missing: volume1: gone\n  mended\n");
    }
}
