//! What looks into a segment without touching it: `list`, `info`, `ports`, `requests`.

use std::{fs, path::Path};

use anyhow::Context;
use protocol::Op;
use serde::Serialize;
use xseg::Segment;

use crate::{
    arguments::Output,
    output::{self, Cell, Table, Tone},
    size,
};

/// Where segments are files.
const SHARED_MEMORY: &str = "/dev/shm";

/// A segment in a few words.
#[derive(Serialize)]
struct Summary {
    name: String,
    size_bytes: u64,
    ports: u32,
    static_ports: u32,
    requests: u32,
    arena_bytes: u64,
    bound_ports: usize,
    dead_ports: usize,
    requests_in_use: usize,
    deaths: u64,
    anomalies: u64,
}

impl Summary {
    fn of(segment: &Segment) -> Summary {
        let (geometry, ports) = (segment.geometry(), segment.ports());
        let size = fs::metadata(Path::new(SHARED_MEMORY).join(segment.name())).map_or(0, |found| found.len());
        Summary {
            name: format!("posix:{}", segment.name()),
            size_bytes: size,
            ports: geometry.ports(),
            static_ports: geometry.static_ports(),
            requests: geometry.requests(),
            arena_bytes: geometry.arena_bytes(),
            bound_ports: ports.iter().filter(|port| port.is_alive).count(),
            dead_ports: ports.iter().filter(|port| port.pid.is_some() && !port.is_alive).count(),
            requests_in_use: segment.requests().len(),
            deaths: segment.deaths(),
            anomalies: segment.anomalies(),
        }
    }
}

/// Lists the segments of this machine. What else is in shared memory is not looked at twice.
pub(super) fn list(output: Output) -> anyhow::Result<()> {
    let entries = fs::read_dir(SHARED_MEMORY).with_context(|| format!("cannot list {SHARED_MEMORY}"))?;
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let found: Vec<_> = names
        .iter()
        .filter_map(|name| Segment::open(name).ok())
        .map(|segment| Summary::of(&segment))
        .collect();
    if output.json {
        return Ok(output::print_json(&found)?);
    }
    let mut table = Table::new(&["SEGMENT", "SIZE", "PORTS", "BOUND", "DEAD", "REQUESTS", "IN USE"]);
    for segment in &found {
        let dead = if segment.dead_ports > 0 { Tone::Bad } else { Tone::Good };
        table.row([
            Cell::from(&segment.name),
            Cell::from(size::human(segment.size_bytes)),
            Cell::from(segment.ports),
            Cell::from(segment.bound_ports),
            Cell::toned(segment.dead_ports.to_string(), dead),
            Cell::from(segment.requests),
            Cell::from(segment.requests_in_use),
        ]);
    }
    Ok(output::print(&table.render())?)
}

/// Shows a segment's geometry and what is in use.
pub(super) fn info(segment: &Segment, output: Output) -> anyhow::Result<()> {
    let summary = Summary::of(segment);
    if output.json {
        return Ok(output::print_json(&summary)?);
    }
    let dynamic = summary.ports - summary.static_ports;
    let text = format!(
        "{}: {}\nports      {} ({} static, {dynamic} dynamic), {} bound, {} of dead processes\n\
         requests   {}, {} in use\narena      {}\ndeaths     {} noticed\nanomalies  {} noticed\n",
        summary.name,
        size::human(summary.size_bytes),
        summary.ports,
        summary.static_ports,
        summary.bound_ports,
        summary.dead_ports,
        summary.requests,
        summary.requests_in_use,
        size::human(summary.arena_bytes),
        summary.deaths,
        summary.anomalies,
    );
    Ok(output::print(&text)?)
}

#[derive(Serialize)]
struct Port {
    port: u32,
    is_static: bool,
    pid: Option<u32>,
    is_alive: bool,
    incarnation: u32,
    is_sleeping: bool,
    waiting: u32,
    held: u32,
    slots: u32,
    arena_bytes: u64,
    via: Option<u32>,
}

