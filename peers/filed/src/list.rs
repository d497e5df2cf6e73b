//! Names of all objects below a directory, a page at a time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;
use store::{ErrorKind, ObjectName, Page};

use crate::fault::Result;
use crate::layout::{is_front, is_hash_level, legacy_object_at, object_at};
use crate::root::Root;

/// The smallest names that fit into a page, whatever order they come in.
struct Smallest<'a> {
    prefix: &'a [u8],
    after: &'a [u8],
    max_bytes: usize,
    bytes: usize,
    names: BTreeSet<Vec<u8>>,
    more: bool,
}

/// The first names after `after` that begin with `prefix`.
pub(crate) fn list(
    root: &Root,
    has_legacy: bool,
    (prefix, after, max_bytes): (&[u8], &[u8], usize),
    stop: &AtomicBool,
) -> Result<Page> {
    let smallest = Smallest { prefix, after, max_bytes, bytes: 0, names: BTreeSet::new(), more: false };
    let mut walk = Walk { root, has_legacy, stop, smallest };
    walk.level(&PathBuf::new(), 0)?;
    let Smallest { names, more, .. } = walk.smallest;
    if names.is_empty() && more {
        return Err(ErrorKind::Invalid.into());
    }
    Ok(Page { names: names.into_iter().collect(), more })
}

struct Walk<'a> {
    root: &'a Root,
    has_legacy: bool,
    stop: &'a AtomicBool,
    smallest: Smallest<'a>,
}

impl Walk<'_> {
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

impl Smallest<'_> {
    fn take(&mut self, object: &ObjectName) {
        let name = object.as_bytes();
        if !name.starts_with(self.prefix) || name <= self.after {
            return;
        }
        // With the page full, only what sorts before its end is of use.
        if self.more && self.names.last().is_some_and(|last| name > last.as_slice()) {
            return;
        }
        if !self.names.insert(name.to_vec()) {
            return;
        }
        self.bytes += name.len() + Page::NAME_COST;
        while self.bytes > self.max_bytes {
            let Some(dropped) = self.names.pop_last() else { break };
            self.bytes -= dropped.len() + Page::NAME_COST;
            self.more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_keeps_the_smallest_names_in_any_order() {
        let mut page = Smallest {
            prefix: b"d",
            after: b"da",
            max_bytes: 8,
            bytes: 0,
            names: BTreeSet::new(),
            more: false,
        };
        for name in ["de", "da", "dc", "x", "dd", "db", "dc"] {
            page.take(&ObjectName::new(name).unwrap());
        }
        assert_eq!(page.names.into_iter().collect::<Vec<_>>(), [b"db", b"dc"]);
        assert!(page.more);
    }
}
