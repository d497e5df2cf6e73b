//! Names of all objects below a directory, a page at a time.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

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

/// Lists a store. Pages that follow each other come from one walk.
#[derive(Default)]
pub(crate) struct Lister {
    ahead: Mutex<Option<Ahead>>,
}

/// Names found by an earlier walk, for whoever goes on where it ended.
struct Ahead {
    prefix: Vec<u8>,
    after: Vec<u8>,
    names: VecDeque<Vec<u8>>,
    more: bool,
}

/// How many bytes of names one walk keeps for later pages.
const AHEAD_BYTES: usize = 16 << 20;

impl Lister {
    /// The first names after `after` that begin with `prefix`.
    pub(crate) fn list(
        &self,
        root: &Root,
        has_legacy: bool,
        (prefix, after, max_bytes): (&[u8], &[u8], usize),
        stop: &AtomicBool,
    ) -> Result<Page> {
        let kept = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_next =
            |ahead: &Ahead| ahead.prefix == prefix && ahead.after == after && !ahead.names.is_empty();
        let mut ahead = match kept.filter(is_next) {
            Some(ahead) => ahead,
            None => walk(root, has_legacy, (prefix, after, max_bytes.max(AHEAD_BYTES)), stop)?,
        };
        let page = ahead.take_page(max_bytes)?;
        if page.more
            && let Some(last) = page.names.last()
        {
            ahead.after.clone_from(last);
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
        Ok(page)
    }
}

impl Ahead {
    fn take_page(&mut self, max_bytes: usize) -> Result<Page> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        while let Some(name) = self.names.front()
            && bytes + name.len() + Page::NAME_COST <= max_bytes
        {
            bytes += name.len() + Page::NAME_COST;
            names.extend(self.names.pop_front());
        }
        let more = self.more || !self.names.is_empty();
        if names.is_empty() && more {
            return Err(ErrorKind::Invalid.into());
        }
        Ok(Page { names, more })
    }
}

fn walk(
    root: &Root,
    has_legacy: bool,
    (prefix, after, max_bytes): (&[u8], &[u8], usize),
    stop: &AtomicBool,
) -> Result<Ahead> {
    let smallest = Smallest { prefix, after, max_bytes, bytes: 0, names: BTreeSet::new(), more: false };
    let mut walk = Walk { root, has_legacy, stop, smallest };
    walk.level(&PathBuf::new(), 0)?;
    let Smallest { names, more, .. } = walk.smallest;
    Ok(Ahead { prefix: prefix.into(), after: after.into(), names: names.into_iter().collect(), more })
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
