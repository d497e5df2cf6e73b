//! An open object.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use store::{ErrorKind, ObjectName};

use crate::fault::{Result, if_found};
use crate::layout::{legacy_paths, object_path, sums_path};
use crate::ring::{Direction, Region, claim, lock_against_writing, lock_for_writing};
use crate::root::{Birth, Root};
use crate::sums::{self, Sums};

/// What direct reads and writes are aligned to, in bytes: offset, length and memory.
pub(crate) const DIRECT_ALIGNMENT: usize = 4096;

/// The open file of an object, shared by the cache and by those who use it right now.
#[derive(Debug)]
pub(crate) struct Handle {
    file: OwnedFd,
    path: PathBuf,
    /// Where its checksums are, if it has any.
    sums_path: PathBuf,
    /// Its checksums, where reads are verified.
    sums: Option<Sums>,
    inode: u64,
    is_writable: bool,
    is_direct: bool,
    is_on_nfs: bool,
    /// Whether bytes may be there that are not durable.
    is_dirty: AtomicBool,
    is_name_durable: AtomicBool,
    /// Held while the file is synced: whoever finds it clean must not answer before it is.
    syncing: Mutex<()>,
    /// Whether it may be written: its checksums are gone for certain, and nobody makes new ones.
    is_claimed: AtomicBool,
    /// Whether this handle made the file, and nothing that was done to it was answered yet.
    is_new: AtomicBool,
}

/// How much of a write the page cache gets at once, in bytes. It keeps what came at once in one folio, as far as there is memory, and ext4
/// looks at all blocks of a folio for each small write to it later: with 1 MiB, such a write takes three times as long.
const PIECE: usize = 64 << 10;
/// How often an object that others delete is opened anew before it is written.
const TRIES_MAX: usize = 64;

/// How a store opens its objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) is_direct: bool,
    pub(crate) has_legacy: bool,
    /// Whether a kept file is compared with its name before each use.
    pub(crate) is_shared: bool,
    /// Whether objects are on NFS and others change them, too. They pass by the page cache, and when open have no locks: a server that starts again
    /// may forget those, and then refuses all that is done to the file.
    pub(crate) is_on_nfs: bool,
    /// The key of the port that is served with direct transfers through a ring, of this boot of this host.
    pub(crate) claim: Option<u32>,
    /// Whether reads are compared with checksums.
    pub(crate) verifies: bool,
}

/// Why an object is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    /// To change it, and to create it if need be.
    Change {
        creates: bool,
    },
}

impl Opening {
    /// Opens an object for reading and writing, and creates it if the purpose says so.
    pub(crate) fn open(self, root: &Root, name: &ObjectName, purpose: Purpose) -> Result<Handle> {
        let Purpose::Change { creates } = purpose else { return self.open_existing(root, name) };
        for _ in 0..TRIES_MAX {
            let open = match self.open_existing(root, name) {
                Err(fault) if creates && fault.is_not_found() => match self.create(root, name) {
                    // Another process was faster.
                    Err(fault) if fault.kind() == ErrorKind::Exists => continue,
                    result => result?,
                },
                result => result?,
            };
            match open.claim(root) {
                // Deleted since it was opened.
                Err(fault) if fault.is_not_found() => {}
                Err(fault) => {
                    open.give_up(root);
                    return Err(fault);
                }
                Ok(()) => return Ok(open),
            }
        }
        Err(ErrorKind::Busy.into())
    }

    fn open_existing(self, root: &Root, name: &ObjectName) -> Result<Handle> {
        self.find(root, name)?.ok_or(ErrorKind::NotFound.into())
    }

    fn create(self, root: &Root, name: &ObjectName) -> Result<Handle> {
        let path = object_path(name);
        let file = root.create_file(&path, self.flags() | OFlags::RDWR | OFlags::EXCL)?;
        let mut open = self.handle(root, file, (path, sums_path(name)), true)?;
        open.is_new = AtomicBool::new(true);
        Ok(open)
    }