/// Lists ports that are bound or were.
pub(super) fn ports(segment: &Segment, output: Output) -> anyhow::Result<()> {
    let port = |info: xseg::PortInfo| Port {
        port: info.number.0,
        is_static: info.is_static,
        pid: info.pid,
        is_alive: info.is_alive,
        incarnation: info.incarnation,
        is_sleeping: info.is_sleeping,
        waiting: info.waiting,
        held: info.held,
        slots: info.slots,
        arena_bytes: info.arena_bytes,
        via: info.via.map(|via| via.0),
    };
    let found: Vec<_> = segment.ports().into_iter().map(port).collect();
    if output.json {
        return Ok(output::print_json(&found)?);
    }
    let mut table = Table::new(&[
        "PORT",
        "KIND",
        "PID",
        "OWNER",
        "WAITING",
        "HELD",
        "SLOTS",
        "MEMORY",
        "INCARNATION",
        "VIA",
    ]);
    for port in &found {
        let (owner, tone) = match (port.pid, port.is_alive, port.is_sleeping) {
            (None, ..) => ("none", Tone::Fair),
            (Some(_), false, _) => ("dead", Tone::Bad),
            (Some(_), true, true) => ("asleep", Tone::Good),
            (Some(_), true, false) => ("awake", Tone::Good),
        };
        table.row([
            Cell::from(port.port),
            Cell::from(if port.is_static { "static" } else { "dynamic" }),
            Cell::from(or_dash(port.pid)),
            Cell::toned(owner, tone),
            Cell::from(port.waiting),
            Cell::from(port.held),
            Cell::from(port.slots),
            Cell::from(size::human(port.arena_bytes)),
            Cell::from(port.incarnation),
            Cell::from(or_dash(port.via)),
        ]);
    }
    Ok(output::print(&table.render())?)
}

pub(super) fn or_dash(number: Option<u32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

#[derive(Serialize)]
struct Request {
    slot: u32,
    id: String,
    phase: String,
    port: u32,
    to: Option<u32>,
    is_reply: bool,
    path: Vec<u32>,
    op: String,
    flags: u32,
    target: String,
    offset: u64,
    size: u64,
    buffer_bytes: u64,
    attempts: u32,
    flow: u64,
}

/// Lists requests that are in use.
pub(super) fn requests(segment: &Segment, port: Option<u32>, output: Output) -> anyhow::Result<()> {
    let concerns = |info: &xseg::RequestInfo| {
        port.is_none_or(|port| info.port.0 == port || info.to.is_some_and(|to| to.0 == port))
    };
    let found: Vec<_> = segment.requests().into_iter().filter(concerns).map(Request::from).collect();
    if output.json {
        return Ok(output::print_json(&found)?);
    }
    let mut table = Table::new(&[
        "ID",
        "PHASE",
        "PORT",
        "TO",
        "PATH",
        "OPERATION",
        "TARGET",
        "OFFSET",
        "SIZE",
        "ATTEMPTS",
    ]);
    for request in &found {
        let path: Vec<_> = request.path.iter().map(u32::to_string).collect();
        let phase =
            if request.is_reply { format!("{}, reply", request.phase) } else { request.phase.clone() };
        table.row([
            Cell::from(&request.id),
            Cell::from(phase),
            Cell::from(request.port),
            Cell::from(or_dash(request.to)),
            Cell::from(path.join(">")),
            Cell::from(&request.op),
            Cell::from(&request.target),
            Cell::from(request.offset),
            Cell::from(request.size),
            Cell::from(request.attempts),
        ]);
    }
    Ok(output::print(&table.render())?)
}

impl From<xseg::RequestInfo> for Request {
    fn from(info: xseg::RequestInfo) -> Request {
        let known = u16::try_from(info.op).ok().and_then(Op::from_number);
        Request {
            slot: info.slot,
            id: identity(info.id),
            phase: format!("{:?}", info.phase).to_lowercase(),
            port: info.port.0,
            to: info.to.map(|to| to.0),
            is_reply: info.is_reply,
            path: info.path.iter().map(|port| port.0).collect(),
            op: known.map_or_else(|| info.op.to_string(), |op| op.name().to_owned()),
            flags: info.flags,
            target: String::from_utf8_lossy(info.target.as_ref()).into_owned(),
            offset: info.offset,
            size: info.size,
            buffer_bytes: info.buffer_bytes,
            attempts: info.attempts,
            flow: info.flow,
        }
    }
}

/// The number that issued it, which owner of that, and the count of its requests.
pub(super) fn identity(id: xseg::RequestId) -> String {
    format!("{}.{}.{}", id.port, id.incarnation, id.serial)
}
