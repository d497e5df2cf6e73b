//! From a configuration to its running stack.

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use client::{Client, Stack};
use peer::{Common, Stop};
use xseg::Segment;

use super::{
    control::{self, Answer, Order, State},
    pid_file::{self, Found},
};
use crate::{
    config::{Configuration, Kind, Role, Settings},
    failure::{Failed, STRANGER_HINT},
};

/// How long a role may take from its start to its first answer.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long one ping may take; a busy machine needs more than a moment.
const PING_PATIENCE: Duration = Duration::from_secs(5);
/// How often a starting role is looked for.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a command waits for a stack that is coming up, or for a role that is being started again.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(15);

/// The segment's full name.
pub(crate) fn segment_name(configuration: &Configuration) -> String {
    format!("posix:{}", configuration.top.segment_name)
}

/// Where the roles are, on this segment.
pub(crate) fn on_segment(configuration: &Configuration, segment: Segment) -> Stack {
    let first = |kind: Kind| configuration.roles.iter().find(|role| role.outline.kind == kind);
    let start = |role: &Role| *role.outline.ports.start();
    let (mut blocker_blocks, mut blocker_maps) = (0, 0);
    if let Some(Settings::Mapper(mapper)) = first(Kind::Mapper).map(|role| &role.settings) {
        (blocker_blocks, blocker_maps) = (mapper.blockerb_port, mapper.blockerm_port);
    }
    let endpoints = configuration.roles.iter().filter(|role| role.outline.kind.is_endpoint());
    Stack {
        segment,
        vlmc: first(Kind::Vlmc).map_or(0..=0, |role| role.outline.ports.clone()),
        mapper: first(Kind::Mapper).map_or(0, start),
        blocker_maps,
        blocker_blocks,
        endpoints: endpoints.map(|role| (role.outline.kind.name().to_owned(), start(role))).collect(),
        node: configuration.top.node(),
    }
}

/// How long a command waits for a stack of which nothing is to be seen: `archipelago run &` a moment ago.
const GRACE: Duration = Duration::from_millis(500);

/// The running stack; one that is coming up is waited for.
pub(crate) fn join(configuration: &Configuration) -> Result<Stack, Failed> {
    let name = segment_name(configuration);
    let begun = Instant::now();
    loop {
        let error = match Segment::open(&name) {
            Ok(segment) => return Ok(on_segment(configuration, segment)),
            Err(error) => error,
        };
        let patience = if is_supervised(configuration) { ARRIVAL_PATIENCE } else { GRACE };
        if error.kind() != xseg::ErrorKind::NotFound || begun.elapsed() >= patience {
            let hint = format!("`archipelago -c {} start` starts the stack", configuration.file.display());
            let failed = Failed::by_segment("reach the stack", &error);
            return Err(if failed.has_hint() { failed } else { failed.hint(hint) });
        }
        thread::sleep(PAUSE);
    }
}

/// An error if the stack is one that this user may not even ask: it is not to be taken for one that is down.
pub(crate) fn refuse_stranger(configuration: &Configuration) -> Result<(), Failed> {
    match File::open(configuration.top.supervisor_pid()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let reason = format!("{}: {error}", configuration.top.supervisor_pid().display());
            Err(Failed::new("ask the stack", reason).hint(STRANGER_HINT))
        }
        _ => Ok(()),
    }
}

/// Whether a process looks after the stack.
pub(crate) fn is_supervised(configuration: &Configuration) -> bool {
    matches!(pid_file::look(&configuration.top.supervisor_pid()), Found::Alive(_))
}

/// Waits while roles of the stack are starting, so that nobody takes an endpoint that is coming up for one that is not there.
pub(crate) fn await_started(configuration: &Configuration) {
    let deadline = Instant::now() + ARRIVAL_PATIENCE;
    while is_supervised(configuration) && Instant::now() < deadline {
        let answer = control::ask(&configuration.top.control_socket(), &Order::Status);
        let Ok(Answer::Status(report)) = answer else {
            thread::sleep(PAUSE);
            continue;
        };
        if report.roles.iter().all(|role| role.state != State::Starting) {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until these ports have living owners: a role that is started again is away for a moment.
pub(crate) fn await_served(
    configuration: &Configuration,
    stack: &Stack,
    ports: &[u32],
) -> Result<(), Failed> {
    let deadline = Instant::now() + ARRIVAL_PATIENCE;
    loop {
        let bound = stack.segment.ports();
        let is_served = |port: &u32| bound.iter().any(|info| info.number.0 == *port && info.is_alive);
        let Some(missing) = ports.iter().find(|port| !is_served(port)) else { return Ok(()) };
        if !is_supervised(configuration) || Instant::now() >= deadline {
            let role = configuration.roles.iter().find(|role| role.outline.ports.contains(missing));
            let name = role.map_or_else(|| format!("port {missing}"), |role| role.outline.name.clone());
            let hint = "`archipelago status` shows what runs, `archipelago start` starts it";
            return Err(Failed::new("reach the stack", format!("{name} does not run")).hint(hint));
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until the role's process has bound its ports and answers; early when it is gone.
pub(crate) fn prove(stack: &Stack, port: u32, pid: u32, gone: &AtomicBool) -> Result<(), String> {
    let deadline = Instant::now() + START_PATIENCE;
    let check = || match () {
        () if gone.load(Ordering::Acquire) => Err("its process ended".to_owned()),
        () if Instant::now() >= deadline => {
            Err(format!("port {port} does not answer within {} s", START_PATIENCE.as_secs()))
        }
        () => Ok(()),
    };
    let owns = |info: &xseg::PortInfo| info.number.0 == port && info.is_alive && info.pid == Some(pid);
    while !stack.segment.ports().iter().any(owns) {
        check()?;
        thread::sleep(PAUSE);
    }
    let mut client = Client::connect(stack).map_err(|failure| failure.to_string())?;
    client.set_patience(PING_PATIENCE);
    while client.ping(port).is_err() {
        check()?;
    }
    Ok(())
}

/// What the role is told besides its own settings.
pub(crate) fn common(configuration: &Configuration, role: &Role) -> Common {
    Common {
        role: role.outline.name.clone(),
        ports: role.outline.ports.clone(),
        nr_ops: role.outline.nr_ops,
        node: configuration.top.node(),
        run_dir: configuration.top.run_dir.clone(),
    }
}

/// Runs a role in this thread until `stop`.
pub(crate) fn serve(
    stack: &Stack,
    configuration: &Configuration,
    role: &Role,
    stop: &Stop,
) -> anyhow::Result<()> {
    let common = common(configuration, role);
    match &role.settings {
        Settings::Filed(config) => filed::serve(&stack.segment, &common, config, stop)?,
        Settings::Radosd(config) => radosd::serve(&stack.segment, &common, config, stop)?,
        Settings::Mapper(config) => mapper::serve(&stack.segment, &common, config, stop)?,
        Settings::Vlmc(config) => vlmc::serve(&stack.segment, &common, config, stop)?,
        Settings::Nbd(config) => nbd::serve(stack, &common, config, stop)?,
        Settings::Fuse(config) => fuse::serve(stack, &common, config, stop)?,
        Settings::Metrics(config) => metrics::serve(stack, &common, config, stop)?,
    }
    Ok(())
}