    /// A file for an object that may come, claimed by who may write it.
    pub(crate) fn make(self, root: &Root, directory: &Path) -> Result<Handle> {
        let file = root.unnamed(directory, self.flags())?;
        let mut open = self.handle(root, file, <(PathBuf, PathBuf)>::default(), true)?;
        open.lock()?;
        (open.is_claimed, open.is_new) = (AtomicBool::new(true), AtomicBool::new(true));
        Ok(open)
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
            if let Some(found) = self.open_at(root, (path, sums_path(name)))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn open_at(self, root: &Root, paths: (PathBuf, PathBuf)) -> Result<Option<Handle>> {
        match root.open_file(&paths.0, self.flags() | OFlags::RDWR) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                let opened = if_found(root.open_file(&paths.0, self.flags() | OFlags::RDONLY))?;
                opened.map(|file| self.handle(root, file, paths, false)).transpose()
            }
            result => if_found(result)?.map(|file| self.handle(root, file, paths, true)).transpose(),
        }
    }

    fn flags(self) -> OFlags {
        if self.is_direct { OFlags::DIRECT } else { OFlags::empty() }
    }

    fn handle(
        self,
        root: &Root,
        file: OwnedFd,
        (path, sums_path): (PathBuf, PathBuf),
        is_writable: bool,
    ) -> Result<Handle> {
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ErrorKind::Corrupt.into());
        }
        if let Some(key) = self.claim
            && !self.is_on_nfs
            && is_writable
        {
            claim(file.as_fd(), key)?;
        }
        let sums = if self.verifies { stored_sums(root, &sums_path, &file)? } else { None };
        Ok(Handle {
            file,
            path,
            sums_path,
            sums,
            inode: stat.st_ino,
            is_writable,
            is_direct: self.is_direct,
            is_on_nfs: self.is_on_nfs,
            is_dirty: AtomicBool::new(true),
            is_name_durable: AtomicBool::new(false),
            syncing: Mutex::default(),
            is_claimed: AtomicBool::new(false),
            is_new: AtomicBool::new(false),
        })
    }
}

/// The checksums at `path`, if there are any and they are of this file.
pub(crate) fn stored_sums(root: &Root, path: &Path, file: &OwnedFd) -> Result<Option<Sums>> {
    let Some(side) = if_found(root.open_file(path, OFlags::RDONLY))? else { return Ok(None) };
    let (_, size) = Birth::of(file)?;
    let mut bytes = vec![0; sums::encoded_len(size)];
    // Longer or shorter than those of this file would be: then they are not.
    let is_as_long = Birth::of(&side)?.1 == bytes.len() as u64;
    if !is_as_long {
        return Ok(None);
    }
    sums::read_whole(&side, &mut bytes, 0)?;
    match Sums::decode(&bytes) {
        Some(sums) if sums.are_of(file)? => Ok(Some(sums)),
        Some(_) | None => Ok(None),
    }
}

