//! The names of all objects below a directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;
use store::{ErrorKind, Smallest};

use crate::fault::Result;
use crate::layout::{is_front, is_hash_level, legacy_object_at, object_at};
use crate::root::Root;

/// Gives every name to `smallest`.
pub(crate) fn scan(
    root: &Root,
    has_legacy: bool,
    stop: &AtomicBool,
    smallest: &mut Smallest<'_>,
) -> Result<()> {
    Walk { root, has_legacy, stop, smallest }.level(&PathBuf::new(), 0)
}

struct Walk<'a, 'p> {
    root: &'a Root,
    has_legacy: bool,
    stop: &'a AtomicBool,
    smallest: &'a mut Smallest<'p>,
}

impl Walk<'_, '_> {
    /// The two hashed levels.
    fn level(&mut self, directory: &Path, depth: usize) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ErrorKind::Unavailable.into());
        }
        for (name, _) in self.root.entries(directory)? {
            if is_hash_level(&name) {
                let path = directory.join(OsStr::from_bytes(&name));
                if depth == 0 { self.level(&path, 1)? } else { self.objects(&path)? }
            }
        }
        Ok(())
    }

    /// The files of objects, and what is between them.
    fn objects(&mut self, directory: &Path) -> Result<()> {
        for (name, found) in self.root.entries(directory)? {
            let path = directory.join(OsStr::from_bytes(&name));
            if self.is_directory(&path, found)? {
                if is_front(&name) {
                    self.objects(&path)?;
                } else if self.has_legacy && is_hash_level(&name) {
                    self.legacy_objects(&path)?;
                }
            } else if let Some(object) = object_at(&path) {
                self.smallest.take(&object);
            }
        }
        Ok(())
    }

    fn legacy_objects(&mut self, directory: &Path) -> Result<()> {
        for (name, found) in self.root.entries(directory)? {
            let path = directory.join(OsStr::from_bytes(&name));
            if !self.is_directory(&path, found)?
                && let Some(object) = legacy_object_at(&path)
            {
                self.smallest.take(&object);
            }
        }
        Ok(())
    }

    fn is_directory(&self, path: &Path, found: FileType) -> Result<bool> {
        match found {
            FileType::Directory => Ok(true),
            // Some filesystems do not say it here.
            FileType::Unknown => {
                let stat = self.root.stat(path)?;
                Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
            }
            _ => Ok(false),
        }
    }
}
