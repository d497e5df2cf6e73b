//! Who holds, has open and waits for what: `locks`, and what `info` tells of it.

use protocol::{ErrorKind, LockInfo, Node};
use serde::Serialize;

use super::{Session, mapping};
use crate::{
    arguments::Output,
    failure::Failed,
    output::{self, Cell, Table, Tone, local_time},
};

/// All that is known of a volume's lock.
#[derive(Debug, Serialize)]
pub(super) struct Locked {
    pub(super) volume: String,
    pub(super) holder: Option<Holder>,
    /// The newest number given out.
    number: u64,
    /// Where it is visible on this node.
    pub(super) shown: Vec<Shown>,
    /// Whose writers wait for it, longest first.
    pub(super) waiting: Vec<Waiting>,
}

#[derive(Debug, Serialize)]
pub(super) struct Holder {
    node: String,
    /// Its host, if the node was seen.
    host: Option<String>,
    /// Whether it answers; none if it was never seen.
    is_alive: Option<bool>,
    is_here: bool,
    since_unix_ms: u64,
    description: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Shown {
    location: String,
    via: String,
    users: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Waiting {
    node: String,
    host: String,
    is_here: bool,
    since_unix_ms: u64,
}

/// The nodes; none if the store cannot tell.
pub(super) fn nodes(session: &mut Session) -> Vec<Node> {
    session.client.nodes().unwrap_or_default()
}

/// What is known of one volume's lock.
pub(super) fn of_volume(
    session: &mut Session,
    nodes: &[Node],
    volume: &str,
    lock: Option<LockInfo>,
) -> Locked {
    let shown = mapping::shown(session, volume).into_iter().map(|(_, shown)| Shown {
        location: shown.location,
        via: shown.via,
        users: shown.user_count,
    });
    let number = lock.as_ref().map_or(0, |lock| lock.number);
    let holder = lock.and_then(|lock| Holder::of(lock, nodes, &session.stack.node));
    Locked {
        volume: volume.to_owned(),
        holder,
        number,
        shown: shown.collect(),
        waiting: waiting(nodes, volume),
    }
}

fn waiting(nodes: &[Node], volume: &str) -> Vec<Waiting> {
    let alive = nodes.iter().filter(|node| node.is_alive);
    let waits = alive.flat_map(|node| node.record.waits.iter().map(move |wait| (node, wait)));
    let mut waiting: Vec<_> = waits
        .filter(|(_, wait)| wait.lock == volume)
        .map(|(node, wait)| Waiting {
            node: node.record.name.clone(),
            host: node.record.host.clone(),
            is_here: node.is_here,
            since_unix_ms: wait.since_unix_ms,
        })
        .collect();
    waiting.sort_by_key(|waiting| waiting.since_unix_ms);
    waiting
}

impl Holder {
    fn of(lock: LockInfo, nodes: &[Node], own: &str) -> Option<Holder> {
        let node = lock.owner?;
        let seen = nodes.iter().find(|seen| seen.record.name == node);
        Some(Holder {
            host: seen.map(|seen| seen.record.host.clone()),
            is_alive: seen.map(|seen| seen.is_alive),
            is_here: node == own,
            since_unix_ms: lock.since_unix_ms,
            description: lock.description,
            node,
        })
    }

    fn tone(&self) -> Tone {
        if self.is_alive == Some(false) { Tone::Bad } else { Tone::Good }
    }

    pub(super) fn text(&self) -> String {
        let remark = match self.is_alive {
            Some(false) => " (does not answer)",
            Some(true) | None => "",
        };
        format!("{}{remark}", self.node)
    }
}

impl Locked {
    /// Where it is visible here, and how many use it.
    pub(super) fn shown_text(&self) -> String {
        let one = |shown: &Shown| format!("{} ({})", shown.location, users(shown.users));
        listed(self.shown.iter().map(one))
    }

    pub(super) fn waiting_text(&self) -> String {
        listed(self.waiting.iter().map(|one| format!("{} since {}", one.node, local_time(one.since_unix_ms))))
    }
}

fn users(count: u32) -> String {
    if count == 1 { "1 user".to_owned() } else { format!("{count} users") }
}

fn listed(texts: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = texts.collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// The locks that somebody holds or waits for, or that of one volume.
pub(super) fn show(session: &mut Session, volume: Option<&str>, output: Output) -> anyhow::Result<()> {
    let nodes = nodes(session);
    let names = match volume {
        Some(volume) => vec![volume.to_owned()],
        None => names(session, &nodes)?,
    };
    let mut locks = Vec::new();
    for name in names {
        let lock = match session.client.lock_info(&name) {
            Err(failure) if failure.kind == ErrorKind::Corrupt => damaged(),
            lock => {
                lock.map_err(|failure| Failed::by_peer(format!("look at the lock of {name}"), &failure))?
            }
        };
        locks.push(of_volume(session, &nodes, &name, Some(lock)));
    }
    locks.retain(|lock| volume.is_some() || lock.holder.is_some() || !lock.waiting.is_empty());
    if output.json {
        return Ok(output::print_json(&locks)?);
    }
    Ok(output::print(&render(&locks))?)
}

/// A lock whose record nobody can read: it counts as held until it is broken.
fn damaged() -> LockInfo {
    let owner = Some("a damaged record".to_owned());
    LockInfo { owner, description: "vlmc unlock -f breaks it".to_owned(), number: 0, since_unix_ms: 0 }
}

/// Volumes that are locked, and what somebody waits for.
fn names(session: &mut Session, nodes: &[Node]) -> anyhow::Result<Vec<String>> {
    let listed = session.client.list().map_err(|failure| Failed::by_peer("list volumes", &failure))?;
    let may_be_locked = |info: &Result<protocol::VolumeInfo, String>| match info {
        Ok(info) => info.lock.is_some(),
        // Its map cannot be read; its lock may.
        Err(_) => true,
    };
    let mut names: Vec<String> =
        listed.into_iter().filter(|volume| may_be_locked(&volume.info)).map(|volume| volume.name).collect();
    names.extend(nodes.iter().flat_map(|node| node.record.waits.iter().map(|wait| wait.lock.clone())));
    names.sort();
    names.dedup();
    Ok(names)
}

fn render(locks: &[Locked]) -> String {
    let mut table =
        Table::new(&["VOLUME", "HELD BY", "SINCE", "NUMBER", "FOR", "OPEN HERE", "WAITED FOR BY"]);
    for lock in locks {
        let free = || [Cell::from("-"), Cell::from("-")];
        let [by, since] = lock.holder.as_ref().map_or_else(free, |holder| {
            [Cell::toned(holder.text(), holder.tone()), Cell::from(local_time(holder.since_unix_ms))]
        });
        let purpose = lock.holder.as_ref().map_or("-", |holder| holder.description.as_str());
        table.row([
            Cell::from(&lock.volume),
            by,
            since,
            Cell::from(lock.number),
            Cell::from(purpose),
            Cell::from(lock.shown_text()),
            Cell::from(lock.waiting_text()),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use protocol::{LockWait, NodeRecord};

    use super::*;

    fn node(name: &str, is_alive: bool, waits: &[(&str, u64)]) -> Node {
        let waits =
            waits.iter().map(|(lock, since)| LockWait { lock: (*lock).to_owned(), since_unix_ms: *since });
        let record = NodeRecord { waits: waits.collect(), ..NodeRecord::new(name, "host", "boot", 1, 0) };
        Node { record, is_alive, is_here: false }
    }

    #[test]
    fn who_waits_longest_comes_first_and_the_dead_do_not_wait() {
        let nodes = [
            node("n1", true, &[("disk-1", 20)]),
            node("n2", false, &[("disk-1", 5)]),
            node("n3", true, &[("disk-2", 1), ("disk-1", 10)]),
        ];
        let waiting: Vec<_> = waiting(&nodes, "disk-1").into_iter().map(|one| one.node).collect();
        assert_eq!(waiting, ["n3", "n1"]);
    }

    #[test]
    fn a_holder_that_is_dead_is_told_as_such_and_one_never_seen_is_not_judged() {
        let nodes = [node("n1", false, &[])];
        let lock = |owner: &str| LockInfo {
            owner: Some(owner.to_owned()),
            description: String::new(),
            number: 1,
            since_unix_ms: 1,
        };
        let text = |owner| Holder::of(lock(owner), &nodes, "n9").map(|holder| holder.text());
        assert_eq!(text("n1").as_deref(), Some("n1 (does not answer)"));
        assert_eq!(text("n2").as_deref(), Some("n2"));
    }
}
