//! One role's table: the keys that all roles share, and what kind of peer it is.

use std::{fmt, ops::RangeInclusive, path::PathBuf};

use serde::Deserialize;

use super::{
    finding::{Findings, Place},
    section::Section,
};

/// The keys that are not the peer's own.
const SHARED_KEYS: [&str; 5] = ["type", "portno_start", "portno_end", "log_level", "nr_ops"];
/// Most requests that a port may serve at a time.
const MAX_NR_OPS: u32 = 65536;
/// Most ports of one role: each is a thread.
const MAX_PORTS_OF_ROLE: u32 = 1024;
/// Longest role name: it is part of file names.
const MAX_ROLE_NAME_BYTES: usize = 64;

/// The name of the process that watches the roles, whose files lie beside theirs.
const SUPERVISOR: &str = "supervisor";

/// What a role does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A store on files.
    Filed,
    /// A store in RADOS.
    Radosd,
    /// Owns maps and locks.
    Mapper,
    /// Composes volumes.
    Vlmc,
    /// Shows volumes to NBD clients.
    Nbd,
    /// Shows volumes as files.
    Fuse,
    /// Tells what the stack measured.
    Metrics,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] =
        [Kind::Filed, Kind::Radosd, Kind::Mapper, Kind::Vlmc, Kind::Nbd, Kind::Fuse, Kind::Metrics];

    /// Those that keep objects and locks.
    pub const STORES: &[Kind] = &[Kind::Filed, Kind::Radosd];

    /// The kind of a `type`, by our name or the original's.
    pub fn parse(text: &str) -> Option<Kind> {
        match text {
            "filed" | "file_blocker" => Some(Kind::Filed),
            "radosd" | "rados_blocker" => Some(Kind::Radosd),
            "mapper" | "mapperd" => Some(Kind::Mapper),
            "vlmc" | "vlmcd" => Some(Kind::Vlmc),
            "nbd" => Some(Kind::Nbd),
            "fuse" => Some(Kind::Fuse),
            "metrics" => Some(Kind::Metrics),
            _ => None,
        }
    }

    /// The name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Filed => "filed",
            Kind::Radosd => "radosd",
            Kind::Mapper => "mapper",
            Kind::Vlmc => "vlmc",
            Kind::Nbd => "nbd",
            Kind::Fuse => "fuse",
            Kind::Metrics => "metrics",
        }
    }

    /// Whether volumes are attached to it.
    pub fn is_endpoint(self) -> bool {
        matches!(self, Kind::Nbd | Kind::Fuse)
    }

    /// The keys that name a port of another role, with the kinds that role may be of.
    pub(super) fn references(self) -> &'static [(&'static str, &'static [Kind])] {
        match self {
            Kind::Mapper => &[("blockerb_port", Kind::STORES), ("blockerm_port", Kind::STORES)],
            Kind::Vlmc => &[("blocker_port", Kind::STORES), ("mapper_port", &[Kind::Mapper])],
            Kind::Filed | Kind::Radosd | Kind::Nbd | Kind::Fuse | Kind::Metrics => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The shared keys as written; each default stands here and nowhere else.
#[derive(Debug, Clone, Deserialize)]
struct Shared {
    #[serde(rename = "type")]
    kind: String,
    portno_start: u32,
    #[serde(default)]
    portno_end: Option<u32>,
    #[serde(default = "default_log_level")]
    log_level: u8,
    #[serde(default = "default_nr_ops")]
    nr_ops: u32,
}

/// What happens is logged, each request is not.
fn default_log_level() -> u8 {
    2
}

/// Twice the deepest queue that one client usually keeps.
fn default_nr_ops() -> u32 {
    128
}

/// A path in a role's table that has to be there before the role starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The key, as in `blockerb.archip_dir`.
    pub key: String,
    /// The directory.
    pub directory: PathBuf,
    /// Where the key stands.
    pub place: Place,
}

/// What the shared keys say of a role.
#[derive(Debug, Clone)]
pub struct Outline {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// The ports it serves.
    pub ports: RangeInclusive<u32>,
    /// 0 errors, 1 warnings, 2 what happens, 3 everything.
    pub log_level: u8,
    /// Requests that a port serves at a time.
    pub nr_ops: u32,
    /// Directories it needs.
    pub needed: Vec<Needed>,
}

impl Outline {
    /// Takes the shared keys out of a role's table. What stays in `section` is the peer's own.
    pub(super) fn take(section: &mut Section<'_>, findings: &mut Findings<'_>) -> Option<Outline> {
        check_name(section, findings);
        let shared_keys = section.split_off(|key, _| SHARED_KEYS.contains(&key));
        let shared: Shared = shared_keys.adopt(findings)?;
        let ports = shared.portno_start..=shared.portno_end.unwrap_or(shared.portno_start);
        check_shared(&shared, &ports, &shared_keys, findings);
        let Some(kind) = Kind::parse(&shared.kind) else {
            let known = Kind::ALL.map(Kind::name).join(", ");
            let path = section.path("type");
            let message = format!("{path} = {:?}: there is no such type (known: {known})", shared.kind);
            findings.at(&shared_keys.span_of("type"), message);
            return None;
        };
        let needed = needed_directories(section, findings);
        let (log_level, nr_ops) = (shared.log_level, shared.nr_ops);
        Some(Outline { name: section.name.clone(), kind, ports, log_level, nr_ops, needed })
    }
}

fn check_name(section: &Section<'_>, findings: &mut Findings<'_>) {
    let name = &section.name;
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if name.len() > MAX_ROLE_NAME_BYTES || !is_plain || name.starts_with('-') || name == SUPERVISOR {
        let rule = format!("at most {MAX_ROLE_NAME_BYTES} letters, digits, _ and -, and not {SUPERVISOR}");
        findings.at(&section.span, format!("[{name}]: a role's name must be {rule}"));
    }
}

fn check_shared(
    shared: &Shared,
    ports: &RangeInclusive<u32>,
    section: &Section<'_>,
    findings: &mut Findings<'_>,
) {
    let mut wrong = |key: &str, value: u32, rule: String| {
        findings.at(&section.span_of(key), format!("{} = {value}: {rule}", section.path(key)));
    };
    if ports.is_empty() {
        wrong("portno_end", *ports.end(), format!("must not be below portno_start = {}", ports.start()));
    } else if ports.end() - ports.start() >= MAX_PORTS_OF_ROLE {
        wrong("portno_end", *ports.end(), format!("a role may serve at most {MAX_PORTS_OF_ROLE} ports"));
    }
    if shared.log_level > 3 {
        wrong("log_level", shared.log_level.into(), "must be from 0 (errors only) to 3 (everything)".into());
    }
    if !(1..=MAX_NR_OPS).contains(&shared.nr_ops) {
        wrong("nr_ops", shared.nr_ops, format!("must be from 1 to {MAX_NR_OPS}"));
    }
}

/// Every `…_dir` of a peer is a directory that an administrator makes: a missing one may be a disk that is not mounted.
fn needed_directories(section: &Section<'_>, findings: &mut Findings<'_>) -> Vec<Needed> {
    let mut needed = Vec::new();
    let keys: Vec<_> = section.keys().filter(|(key, _)| key.ends_with("_dir")).collect();
    for (key, span) in keys {
        let Some(text) = section.value(key).and_then(|value| value.get_ref().as_str()) else { continue };
        let directory = PathBuf::from(text);
        if directory.is_absolute() {
            needed.push(Needed { key: section.path(key), directory, place: findings.place(&span) });
        } else {
            findings.at(&span, format!("{} = {text:?}: must be an absolute path", section.path(key)));
        }
    }
    needed
}
