//! What the original's settings become here, with a comment for each that changed.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
};

use super::{Old, literal::Literal};

/// Ports of the composer that are kept: each is a thread here, and serves any number of volumes.
const COMPOSER_PORTS: i64 = 4;
/// Where our endpoint's port is looked for.
const FIRST_ENDPOINT_PORT: i64 = 1010;
/// Dynamic ports that are added to a segment that had none of its own.
const DYNAMIC_PORTS: i64 = 1024;

/// Keys that keep their meaning under their name in small letters.
const SAME_GLOBALS: [&str; 6] =
    ["SEGMENT_NAME", "SEGMENT_SIZE", "XSEGBD_START", "XSEGBD_END", "VTOOL_START", "VTOOL_END"];
/// Settings of roles that keep their meaning.
const SAME_SETTINGS: [&str; 10] = [
    "portno_start",
    "portno_end",
    "nr_ops",
    "log_level",
    "nr_threads",
    "fdcache",
    "blockerb_port",
    "blockerm_port",
    "blocker_port",
    "mapper_port",
];

/// A text of ours for a configuration of the original.
pub(super) fn translate(name: &str, old: &Old) -> String {
    let mut writing = Writing { notes: Vec::new(), body: String::new() };
    let roles = kept_roles(old, &mut writing);
    writing.globals(old);
    let endpoint_port = free_port(old);
    writing.list("roles", roles.iter().map(|(name, _)| name.as_str()).chain(["nbd"]));
    for (role, kind) in &roles {
        writing.role(role, kind, old);
    }
    writing.note("[nbd] is new: it is how volumes become visible without a kernel module");
    let _ = write!(writing.body, "\n[nbd]\ntype = \"nbd\"\nportno_start = {endpoint_port}\n");
    writing.line("socket", quoted("/run/archipelago/nbd.sock"));
    let mut text = format!("# Translated from {name} ({}). What changed:\n", old.style);
    for note in &writing.notes {
        let _ = writeln!(text, "# - {note}");
    }
    text + "\n" + &writing.body
}

fn kept_roles(old: &Old, writing: &mut Writing) -> Vec<(String, String)> {
    let mut kept = Vec::new();
    for (role, kind) in &old.roles {
        match kind.as_str() {
            "poold" => {
                writing.note(format!("{role} is gone: tools take dynamic ports from the segment itself"))
            }
            _ => kept.push((role.clone(), kind.clone())),
        }
    }
    kept
}

/// The lowest port from [`FIRST_ENDPOINT_PORT`] on that no range of the old file covers.
fn free_port(old: &Old) -> i64 {
    let covers = |first: Option<&Literal>, last: Option<&Literal>, port: i64| {
        let first = first.and_then(Literal::integer);
        let last = last.and_then(Literal::integer).or(first);
        first.zip(last).is_some_and(|(first, last)| (first..=last).contains(&port))
    };
    let in_tables =
        |port| old.tables.values().any(|t| covers(t.get("portno_start"), t.get("portno_end"), port));
    let global = |key| old.globals.get(key);
    let in_globals = |port| {
        covers(global("XSEGBD_START"), global("XSEGBD_END"), port)
            || covers(global("VTOOL_START"), global("VTOOL_END"), port)
    };
    (FIRST_ENDPOINT_PORT..65536)
        .find(|port| !in_tables(*port) && !in_globals(*port))
        .unwrap_or(FIRST_ENDPOINT_PORT)
}

struct Writing {
    notes: Vec<String>,
    body: String,
}

