//! Objects of which a sync failed: the system may have dropped their bytes, and would call the next sync a success.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fault::{Fault, Result};

/// What nobody may call durable any more, until it is made anew.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    is_any: AtomicBool,
    what: Mutex<What>,
}

#[derive(Debug, Default)]
struct What {
    paths: HashSet<PathBuf>,
    /// A sync of everything failed, or more objects were lost than are told apart.
    is_everything: bool,
}

/// How many lost objects are told apart.
const PATHS_MAX: usize = 4096;

impl Lost {
    /// # Errors
    /// `Unavailable` if a sync of the object at `path` failed.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        if !self.is_any.load(Ordering::Acquire) {
            return Ok(());
        }
        let what = self.what();
        if what.is_everything || what.paths.contains(path) { Err(failed_before()) } else { Ok(()) }
    }

    /// # Errors
    /// `Unavailable` if any sync failed.
    pub(crate) fn check_all(&self) -> Result<()> {
        let what = self.what();
        if what.is_everything || !what.paths.is_empty() { Err(failed_before()) } else { Ok(()) }
    }

    /// A sync of the object at `path` failed.
    pub(crate) fn add(&self, path: &Path) {
        let mut what = self.what();
        if what.paths.len() < PATHS_MAX {
            what.paths.insert(path.to_owned());
        } else {
            what.is_everything = true;
        }
        self.is_any.store(true, Ordering::Release);
        drop(what);
        tracing::error!(file = %path.display(), "the disk failed to take what was written; it may be lost");
    }

    /// A sync of everything failed.
    pub(crate) fn add_all(&self) {
        self.what().is_everything = true;
        self.is_any.store(true, Ordering::Release);
        tracing::error!("the disk failed to take what was written to this store; it may be lost");
    }

    /// What was at `path` was deleted or replaced.
    pub(crate) fn forget(&self, path: &Path) {
        if self.is_any.load(Ordering::Acquire) {
            let mut what = self.what();
            what.paths.remove(path);
            self.is_any.store(what.is_everything || !what.paths.is_empty(), Ordering::Release);
        }
    }

    fn what(&self) -> MutexGuard<'_, What> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed_before() -> Fault {
    let told = "the disk failed when it was synced before, so what was written may be lost; check the disk, replace or \
                delete the object, or start the role again";
    Fault::System(io::Error::other(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_lost_is_lost_until_it_is_made_anew() {
        let lost = Lost::default();
        lost.check_all().unwrap();
        lost.add(Path::new("a"));
        assert!(lost.check(Path::new("a")).is_err() && lost.check_all().is_err());
        lost.check(Path::new("b")).unwrap();
        lost.forget(Path::new("a"));
        lost.check_all().unwrap();
    }

    #[test]
    fn more_than_can_be_told_apart_is_everything() {
        let lost = Lost::default();
        for number in 0..=PATHS_MAX {
            lost.add(Path::new(&number.to_string()));
        }
        assert!(lost.check(Path::new("another")).is_err());
    }
}
