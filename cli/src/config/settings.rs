//! What only one kind of peer has in its table. The peer's own crate says what that is.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{Configuration, Finding, Kind, Role, finding::Findings, section::Section};

/// The settings of a role, as its crate has them.
#[derive(Debug, Clone)]
pub enum Settings {
    /// A store on files.
    Filed(filed::Config),
    /// A store in RADOS.
    Radosd(radosd::Config),
    /// Owns maps and locks.
    Mapper(mapper::Config),
    /// Composes volumes.
    Vlmc(vlmc::Config),
    /// Shows volumes to NBD clients.
    Nbd(nbd::Config),
    /// Shows volumes as files.
    Fuse(fuse::Config),
    /// Tells what the stack measured.
    Metrics(metrics::Config),
}

impl Settings {
    /// Reads and checks what is left of a role's table.
    pub(super) fn take(kind: Kind, own: &Section<'_>, findings: &mut Findings<'_>) -> Option<Settings> {
        let (settings, judged) = match kind {
            // What a store needs is on this machine: see `check_machine`.
            Kind::Filed => (Settings::Filed(own.adopt(findings)?), Ok(())),
            Kind::Radosd => (Settings::Radosd(own.adopt(findings)?), Ok(())),
            Kind::Mapper => judged(own, findings, Settings::Mapper, mapper::Config::check)?,
            Kind::Vlmc => judged(own, findings, Settings::Vlmc, vlmc::Config::check)?,
            Kind::Nbd => judged(own, findings, Settings::Nbd, nbd::Config::check)?,
            Kind::Fuse => judged(own, findings, Settings::Fuse, fuse::Config::check)?,
            Kind::Metrics => judged(own, findings, Settings::Metrics, metrics::Config::check)?,
        };
        if let Err(message) = judged {
            let key = named_key(&message, own.keys().map(|(key, _)| key)).unwrap_or_default().to_owned();
            findings.at(&own.span_of(&key), format!("{}: {message}", own.name));
        }
        Some(settings)
    }
}

impl Settings {
    /// Where the role can be found from outside the segment.
    pub fn listens_at(&self) -> Vec<String> {
        match self {
            Settings::Nbd(config) => {
                let socket =
                    config.socket.iter().map(|path| format!("nbd+unix://?socket={}", path.display()));
                socket.chain(config.listen.iter().map(|address| format!("nbd://{address}"))).collect()
            }
            Settings::Fuse(config) => vec![config.mountpoint.display().to_string()],
            Settings::Metrics(config) => {
                let socket = config.socket.iter().map(|path| path.display().to_string());
                socket
                    .chain(config.listen.iter().map(|address| format!("http://{address}/metrics")))
                    .collect()
            }
            Settings::Filed(_) | Settings::Radosd(_) | Settings::Mapper(_) | Settings::Vlmc(_) => Vec::new(),
        }
    }
}

type Judged = (Settings, Result<(), String>);

fn judged<T: DeserializeOwned, E: std::error::Error>(
    own: &Section<'_>,
    findings: &mut Findings<'_>,
    wrap: impl FnOnce(T) -> Settings,
    check: impl FnOnce(&T) -> Result<(), E>,
) -> Option<Judged> {
    let settings: T = own.adopt(findings)?;
    let result = check(&settings).map_err(|error| error.to_string());
    Some((wrap(settings), result))
}

/// Which of the keys a message is about: the first of its words that is one.
fn named_key<'k>(message: &str, keys: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let keys: Vec<_> = keys.collect();
    let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter_map(|word| keys.iter().find(|key| **key == word).copied()).next()
}

/// Notes what a store lacks on this machine beyond its directories.
pub(super) fn check_machine(configuration: &Configuration, findings: &mut Vec<Finding>) {
    for role in &configuration.roles {
        let nr_ops = usize::try_from(role.outline.nr_ops).unwrap_or(usize::MAX);
        let judged = match &role.settings {
            Settings::Filed(config) => config.check(nr_ops).map_err(|error| error.to_string()),
            Settings::Radosd(config) => config.check(nr_ops).map_err(|error| error.to_string()),
            _ => continue,
        };
        let Err(message) = judged else { continue };
        let key = named_key(&message, role.places.keys().map(String::as_str));
        // A missing directory has been named already, with its reason.
        if key.is_some_and(|key| is_named(role, key)) {
            continue;
        }
        let place = key.and_then(|key| role.places.get(key)).copied().unwrap_or(role.place);
        findings.push(Finding { place: Some(place), message: format!("{}: {message}", role.outline.name) });
    }
}

fn is_named(role: &Role, key: &str) -> bool {
    let needed = role.outline.needed.iter().find(|needed| needed.key.ends_with(&format!(".{key}")));
    needed.is_some_and(|needed| !Path::new(&needed.directory).is_dir())
}
