//! `archipelago start`, `stop`, `restart`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use client::Client;
use xseg::Segment;

use crate::{
    config::Configuration,
    failure::Failed,
    output,
    supervision::{
        background::{LOG, Outcome},
        control::{self, Answer, Order},
        ground, lost,
        pid_file::{Found, look},
        process, reach,
    },
};

/// How long a process that is nobody's child any more may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a supervisor without a socket may take to stop all roles.
const LOST_PATIENCE: Duration = Duration::from_secs(120);
/// How long the supervisor may take to end after its last answer.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an endpoint may take to say what is mapped.
const ENDPOINT_PATIENCE: Duration = Duration::from_secs(5);
/// Lines of its log that are shown of a role that did not start.
const LOG_LINES: usize = 10;

/// Starts all roles in the background.
pub(super) fn start(configuration: &Configuration) -> anyhow::Result<()> {
    if let Found::Alive(pid) = look(&configuration.top.supervisor_pid()) {
        let failed = Failed::new("start the stack", format!("it runs already (process {pid})"));
        return Err(failed.hint("`archipelago status` shows how it is").into());
    }
    ground::make_directories(configuration)?;
    let (_, log) = ground::open_log(configuration, LOG)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut supervisor = Command::new(program)
        .arg("--config")
        .arg(&configuration.file)
        .arg("supervise")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")?;
    let mut line = String::new();
    if let Some(told) = supervisor.stdout.take() {
        BufReader::new(told).read_line(&mut line).context("cannot hear the supervisor")?;
    }
    match serde_json::from_str(&line) {
        Ok(Outcome::Started) => Ok(output::print(&format!("{} roles run\n", configuration.roles.len()))?),
        Ok(Outcome::Failed { role: Some(role), reason }) => {
            // It stops what it started; only then is nothing left.
            let _status = supervisor.wait();
            Err(start_failure(configuration, &role, &reason).into())
        }
        Ok(Outcome::Failed { role: None, reason }) => Err(Failed::new("start the stack", reason).into()),
        Err(_) => {
            let reason = format!("the supervisor ended{}", log_end(configuration, LOG));
            Err(Failed::new("start the stack", reason).into())
        }
    }
}

fn start_failure(configuration: &Configuration, role: &str, reason: &str) -> Failed {
    let failed = Failed::new(format!("start {role}"), format!("{reason}{}", log_end(configuration, role)));
    failed.hint("what had been started was stopped again")
}

fn log_end(configuration: &Configuration, name: &str) -> String {
    let path = configuration.top.log_file(name);
    match ground::last_lines(&path, LOG_LINES) {
        Ok(lines) if !lines.is_empty() => {
            format!("; the end of {}:\n  {}", path.display(), lines.join("\n  "))
        }
        _ => String::new(),
    }
}

/// Starts one role.
pub(super) fn start_role(configuration: &Configuration, role: &str) -> anyhow::Result<()> {
    order(configuration, &format!("start {role}"), &Order::Start(known(configuration, role)?))
}

/// Stops one role, if nothing is mapped or it is forced.
pub(super) fn stop_role(configuration: &Configuration, role: &str, is_forced: bool) -> anyhow::Result<()> {
    let name = known(configuration, role)?;
    if !is_forced {
        refuse_mapped(configuration, &format!("stop {role}"))?;
    }
    order(configuration, &format!("stop {role}"), &Order::Stop(name))
}

/// Stops one role and starts it again; what waits for it waits on.
pub(super) fn restart_role(configuration: &Configuration, role: &str) -> anyhow::Result<()> {
    order(configuration, &format!("restart {role}"), &Order::Restart(known(configuration, role)?))
}

fn known(configuration: &Configuration, role: &str) -> Result<String, Failed> {
    if configuration.role(role).is_some() {
        return Ok(role.to_owned());
    }
    let names: Vec<_> = configuration.roles.iter().map(|role| role.outline.name.as_str()).collect();
    Err(Failed::new(format!("find role {role}"), format!("the configuration has {}", names.join(", "))))
}

fn order(configuration: &Configuration, action: &str, order: &Order) -> anyhow::Result<()> {
    let answer = control::ask(&configuration.top.control_socket(), order).map_err(|error| {
        Failed::new(action, format!("no supervisor answers ({error})"))
            .hint("`archipelago start` starts the stack")
    })?;
    match answer {
        Answer::Done | Answer::Status(_) => Ok(()),
        Answer::Refused(reason) => Err(Failed::new(action, reason).into()),
        Answer::Failed { role, reason } => {
            let reason = format!("{reason}{}", log_end(configuration, &role));
            Err(Failed::new(action, reason).into())
        }
    }
}

