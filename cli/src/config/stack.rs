//! The keys at the top of the file: the segment, where the stack keeps its things, who runs it.

use std::{ops::RangeInclusive, path::PathBuf};

use serde::Deserialize;
use xseg::{MAX_PORTS, MAX_REQUESTS};

use super::{finding::Findings, section::Section};

/// Largest segment, in MiB.
const MAX_SEGMENT_MIB: u64 = xseg::MAX_ARENA_BYTES >> 20;
/// Smallest segment, in MiB: enough for every port of a small stack to have a few full requests under way.
const MIN_SEGMENT_MIB: u64 = 16;
/// Longest segment name, so that it is a file name with our prefix.
const MAX_NAME_BYTES: usize = 200;
/// Longest path of a Unix socket (Linux: 108 with the zero at its end).
pub(super) const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The top of the file as written; each default stands here and nowhere else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Top {
    /// Name of the segment: `posix:NAME`, a file in /dev/shm.
    pub segment_name: String,
    /// Ports in the segment.
    pub segment_ports: u32,
    /// The first dynamic port: below it are the roles', above it those that tools take for a moment.
    pub segment_dynports: u32,
    /// Memory for buffers in MiB.
    pub segment_size: u64,
    /// Request slots.
    pub segment_requests: u32,
    /// First port kept for the kernel module's devices.
    pub xsegbd_start: u32,
    /// Last port kept for the kernel module's devices.
    pub xsegbd_end: u32,
    /// First port kept for tools that want a static one.
    pub vtool_start: u32,
    /// Last port kept for tools.
    pub vtool_end: u32,
    /// This node's identity as an owner of locks; empty: the host's name and the segment's.
    pub node: String,
    /// Sockets, pid files, what is mapped.
    pub run_dir: PathBuf,
    /// One log file a role.
    pub log_dir: PathBuf,
    /// Whether log files are lines of JSON.
    pub log_json: bool,
    /// Who runs the roles when root starts them; empty: root.
    pub user: String,
    /// The group that may use the segment and the sockets; empty: the user's own.
    pub group: String,
    /// Permissions taken away from every file made, in octal.
    pub umask: String,
    /// The roles in the order in which they start.
    pub roles: Vec<String>,
}

impl Default for Top {
    fn default() -> Self {
        Top {
            segment_name: "archipelago".into(),
            segment_ports: 2048,
            segment_dynports: 1024,
            segment_size: 1024,
            segment_requests: 16384,
            xsegbd_start: 0,
            xsegbd_end: 499,
            vtool_start: 1003,
            vtool_end: 1003,
            node: String::new(),
            run_dir: "/run/archipelago".into(),
            log_dir: "/var/log/archipelago".into(),
            log_json: false,
            user: String::new(),
            group: String::new(),
            umask: "007".into(),
            roles: Vec::new(),
        }
    }
}

impl Top {
    /// The ports kept for the kernel module.
    pub fn xsegbd(&self) -> RangeInclusive<u32> {
        self.xsegbd_start..=self.xsegbd_end
    }

    /// The ports kept for tools.
    pub fn vtool(&self) -> RangeInclusive<u32> {
        self.vtool_start..=self.vtool_end
    }

