//! Finds a stack's processes when its run directory was deleted beneath it: by their ports on the segment, and by what
//! they were started as.

use std::{
    fs,
    path::{Path, PathBuf},
};

use xseg::Segment;

use super::{
    pid_file::{Found, look},
    reach::segment_name,
};
use crate::config::Configuration;

/// The process of a role, by its pid file or without.
pub(crate) fn role(configuration: &Configuration, name: &str) -> Found {
    match look(&configuration.top.role_pid(name)) {
        Found::Nothing => {
            find(configuration, &["peer", "--as-started", name]).map_or(Found::Nothing, Found::Alive)
        }
        found => found,
    }
}

/// The process that looks after the roles, if its pid file is gone.
pub(crate) fn supervisor(configuration: &Configuration) -> Option<u32> {
    find(configuration, &["supervise"])
}

/// The owner of a port of this stack's segment that was started for its configuration file with these last words.
fn find(configuration: &Configuration, last: &[&str]) -> Option<u32> {
    let segment = Segment::open(&segment_name(configuration)).ok()?;
    let file = fs::canonicalize(&configuration.file).ok()?;
    let owners = segment.ports().into_iter().filter(|port| port.is_alive).filter_map(|port| port.pid);
    owners.into_iter().find(|pid| was_started_as(*pid, &file, last))
}

fn was_started_as(pid: u32, file: &Path, last: &[&str]) -> bool {
    let words = words(pid);
    let Some((before, ending)) = words.len().checked_sub(last.len()).map(|at| words.split_at(at)) else {
        return false;
    };
    // A relative name is one below the directory that the process is in.
    let there = PathBuf::from(format!("/proc/{pid}/cwd"));
    let named = before.last().and_then(|name| fs::canonicalize(there.join(name)).ok());
    ending == last && named.is_some_and(|named| named == file)
}

/// What a process was started as.
pub(crate) fn words(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_file_and_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("archipelago.toml");
        fs::write(&file, "").unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "echo; read forever", "--config", "archipelago.toml", "peer", "nbd"])
            .current_dir(dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let file = fs::canonicalize(file).unwrap();
        assert!(was_started_as(child.id(), &file, &["peer", "nbd"]));
        assert!(!was_started_as(child.id(), &file, &["peer", "fuse"]));
        assert!(!was_started_as(child.id(), Path::new("/etc/other.toml"), &["peer", "nbd"]));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