/// Stops all roles in reverse order and destroys the segment.
pub(super) fn stop(configuration: &Configuration, is_forced: bool) -> anyhow::Result<()> {
    if !is_forced {
        refuse_mapped(configuration, "stop the stack")?;
    }
    if let Found::Alive(_) = look(&configuration.top.supervisor_pid()) {
        order(configuration, "stop the stack", &Order::StopAll)?;
        await_end(configuration)?;
        return Ok(output::print("stopped\n")?);
    }
    if let Some(pid) = lost::supervisor(configuration) {
        process::end(pid, LOST_PATIENCE)
            .with_context(|| format!("cannot stop the supervisor (process {pid})"))?;
        return Ok(output::print("stopped\n")?);
    }
    let ended = end_orphans(configuration)?;
    remove_stale_segment(configuration)?;
    let word = if ended == 0 { "nothing runs\n" } else { "stopped\n" };
    Ok(output::print(word)?)
}

fn await_end(configuration: &Configuration) -> Result<(), Failed> {
    let deadline = Instant::now() + END_PATIENCE;
    while let Found::Alive(pid) = look(&configuration.top.supervisor_pid()) {
        if Instant::now() >= deadline {
            return Err(Failed::new(
                "stop the stack",
                format!("all roles stopped, but process {pid} does not end"),
            ));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Roles whose supervisor was killed.
fn end_orphans(configuration: &Configuration) -> anyhow::Result<usize> {
    let mut ended = 0;
    for role in configuration.roles.iter().rev() {
        let name = &role.outline.name;
        if let Found::Alive(pid) = lost::role(configuration, name) {
            process::end(pid, STOP_PATIENCE)
                .with_context(|| format!("cannot stop {name} (process {pid})"))?;
            ended += 1;
        }
    }
    Ok(ended)
}

fn remove_stale_segment(configuration: &Configuration) -> Result<(), Failed> {
    let name = reach::segment_name(configuration);
    let Ok(segment) = Segment::open(&name) else { return Ok(()) };
    let live: Vec<_> = segment.ports().into_iter().filter(|port| port.is_alive).collect();
    if let Some(port) = live.first() {
        let pid = port.pid.unwrap_or(0);
        let reason = format!("process {pid} has port {} of {name}, and is none of this stack's", port.number);
        return Err(Failed::new("remove the segment", reason));
    }
    drop(segment);
    Segment::destroy(&name).map_err(|error| Failed::new("remove the segment", error))
}

/// Stops and starts everything. Endpoints show again what they showed.
pub(super) fn restart(configuration: &Configuration) -> anyhow::Result<()> {
    stop(configuration, true)?;
    start(configuration)
}

fn refuse_mapped(configuration: &Configuration, action: &str) -> Result<(), Failed> {
    let mapped = mapped(configuration);
    if mapped.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = mapped.iter().map(|(volume, location)| format!("{volume} at {location}")).collect();
    let reason = format!("volumes are mapped: {}", list.join(", "));
    Err(Failed::new(action, reason).hint("`vlmc unmap` them first, or add --force"))
}

/// What is mapped: as the endpoints say, or as they noted before they went away.
fn mapped(configuration: &Configuration) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let segment = Segment::open(&reach::segment_name(configuration)).ok();
    let stack = segment.map(|segment| reach::on_segment(configuration, segment));
    let mut client = stack.as_ref().and_then(|stack| Client::connect(stack).ok());
    for role in configuration.roles.iter().filter(|role| role.outline.kind.is_endpoint()) {
        let port = *role.outline.ports.start();
        let is_served = stack.as_ref().is_some_and(|stack| {
            stack.segment.ports().iter().any(|info| info.number.0 == port && info.is_alive)
        });
        let answer = client.as_mut().filter(|_| is_served).and_then(|client| {
            client.set_patience(ENDPOINT_PATIENCE);
            client.attached(port).ok()
        });
        match answer {
            Some(list) => found.extend(list.into_iter().map(|shown| (shown.volume, shown.location))),
            // Nobody serves what was mapped at a stack that is down: it keeps nobody from stopping it.
            None if stack.is_some() => found.extend(noted(configuration, &role.outline.name)),
            None => {}
        }
    }
    found
}

fn noted(configuration: &Configuration, role: &str) -> Vec<(String, String)> {
    let path = configuration.top.run_dir.join(format!("{role}.attached.json"));
    let bytes = fs::read(path).unwrap_or_default();
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    let volume =
        |entry: &serde_json::Value| entry.get("volume").and_then(|name| name.as_str()).map(str::to_owned);
    entries
        .iter()
        .filter_map(volume)
        .map(|volume| (volume, format!("{role}, which does not answer")))
        .collect()
}
