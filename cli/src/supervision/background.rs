//! `archipelago supervise`: the process behind `archipelago start`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Seek, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, atomic::AtomicBool, mpsc::Sender},
    time::Duration,
};

use anyhow::Context;
use client::Stack;
use peer::logging::{self, Target};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use xseg::{PortInfo, Segment};

use super::{
    control, ground, keeping,
    pid_file::{self, Found, PidFile},
    process, reach,
    supervisor::{End, Event, Launch, Supervisor},
};
use crate::config::{Configuration, Identity};

/// The name of the supervisor's log.
pub(crate) const LOG: &str = "supervisor";
/// Its log level: what happens.
const LOG_LEVEL: u8 = 2;

/// How long a role on a segment that is gone may take to end.
const STRAY_PATIENCE: Duration = Duration::from_secs(5);

/// What the supervisor tells the command that started it, once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// All roles answer.
    Started,
    /// None runs.
    Failed {
        /// The role that did not start, if it was one.
        role: Option<String>,
        /// Why.
        reason: String,
    },
}

/// Starts the roles, watches them, and ends when told to. Standard output gets one [`Outcome`].
pub(crate) fn run(configuration: &Configuration) -> anyhow::Result<()> {
    // Fails only for who leads a session already.
    let _leader = rustix::process::setsid();
    match supervise(configuration) {
        Ok(End::Stopped) => Ok(()),
        Ok(End::NotStarted { role, reason }) => {
            tell(&Outcome::Failed { role: Some(role), reason });
            Ok(())
        }
        Err(error) => {
            tell(&Outcome::Failed { role: None, reason: format!("{error:#}") });
            Err(error)
        }
    }
}

fn supervise(configuration: &Configuration) -> anyhow::Result<End> {
    let top = &configuration.top;
    ground::set_umask(configuration);
    ground::make_directories(configuration)?;
    let _pid_file = PidFile::take(&top.supervisor_pid())?;
    let (log, _) = ground::open_log(configuration, LOG)?;
    logging::init(LOG_LEVEL, &Target::File(log), top.log_json).context("cannot open the log")?;
    let segment = ground::make_segment(configuration)?;
    let _claim = ground::claim(&segment)?;
    let stack = reach::on_segment(configuration, segment);
    let names = configuration.roles.iter().map(|role| role.outline.name.clone());
    let (supervisor, events) = Supervisor::new(names, launch(configuration, &stack)?);
    listen(configuration, &events)?;
    let end = supervisor.run(|| {
        tell(&Outcome::Started);
        release_output();
    });
    ground::destroy_segment(configuration, &stack.segment);
    Ok(end)
}

fn listen(configuration: &Configuration, events: &Sender<Event>) -> anyhow::Result<()> {
    let socket = configuration.top.control_socket();
    let ordered = events.clone();
    let deliver = move |asked| {
        // A supervisor that ended answers nobody, and the command says so.
        let _unheard = ordered.send(Event::Ordered(asked));
    };
    control::serve(&socket, deliver).with_context(|| format!("cannot listen at {}", socket.display()))?;
    let keep = configuration.top.run_dir.join(client::keeping::SOCKET);
    keeping::serve(&keep).with_context(|| format!("cannot listen at {}", keep.display()))?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for signals")?;
    let interrupted = events.clone();
    let watch = move || {
        for _ in signals.forever() {
            let _unheard = interrupted.send(Event::Interrupted);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).context("cannot watch for signals")?;
    Ok(())
}

fn launch(configuration: &Configuration, stack: &Stack) -> anyhow::Result<Launch> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let [of_command, of_running, of_proof, of_changes] = std::array::from_fn(|_| configuration.clone());
    let mut identities = BTreeMap::new();
    for role in &configuration.roles {
        if let Some(identity) = ground::identity(configuration, role)? {
            identities.insert(role.outline.name.clone(), identity);
        }
    }
    let (stack, segment) = (stack.clone(), stack.segment.clone());
    let prove = move |name: &str, pid: u32, gone: &AtomicBool| {
        let role = of_proof.role(name).ok_or("there is no such role")?;
        reach::prove(&stack, *role.outline.ports.start(), pid, gone)
    };
    let running = move |name: &str| running(&of_running, &segment, name);
    Ok(Launch {
        command: Box::new(move |name| {
            role_command(&program, &of_command, name, identities.get(name).copied())
        }),
        running: Box::new(running),
        prove: Arc::new(prove),
        is_changed: Box::new(move || of_changes.is_changed()),
    })
}

/// The process that is this role already. One on a segment that is gone is ended: nobody could reach it.
fn running(configuration: &Configuration, segment: &Segment, name: &str) -> Option<u32> {
    let Found::Alive(pid) = pid_file::look(&configuration.top.role_pid(name)) else { return None };
    let ports = &configuration.role(name)?.outline.ports;
    let owns = |port: &PortInfo| ports.contains(&port.number.0) && port.pid == Some(pid);
    if pid == 0 || segment.ports().iter().any(owns) {
        return Some(pid).filter(|pid| *pid != 0);
    }
    tracing::warn!(role = name, pid, "runs on a segment that is gone, ending it");
    if let Err(error) = process::end(pid, STRAY_PATIENCE) {
        tracing::error!(role = name, pid, %error, "cannot end it");
    }
    None
}

fn role_command(
    program: &PathBuf,
    configuration: &Configuration,
    name: &str,
    identity: Option<Identity>,
) -> Command {
    let mut command = Command::new(program);
    command.arg("--config").arg(&configuration.file).args(["peer", "--as-started", name]);
    // Where these can't be had, the role fails to start and its own error says why.
    command.stdin(as_started(configuration).map_or_else(|_| Stdio::null(), Stdio::from));
    if let Ok((_, log)) = ground::open_log(configuration, name)
        && let Ok(second) = log.try_clone()
    {
        command.stdout(log).stderr(second);
    }
    if let Some(identity) = identity {
        command.uid(identity.user).gid(identity.group);
    }
    command
}

/// The configuration as it was when the stack was started: an edited file is for the next start.
fn as_started(configuration: &Configuration) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("configuration", MemfdFlags::CLOEXEC)?);
    file.write_all(configuration.text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn tell(outcome: &Outcome) {
    if let Ok(mut line) = serde_json::to_vec(outcome) {
        line.push(b'\n');
        // Whoever started us may have been interrupted.
        let _unread = std::io::stdout().write_all(&line);
    }
}

/// The command that started us waits for the end of our output.
fn release_output() {
    if let Ok(nothing) = File::options().write(true).open("/dev/null") {
        let _kept = rustix::stdio::dup2_stdout(&nothing);
    }
}