    /// The socket on which the supervisor is spoken to.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir.join("control.sock")
    }

    /// Whose lock proves that somebody looks after the stack.
    pub fn supervisor_pid(&self) -> PathBuf {
        self.run_dir.join("supervisor.pid")
    }

    /// Whose lock proves that a role's own process is alive.
    pub fn role_pid(&self, role: &str) -> PathBuf {
        self.run_dir.join(format!("{role}.pid"))
    }

    /// The log of a role, or of the supervisor.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.log_dir.join(format!("{name}.log"))
    }

    /// The identity with its default filled in.
    pub fn node(&self) -> String {
        if self.node.is_empty() { default_node(&self.segment_name) } else { self.node.clone() }
    }

    /// The mask in `umask`.
    pub fn umask_bits(&self) -> Option<u32> {
        u32::from_str_radix(self.umask.trim_start_matches("0o"), 8).ok().filter(|bits| *bits <= 0o777)
    }

    /// Notes every value that makes no sense.
    pub(super) fn check(&self, section: &Section<'_>, findings: &mut Findings<'_>) {
        let mut wrong = |key: &str, message: String| findings.at(&section.span_of(key), message);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name = &self.segment_name;
        if name.is_empty()
            || name.starts_with('.')
            || name.len() > MAX_NAME_BYTES
            || !name.chars().all(is_plain)
        {
            let rule = "1 to 200 letters, digits, . _ -, not beginning with a dot";
            wrong("segment_name", format!("segment_name = {name:?}: must be {rule}"));
        }
        if !(2..=MAX_PORTS).contains(&self.segment_ports) {
            let value = self.segment_ports;
            wrong("segment_ports", format!("segment_ports = {value}: must be from 2 to {MAX_PORTS}"));
        }
        if self.segment_dynports == 0 || self.segment_dynports >= self.segment_ports {
            let (value, ports) = (self.segment_dynports, self.segment_ports);
            let rule = format!("must be from 1 to segment_ports - 1 = {}", ports.saturating_sub(1));
            wrong("segment_dynports", format!("segment_dynports = {value}: {rule}"));
        }
        if !(MIN_SEGMENT_MIB..=MAX_SEGMENT_MIB).contains(&self.segment_size) {
            let value = self.segment_size;
            let rule = format!("must be from {MIN_SEGMENT_MIB} to {MAX_SEGMENT_MIB}");
            wrong("segment_size", format!("segment_size = {value} MiB: {rule}"));
        }
        if !(64..=MAX_REQUESTS).contains(&self.segment_requests) {
            let value = self.segment_requests;
            wrong(
                "segment_requests",
                format!("segment_requests = {value}: must be from 64 to {MAX_REQUESTS}"),
            );
        }
        self.check_places(section, findings);
    }

    fn check_places(&self, section: &Section<'_>, findings: &mut Findings<'_>) {
        let mut wrong = |key: &str, message: String| findings.at(&section.span_of(key), message);
        for (key, directory) in [("run_dir", &self.run_dir), ("log_dir", &self.log_dir)] {
            if !directory.is_absolute() {
                wrong(
                    key,
                    format!("{key} = {:?}: must be an absolute path", directory.display().to_string()),
                );
            }
        }
        let socket_bytes = self.control_socket().as_os_str().len();
        if socket_bytes > MAX_SOCKET_PATH_BYTES {
            let limit = format!("{MAX_SOCKET_PATH_BYTES} bytes are what the system allows a socket's path");
            wrong(
                "run_dir",
                format!("run_dir: its control.sock would have a path of {socket_bytes} bytes; {limit}"),
            );
        }
        if self.umask_bits().is_none() {
            wrong("umask", format!("umask = {:?}: must be octal, \"000\" to \"777\"", self.umask));
        }
        for (key, name) in [("user", &self.user), ("group", &self.group)] {
            if name.contains(|c: char| c == ':' || c.is_whitespace()) {
                wrong(key, format!("{key} = {name:?}: is no name"));
            }
        }
        for (first_key, first, last_key, last) in [
            ("xsegbd_start", self.xsegbd_start, "xsegbd_end", self.xsegbd_end),
            ("vtool_start", self.vtool_start, "vtool_end", self.vtool_end),
        ] {
            if first > last {
                let key = if section.value(last_key).is_some() { last_key } else { first_key };
                wrong(key, format!("{last_key} = {last}: must not be below {first_key} = {first}"));
            }
        }
        if self.roles.is_empty() {
            wrong("roles", "roles: name at least one role, as in roles = [\"blockerb\", …]".into());
        }
    }
}

/// Two stacks on one host are two nodes: each keeps to its own locks.
pub(super) fn default_node(segment_name: &str) -> String {
    format!("{}:{segment_name}", rustix::system::uname().nodename().to_string_lossy())
}