impl Handle {
    /// Makes a file that has no name yet the object of this name; false if there may be one, or something is left of one.
    pub(crate) fn become_object(&mut self, root: &Root, name: &ObjectName) -> bool {
        let (path, sums_path) = (object_path(name), sums_path(name));
        let is_nothing_left = matches!(root.stat(&sums_path), Ok(None));
        let is_ours = is_nothing_left && root.give_name(&self.file, &path).is_ok();
        if is_ours {
            (self.path, self.sums_path) = (path, sums_path);
        }
        is_ours
    }

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
    ///
    /// Asks for no more than it needs: after a look at a file's times, Linux writes down the exact time of the next write, which makes a small
    /// write half as long again.
    pub(crate) fn is_current(&self, root: &Root, opening: Opening) -> bool {
        if opening.is_shared {
            return root.inode_at_server(&self.path).is_ok_and(|inode| inode == Some(self.inode));
        }
        let found = rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK);
        found.is_ok_and(|found| found.stx_nlink > 0)
    }

    pub(crate) fn require_writable(&self) -> Result<()> {
        if self.is_writable { Ok(()) } else { Err(ErrorKind::ReadOnly.into()) }
    }

    /// Whether a read or write as aligned as this may use `file` as it is.
    pub(crate) fn takes(&self, is_aligned: bool) -> bool {
        is_aligned || !self.is_direct
    }

    /// What of a region is moved at once.
    pub(crate) fn piece(&self, region: Region, direction: Direction) -> Region {
        let is_cached =
            !self.is_direct && !self.is_on_nfs && direction == Direction::Write { is_durable: false };
        if is_cached { region.first(PIECE) } else { region }
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
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        root.lost().check(&self.path)?;
        // Cleared before the sync, so that a write that ends during it marks the file again.
        if self.is_dirty.swap(false, Ordering::AcqRel) {
            root.sync_file(&self.file).inspect_err(|_| self.lose(root))?;
        }
        self.sync_name(root)
    }

    pub(crate) fn sync_name(&self, root: &Root) -> Result<()> {
        if !self.is_name_durable() {
            root.sync_object_name(&self.path)?;
            self.is_name_durable.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The disk failed to make what was written durable.
    pub(crate) fn lose(&self, root: &Root) {
        root.lost().add(&self.path);
    }

    /// Whether it may be written without a further look.
    pub(crate) fn is_claimed(&self) -> bool {
        self.is_claimed.load(Ordering::Acquire) || !self.is_writable
    }

    /// Before the first change: keeps others from making checksums, and removes those that are there, durably.
    ///
    /// They are ended in place before their name is removed. So whoever finds no name knows that they were ended durably,
    /// and whatever a loss of power brings back counts for nothing.
    ///
    /// # Errors
    /// `NotFound` if the object was deleted meanwhile.
    pub(crate) fn claim(&self, root: &Root) -> Result<()> {
        if self.is_claimed() {
            return Ok(());
        }
        self.lock()?;
        if self.stat()?.st_nlink == 0 {
            return Err(ErrorKind::NotFound.into());
        }
        if let Some(side) = if_found(root.open_file(&self.sums_path, OFlags::RDWR))? {
            sums::kill(&side)?;
            root.unlink(&self.sums_path)?;
        }
        self.is_claimed.store(true, Ordering::Release);
        Ok(())
    }

    fn lock(&self) -> Result<()> {
        if !self.is_on_nfs {
            lock_for_writing(self.file())?;
        }
        Ok(())
    }

    /// Whether nothing was written for so long that it may get checksums once it is closed.
    pub(crate) fn has_settled(&self, settling: Duration) -> bool {
        self.is_claimed() && self.stat().is_ok_and(|stat| is_settled(&stat, settling))
    }

    /// The checksums that reads are compared with; none once it may be written.
    pub(crate) fn sums(&self) -> Option<&Sums> {
        self.sums.as_ref().filter(|_| !self.is_claimed.load(Ordering::Acquire))
    }

    /// Whether the checksums that were there when it was opened still are.
    pub(crate) fn has_sums_still(&self, root: &Root) -> bool {
        let stored = stored_sums(root, &self.sums_path, &self.file);
        self.sums().is_some() && stored.is_ok_and(|stored| stored.as_ref() == self.sums.as_ref())
    }

    /// Something was done to it and will be answered: it stays.
    pub(crate) fn stay(&self) {
        if self.is_new.load(Ordering::Relaxed) {
            self.is_new.store(false, Ordering::Release);
        }
    }

    /// Whether it was made for an operation that failed, so that it should not stay.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new.load(Ordering::Acquire)
    }

    /// Removes what was made for an operation that failed, unless somebody wrote to it. Nobody else of this process uses it.
    pub(crate) fn give_up(&self, root: &Root) {
        // Without locks nobody knows whether others are about to write: then it stays.
        let is_nobodys = !self.is_on_nfs && lock_against_writing(self.file());
        let is_ours = self.is_new() && is_nobodys && self.size().is_ok_and(|size| size == 0);
        if is_ours && let Err(fault) = root.unlink(&self.path) {
            tracing::warn!(file = %self.path.display(), kind = %fault.kind(), "an empty object stays");
        }
    }
}

/// Whether a file was not written for so long.
pub(crate) fn is_settled(stat: &Stat, settling: Duration) -> bool {
    let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    let written = UNIX_EPOCH + seconds;
    SystemTime::now().duration_since(written).is_ok_and(|age| age > settling)
}
