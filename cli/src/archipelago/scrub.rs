//! `archipelago scrub`: has stores compare what is at rest with its checksums, step by step.

use std::{
    collections::BTreeMap,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use client::Client;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{ErrorKind, Scrubbed};
use serde::Serialize;

use super::{arguments::Scrub, load};
use crate::{
    config::{Configuration, Kind},
    failure::{Failed, tell},
    output, size,
    supervision::reach,
};

/// What is tried, for errors.
const ACTION: &str = "scrub";
/// What a step looks at at most, in bytes: a moment's work, so that a rate is kept evenly.
const STEP_BYTES: u64 = 8 << 20;
/// The progress of a store that is done.
const DONE: u32 = 65_536;
/// Steps without moving on: each looks at an object at least, so that only a store that is lost takes more.
const STEPS_HERE_MAX: u32 = 1 << 20;
/// Misused, or not done: what `--help` says.
const NOT_DONE: u8 = 2;

/// What a scrub found in one store.
#[derive(Debug, Serialize)]
struct Report {
    role: String,
    objects: u64,
    bytes: u64,
    verified: u64,
    summed: u64,
    unsettled: u64,
    damaged: u64,
    damages: Vec<Line>,
}

/// A damaged piece.
#[derive(Debug, Serialize)]
struct Line {
    object: String,
    offset: u64,
    size: u64,
    is_unreadable: bool,
    /// The volume that wrote the object, if it still exists; its snapshots and clones may use it too.
    volume: Option<String>,
    /// Which of its blocks.
    block: Option<u64>,
}

/// Scrubs and reports; its exit status is its own, so that a timer tells damage from a stack that is down.
pub(super) fn run(file: &Path, wanted: &Scrub) -> ExitCode {
    match scrub(file, wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            tell("archipelago", &error);
            ExitCode::from(NOT_DONE)
        }
    }
}

/// How many pieces are damaged.
fn scrub(file: &Path, wanted: &Scrub) -> anyhow::Result<u64> {
    let configuration = load(file)?;
    let stores = stores(&configuration, wanted.role.as_deref())?;
    let stack = reach::join(&configuration)?;
    let ports: Vec<u32> = stores.iter().map(|(_, port)| *port).collect();
    reach::await_served(&configuration, &stack, &ports)?;
    let mut client = Client::connect(&stack).map_err(|failure| Failed::by_peer(ACTION, &failure))?;
    let mut reports = Vec::new();
    for (role, port) in stores {
        if let Some(found) = one_store(&mut client, (&role, port), wanted)? {
            reports.push(Report::new(role, found, &mut client));
        }
    }
    if reports.is_empty() {
        return Err(Failed::new(ACTION, "none of the stores does that").into());
    }
    if wanted.output.json {
        output::print_json(&reports)?;
    } else {
        output::print(&reports.iter().map(Report::text).collect::<String>())?;
    }
    Ok(reports.iter().map(|report| report.damaged).sum())
}

/// Names and ports of the stores that are meant.
fn stores(configuration: &Configuration, role: Option<&str>) -> Result<Vec<(String, u32)>, Failed> {
    let all = configuration.roles.iter().filter(|role| Kind::STORES.contains(&role.outline.kind));
    let meant = all.filter(|candidate| role.is_none_or(|role| candidate.outline.name == role));
    let stores: Vec<_> = meant.map(|role| (role.outline.name.clone(), *role.outline.ports.start())).collect();
    match role {
        Some(role) if stores.is_empty() => {
            Err(Failed::new(ACTION, format!("the configuration has no store {role}")))
        }
        _ => Ok(stores),
    }
}

/// Everything that was found; none if the store does not do this, which it says.
fn one_store(
    client: &mut Client,
    (role, port): (&str, u32),
    wanted: &Scrub,
) -> anyhow::Result<Option<Scrubbed>> {
    // Draws nothing where standard error is no terminal.
    let progress = ProgressBar::new(u64::from(DONE));
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {percent}% {msg} ({elapsed})") {
        progress.set_style(style);
    }
    progress.set_prefix(role.to_owned());
    let begun = Instant::now();
    let (mut is_restart, mut steps_here, mut first_bytes, mut place) = (wanted.restart, 0, None, (0, 0));
    loop {
        let step = match client.scrub(port, is_restart, step_bytes(wanted.rate)) {
            Ok(step) => step,
            Err(failure) => {
                let is_unsupported = failure.kind == ErrorKind::Unsupported;
                let failed = Failed::by_peer(format!("scrub {role}"), &failure).into();
                if !is_unsupported {
                    return Err(failed);
                }
                tell("archipelago", &failed);
                return Ok(None);
            }
        };
        is_restart = false;
        progress.set_position(step.progress.into());
        progress.set_message(format!("{} looked at, {} damaged", size::human(step.bytes), step.damaged));
        if step.progress >= DONE {
            progress.finish_and_clear();
            return Ok(Some(step));
        }
        let now_at = (step.progress, step.objects);
        steps_here = if now_at == place { steps_here + 1 } else { 0 };
        place = now_at;
        if steps_here > STEPS_HERE_MAX {
            return Err(Failed::new(format!("scrub {role}"), "the store makes no progress").into());
        }
        // What an interrupted scrub looked at was paid for.
        let done = step.bytes.saturating_sub(*first_bytes.get_or_insert(step.bytes));
        thread::sleep(ahead(done, begun.elapsed(), wanted.rate));
    }
}

