//! What is in volumes, without reading it: `hash`, `mapinfo`, `compare`.

use std::process::ExitCode;

use serde::Serialize;

use super::{
    Session,
    transfer::{Part, parts},
};
use crate::{
    arguments::Output,
    failure::Failed,
    output::{self, Cell, Table},
    size,
};

/// Prints the hash of a snapshot's content.
pub(super) fn hash(session: &mut Session, volume: &str, output: Output) -> anyhow::Result<()> {
    let hash = session.client.hash(volume);
    let hash = hash.map_err(|failure| {
        let failed = Failed::by_peer(format!("hash {volume}"), &failure);
        let other = "`vlmc snapshot` freezes a volume, and the snapshot has one";
        if failure.kind == protocol::ErrorKind::Invalid { failed.hint(other) } else { failed }
    })?;
    let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if output.json {
        return Ok(output::print_json(&serde_json::json!({ "name": volume, "sha256": text }))?);
    }
    Ok(output::print(&format!("{text}\n"))?)
}

#[derive(Serialize)]
struct MapInfo<'a> {
    name: &'a str,
    size_bytes: u64,
    block_size: u32,
    map_version: u32,
    data_bytes: u64,
    hole_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    extents: Option<&'a [Part]>,
}

/// Shows which parts of a volume are data.
pub(super) fn mapinfo(
    session: &mut Session,
    volume: &str,
    verbose: bool,
    output: Output,
) -> anyhow::Result<()> {
    let failed = |failure: client::Failure| Failed::by_peer(format!("show the map of {volume}"), &failure);
    let info = session.client.info(volume).map_err(failed)?;
    let found = parts(&mut session.client, volume, info.size_bytes).map_err(failed)?;
    let data_bytes = found.iter().filter(|part| part.is_data).map(|part| part.size).sum();
    let summary = MapInfo {
        name: volume,
        size_bytes: info.size_bytes,
        block_size: info.block_size,
        map_version: info.map_version,
        data_bytes,
        hole_bytes: info.size_bytes.saturating_sub(data_bytes),
        extents: verbose.then_some(&found),
    };
    if output.json {
        return Ok(output::print_json(&summary)?);
    }
    let mut text = format!(
        "{}: {} in blocks of {}, map version {}\n{} are data, {} are holes\n",
        output::printable(volume),
        size::human(summary.size_bytes),
        size::human(summary.block_size.into()),
        summary.map_version,
        size::human(data_bytes),
        size::human(summary.hole_bytes),
    );
    if verbose {
        let mut table = Table::new(&["OFFSET", "SIZE", "KIND"]);
        for part in &found {
            let kind = if part.is_data { "data" } else { "hole" };
            table.row([Cell::from(part.offset), Cell::from(part.size), Cell::from(kind)]);
        }
        text.push_str(&table.render());
    }
    Ok(output::print(&text)?)
}

#[derive(Serialize)]
struct Differing {
    offset: u64,
    size: u64,
}

/// Lists where two maps differ. Exit status 1 if they do.
pub(super) fn compare(
    session: &mut Session,
    volume: &str,
    other: &str,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let action = format!("compare {volume} with {other}");
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let step = session.client.compare(volume, other, from);
        let step = step.map_err(|failure| Failed::by_peer(action.clone(), &failure))?;
        found.extend(step.ranges.into_iter().map(|(offset, size)| Differing { offset, size }));
        match step.resume {
            None => break,
            Some(next) if next > from => from = next,
            Some(_) => return Err(Failed::new(action, "the mapper makes no progress").into()),
        }
    }
    if output.json {
        output::print_json(&found)?;
    } else if found.is_empty() {
        output::print("no differences\n")?;
    } else {
        let mut table = Table::new(&["OFFSET", "SIZE"]);
        for range in &found {
            table.row([Cell::from(range.offset), Cell::from(range.size)]);
        }
        output::print(&table.render())?;
    }
    Ok(ExitCode::from(u8::from(!found.is_empty())))
}
