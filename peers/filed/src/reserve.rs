//! Space put by for what gives space back: on a full disk no volume could be removed, as that takes a lock and a tombstone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags};
use store::ErrorKind;

use crate::fault::Result;
use crate::layout::RESERVE_DIRECTORY;
use crate::root::{Root, Space};

/// Files that are put by, and their size in bytes: a file gives back an inode, too.
const FILES: usize = 16;
const FILE_BYTES: u64 = 64 << 10;
/// Files given up for one operation, should others be faster to take the space.
const TRIES_MAX: usize = 4;

/// What a store has put by.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    /// Whether a part of it was given up, or never was there.
    is_short: AtomicBool,
}

impl Reserve {
    /// Puts by what is not there yet, as far as there is plenty of space.
    pub(crate) fn fill(&self, root: &Root) -> Result<()> {
        self.is_short.store(true, Ordering::Relaxed);
        if !Space::of(root)?.is_plenty() {
            return Ok(());
        }
        for path in (0..FILES).map(path_of) {
            // Empty if we died over it.
            if root.stat(&path)?.is_none_or(|found| found.st_size == 0) {
                put_by(root, &path)?;
            }
        }
        self.is_short.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Does what is to be done, at the cost of the reserve if nothing else is left.
    pub(crate) fn spend_on<T>(&self, root: &Root, act: impl Fn() -> Result<T>) -> Result<T> {
        let mut result = act();
        for _ in 0..TRIES_MAX {
            let is_full = result.as_ref().is_err_and(|fault| fault.kind() == ErrorKind::NoSpace);
            if !is_full || !self.give_up_one(root) {
                break;
            }
            result = act();
        }
        result
    }

    /// Puts by again what was given up. Space that cannot be had now may be had the next time.
    pub(crate) fn restore(&self, root: &Root) {
        if self.is_short.load(Ordering::Relaxed)
            && let Err(fault) = self.fill(root)
        {
            tracing::debug!(kind = %fault.kind(), "nothing is put by");
        }
    }

    fn give_up_one(&self, root: &Root) -> bool {
        self.is_short.store(true, Ordering::Relaxed);
        (0..FILES).any(|number| root.unlink(&path_of(number)).unwrap_or(false))
    }
}

fn path_of(number: usize) -> PathBuf {
    Path::new(RESERVE_DIRECTORY).join(number.to_string())
}

fn put_by(root: &Root, path: &Path) -> Result<()> {
    let file = root.create_file(path, OFlags::WRONLY)?;
    let allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES);
    if allocated.is_err() {
        root.unlink(path)?;
    }
    Ok(allocated?)
}
