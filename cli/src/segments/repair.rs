//! What changes a segment: `create`, `destroy`, `route`, `reap`, `verify`.

use std::process::ExitCode;

use xseg::{Geometry, PortNumber, Segment};

use super::arguments::{Create, Route};
use crate::{arguments::Output, failure::Failed, output};

/// Creates a segment.
pub(super) fn create(name: &str, wanted: &Create) -> anyhow::Result<()> {
    let action = format!("create segment {name}");
    let geometry = Geometry::new(wanted.ports, wanted.dynports, wanted.requests, wanted.size);
    let geometry = geometry.map_err(|error| Failed::new(action.clone(), error))?;
    Segment::create(name, geometry).map_err(|error| Failed::new(action, error))?;
    Ok(())
}

/// Destroys a segment that nobody alive uses.
pub(super) fn destroy(name: &str, is_forced: bool) -> anyhow::Result<()> {
    let action = format!("destroy segment {name}");
    if !is_forced && let Some((port, pid)) = live_owner(name)? {
        let failed = Failed::new(action, format!("process {pid} has port {port}"));
        return Err(failed
            .hint("`archipelago stop` stops a stack; --force destroys the segment all the same")
            .into());
    }
    Ok(Segment::destroy(name).map_err(|error| Failed::new(action, error))?)
}

fn live_owner(name: &str) -> Result<Option<(PortNumber, u32)>, Failed> {
    let segment = Segment::open(name).map_err(|error| {
        let failed = Failed::new(format!("look who uses segment {name}"), &error);
        if error.kind() == xseg::ErrorKind::NotFound {
            failed
        } else {
            failed.hint("--force destroys it unseen")
        }
    })?;
    let ports = segment.ports();
    Ok(ports.iter().find(|port| port.is_alive).map(|port| (port.number, port.pid.unwrap_or(0))))
}

/// Diverts what goes to a port.
pub(super) fn route(segment: &Segment, wanted: &Route) -> anyhow::Result<()> {
    let port = PortNumber(wanted.port);
    let action = match wanted.via {
        Some(via) => format!("route port {port} via {via}"),
        None => format!("clear the route of port {port}"),
    };
    let bound = segment.ports();
    let is_bound = |wanted: &u32| bound.iter().any(|port| port.number.0 == *wanted && port.is_alive);
    // A route may be taken away from a port whose owner is gone, but what is sent into one would wait for an owner.
    if let Some(via) = wanted.via
        && let Some(unbound) = [wanted.port, via].into_iter().find(|port| !is_bound(port))
    {
        let failed = Failed::new(action, format!("no living process has port {unbound}"));
        return Err(failed.hint("`xseg ports` shows who has which").into());
    }
    segment.set_route(port, wanted.via.map(PortNumber)).map_err(|error| Failed::new(action, error))?;
    Ok(())
}

/// Gives back what dead processes held.
pub(super) fn reap(segment: &Segment, output: Output) -> anyhow::Result<()> {
    let reaped = segment.reap();
    if output.json {
        return Ok(output::print_json(&serde_json::json!({
            "ports": reaped.ports,
            "requests": reaped.requests,
            "slabs": reaped.slabs,
            "audits": reaped.audits,
        }))?);
    }
    let (ports, requests, slabs) = (reaped.ports, reaped.requests, reaped.slabs);
    let text = format!("{ports} ports of dead processes, {requests} requests and {slabs} slabs given back\n");
    Ok(output::print(&text)?)
}

/// Checks the tables; exit status 1 if something is wrong.
pub(super) fn verify(segment: &Segment, output: Output) -> anyhow::Result<ExitCode> {
    let findings: Vec<_> = segment.verify().iter().map(ToString::to_string).collect();
    if output.json {
        output::print_json(&findings)?;
    } else if findings.is_empty() {
        output::print("ok\n")?;
    } else {
        output::print(&format!("{}\n", findings.join("\n")))?;
        let is_live = segment.ports().iter().any(|port| port.is_alive);
        if is_live {
            output::print("processes use this segment: some of this may be passing states, so look again\n")?;
        }
    }
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}