impl Writing {
    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into().replace('\n', " "));
    }

    fn line(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.body, "{key} = {value}");
    }

    fn list<'n>(&mut self, key: &str, names: impl Iterator<Item = &'n str>) {
        let names: Vec<_> = names.map(quoted).collect();
        self.line(key, format!("[{}]", names.join(", ")));
    }

    fn globals(&mut self, old: &Old) {
        for key in SAME_GLOBALS {
            if let Some(value) = old.globals.get(key) {
                self.line(&key.to_ascii_lowercase(), written(value));
            }
        }
        self.ports(&old.globals);
        for (key, value) in &old.globals {
            self.other_global(key, value);
        }
    }

    fn ports(&mut self, globals: &BTreeMap<String, Literal>) {
        let integer = |key| globals.get(key).and_then(Literal::integer);
        match (integer("SEGMENT_PORTS"), integer("SEGMENT_DYNPORTS")) {
            (Some(ports), Some(dynamic)) => {
                self.line("segment_ports", ports);
                self.line("segment_dynports", dynamic);
            }
            (Some(ports), None) => {
                self.line("segment_ports", ports.saturating_add(DYNAMIC_PORTS));
                self.line("segment_dynports", ports);
                self.note(format!(
                    "segment_ports: {DYNAMIC_PORTS} dynamic ports for tools were added to the {ports}"
                ));
            }
            (None, _) => {}
        }
    }

    fn other_global(&mut self, key: &str, value: &Literal) {
        match key {
            _ if SAME_GLOBALS.contains(&key) => {}
            "SEGMENT_PORTS" | "SEGMENT_DYNPORTS" => {}
            "USER" | "GROUP" => self.line(&key.to_ascii_lowercase(), quoted(&value.text())),
            "UMASK" => match value {
                Literal::Integer(bits) => self.line("umask", quoted(&format!("{bits:03o}"))),
                other => self.line("umask", quoted(other.text().trim_start_matches("0o"))),
            },
            "ORDER" => self.note("ORDER is gone: it was never read"),
            _ => self.note(format!("{key} = {} is gone: it has no meaning here", value.text())),
        }
    }

    fn role(&mut self, role: &str, kind: &str, old: &Old) {
        let empty = BTreeMap::new();
        let table = old.tables.get(role).unwrap_or(&empty);
        let our_kind = match kind {
            "file_blocker" => "filed",
            "rados_blocker" => "radosd",
            "mapperd" => "mapper",
            "vlmcd" => "vlmc",
            other => other,
        };
        let _ = write!(self.body, "\n[{role}]\n");
        self.line("type", quoted(our_kind));
        for (key, value) in table {
            self.setting(role, our_kind, key, value, table);
        }
        if ["filed", "radosd"].contains(&our_kind) {
            self.fence(role, our_kind, old);
        }
    }

    fn setting(
        &mut self,
        role: &str,
        kind: &str,
        key: &str,
        value: &Literal,
        table: &BTreeMap<String, Literal>,
    ) {
        let first = table.get("portno_start").and_then(Literal::integer).unwrap_or(0);
        match key {
            "type" => {}
            "portno_end"
                if kind == "vlmc" && value.integer().is_some_and(|last| last - first >= COMPOSER_PORTS) =>
            {
                self.line(key, first + COMPOSER_PORTS - 1);
                let ports = format!("{COMPOSER_PORTS} ports instead of those up to {}", value.text());
                self.note(format!("[{role}] has {ports}: one serves any number of volumes"));
            }
            _ if SAME_SETTINGS.contains(&key) => self.line(key, written(value)),
            "archip_dir" | "pool" | "cephx_id" => self.line(key, quoted(&value.text())),
            "lock_dir" => {
                self.line("legacy_lock_dir", quoted(&value.text()));
                self.note(format!(
                    "[{role}] lock_dir is legacy_lock_dir: locks of the original there are honoured"
                ));
            }
            "direct" => self.line(key, value.truth().unwrap_or(false)),
            _ => self.note(format!("[{role}] {key} = {} is gone: it has no meaning here", value.text())),
        }
    }

    /// Locks are kept with the maps; the store of blocks refuses writes by them.
    fn fence(&mut self, role: &str, kind: &str, old: &Old) {
        let of = |name: &str, key: &str| old.tables.get(name)?.get(key);
        let mapper = old.roles.iter().find(|(_, kind)| kind == "mapperd").map(|(name, _)| name.as_str());
        let maps_port = mapper.and_then(|name| of(name, "blockerm_port")).and_then(Literal::integer);
        let holds = |name: &str, port| of(name, "portno_start").and_then(Literal::integer) == Some(port);
        let Some(port) = maps_port.filter(|port| !holds(role, *port)) else { return };
        let maps = old.roles.iter().find(|(name, _)| holds(name, port)).map(|(name, _)| name.as_str());
        let place = |key| maps.and_then(|name| of(name, key)).map(|value| quoted(&value.text()));
        let (key, value) = match (kind, place("archip_dir"), place("pool")) {
            ("filed", Some(directory), _) => ("lock_dir", directory),
            ("radosd", _, Some(pool)) => ("lock_pool", pool),
            (_, None, None) => return,
            _ => ("foreign_locks", "true".to_owned()),
        };
        self.line(key, value);
        self.note(format!("[{role}] {key} is new: writes under a lock that was broken are refused"));
    }
}

/// A value as TOML: a number stays one.
fn written(value: &Literal) -> String {
    value.integer().map_or_else(|| quoted(&value.text()), |number| number.to_string())
}

/// A text as TOML.
pub(in crate::config) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
