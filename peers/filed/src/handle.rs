//! An open object.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use store::{ErrorKind, ObjectName};

use crate::fault::{Result, if_found};
use crate::layout::{legacy_paths, object_path};
use crate::ring::claim;
use crate::root::Root;

/// What direct reads and writes are aligned to, in bytes: offset, length and memory.
pub(crate) const DIRECT_ALIGNMENT: usize = 4096;

/// The open file of an object, shared by the cache and by those who use it right now.
#[derive(Debug)]
pub(crate) struct Handle {
    file: OwnedFd,
    path: PathBuf,
    inode: u64,
    is_writable: bool,
    is_direct: bool,
    /// Whether bytes may be there that are not durable.
    is_dirty: AtomicBool,
    is_name_durable: AtomicBool,
}

/// How a store opens its objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) is_direct: bool,
    pub(crate) has_legacy: bool,
    /// Whether a kept file is compared with its name before each use.
    pub(crate) is_shared: bool,
    /// The key of the port that is served with direct transfers through a ring, of this boot of this host.
    pub(crate) claim: Option<u32>,
}

impl Opening {
    /// Opens an object for reading and writing, and creates it if `create`.
    pub(crate) fn open(self, root: &Root, name: &ObjectName, create: bool) -> Result<Handle> {
        if let Some(found) = self.find(root, name)? {
            return Ok(found);
        }
        if !create {
            return Err(ErrorKind::NotFound.into());
        }
        let path = object_path(name);
        let file = root.create_file(&path, self.flags() | OFlags::RDWR)?;
        self.handle(file, path, true)
    }

    /// Where the object is, if it exists.
    pub(crate) fn locate(self, root: &Root, name: &ObjectName) -> Result<Option<PathBuf>> {
        for path in self.places(name) {
            if root.is_regular(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Where the original may have put the object.
    pub(crate) fn legacy_places(self, name: &ObjectName) -> Vec<PathBuf> {
        if self.has_legacy { legacy_paths(name) } else { Vec::new() }
    }

    fn places(self, name: &ObjectName) -> impl Iterator<Item = PathBuf> {
        std::iter::once_with(|| object_path(name)).chain(self.legacy_places(name))
    }

    fn find(self, root: &Root, name: &ObjectName) -> Result<Option<Handle>> {
        for path in self.places(name) {
            if let Some(found) = self.open_at(root, path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn open_at(self, root: &Root, path: PathBuf) -> Result<Option<Handle>> {
        match root.open_file(&path, self.flags() | OFlags::RDWR) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                let opened = if_found(root.open_file(&path, self.flags() | OFlags::RDONLY))?;
                opened.map(|file| self.handle(file, path, false)).transpose()
            }
            result => if_found(result)?.map(|file| self.handle(file, path, true)).transpose(),
        }
    }

    fn flags(self) -> OFlags {
        if self.is_direct { OFlags::DIRECT } else { OFlags::empty() }
    }

    fn handle(self, file: OwnedFd, path: PathBuf, is_writable: bool) -> Result<Handle> {
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ErrorKind::Corrupt.into());
        }
        if let Some(key) = self.claim
            && is_writable
        {
            claim(file.as_fd(), key)?;
        }
        Ok(Handle {
            file,
            path,
            inode: stat.st_ino,
            is_writable,
            is_direct: self.is_direct,
            is_dirty: AtomicBool::new(true),
            is_name_durable: AtomicBool::new(false),
        })
    }
}

impl Handle {
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn stat(&self) -> Result<Stat> {
        Ok(rustix::fs::fstat(&self.file)?)
    }

    pub(crate) fn size(&self) -> Result<u64> {
        Ok(u64::try_from(self.stat()?.st_size).unwrap_or(0))
    }

    /// Whether the object of this name is still this file: another process may have deleted or replaced it.
    pub(crate) fn is_current(&self, root: &Root, opening: Opening) -> bool {
        if opening.is_shared {
            return root.inode_at_server(&self.path).is_ok_and(|inode| inode == Some(self.inode));
        }
        self.stat().is_ok_and(|stat| stat.st_nlink > 0)
    }

    pub(crate) fn require_writable(&self) -> Result<()> {
        if self.is_writable { Ok(()) } else { Err(ErrorKind::ReadOnly.into()) }
    }

    /// Whether a read or write as aligned as this may use `file` as it is.
    pub(crate) fn takes(&self, is_aligned: bool) -> bool {
        is_aligned || !self.is_direct
    }

    /// The same file through the page cache, for what direct I/O cannot do.
    pub(crate) fn through_cache(&self, root: &Root) -> Result<OwnedFd> {
        let access = if self.is_writable { OFlags::RDWR } else { OFlags::RDONLY };
        Ok(root.open_file(&self.path, access)?)
    }

    pub(crate) fn mark_dirty(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }

    pub(crate) fn is_name_durable(&self) -> bool {
        self.is_name_durable.load(Ordering::Acquire)
    }

    /// Makes bytes and name durable, as far as they are not known to be.
    pub(crate) fn sync(&self, root: &Root) -> Result<()> {
        // Cleared before the sync, so that a write that ends during it marks the file again.
        if self.is_dirty.swap(false, Ordering::AcqRel) {
            root.sync_file(&self.file).inspect_err(|_| self.mark_dirty())?;
        }
        self.sync_name(root)
    }

    pub(crate) fn sync_name(&self, root: &Root) -> Result<()> {
        if !self.is_name_durable() {
            root.sync_name(&self.path)?;
            self.is_name_durable.store(true, Ordering::Release);
        }
        Ok(())
    }
}
