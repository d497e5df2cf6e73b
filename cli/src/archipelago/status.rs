//! `archipelago status`: how every role is.

use std::{io::ErrorKind, process::ExitCode, time::Duration};

use client::Client;
use jiff::Timestamp;
use peer::status::Status;
use serde::Serialize;
use xseg::Segment;

use super::alarms::{Alarm, alarms};
use crate::{
    arguments::Output,
    config::Configuration,
    failure::Failed,
    output::{self, Cell, Table, Tone},
    supervision::{
        control::{self, Answer, Order, RoleReport, StackReport, State},
        lost,
        pid_file::{Found, look},
        reach,
    },
};

/// How long a role may take to answer: longer than a busy machine stands still.
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// A line of the report.
#[derive(Debug, Serialize)]
struct Line {
    role: String,
    #[serde(rename = "type")]
    kind: &'static str,
    state: &'static str,
    pid: Option<u32>,
    ports: String,
    since: Option<String>,
    since_unix_ms: Option<u64>,
    restarts: u32,
    last_end: Option<String>,
    served: Option<u64>,
    failed: Option<u64>,
    in_flight: Option<u64>,
    waiting: Option<u64>,
    requests: Option<std::collections::BTreeMap<String, u64>>,
    details: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    segment: String,
    supervisor: Option<u32>,
    is_foreground: bool,
    is_changed: bool,
    ok: bool,
    roles: Vec<Line>,
    alarms: Vec<Alarm>,
}

/// Prints how the roles are; the exit status is 1 if one of them, or who looks after them, is down.
pub(super) fn run(
    configuration: &Configuration,
    only: Option<&str>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    if let Some(name) = only
        && configuration.role(name).is_none()
    {
        return Err(
            Failed::new(format!("show role {name}"), "the configuration has none of that name").into()
        );
    }
    let supervision = supervision(configuration);
    let supervised = match &supervision {
        Supervision::Tells(stack) => Some(stack),
        Supervision::Silent(_) | Supervision::Lost(_) | Supervision::Gone => None,
    };
    let reports = supervised.map_or_else(|| alone(configuration), |stack| stack.roles.clone());
    let chosen = reports.into_iter().filter(|report| only.is_none_or(|name| name == report.role));
    let mut client = connect(configuration);
    let roles: Vec<_> = chosen.filter_map(|report| line(configuration, report, client.as_mut())).collect();
    // Roles that nobody supervises serve, yet the first that dies stays dead.
    let ok = supervised.is_some() && !roles.is_empty() && roles.iter().all(|line| line.state == "running");
    let report = Report {
        file: configuration.file.display().to_string(),
        segment: reach::segment_name(configuration),
        supervisor: supervision.pid(),
        is_foreground: supervised.is_some_and(|stack| stack.is_foreground),
        is_changed: supervised.is_some_and(|stack| stack.is_changed),
        ok,
        alarms: alarms(roles.iter().map(|line| (line.role.as_str(), &line.details))),
        roles,
    };
    if output.json {
        output::print_json(&report)?
    } else {
        output::print(&(render(&report) + &told(&supervision, &report, client.is_some())))?
    }
    Ok(ExitCode::from(u8::from(!ok)))
}

/// The process that looks after the roles.
enum Supervision {
    /// It says so of them.
    Tells(StackReport),
    /// It lives, and says nothing.
    Silent(u32),
    /// It lives, and its pid file and socket are gone.
    Lost(u32),
    /// There is none.
    Gone,
}

impl Supervision {
    fn pid(&self) -> Option<u32> {
        match self {
            Supervision::Tells(report) => Some(report.pid),
            Supervision::Silent(pid) | Supervision::Lost(pid) => Some(*pid),
            Supervision::Gone => None,
        }
    }
}

fn supervision(configuration: &Configuration) -> Supervision {
    let Found::Alive(pid) = look(&configuration.top.supervisor_pid()) else {
        return lost::supervisor(configuration).map_or(Supervision::Gone, Supervision::Lost);
    };
    match control::ask(&configuration.top.control_socket(), &Order::Status) {
        Ok(Answer::Status(report)) => Supervision::Tells(report),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Supervision::Silent(pid),
        // It does not listen yet, or not any more.
        _ => {
            let state = |name: &str| report_of(name, State::Starting, None);
            let roles = configuration.roles.iter().map(|role| state(&role.outline.name)).collect();
            Supervision::Tells(StackReport { pid, is_foreground: false, is_changed: false, roles })
        }
    }
}

/// What the pid files say when no supervisor does.
fn alone(configuration: &Configuration) -> Vec<RoleReport> {
    let of_role = |role: &crate::config::Role| {
        let name = &role.outline.name;
        match lost::role(configuration, name) {
            Found::Alive(pid) => report_of(name, State::Running, Some(pid)),
            Found::Stale(_) => report_of(name, State::Crashed, None),
            Found::Nothing => report_of(name, State::Stopped, None),
        }
    };
    configuration.roles.iter().map(of_role).collect()
}

fn report_of(role: &str, state: State, pid: Option<u32>) -> RoleReport {
    RoleReport { role: role.to_owned(), state, pid, since_unix_ms: 0, restarts: 0, last_end: None }
}

fn connect(configuration: &Configuration) -> Option<Client> {
    let segment = Segment::open(&reach::segment_name(configuration)).ok()?;
    let mut client = Client::connect(&reach::on_segment(configuration, segment)).ok()?;
    client.set_patience(PING_PATIENCE);
    Some(client)
}

