//! What a stack stands on: its directories, its segment, and the rights of its processes.

use std::{
    fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::fs::Mode;
use xseg::{ErrorKind, Geometry, Port, PortInfo, Reserve, Segment};

use super::{
    lost,
    pid_file::{Found, look},
    reach::segment_name,
};
use crate::{
    config::{Configuration, Identity, Kind, Role},
    failure::Failed,
};

/// Takes the configured permissions away from everything that this process makes.
pub(crate) fn set_umask(configuration: &Configuration) {
    if let Some(bits) = configuration.top.umask_bits() {
        rustix::process::umask(Mode::from_bits_truncate(bits));
    }
}

/// Who the role runs as, if not as who started it. Mounts and loop devices need root, so `fuse` keeps it.
pub(crate) fn identity(configuration: &Configuration, role: &Role) -> anyhow::Result<Option<Identity>> {
    if role.outline.kind == Kind::Fuse { Ok(None) } else { of_stack(configuration) }
}

fn of_stack(configuration: &Configuration) -> anyhow::Result<Option<Identity>> {
    let found = Identity::of(&configuration.top);
    Ok(found.map_err(|missing| Failed::new("run the roles", missing).hint("change user or group"))?)
}

/// Gives a file that root made to whom the roles run as.
fn give(configuration: &Configuration, path: &Path) -> anyhow::Result<()> {
    if let Some(identity) = of_stack(configuration)? {
        chown(path, Some(identity.user), Some(identity.group))
            .with_context(|| format!("cannot give {} to user {}", path.display(), configuration.top.user))?;
    }
    Ok(())
}

/// Makes the directories for sockets and logs.
pub(crate) fn make_directories(configuration: &Configuration) -> anyhow::Result<()> {
    for directory in [&configuration.top.run_dir, &configuration.top.log_dir] {
        if !directory.is_dir() {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            give(configuration, directory)?;
        }
    }
    Ok(())
}

/// A log file, to be appended to.
pub(crate) fn open_log(configuration: &Configuration, name: &str) -> anyhow::Result<(PathBuf, fs::File)> {
    let path = configuration.top.log_file(name);
    let file = fs::File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    give(configuration, &path)?;
    Ok((path, file))
}

/// The last lines of a log.
pub(crate) fn last_lines(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let lines: Vec<_> = text.lines().map(crate::output::printable).collect();
    Ok(lines[lines.len().saturating_sub(count)..].to_vec())
}

/// Creates the segment; one whose owners are all dead is replaced, one that living processes use is joined if it is alike.
pub(crate) fn make_segment(configuration: &Configuration) -> anyhow::Result<Segment> {
    let (top, name) = (&configuration.top, segment_name(configuration));
    let action = format!("create segment {name}");
    let refuse = |reason: String| Failed::new(action.clone(), reason);
    let geometry =
        Geometry::new(top.segment_ports, top.segment_dynports, top.segment_requests, top.segment_size << 20)
            .map_err(|error| refuse(error.to_string()))?;
    let created = match Segment::create(&name, geometry) {
        Err(error) if error.kind() == ErrorKind::Exists => {
            take_over(configuration, &name, geometry, &refuse)?
        }
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            let hint =
                format!("`df /dev/shm` shows what is left; segment_size wants {} MiB", top.segment_size);
            return Err(refuse(error.to_string()).hint(hint).into());
        }
        other => other.map_err(|error| refuse(error.to_string()))?,
    };
    give(configuration, &Path::new("/dev/shm").join(&top.segment_name))?;
    Ok(created)
}

/// A port by which the segment is in use from the start, before the first role has one: another stack that was given the
/// same name by mistake doesn't take it for a left one.
pub(crate) fn claim(segment: &Segment) -> anyhow::Result<Port> {
    let claimed = segment.bind_dynamic(Reserve { requests: 1, bytes: 0 });
    Ok(claimed.map_err(|error| Failed::new("claim the segment", error))?)
}

fn take_over(
    configuration: &Configuration,
    name: &str,
    geometry: Geometry,
    refuse: &impl Fn(String) -> Failed,
) -> Result<Segment, Failed> {
    let hint = format!("`xseg -s {name} destroy --force` takes it away");
    let old = Segment::open(name).map_err(|error| refuse(error.to_string()).hint(hint.clone()))?;
    let mut pids: Vec<_> =
        old.ports().iter().filter(|port| port.is_alive).filter_map(|port| port.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    if pids.is_empty() {
        drop(old);
        Segment::destroy(name).map_err(|error| refuse(error.to_string()))?;
        return Segment::create(name, geometry).map_err(|error| refuse(error.to_string()));
    }
    if old.geometry() == geometry {
        let hint =
            "`archipelago stop --force` ends what this stack left, another stack needs another segment_name";
        return match refuse_foreign(configuration, &old) {
            None => Ok(old),
            Some(reason) => Err(refuse(reason).hint(hint)),
        };
    }
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    Err(refuse(format!("one with other sizes is used by processes {pids}")).hint(hint))
}

/// Why this stack can't have its ports: a living process that is none of its roles has one.
fn refuse_foreign(configuration: &Configuration, segment: &Segment) -> Option<String> {
    let bound = segment.ports();
    configuration.roles.iter().find_map(|role| {
        let outline = &role.outline;
        let own = match look(&configuration.top.role_pid(&outline.name)) {
            Found::Alive(pid) => Some(pid),
            Found::Stale(_) | Found::Nothing => None,
        };
        let is_foreign =
            |port: &&PortInfo| outline.ports.contains(&port.number.0) && port.is_alive && port.pid != own;
        let port = bound.iter().find(is_foreign)?;
        let pid = port.pid.unwrap_or(0);
        let command = lost::words(pid).join(" ");
        Some(format!("port {} of role {} is held by process {pid} ({command})", port.number, outline.name))
    })
}

/// Takes the segment's name away, if it is there and no other living process has a port of it.
pub(crate) fn destroy_segment(configuration: &Configuration, segment: &Segment) {
    let name = segment_name(configuration);
    let static_ports = segment.geometry().static_ports();
    let others = |port: &PortInfo| port.is_alive && port.pid != Some(std::process::id());
    if let Some(port) = segment.ports().iter().find(|port| port.number.0 < static_ports && others(port)) {
        let (port, pid) = (port.number, port.pid);
        tracing::warn!(%port, pid, "the segment stays: another process has a port of it");
        return;
    }
    match Segment::destroy(&name) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::error!(%error, "cannot destroy the segment")
        }
        _ => {}
    }
}
