//! Where volumes are visible: `map`, `unmap`, `showmapped`.

use std::{fs, path::Path};

use client::Failure;
use protocol::{Attached, ErrorKind};
use serde::Serialize;

use super::{
    Session,
    arguments::{Map, Unmap, Via},
};
use crate::{
    arguments::Output,
    config::Settings,
    failure::Failed,
    output::{self, Cell, Table},
    supervision::reach,
};

/// In which order `auto` tries: a device before a URI.
const PREFERENCE: [&str; 2] = ["fuse", "nbd"];

/// A mapped volume, for programs.
#[derive(Serialize)]
struct Line<'a> {
    volume: &'a str,
    location: &'a str,
    via: &'a str,
    read_only: bool,
    users: u32,
}

impl<'a> From<&'a Attached> for Line<'a> {
    fn from(shown: &'a Attached) -> Line<'a> {
        Line {
            volume: &shown.volume,
            location: &shown.location,
            via: &shown.via,
            read_only: shown.is_read_only,
            users: shown.user_count,
        }
    }
}

/// Everything that is visible, with the endpoint's port.
fn all(session: &mut Session) -> anyhow::Result<Vec<(u32, Attached)>> {
    reach::await_started(&session.configuration);
    let mut found = Vec::new();
    for (kind, port) in session.endpoints() {
        let list = session.client.attached(port);
        let list = list.map_err(|failure| Failed::by_peer(format!("ask {kind} what is mapped"), &failure))?;
        found.extend(list.into_iter().map(|shown| (port, shown)));
    }
    Ok(found)
}

/// Where this volume is visible, as far as endpoints answer.
pub(super) fn shown(session: &mut Session, volume: &str) -> Vec<(u32, Attached)> {
    let everything = all(session).unwrap_or_default();
    everything.into_iter().filter(|(_, shown)| shown.volume == volume).collect()
}

/// An error if the volume is visible.
pub(super) fn refuse_mapped(session: &mut Session, volume: &str, action: &str) -> anyhow::Result<()> {
    refuse_mapped_through(session, &PREFERENCE, volume, action)
}

/// An error if the volume is visible through an endpoint of these kinds.
fn refuse_mapped_through(
    session: &mut Session,
    kinds: &[&str],
    volume: &str,
    action: &str,
) -> anyhow::Result<()> {
    let is_it = |shown: &Attached| shown.volume == volume && kinds.contains(&shown.via.as_str());
    let found = all(session)?.into_iter().find(|(_, shown)| is_it(shown));
    let Some((_, shown)) = found else { return Ok(()) };
    let reason = format!("it is mapped at {}", shown.location);
    Err(Failed::new(action, reason).hint(format!("`vlmc unmap {volume}` first")).into())
}

/// Makes a volume visible and prints where. One endpoint may be named while another one shows it already.
pub(super) fn map(session: &mut Session, wanted: &Map) -> anyhow::Result<()> {
    let volume = &wanted.named.volume;
    let action = format!("map {volume}");
    let kinds: &[&str] = match wanted.via {
        Via::Auto => &PREFERENCE,
        Via::Nbd => &["nbd"],
        Via::Fuse => &["fuse"],
    };
    refuse_mapped_through(session, kinds, volume, &action)?;
    let shown = attach(session, wanted, kinds, &action)?;
    if wanted.output.json {
        output::print_json(&Line::from(&shown))?;
    } else {
        output::print(&format!("{}\n", shown.location))?;
    }
    Ok(())
}

fn attach(session: &mut Session, wanted: &Map, kinds: &[&str], action: &str) -> Result<Attached, Failed> {
    let serving = session.endpoints();
    let ports = kinds.iter().filter_map(|kind| serving.iter().find(|(found, _)| found == kind));
    let ports: Vec<u32> = ports.map(|(_, port)| *port).collect();
    let mut refusal = None;
    for port in ports {
        match session.client.attach(port, &wanted.named.volume, wanted.read_only) {
            Ok(shown) => return Ok(shown),
            Err(failure) if is_the_hosts_fault(&failure) => refusal = Some(failure),
            Err(failure) => return Err(Failed::by_peer(action, &failure)),
        }
    }
    Err(match refusal {
        Some(failure) => Failed::by_peer(action, &failure),
        None => Failed::new(action, format!("no role of type {} runs", kinds.join(" or ")))
            .hint("`archipelago status` shows what runs"),
    })
}

/// Whether another endpoint may do better.
fn is_the_hosts_fault(failure: &Failure) -> bool {
    matches!(failure.kind, ErrorKind::Unavailable | ErrorKind::Unsupported | ErrorKind::NoSpace)
}

/// Takes a volume away from where it is visible.
pub(super) fn unmap(session: &mut Session, wanted: &Unmap) -> anyhow::Result<()> {
    let action = format!("unmap {}", wanted.target);
    let everything = all(session)?;
    let matches = |shown: &Attached| names(session, &wanted.target, shown);
    let found: Vec<_> = everything.iter().filter(|(_, shown)| matches(shown)).cloned().collect();
    if found.is_empty() {
        let failed = Failed::new(action, "nothing is mapped by that name");
        return Err(failed.hint("`vlmc showmapped` lists what is").into());
    }
    for (port, shown) in found {
        session.client.detach(port, &shown.volume, wanted.force).map_err(|failure| {
            let failed = Failed::by_peer(action.clone(), &failure);
            let busy = "stop or unmount what uses it; --force takes it away all the same";
            if failure.kind == ErrorKind::Busy { failed.hint(busy) } else { failed }
        })?;
    }
    Ok(())
}

/// Whether what was typed means this volume: its name, its location, or another path to that.
fn names(session: &Session, typed: &str, shown: &Attached) -> bool {
    if typed == shown.volume || typed == shown.location {
        return true;
    }
    let Ok(path) = fs::canonicalize(typed) else { return false };
    let same = |other: &Path| fs::canonicalize(other).is_ok_and(|other| other == path);
    let files = session.configuration.roles.iter().filter_map(|role| match &role.settings {
        Settings::Fuse(config) => Some(config.mountpoint.join(&shown.volume)),
        _ => None,
    });
    same(Path::new(&shown.location)) || files.into_iter().any(|file| same(&file))
}

/// Lists what is visible.
pub(super) fn show(session: &mut Session, output: Output) -> anyhow::Result<()> {
    let everything = all(session)?;
    if output.json {
        let lines: Vec<_> = everything.iter().map(|(_, shown)| Line::from(shown)).collect();
        return Ok(output::print_json(&lines)?);
    }
    let mut table = Table::new(&["VOLUME", "LOCATION", "VIA", "MODE", "USERS"]);
    for (_, shown) in &everything {
        let mode = if shown.is_read_only { "read-only" } else { "read-write" };
        table.row([
            Cell::from(&shown.volume),
            Cell::from(&shown.location),
            Cell::from(&shown.via),
            Cell::from(mode),
            Cell::from(shown.user_count),
        ]);
    }
    Ok(output::print(&table.render())?)
}