/// A tenth of a second's work at most, so that a low rate is kept evenly too.
fn step_bytes(rate: Option<u64>) -> u64 {
    rate.map_or(STEP_BYTES, |rate| (rate / 10).clamp(1, STEP_BYTES))
}

/// How much earlier than the rate allows `done` bytes are done.
fn ahead(done: u64, elapsed: Duration, rate: Option<u64>) -> Duration {
    let Some(rate) = rate.filter(|rate| *rate > 0) else { return Duration::ZERO };
    let micros = u128::from(done) * 1_000_000 / u128::from(rate);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).saturating_sub(elapsed)
}

impl Report {
    fn new(role: String, found: Scrubbed, client: &mut Client) -> Report {
        // Asked only where something is damaged; a mapper that does not answer leaves the names out.
        let volumes = if found.damages.is_empty() { Vec::new() } else { client.list().unwrap_or_default() };
        let infos = volumes.into_iter().filter_map(|volume| volume.info.ok());
        let names: BTreeMap<u64, String> =
            infos.filter(|info| info.id != 0).map(|info| (info.id, info.name)).collect();
        let damages = found.damages.into_iter().map(|damage| {
            let block = block_of(&damage.object);
            Line {
                volume: block.and_then(|(id, _)| names.get(&id).cloned()),
                block: block.map(|(_, index)| index),
                object: damage.object.escape_ascii().to_string(),
                offset: damage.offset,
                size: damage.size,
                is_unreadable: damage.is_unreadable,
            }
        });
        Report {
            role,
            objects: found.objects,
            bytes: found.bytes,
            verified: found.verified,
            summed: found.summed,
            unsettled: found.unsettled,
            damaged: found.damaged,
            damages: damages.collect(),
        }
    }

    fn text(&self) -> String {
        let Report { role, objects, bytes, verified, summed, unsettled, damaged, .. } = self;
        let mut text = format!(
            "{role}: {objects} objects, {} looked at: {verified} agree, {summed} got checksums, {unsettled} in use, \
             {damaged} damaged pieces\n",
            size::human(*bytes)
        );
        for line in &self.damages {
            text += &line.text();
        }
        if *damaged > self.damages.len() as u64 {
            text += "  and more\n";
        }
        if *damaged > 0 {
            text +=
                "  with verify = \"read\", `vlmc hash` fails for each snapshot that uses what is damaged\n";
        }
        text
    }
}

impl Line {
    fn text(&self) -> String {
        let what = if self.is_unreadable { "cannot be read" } else { "differs from its checksum" };
        let whose = match (&self.volume, self.block) {
            (Some(volume), Some(block)) => {
                format!(": block {block} of {volume}, maybe of its snapshots and clones")
            }
            (None, Some(block)) => {
                format!(
                    ": block {block} of a volume that `vlmc list` does not tell of, maybe of its snapshots and clones"
                )
            }
            (_, None) => String::new(),
        };
        format!("  {} {what} at {} ({} bytes){whose}\n", self.object, self.offset, self.size)
    }
}

/// Id of the volume that made a block, and the block's index, from its name.
fn block_of(object: &[u8]) -> Option<(u64, u64)> {
    let mut parts = str::from_utf8(object).ok()?.strip_prefix("b.")?.split('.');
    let id = u64::from_str_radix(parts.next()?, 16).ok()?;
    let index = u64::from_str_radix(parts.nth(1)?, 16).ok()?;
    parts.next().is_none().then_some((id, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_block_tells_whose_it_is() {
        let name = b"b.000000000000002a.0000000000000001.000000000000000f";
        assert_eq!(block_of(name), Some((42, 15)));
        assert_eq!(block_of(b"goldvol1_0000000000000001_0000000000000000"), None);
        assert_eq!(block_of(b"b.1"), None);
    }

    #[test]
    fn a_rate_makes_wait_and_none_does_not() {
        let second = Duration::from_secs(1);
        assert_eq!(ahead(300, second, Some(100)), 2 * second);
        assert_eq!(ahead(50, second, Some(100)), Duration::ZERO);
        assert_eq!(ahead(u64::MAX, Duration::ZERO, None), Duration::ZERO);
        assert_eq!((step_bytes(Some(1)), step_bytes(None)), (1, STEP_BYTES));
    }
}
