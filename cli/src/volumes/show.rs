//! What is known of volumes: `list`, `info`.

use protocol::{ListedVolume, VolumeInfo, VolumeKind};
use serde::Serialize;

use super::{
    Session,
    locks::{self, Shown, Waiting},
};
use crate::{
    arguments::Output,
    failure::Failed,
    output::{self, Cell, Table, Tone, local_time, printable},
    size,
};

/// A volume, for programs.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    #[serde(flatten)]
    info: Option<Known<'a>>,
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<&'a [Shown]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<&'a [Waiting]>,
}

#[derive(Serialize)]
struct Known<'a> {
    kind: VolumeKind,
    size_bytes: u64,
    block_size: u32,
    generation: u64,
    map_version: u32,
    parent: Option<&'a str>,
    created_unix_ms: u64,
    lock: Option<Lock<'a>>,
}

#[derive(Serialize)]
struct Lock<'a> {
    owner: Option<&'a str>,
    description: &'a str,
    number: u64,
    since_unix_ms: u64,
}

impl<'a> Known<'a> {
    fn of(info: &'a VolumeInfo) -> Known<'a> {
        let lock = info.lock.as_ref().map(|lock| Lock {
            owner: lock.owner.as_deref(),
            description: &lock.description,
            number: lock.number,
            since_unix_ms: lock.since_unix_ms,
        });
        Known {
            kind: info.kind,
            size_bytes: info.size_bytes,
            block_size: info.block_size,
            generation: info.generation,
            map_version: info.map_version,
            parent: info.parent.as_deref(),
            created_unix_ms: info.created_unix_ms,
            lock,
        }
    }
}

/// Every volume and snapshot.
pub(super) fn list(session: &mut Session, prefix: &str, output: Output) -> anyhow::Result<()> {
    let listed = session.client.list().map_err(|failure| Failed::by_peer("list volumes", &failure))?;
    let wanted: Vec<_> = listed.iter().filter(|volume| volume.name.starts_with(prefix)).collect();
    if output.json {
        let line = |volume: &&'_ ListedVolume| -> serde_json::Result<serde_json::Value> {
            serde_json::to_value(Line {
                name: &volume.name,
                info: volume.info.as_ref().ok().map(Known::of),
                error: volume.info.as_ref().err().map(String::as_str),
                shown: None,
                waiting: None,
            })
        };
        let lines = wanted.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        return Ok(output::print_json(&lines)?);
    }
    Ok(output::print(&render(&wanted))?)
}

fn render(volumes: &[&ListedVolume]) -> String {
    let mut table = Table::new(&["NAME", "KIND", "SIZE", "PARENT", "CREATED", "LOCKED BY"]);
    for volume in volumes {
        match &volume.info {
            Err(reason) => table.row([Cell::from(&volume.name), Cell::toned(reason, Tone::Bad)]),
            Ok(info) => table.row([
                Cell::from(&volume.name),
                Cell::from(kind(info.kind)),
                Cell::from(size::human(info.size_bytes)),
                Cell::from(info.parent.as_deref().unwrap_or("-")),
                Cell::from(local_time(info.created_unix_ms)),
                Cell::from(info.lock.as_ref().and_then(|lock| lock.owner.as_deref()).unwrap_or("-")),
            ]),
        }
    }
    table.render()
}

fn kind(kind: VolumeKind) -> &'static str {
    match kind {
        VolumeKind::Volume => "volume",
        VolumeKind::Snapshot => "snapshot",
    }
}

/// One volume.
pub(super) fn info(session: &mut Session, volume: &str, output: Output) -> anyhow::Result<()> {
    let found = session.client.info(volume);
    let found = found.map_err(|failure| Failed::by_peer(format!("show {volume}"), &failure))?;
    let nodes = locks::nodes(session);
    let locked = locks::of_volume(session, &nodes, volume, found.lock.clone());
    if output.json {
        return Ok(output::print_json(&Line {
            name: &found.name,
            info: Some(Known::of(&found)),
            error: None,
            shown: Some(&locked.shown),
            waiting: Some(&locked.waiting),
        })?);
    }
    let mut text = format!("Volume {}: size: {}\n", printable(&found.name), found.size_bytes);
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12}{}\n", printable(&value)));
    line("size", size::human(found.size_bytes));
    line("kind", kind(found.kind).to_owned());
    line("block size", size::human(found.block_size.into()));
    line("parent", found.parent.clone().unwrap_or_else(|| "-".to_owned()));
    line("created", local_time(found.created_unix_ms));
    line("generation", found.generation.to_string());
    line("map version", found.map_version.to_string());
    let holder = found.lock.as_ref().zip(locked.holder.as_ref()).map(|(lock, holder)| {
        format!(
            "{} since {} ({}; number {})",
            holder.text(),
            local_time(lock.since_unix_ms),
            lock.description,
            lock.number
        )
    });
    line("locked by", holder.unwrap_or_else(|| "-".to_owned()));
    line("open here", locked.shown_text());
    line("waiting", locked.waiting_text());
    Ok(output::print(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_what_is_known_and_why_the_rest_is_not() {
        let info = VolumeInfo {
            name: "disk1".into(),
            kind: VolumeKind::Volume,
            size_bytes: 3 << 30,
            block_size: 4 << 20,
            generation: 1,
            map_version: 3,
            parent: Some("golden".into()),
            created_unix_ms: 0,
            lock: None,
            id: 7,
        };
        let volumes = [
            ListedVolume { name: "disk1".into(), info: Ok(info) },
            ListedVolume { name: "x".into(), info: Err("corrupt".into()) },
        ];
        let expected = "\
NAME   KIND     SIZE   PARENT  CREATED  LOCKED BY
disk1  volume   3 GiB  golden  -        -
x      corrupt
";
        let text = render(&volumes.iter().collect::<Vec<_>>());
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }
}
