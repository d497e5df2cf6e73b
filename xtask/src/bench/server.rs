//! A server started for a measurement, and stopped after it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::{end_tree, find, program, succeeds};

/// Time for a server to begin, and to end when asked.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running server; dropping it stops it.
pub(super) struct Server(Child);

impl Server {
    /// Starts a server and waits until `is_ready`.
    pub(super) fn start(
        command: &mut Command,
        log: &Path,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<Self> {
        let log = std::fs::File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let name = command.get_program().to_string_lossy().into_owned();
        let mut server = Self(command.spawn().with_context(|| format!("cannot start {name}"))?);
        let deadline = Instant::now() + PATIENCE;
        while !is_ready() {
            ensure!(server.0.try_wait()?.is_none(), "{name} ended at once");
            ensure!(Instant::now() < deadline, "{name} is not ready after {PATIENCE:?}");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        succeeds(program("sh").arg("-c").arg(format!("kill {}", self.0.id())));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        end_tree(&mut self.0);
    }
}

/// qemu-storage-daemon with a raw file as an NBD export: what a user would run without us.
pub(super) struct QemuStorageDaemon {
    _server: Server,
    pub(super) uri: String,
}

impl QemuStorageDaemon {
    /// None where the program is missing.
    pub(super) fn start(folder: &Path, image: &Path, is_direct: bool) -> Result<Option<Self>> {
        let Some(found) = find("qemu-storage-daemon") else { return Ok(None) };
        let socket: PathBuf = folder.join("qemu.sock");
        let mut command = program(found);
        command.arg("--blockdev").arg(format!(
            "driver=file,node-name=image,filename={},cache.direct={},aio=io_uring",
            image.display(),
            if is_direct { "on" } else { "off" }
        ));
        command.arg("--nbd-server").arg(format!("addr.type=unix,addr.path={}", socket.display()));
        command.args(["--export", "type=nbd,id=image,node-name=image,name=image,writable=on"]);
        let server = Server::start(&mut command, &folder.join("qemu.log"), || socket.exists())?;
        let uri = format!("nbd+unix:///image?socket={}", socket.display());
        Ok(Some(Self { _server: server, uri }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_told_from_a_slow_one() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert!(Server::start(program("sh").args(["-c", "exit 1"]), &log, || false).is_err());
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let server = Server::start(program("sleep").arg("600"), &log, || true).unwrap();
        let entry = PathBuf::from(format!("/proc/{}", server.0.id()));
        drop(server);
        assert!(!entry.exists());
    }
}
