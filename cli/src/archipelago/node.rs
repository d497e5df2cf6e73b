//! `archipelago node`: who this node is, which others there are, and taking everything from one that is gone.

use std::io::{self, IsTerminal, Write};

use client::Client;
use protocol::{ErrorKind, Node};
use serde::Serialize;
use serde_json::Value;
use xseg::Segment;

use super::{
    alarms::{Alarm, alarms},
    arguments::{Fence, Nodes, OneOfNode},
};
use crate::{
    arguments::Output,
    config::{Configuration, Role, Settings},
    failure::Failed,
    output::{self, Cell, Table, Tone, local_time, printable},
    supervision::reach,
};

/// How often is looked for locks that the node took while they were broken.
const ROUNDS_MAX: usize = 8;

/// Runs what was typed.
pub(super) fn run(configuration: &Configuration, wanted: &Nodes) -> anyhow::Result<()> {
    match &wanted.command {
        None => show(configuration, wanted.output),
        Some(OneOfNode::List(output)) => list(configuration, *output),
        Some(OneOfNode::Fence(fence)) => self::fence(configuration, fence),
    }
}

/// This node, for programs.
#[derive(Debug, Serialize)]
struct Report {
    node: String,
    /// Whether the configuration names it, or it follows from host and segment.
    is_configured: bool,
    file: String,
    host: String,
    boot_id: String,
    segment: String,
    /// None while the stack does not run.
    segment_id: Option<String>,
    stores: Vec<StoreLine>,
    /// Volumes whose locks it holds.
    volumes: Vec<Held>,
    /// Volumes that were taken from it, and what else somebody should know.
    alarms: Vec<Alarm>,
}

#[derive(Debug, Serialize)]
struct StoreLine {
    role: String,
    #[serde(rename = "type")]
    kind: &'static str,
    place: String,
    /// As whom it speaks to a cluster.
    client: Option<String>,
    details: Value,
}

#[derive(Debug, Serialize)]
struct Held {
    volume: String,
    number: u64,
    since_unix_ms: u64,
}

fn show(configuration: &Configuration, output: Output) -> anyhow::Result<()> {
    let report = report(configuration);
    if output.json {
        return Ok(output::print_json(&report)?);
    }
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<10}{}\n", printable(value)));
    let origin = match report.is_configured {
        true => format!("`node` in {}", report.file),
        false => "of host and segment: the configuration names none".to_owned(),
    };
    line("node", &format!("{} ({origin})", report.node));
    line("host", &report.host);
    line("boot", &report.boot_id);
    let id = report.segment_id.as_deref().unwrap_or("the stack does not run");
    line("segment", &format!("{} ({id})", report.segment));
    for store in &report.stores {
        let client = store.client.as_ref().map(|client| format!(" as {client}")).unwrap_or_default();
        line("store", &format!("{}: {}{client}", store.role, store.place));
    }
    for held in &report.volumes {
        line(
            "holds",
            &format!("{} since {} (number {})", held.volume, local_time(held.since_unix_ms), held.number),
        );
    }
    for alarm in &report.alarms {
        line("alarm", &alarm.text());
    }
    Ok(output::print(&text)?)
}

