//! Settings as written, and what is wrong with them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::nfs;

/// Settings of one file blocker, as in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the objects are.
    pub archip_dir: PathBuf,
    /// Where the locks are; `archip_dir` if not given. Blockers whose writes are fenced by the same locks share it.
    #[serde(default)]
    pub lock_dir: Option<PathBuf>,
    /// The locks are kept by a store of another kind: their numbers are believed when they are first named, and noted in `lock_dir`.
    #[serde(default)]
    pub foreign_locks: bool,
    /// Where a file blocker of the original kept its lock files, which are honoured.
    #[serde(default)]
    pub legacy_lock_dir: Option<PathBuf>,
    /// How many files are kept open for the next request.
    #[serde(default = "default_fdcache")]
    pub fdcache: usize,
    /// How many threads do what io_uring does not.
    #[serde(default = "default_nr_threads")]
    pub nr_threads: usize,
    /// Whether reads and writes pass by the page cache.
    #[serde(default)]
    pub direct: bool,
    /// What reads and writes.
    #[serde(default)]
    pub io: Io,
    /// Whether hosts beside this one change files in `archip_dir`: then a kept file is compared with its name before each use.
    #[serde(default)]
    pub shared: bool,
    /// When what is read is compared with its checksums.
    #[serde(default)]
    pub verify: Verify,
    /// How many seconds after its last write a scrub gives an object checksums.
    #[serde(default = "default_settle_s")]
    pub settle_s: u64,
}

/// When what is at rest is compared with its checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// By `archipelago scrub` alone.
    #[default]
    Scrub,
    /// Whenever it is read, too.
    Read,
}

/// What reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// io_uring if the kernel allows it, else threads.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Threads.
    Threads,
}

/// 512, as the original's sample configuration.
fn default_fdcache() -> usize {
    512
}

/// What is written once is often written again soon, and each time the checksums would have to go first.
fn default_settle_s() -> u64 {
    60
}

/// Enough to keep a disk busy with opens and copies; reads and writes do not depend on it where io_uring is allowed.
fn default_nr_threads() -> usize {
    8
}

/// More open files than this are no cache any more.
const FDCACHE_MAX: usize = 1 << 20;
/// More threads than this only get in each other's way.
const NR_THREADS_MAX: usize = 1024;
/// Most requests served at a time.
const NR_OPS_MAX: usize = 4096;
/// Longer than this a scrub would wait for ever.
const SETTLE_S_MAX: usize = 365 * 24 * 3600;
/// Files that are made before the objects that they will be.
pub(crate) const PREMADE: usize = 64;
/// Files open beside the cache and the running requests: directories, log, segment, ring.
const OTHER_FILES: u64 = 64;
/// Files one running request may open beside a cached one: source, target, lock record, directory.
const FILES_PER_OP: u64 = 4;

impl Config {
    /// Settings of a store in `directory`, all others at their defaults.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            archip_dir: directory.into(),
            lock_dir: None,
            foreign_locks: false,
            legacy_lock_dir: None,
            fdcache: default_fdcache(),
            nr_threads: default_nr_threads(),
            direct: false,
            io: Io::Auto,
            shared: false,
            verify: Verify::default(),
            settle_s: default_settle_s(),
        }
    }

    /// Checks every setting without changing anything but the process's soft limit of open files, which is raised as needed.
    ///
    /// # Errors
    /// The first setting that cannot work, by name.
    pub fn check(&self, nr_ops: usize) -> Result<(), Error> {
        in_range("fdcache", self.fdcache, 1, FDCACHE_MAX)?;
        in_range("nr_threads", self.nr_threads, 1, NR_THREADS_MAX)?;
        in_range("nr_ops", nr_ops, 1, NR_OPS_MAX)?;
        in_range("settle_s", usize::try_from(self.settle_s).unwrap_or(usize::MAX), 1, SETTLE_S_MAX)?;
        is_directory("archip_dir", &self.archip_dir)?;
        is_directory("lock_dir", self.lock_directory())?;
        if self.shared {
            is_shareable("archip_dir", &self.archip_dir)?;
            is_shareable("lock_dir", self.lock_directory())?;
        }
        if let Some(path) = &self.legacy_lock_dir {
            is_directory("legacy_lock_dir", path)?;
        }
        self.raise_file_limit(nr_ops)
    }

    /// Where the locks are.
    #[must_use]
    pub fn lock_directory(&self) -> &Path {
        self.lock_dir.as_deref().unwrap_or(&self.archip_dir)
    }

    /// Whether this is the store of maps, whose locks are a stack's own; a store of blocks only looks at them.
    #[must_use]
    pub fn keeps_locks(&self) -> bool {
        self.lock_directory() == self.archip_dir && !self.foreign_locks
    }

    /// Whether reads and writes pass by the page cache: because the setting says so, or because NFS would keep what is old there.
    #[must_use]
    pub(crate) fn passes_cache(&self) -> bool {
        self.direct || (self.shared && nfs::is_on_nfs(&self.archip_dir).unwrap_or(false))
    }

    fn raise_file_limit(&self, nr_ops: usize) -> Result<(), Error> {
        let limits = getrlimit(Resource::Nofile);
        let needed = self.fdcache as u64 + FILES_PER_OP * nr_ops as u64 + PREMADE as u64 + OTHER_FILES;
        let hard = limits.maximum.unwrap_or(u64::MAX);
        let too_few = Error::TooFewFiles { fdcache: self.fdcache, needed, limit: hard };
        if needed > hard {
            return Err(too_few);
        }
        if limits.current.is_some_and(|soft| soft < needed) {
            let raised = Rlimit { current: Some(needed), maximum: limits.maximum };
            setrlimit(Resource::Nofile, raised).map_err(|_| too_few)?;
        }
        Ok(())
    }
}

fn in_range(setting: &'static str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::OutOfRange { setting, value, least, most })
}

fn is_directory(setting: &'static str, path: &Path) -> Result<(), Error> {
    let usable = fs::metadata(path).and_then(|found| match found.is_dir() {
        true => Ok(()),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    });
    usable.map_err(|source| Error::Directory { setting, path: path.to_owned(), source })
}

fn is_shareable(setting: &'static str, path: &Path) -> Result<(), Error> {
    let lack = match nfs::is_on_nfs(path) {
        Ok(true) => nfs::lack_of_mount(path),
        other => other.map(|_| None),
    };
    match lack.map_err(|source| Error::Directory { setting, path: path.to_owned(), source })? {
        Some(option) => Err(Error::Mount { setting, path: path.to_owned(), option }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_named_with_its_setting() {
        let error = Config::new("/nonexistent/archip").check(16).unwrap_err();
        assert_eq!(error.to_string(), "cannot use /nonexistent/archip as archip_dir");
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Config::new(file.path()).check(16), Err(Error::Directory { .. })));
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { fdcache: 0, ..Config::new(dir.path()) };
        assert_eq!(config.check(16).unwrap_err().to_string(), "fdcache = 0 is not between 1 and 1048576");
        assert!(Config::new(dir.path()).check(0).is_err());
    }

    #[test]
    fn unknown_settings_are_errors() {
        let written = r#"{"archip_dir": "/srv", "fdcach": 5}"#;
        assert!(serde_json::from_str::<Config>(written).unwrap_err().to_string().contains("fdcach"));
    }

    #[test]
    fn a_cache_beyond_the_hard_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let config = Config { fdcache: FDCACHE_MAX, ..Config::new(dir.path()) };
        if hard < FDCACHE_MAX as u64 {
            assert!(matches!(config.check(16), Err(Error::TooFewFiles { .. })));
        }
    }
}