fn line(configuration: &Configuration, report: RoleReport, client: Option<&mut Client>) -> Option<Line> {
    let role = configuration.role(&report.role)?;
    let ports = &role.outline.ports;
    let statuses = client.filter(|_| report.state == State::Running).map_or_else(Vec::new, |client| {
        let bound: Vec<_> = client.stack().segment.ports().into_iter().filter(|port| port.is_alive).collect();
        // Some roles serve fewer ports than they may.
        let served = ports.clone().filter(|port| bound.iter().any(|info| info.number.0 == *port));
        served.map_while(|port| client.ping(port).ok()).collect()
    });
    let answer = Answers::of(&statuses);
    let state = match report.state {
        State::Running if answer.is_none() => "silent",
        State::Running => "running",
        State::Starting => "starting",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Crashed => "crashed",
    };
    let since_unix_ms =
        Some(report.since_unix_ms).filter(|since| *since > 0).or(answer.as_ref().map(|a| a.since_unix_ms));
    Some(Line {
        kind: role.outline.kind.name(),
        state,
        pid: report.pid,
        ports: if ports.start() == ports.end() {
            ports.start().to_string()
        } else {
            format!("{}-{}", ports.start(), ports.end())
        },
        since: since_unix_ms.and_then(rfc3339),
        since_unix_ms,
        restarts: report.restarts,
        last_end: report.last_end,
        served: answer.as_ref().map(|answer| answer.served),
        failed: answer.as_ref().map(|answer| answer.failed),
        in_flight: answer.as_ref().map(|answer| answer.in_flight),
        waiting: answer.as_ref().map(|answer| answer.waiting),
        requests: answer.as_ref().map(|answer| answer.requests.clone()),
        details: answer.map_or(serde_json::Value::Null, |answer| answer.details),
        role: report.role,
    })
}

fn rfc3339(unix_ms: u64) -> Option<String> {
    let moment = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(moment.to_string())
}

/// What all ports of a role say together.
struct Answers {
    since_unix_ms: u64,
    served: u64,
    failed: u64,
    in_flight: u64,
    waiting: u64,
    requests: std::collections::BTreeMap<String, u64>,
    details: serde_json::Value,
}

impl Answers {
    fn of(statuses: &[Status]) -> Option<Answers> {
        let first = statuses.first()?;
        let sum = |field: fn(&Status) -> u64| statuses.iter().map(field).sum();
        let mut requests = std::collections::BTreeMap::new();
        for (op, count) in statuses.iter().flat_map(|status| &status.served) {
            // A status that was asked for is not what people want counted.
            if op != "ping" {
                *requests.entry(op.clone()).or_insert(0) += count;
            }
        }
        Some(Answers {
            since_unix_ms: first.since_unix_ms,
            served: requests.values().sum(),
            failed: sum(|status| status.failed),
            // The ping itself is under way at the port that answers it.
            in_flight: sum(|status| status.in_flight),
            waiting: sum(|status| status.waiting),
            requests,
            details: match statuses {
                [one] => one.details.clone(),
                many => many.iter().map(|status| status.details.clone()).collect(),
            },
        })
    }
}

fn render(report: &Report) -> String {
    let mut table = Table::new(&[
        "ROLE",
        "TYPE",
        "STATE",
        "PID",
        "PORTS",
        "SINCE",
        "RESTARTS",
        "SERVED",
        "FAILED",
        "IN FLIGHT",
    ]);
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    for line in &report.roles {
        let tone = match line.state {
            "running" => Tone::Good,
            "starting" | "stopping" | "stopped" => Tone::Fair,
            _ => Tone::Bad,
        };
        let restarts = if line.restarts > 0 {
            Cell::toned(line.restarts.to_string(), Tone::Fair)
        } else {
            Cell::from(0)
        };
        table.row([
            Cell::from(&line.role),
            Cell::from(line.kind),
            Cell::toned(line.state, tone),
            Cell::from(line.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())),
            Cell::from(&line.ports),
            Cell::from(line.since_unix_ms.map_or_else(|| "-".to_owned(), output::local_time)),
            restarts,
            Cell::from(number(line.served)),
            Cell::from(number(line.failed)),
            Cell::from(number(line.in_flight.zip(line.waiting).map(|(running, waiting)| running + waiting))),
        ]);
    }
    let mut text = table.render();
    for line in report.roles.iter().filter(|line| line.state != "running") {
        if let Some(end) = &line.last_end {
            text.push_str(&format!("{}: {}\n", line.role, output::printable(end)));
        }
    }
    for alarm in &report.alarms {
        text.push_str(&format!("{}\n", alarm.text()));
    }
    text
}

/// What is wrong with who looks after the roles, and what to do next.
fn told(supervision: &Supervision, report: &Report, has_segment: bool) -> String {
    let is_any = report.roles.iter().any(|line| line.pid.is_some());
    if is_any && !has_segment {
        return format!(
            "segment {} is gone, and nobody can reach the roles: `archipelago restart`\n",
            report.segment
        );
    }
    match supervision {
        Supervision::Silent(pid) => {
            format!(
                "the supervisor (process {pid}) does not answer; once it is gone, `archipelago start` takes over\n"
            )
        }
        Supervision::Lost(pid) => {
            format!("the run directory of the supervisor (process {pid}) is gone: `archipelago restart`\n")
        }
        Supervision::Gone if is_any => {
            "the supervisor is gone, and what dies stays dead: `archipelago start` takes the roles over\n"
                .to_owned()
        }
        Supervision::Tells(_) if report.is_changed => {
            format!(
                "{} was changed since the stack was started: `archipelago restart` takes it over\n",
                report.file
            )
        }
        Supervision::Gone | Supervision::Tells(_) => String::new(),
    }
}

#[cfg(test)]
mod tests;
