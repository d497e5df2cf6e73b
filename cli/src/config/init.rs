//! A configuration for a private stack: everything in one directory, nothing outside it, no root needed.

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    import::quoted,
    machine::has_fuse,
    stack::{MAX_SOCKET_PATH_BYTES, default_node},
};

/// Memory of a private segment in MiB: enough for a deep queue at every endpoint, little enough for a laptop.
const SEGMENT_MIB: u64 = 256;
/// Longest socket name in the directory, with its slash.
const LONGEST_SOCKET: &str = "/run/control.sock";

/// Where things of a private stack are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The stack's directory.
    pub dir: PathBuf,
    /// Where blocks are kept.
    pub blocks: PathBuf,
    /// Where maps and locks are kept.
    pub maps: PathBuf,
    /// Whether volumes can be shown as files here; without that, the role would keep the stack from starting.
    pub has_fuse: bool,
}

/// Why no configuration was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one.
    #[error("cannot write {}: it is there already", .0.display())]
    Exists(PathBuf),
    /// Sockets in this directory would have names that the system refuses.
    #[error("cannot use {}: sockets in it would have paths of {length} bytes; {limit} are allowed", dir.display())]
    TooLong {
        /// The directory.
        dir: PathBuf,
        /// How long a socket's path would be.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A file or directory can't be made.
    #[error("cannot make {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the directories and writes `archipelago.toml`; the result is its path.
///
/// # Errors
/// If there is one already, or something can't be made.
pub fn init(dir: &Path, blocks: Option<&Path>, maps: Option<&Path>) -> Result<PathBuf, InitError> {
    let dir = make(dir)?;
    let file = dir.join("archipelago.toml");
    if file.symlink_metadata().is_ok() {
        return Err(InitError::Exists(file));
    }
    let length = dir.as_os_str().len() + LONGEST_SOCKET.len();
    if length > MAX_SOCKET_PATH_BYTES {
        return Err(InitError::TooLong { dir, length, limit: MAX_SOCKET_PATH_BYTES });
    }
    for inner in ["run", "log", "volumes"] {
        make(&dir.join(inner))?;
    }
    let places = Places {
        blocks: make(blocks.unwrap_or(&dir.join("blocks")))?,
        maps: make(maps.unwrap_or(&dir.join("maps")))?,
        dir,
        has_fuse: has_fuse(),
    };
    let failed = |source| InitError::Io { path: file.clone(), source };
    let mut created = fs::File::create_new(&file).map_err(failed)?;
    created.write_all(render(&places).as_bytes()).map_err(failed)?;
    Ok(file)
}

/// The directory's full name, once it is there.
fn make(dir: &Path) -> Result<PathBuf, InitError> {
    let failed = |source| InitError::Io { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    fs::canonicalize(dir).map_err(failed)
}

/// A name that another directory's stack does not have, and that a reader recognises.
fn segment_name(dir: &Path) -> String {
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let mut name = String::from("archipelago-");
    for byte in digest.iter().take(6) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// The text of the configuration.
pub fn render(places: &Places) -> String {
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let inner = |name: &str| path(&places.dir.join(name));
    format!(
        "\
# A private Archipelago stack: everything it makes is in this directory, or named in this file.

segment_name = {segment}
segment_size = {SEGMENT_MIB}
segment_ports = 1024
segment_dynports = 64
segment_requests = 8192
xsegbd_start = 0
xsegbd_end = 0
vtool_start = 1
vtool_end = 1
node = {node}
run_dir = {run}
log_dir = {log}
roles = [\"blockerb\", \"blockerm\", \"mapperd\", \"vlmcd\", \"nbd\"{fuse_role}]

[blockerb]
type = \"filed\"
portno_start = 10
archip_dir = {blocks}
lock_dir = {maps}

[blockerm]
type = \"filed\"
portno_start = 11
archip_dir = {maps}

[mapperd]
type = \"mapper\"
portno_start = 12
blockerb_port = 10
blockerm_port = 11

[vlmcd]
type = \"vlmc\"
portno_start = 20
portno_end = 21
blocker_port = 10
mapper_port = 12

[nbd]
type = \"nbd\"
portno_start = 40
socket = {socket}
{fuse}",
        segment = quoted(&segment_name(&places.dir)),
        node = quoted(&default_node(&segment_name(&places.dir))),
        run = inner("run"),
        log = inner("log"),
        blocks = path(&places.blocks),
        maps = path(&places.maps),
        socket = inner("run/nbd.sock"),
        fuse_role = if places.has_fuse { ", \"fuse\"" } else { "" },
        fuse = if places.has_fuse { fuse(&inner("volumes")) } else { String::new() },
    )
}

fn fuse(mountpoint: &str) -> String {
    format!("\n[fuse]\ntype = \"fuse\"\nportno_start = 50\nmountpoint = {mountpoint}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_accepted_and_stays_in_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = init(&dir.path().join("a"), None, None).unwrap();
        let configuration = crate::config::load(&file).unwrap();
        let home = fs::canonicalize(dir.path().join("a")).unwrap();
        assert_eq!(file, home.join("archipelago.toml"));
        assert!(configuration.top.run_dir.starts_with(&home) && configuration.top.log_dir.starts_with(&home));
        for role in &configuration.roles {
            assert!(role.outline.needed.iter().all(|needed| needed.directory.starts_with(&home)));
        }
    }

    #[test]
    fn stores_may_be_elsewhere_and_two_stacks_have_two_segments() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let first = init(&dir.path().join("a"), Some(&store), Some(&dir.path().join("m"))).unwrap();
        let second = init(&dir.path().join("b"), None, None).unwrap();
        let [first, second] = [first, second].map(|file| crate::config::load(&file).unwrap());
        assert_ne!(first.top.segment_name, second.top.segment_name);
        let blocks = &first.role("blockerb").unwrap().outline.needed[0];
        assert_eq!(blocks.directory, fs::canonicalize(store).unwrap());
    }

    #[test]
    fn a_configuration_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), None, None).unwrap();
        assert!(matches!(init(dir.path(), None, None), Err(InitError::Exists(_))));
    }

    #[test]
    fn a_directory_too_deep_for_sockets_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100));
        assert!(matches!(init(&deep, None, None), Err(InitError::TooLong { .. })));
    }

    #[test]
    fn a_machine_that_cannot_show_files_gets_a_stack_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = init(dir.path(), None, None).unwrap();
        let home = fs::canonicalize(dir.path()).unwrap();
        let places =
            Places { blocks: home.join("blocks"), maps: home.join("maps"), dir: home, has_fuse: false };
        fs::write(&file, render(&places)).unwrap();
        let roles = crate::config::load(&file).unwrap().roles;
        assert!(roles.len() == 5 && roles.iter().all(|role| role.outline.name != "fuse"));
    }
}
