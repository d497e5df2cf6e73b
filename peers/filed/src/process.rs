//! Which process made a file, and whether it still lives.

use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};

/// A process, never to be confused with another one: of this boot of this host, with this number and start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Stands for the boot of a host and the namespace in which process numbers count.
    place: u64,
    process: u32,
    started: u64,
}

impl Identity {
    pub(crate) fn own() -> Self {
        let process = std::process::id();
        Self { place: own_place(), process, started: start_of(process).unwrap_or(0) }
    }

    /// A key that stands for a port of a segment of this boot of this host, and for others only by a rare chance.
    pub(crate) fn key_of_port(segment: &str, port: u32) -> u32 {
        let hash = Sha256::new().chain_update(own_place().to_be_bytes()).chain_update(segment).finalize();
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash);
        u32::from_be_bytes([a, b, c, d]) ^ port
    }

    /// The identity that `text` begins with, as written by `Display`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let place = u64::from_str_radix(parts.next()?, 16).ok()?;
        let process = parts.next()?.parse().ok()?;
        let started = parts.next()?.parse().ok()?;
        Some(Self { place, process, started })
    }

    /// True only if the process certainly does not live any more; of other hosts nothing is certain.
    pub(crate) fn is_dead(&self) -> bool {
        self.place == own_place() && start_of(self.process) != Some(self.started)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}-{}-{}", self.place, self.process, self.started)
    }
}

fn own_place() -> u64 {
    let boot = read_text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let hash = Sha256::new().chain_update(boot).chain_update(namespace.as_os_str().as_bytes()).finalize();
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Start time of a process in clock ticks since boot.
fn start_of(process: u32) -> Option<u64> {
    let stat = read_text(&format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything, so count from the last one: state is field 3, start time field 22.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

fn read_text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_identity_survives_writing() {
        let own = Identity::own();
        assert!(!own.is_dead());
        assert_eq!(Identity::parse(&format!("{own}-17")), Some(own));
    }

    #[test]
    fn a_process_with_our_number_that_started_at_another_time_is_dead() {
        let own = Identity::own();
        assert!(Identity { started: own.started + 1, ..own }.is_dead());
    }

    #[test]
    fn nothing_is_certain_of_another_host() {
        let own = Identity::own();
        assert!(!Identity { place: own.place + 1, started: 0, ..own }.is_dead());
    }

    #[test]
    fn each_port_of_each_segment_has_a_key_of_its_own() {
        let keys =
            [("one", 10), ("one", 11), ("two", 10)].map(|(name, port)| Identity::key_of_port(name, port));
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert_eq!(keys[0], Identity::key_of_port("one", 10));
    }
}
