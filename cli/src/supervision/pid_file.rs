//! Files that say which process is what, and that prove by a lock that it still is.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// A pid file whose lock this process holds; the file goes with it.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Holds the lock until the process ends, however it ends.
    _locked: File,
}

/// What a pid file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no file.
    Nothing,
    /// A process left it behind without removing it.
    Stale(u32),
    /// This process is alive.
    Alive(u32),
}

/// Why a pid file can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    /// Another process has it.
    #[error("{} is held by process {pid}", path.display())]
    Taken { path: PathBuf, pid: u32 },
    /// The file can't be used.
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl PidFile {
    /// Takes the file for this process.
    pub(crate) fn take(path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |source| PidFileError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PidFileError::Taken {
                    path: path.to_owned(),
                    pid: pid_in(&mut file).unwrap_or(0),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(failed)?;
        Ok(PidFile { path: path.to_owned(), _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that stays is only stale: its lock says so.
        let _stale = fs::remove_file(&self.path);
    }
}

/// Who has the file at `path`.
pub(crate) fn look(path: &Path) -> Found {
    let Ok(mut file) = OpenOptions::new().read(true).open(path) else { return Found::Nothing };
    let pid = pid_in(&mut file).unwrap_or(0);
    match file.try_lock_shared() {
        Ok(()) => Found::Stale(pid),
        Err(_) => Found::Alive(pid),
    }
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_file_names_its_process_and_can_not_be_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        assert_eq!(look(&path), Found::Nothing);
        let taken = PidFile::take(&path).unwrap();
        let pid = std::process::id();
        assert_eq!(look(&path), Found::Alive(pid));
        assert!(matches!(PidFile::take(&path), Err(PidFileError::Taken { pid: found, .. }) if found == pid));
        drop(taken);
        assert_eq!(look(&path), Found::Nothing);
    }

    #[test]
    fn a_file_without_its_process_is_stale_and_can_be_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        fs::write(&path, "4194305\n").unwrap();
        assert_eq!(look(&path), Found::Stale(4_194_305));
        drop(PidFile::take(&path).unwrap());
    }
}