fn report(configuration: &Configuration) -> Report {
    let top = &configuration.top;
    let mut client = connect(configuration);
    let told: Vec<_> = configuration.roles.iter().map(|role| details(client.as_mut(), role)).collect();
    let roles = || configuration.roles.iter().zip(&told);
    let held = client.as_mut().map(|client| held_by(client, &top.node()).unwrap_or_default());
    Report {
        node: top.node(),
        is_configured: !top.node.is_empty(),
        file: configuration.file.display().to_string(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        boot_id: peer::node::boot_id(),
        segment: reach::segment_name(configuration),
        segment_id: client.as_ref().map(|client| format!("{:016x}", client.stack().segment.id())),
        stores: roles().filter_map(|(role, details)| store(role, details)).collect(),
        volumes: held.unwrap_or_default(),
        alarms: alarms(roles().map(|(role, details)| (role.outline.name.as_str(), details))),
    }
}

/// What only this kind of role knows, at each of its ports; null if it does not answer.
fn details(client: Option<&mut Client>, role: &Role) -> Value {
    let Some(client) = client else { return Value::Null };
    let bound: Vec<_> = client.stack().segment.ports().into_iter().filter(|port| port.is_alive).collect();
    let served = role.outline.ports.clone().filter(|port| bound.iter().any(|info| info.number.0 == *port));
    let mut told: Vec<Value> =
        served.filter_map(|port| client.ping(port).ok()).map(|status| status.details).collect();
    if told.len() > 1 { told.into() } else { told.pop().unwrap_or_default() }
}

fn store(role: &Role, details: &Value) -> Option<StoreLine> {
    let (place, client) = match &role.settings {
        Settings::Filed(config) => (config.archip_dir.display().to_string(), None),
        Settings::Radosd(config) => {
            let address = details.get("client").and_then(Value::as_str).unwrap_or_default();
            (pool_of(config), Some(format!("client.{} {address}", config.cephx_id).trim_end().to_owned()))
        }
        _ => return None,
    };
    let (role, kind) = (role.outline.name.clone(), role.outline.kind.name());
    Some(StoreLine { role, kind, place, client, details: details.clone() })
}

fn pool_of(config: &radosd::Config) -> String {
    if config.namespace.is_empty() {
        format!("pool {}", config.pool)
    } else {
        format!("pool {} namespace {}", config.pool, config.namespace)
    }
}

fn connect(configuration: &Configuration) -> Option<Client> {
    let segment = Segment::open(&reach::segment_name(configuration)).ok()?;
    Client::connect(&reach::on_segment(configuration, segment)).ok()
}

/// The volumes whose locks a node has.
fn held_by(client: &mut Client, node: &str) -> Result<Vec<Held>, client::Failure> {
    let listed = client.list()?;
    let mut held = Vec::new();
    for volume in listed {
        let lock = match volume.info {
            Ok(info) => info.lock,
            // Its map cannot be read; its lock may.
            Err(_) => client.lock_info(&volume.name).ok(),
        };
        if let Some(lock) = lock.filter(|lock| lock.owner.as_deref() == Some(node)) {
            held.push(Held { volume: volume.name, number: lock.number, since_unix_ms: lock.since_unix_ms });
        }
    }
    Ok(held)
}

fn list(configuration: &Configuration, output: Output) -> anyhow::Result<()> {
    let mut client = joined(configuration)?;
    let nodes = client.nodes().map_err(|failure| Failed::by_peer("list nodes", &failure))?;
    if output.json {
        return Ok(output::print_json(&nodes)?);
    }
    let mut table = Table::new(&["NODE", "HOST", "STATE", "SINCE", "WAITS FOR", "HERE"]);
    for node in &nodes {
        let (state, tone) = state(node);
        let waits: Vec<_> = node.record.waits.iter().map(|wait| wait.lock.as_str()).collect();
        table.row([
            Cell::from(&node.record.name),
            Cell::from(&node.record.host),
            Cell::toned(state, tone),
            Cell::from(local_time(node.record.since_unix_ms)),
            Cell::from(if waits.is_empty() || !node.is_alive { "-".to_owned() } else { waits.join(", ") }),
            Cell::from(if node.is_here { "*" } else { "" }),
        ]);
    }
    Ok(output::print(&table.render())?)
}

/// What a node does, as far as can be seen.
fn state(node: &Node) -> (&'static str, Tone) {
    match (node.is_alive, node.record.is_running) {
        (true, _) => ("runs", Tone::Good),
        (false, true) => ("does not answer", Tone::Bad),
        (false, false) => ("stopped", Tone::Fair),
    }
}

fn joined(configuration: &Configuration) -> anyhow::Result<Client> {
    let stack = reach::join(configuration)?;
    reach::await_served(configuration, &stack, &[stack.mapper, stack.blocker_maps])?;
    Ok(Client::connect(&stack).map_err(|failure| Failed::by_peer("join the segment", &failure))?)
}

/// Breaks every lock of a node: what it writes afterwards is refused.
fn fence(configuration: &Configuration, wanted: &Fence) -> anyhow::Result<()> {
    let node = &wanted.node;
    let action = format!("fence node {node}");
    if *node == configuration.top.node() {
        let failed = Failed::new(action, "it is this node");
        return Err(failed.hint("`archipelago stop` stops it; `vlmc close` gives a volume back").into());
    }
    let mut client = joined(configuration)?;
    let by_peer = |failure: client::Failure| Failed::by_peer(action.clone(), &failure);
    let nodes = client.nodes().unwrap_or_default();
    let held = held_by(&mut client, node).map_err(by_peer)?;
    if held.is_empty() {
        return Ok(output::print(&format!("node {} holds no lock\n", printable(node)))?);
    }
    let is_alive = nodes.iter().any(|seen| seen.record.name == *node && seen.is_alive);
    if !wanted.force && !confirmed(node, &held, is_alive)? {
        return Err(Failed::new(action, "not confirmed").hint("-f does it without asking").into());
    }
    for _ in 0..ROUNDS_MAX {
        let held = held_by(&mut client, node).map_err(by_peer)?;
        if held.is_empty() {
            return Ok(());
        }
        for lock in held {
            match client.unlock(&lock.volume, true) {
                // It gave the lock back itself meanwhile.
                Err(failure) if failure.kind == ErrorKind::NotFound => {}
                result => result.map_err(by_peer)?,
            }
            output::print(&format!("{} is free\n", printable(&lock.volume)))?;
        }
    }
    let reason = "it takes locks as fast as they are broken";
    Err(Failed::new(action, reason).hint("it lives: stop its stack, or cut it off from the store").into())
}

/// Asks whoever sits there; nobody is nobody's yes.
fn confirmed(node: &str, held: &[Held], is_alive: bool) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let names: Vec<_> = held.iter().map(|held| printable(&held.volume)).collect();
    let remark = if is_alive { "It lives! " } else { "" };
    let mut out = anstream::stderr();
    write!(
        out,
        "{remark}What {} wrote and did not flush is lost, and what it writes from now on is refused, on {}. Type yes: ",
        printable(node),
        names.join(", ")
    )?;
    out.flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use protocol::NodeRecord;

    use super::*;

    #[test]
    fn who_does_not_answer_and_did_not_say_goodbye_is_told_apart_from_who_stopped() {
        let node = |is_alive, is_running| {
            let record = NodeRecord { is_running, ..NodeRecord::new("n1", "host", "boot", 1, 0) };
            state(&Node { record, is_alive, is_here: false }).0
        };
        assert_eq!(
            [node(true, true), node(false, true), node(false, false)],
            ["runs", "does not answer", "stopped"]
        );
    }
}
