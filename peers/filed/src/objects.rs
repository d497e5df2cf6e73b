//! What a store does with one object, in calls that block. Each runs on a thread of the pool.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use store::{ErrorKind, Fence, Lister, ObjectName, StoreOperation, StoreReply, StoreRequest, WriteMode};

use crate::copy::{Copier, write_all};
use crate::fault::{Fault, Result};
use crate::fences::{Fences, Pass};
use crate::handle::{DIRECT_ALIGNMENT, Handle, Opening, Purpose};
use crate::hash::hash;
use crate::layout::object_path;
use crate::list::scan;
use crate::locks::Locks;
use crate::nodes::Entry;
use crate::reserve::Reserve;
use crate::ring::Region;
use crate::root::{Root, Temp};
use crate::scrub::{Scrubber, forget_sums};
use crate::verified;

/// Everything of a store that its threads share.
pub(crate) struct Objects {
    pub(crate) root: Root,
    pub(crate) opening: Opening,
    pub(crate) locks: Locks,
    pub(crate) fences: Fences,
    pub(crate) copier: Copier,
    pub(crate) lister: Lister,
    pub(crate) scrubber: Scrubber,
    /// Space for what gives space back; none in a store that keeps no locks.
    pub(crate) reserve: Option<Reserve>,
    /// This stack among those that use the locks.
    pub(crate) entry: Entry,
    /// Whether another store keeps the locks.
    pub(crate) has_foreign_locks: bool,
    /// Set when long work shall end early because the process ends.
    pub(crate) stop: AtomicBool,
}

/// An object that is made or replaced, and the lock that this takes.
type Target<'a> = (&'a ObjectName, Option<&'a Fence>);

/// How much zero is written at once where the filesystem cannot do it, in bytes.
const ZEROS_BYTES: usize = 1 << 20;

impl Objects {
    pub(crate) fn open(&self, name: &ObjectName, purpose: Purpose) -> Result<Handle> {
        self.opening.open(&self.root, name, purpose)
    }

    pub(crate) fn enter(&self, fence: &Fence) -> Result<Pass> {
        self.fences.enter(&self.locks, fence)
    }

    /// What needs the object open. `done` bytes were moved before.
    pub(crate) fn on_open(
        &self,
        request: &StoreRequest,
        open: &Handle,
        region: Region,
        done: usize,
    ) -> Result<StoreReply> {
        let rest = region.skip(done);
        match &request.operation {
            StoreOperation::Read { offset } => self.read(open, offset + done as u64, rest)?,
            StoreOperation::Write { offset, is_durable, .. } => {
                self.write(open, offset + done as u64, rest, *is_durable)?;
            }
            StoreOperation::Sync => open.sync(&self.root)?,
            StoreOperation::Truncate { size, is_durable } => {
                open.require_writable()?;
                rustix::fs::ftruncate(open.file(), *size)?;
                self.changed(open, *is_durable)?;
            }
            StoreOperation::Info => return Ok(StoreReply::Size(open.size()?)),
            StoreOperation::Hash => {
                let file = open.through_cache(&self.root)?;
                verified::whole(&self.root, open, &file, &self.stop)?;
                return Ok(StoreReply::Hash(hash(&file, open.size()?, &self.stop)?));
            }
            StoreOperation::Discard { offset, size, is_durable } => {
                self.discard(open, *offset, *size)?;
                self.changed(open, *is_durable)?;
            }
            StoreOperation::WriteZeroes { offset, size, may_trim, is_fast, is_durable } => {
                self.write_zeroes(open, (*offset, *size), *may_trim, *is_fast)?;
                self.changed(open, *is_durable)?;
            }
            StoreOperation::Delete { .. }
            | StoreOperation::Copy { .. }
            | StoreOperation::Acquire { .. }
            | StoreOperation::Release { .. }
            | StoreOperation::Flush
            | StoreOperation::List { .. }
            | StoreOperation::LockInfo
            | StoreOperation::Nodes
            | StoreOperation::Scrub { .. } => return Err(ErrorKind::Unsupported.into()),
        }
        Ok(StoreReply::Done)
    }

    /// What is done to a name, whatever is open. Waiting for a lock is not done here: a held lock is `Busy`.
    pub(crate) fn on_name(&self, request: &StoreRequest, region: Region) -> Result<StoreReply> {
        let (name, fence) = (&request.object, request.fence.as_ref());
        let is_second = request.is_second_attempt;
        match &request.operation {
            StoreOperation::Delete { is_durable } => self.delete(name, *is_durable, is_second)?,
            StoreOperation::Copy { source, size, is_durable } => {
                self.copy(source, (name, fence), *size, *is_durable)?
            }
            StoreOperation::Write { mode: WriteMode::Exclusive, offset, is_durable } => {
                self.write_exclusive((name, fence), *offset, region, *is_durable, is_second)?;
            }
            StoreOperation::Write { .. } => self.surely(name, || self.replace((name, fence), region))?,
            StoreOperation::Acquire { .. }
            | StoreOperation::Release { .. }
            | StoreOperation::LockInfo
            | StoreOperation::Nodes
                if self.has_foreign_locks =>
            {
                return Err(ErrorKind::Unsupported.into());
            }
            StoreOperation::Acquire { owner, description, force, .. } => {
                let granted = self.surely(name, || self.locks.acquire(name, owner, description, *force));
                return Ok(StoreReply::Granted(granted?));
            }
            StoreOperation::Release { owner, force } => {
                self.surely(name, || self.locks.release(name, owner, *force, is_second))?;
            }
            StoreOperation::LockInfo => return Ok(StoreReply::Lock(self.locks.info(name)?)),
            StoreOperation::Nodes => return Ok(StoreReply::Nodes(self.entry.list(self.locks.root())?)),
            StoreOperation::Flush => self.root.sync_all()?,
            StoreOperation::List { prefix, after, max_bytes } => {
                let wanted = (prefix.as_slice(), after.as_slice(), *max_bytes);
                let page = self
                    .lister
                    .list(wanted, |smallest| scan(&self.root, self.opening.has_legacy, &self.stop, smallest));
                return Ok(StoreReply::Names(page?));
            }
            StoreOperation::Scrub { is_restart, max_bytes } => {
                let store = (&self.root, self.opening);
                let state = self.scrubber.step(store, (*is_restart, is_second), *max_bytes, &self.stop)?;
                return Ok(StoreReply::Scrubbed(Box::new(state)));
            }
            StoreOperation::Read { .. }
            | StoreOperation::Sync
            | StoreOperation::Truncate { .. }
            | StoreOperation::Info
            | StoreOperation::Hash
            | StoreOperation::Discard { .. }
            | StoreOperation::WriteZeroes { .. } => return Err(ErrorKind::Unsupported.into()),
        }
        Ok(StoreReply::Done)
    }

    /// Does to an object that is there what removing it takes, on a full disk, too.
    fn surely<T>(&self, name: &ObjectName, act: impl Fn() -> Result<T>) -> Result<T> {
        match &self.reserve {
            Some(reserve) if self.opening.locate(&self.root, name)?.is_some() => {
                reserve.spend_on(&self.root, act)
            }
            _ => act(),
        }
    }

    fn read(&self, open: &Handle, offset: u64, region: Region) -> Result<()> {
        if open.sums().is_some() && verified::read(&self.root, open, offset, region)? {
            return Ok(());
        }
        let cached = self.cache_file(open, offset, region)?;
        let file = cached.as_ref().map_or(open.file(), AsFd::as_fd);
        let count = move_all(region, offset, |part, at| part.read_from(file, at, false))?;
        region.skip(count).fill_zero();
        Ok(())
    }

    fn write(&self, open: &Handle, offset: u64, region: Region, is_durable: bool) -> Result<()> {
        open.require_writable()?;
        let cached = self.cache_file(open, offset, region)?;
        let file = cached.as_ref().map_or(open.file(), AsFd::as_fd);
        let written = write_region(file, offset, region);
        self.changed(open, is_durable && written.is_ok())?;
        written
    }

    /// A second open file of the object, for bytes that direct I/O cannot move.
    fn cache_file(&self, open: &Handle, offset: u64, region: Region) -> Result<Option<OwnedFd>> {
        if open.takes(is_aligned(offset, region)) {
            Ok(None)
        } else {
            open.through_cache(&self.root).map(Some)
        }
    }

    fn changed(&self, open: &Handle, is_durable: bool) -> Result<()> {
        open.mark_dirty();
        if is_durable { open.sync(&self.root) } else { Ok(()) }
    }

    fn delete(&self, name: &ObjectName, is_durable: bool, is_second: bool) -> Result<()> {
        // The original's files first: were ours gone and theirs not, an old object would come back.
        let mut places = self.opening.legacy_places(name);
        places.reverse();
        places.push(object_path(name));
        let mut was_there = false;
        for path in places {
            if self.root.is_regular(&path)? {
                forget_sums(&self.root, name)?;
                was_there |= self.root.unlink(&path)?;
                self.root.lost().forget(&path);
                if is_durable {
                    self.root.sync_name(&path)?;
                }
            }
        }
        self.reserve.iter().for_each(|reserve| reserve.restore(&self.root));
        if was_there || is_second { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }

    fn copy(&self, source: &ObjectName, target: Target<'_>, size: u64, is_durable: bool) -> Result<()> {
        let Some(found) = self.opening.locate(&self.root, source)? else {
            return Err(ErrorKind::NotFound.into());
        };
        let from = self.root.open_file(&found, OFlags::RDONLY)?;
        if self.opening.verifies {
            verified::source(&self.root, source, &from, &self.stop)?;
        }
        let temp = self.root.temp()?;
        self.copier.copy(&from, &temp.file, size, &self.stop)?;
        if is_durable {
            self.root.sync_file(&temp.file)?;
        }
        self.put(target, temp, is_durable)
    }

    fn replace(&self, target: Target<'_>, region: Region) -> Result<()> {
        let temp = self.root.temp()?;
        write_region(temp.file.as_fd(), 0, region)?;
        self.root.sync_file(&temp.file)?;
        self.put(target, temp, true)
    }

    /// Puts a whole new file in an object's place.
    fn put(&self, (name, fence): Target<'_>, temp: Temp<'_>, is_durable: bool) -> Result<()> {
        self.look_again(fence)?;
        forget_sums(&self.root, name)?;
        let path = object_path(name);
        temp.rename_to(&path)?;
        self.root.lost().forget(&path);
        self.remove_legacy(name)?;
        if is_durable { self.root.sync_object_name(&path) } else { Ok(()) }
    }

    /// A process that was stopped while it made a file may have lost the lock meanwhile.
    fn look_again(&self, fence: Option<&Fence>) -> Result<()> {
        fence.map_or(Ok(()), |fence| self.enter(fence).map(drop))
    }

    /// What the original left under a name that has a file of ours now.
    fn remove_legacy(&self, name: &ObjectName) -> Result<()> {
        for path in self.opening.legacy_places(name) {
            if self.root.is_regular(&path)? {
                self.root.unlink(&path)?;
            }
        }
        Ok(())
    }

    fn write_exclusive(
        &self,
        (name, fence): Target<'_>,
        offset: u64,
        region: Region,
        is_durable: bool,
        is_second: bool,
    ) -> Result<()> {
        if let Some(found) = self.opening.locate(&self.root, name)? {
            let is_own_work = is_second && self.holds_exactly(&found, offset, region)?;
            return if is_own_work { self.sync_found(&found) } else { Err(ErrorKind::Exists.into()) };
        }
        let temp = self.root.temp()?;
        write_region(temp.file.as_fd(), offset, region)?;
        if is_durable {
            self.root.sync_file(&temp.file)?;
        }
        self.look_again(fence)?;
        let path = object_path(name);
        forget_sums(&self.root, name)?;
        if !temp.link_to(&path)? {
            return Err(ErrorKind::Exists.into());
        }
        self.root.lost().forget(&path);
        if is_durable { self.root.sync_object_name(&path) } else { Ok(()) }
    }

    /// Whether the file is what writing the region at `offset` of a new object makes.
    fn holds_exactly(&self, path: &std::path::Path, offset: u64, region: Region) -> Result<bool> {
        let file = self.root.open_file(path, OFlags::RDONLY)?;
        let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        if size != offset + region.len() as u64 {
            return Ok(false);
        }
        let (mut at_rest, mut wanted) = (vec![0; ZEROS_BYTES], vec![0; ZEROS_BYTES]);
        let mut done = 0;
        while done < region.len() {
            let count = region.skip(done).copy_to(&mut wanted);
            let read = rustix::io::pread(&file, &mut at_rest[..count], offset + done as u64)?;
            if read == 0 || at_rest[..read] != wanted[..read] {
                return Ok(false);
            }
            done += read;
        }
        Ok(true)
    }

    fn sync_found(&self, path: &std::path::Path) -> Result<()> {
        self.root.lost().check(path)?;
        let file = self.root.open_file(path, OFlags::RDWR)?;
        self.root.sync_file(&file).inspect_err(|_| self.root.lost().add(path))?;
        self.root.sync_object_name(path)
    }

    fn discard(&self, open: &Handle, offset: u64, size: u64) -> Result<()> {
        open.require_writable()?;
        let end = (offset + size).min(open.size()?);
        if offset >= end {
            return Ok(());
        }
        match punch(open.file(), offset, end - offset) {
            Err(Errno::OPNOTSUPP) => self.write_zero_bytes(open, offset, end),
            result => Ok(result?),
        }
    }

    fn write_zeroes(
        &self,
        open: &Handle,
        (offset, size): (u64, u64),
        may_trim: bool,
        is_fast: bool,
    ) -> Result<()> {
        open.require_writable()?;
        if size == 0 {
            return Ok(());
        }
        let zeroed = if may_trim {
            punch(open.file(), offset, size).and_then(|()| grow(open, offset + size))
        } else {
            zero_range(open.file(), offset, size)
        };
        match zeroed {
            Err(Errno::OPNOTSUPP) if is_fast => Err(ErrorKind::Unsupported.into()),
            Err(Errno::OPNOTSUPP) => self.write_zero_bytes(open, offset, offset + size),
            result => Ok(result?),
        }
    }

    fn write_zero_bytes(&self, open: &Handle, mut offset: u64, end: u64) -> Result<()> {
        let file = open.through_cache(&self.root)?;
        let zeros = vec![0; ZEROS_BYTES];
        while offset < end {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::Unavailable.into());
            }
            let count = usize::try_from(end - offset).unwrap_or(usize::MAX).min(ZEROS_BYTES);
            write_all(&file, &zeros[..count], offset)?;
            offset += count as u64;
        }
        Ok(())
    }
}

/// Whether direct I/O can move these bytes.
pub(crate) fn is_aligned(offset: u64, region: Region) -> bool {
    offset.is_multiple_of(DIRECT_ALIGNMENT as u64) && region.is_aligned_to(DIRECT_ALIGNMENT)
}

fn write_region(file: BorrowedFd<'_>, offset: u64, region: Region) -> Result<()> {
    let count = move_all(region, offset, |part, at| part.write_to(file, at, false))?;
    // A disk that takes nothing and says nothing has failed.
    if count < region.len() { Err(Fault::Kind(ErrorKind::Unavailable)) } else { Ok(()) }
}

/// Calls `step` until all of the region is moved or nothing moves any more; returns how many bytes were.
fn move_all(
    region: Region,
    offset: u64,
    step: impl Fn(Region, u64) -> std::io::Result<usize>,
) -> Result<usize> {
    let mut done = 0;
    while done < region.len() {
        match step(region.skip(done), offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

fn punch(file: BorrowedFd<'_>, offset: u64, size: u64) -> std::result::Result<(), Errno> {
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, size)
}

/// Zeros that stay allocated: in one step, or as a hole that is allocated again.
fn zero_range(file: BorrowedFd<'_>, offset: u64, size: u64) -> std::result::Result<(), Errno> {
    match rustix::fs::fallocate(file, FallocateFlags::ZERO_RANGE, offset, size) {
        Err(Errno::OPNOTSUPP) => {
            punch(file, offset, size)?;
            rustix::fs::fallocate(file, FallocateFlags::empty(), offset, size)
        }
        result => result,
    }
}

/// Makes the file at least `size` bytes long, never shorter than a write that ends meanwhile made it.
fn grow(open: &Handle, size: u64) -> std::result::Result<(), Errno> {
    let stat = rustix::fs::fstat(open.file())?;
    if u64::try_from(stat.st_size).is_ok_and(|now| now >= size) {
        return Ok(());
    }
    rustix::fs::fallocate(open.file(), FallocateFlags::empty(), size - 1, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::prepare::prepare;

    #[test]
    fn what_makes_a_whole_object_looks_at_its_lock_when_only_the_name_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let objects = prepare(&Config::new(directory.path()), None, None).unwrap();
        let [lock, kept, new] = ["lock", "kept", "new"].map(|name| ObjectName::new(name).unwrap());
        let exclusive = StoreOperation::Write { offset: 0, mode: WriteMode::Exclusive, is_durable: true };
        let ask = |object, operation: &StoreOperation, fence| {
            let request = StoreRequest { fence, ..StoreRequest::new(object, operation.clone()) };
            objects.on_name(&request, Region::EMPTY).map(drop).map_err(|fault| fault.kind())
        };
        ask(&kept, &exclusive, None).unwrap();
        let number = objects.locks.acquire(&lock, "a", "", false).unwrap();
        let fence = Some(Fence { lock: lock.clone(), number });
        // It passed its fence when its turn came; then its process was stopped, and others went on.
        objects.locks.release(&lock, "b", true, false).unwrap();
        let replacing = StoreOperation::Write { offset: 0, mode: WriteMode::Replace, is_durable: true };
        let copying = StoreOperation::Copy { source: Box::new(kept.clone()), size: 1, is_durable: true };
        assert_eq!(ask(&kept, &replacing, fence.clone()), Err(ErrorKind::NotOwner));
        assert_eq!(ask(&new, &exclusive, fence.clone()), Err(ErrorKind::NotOwner));
        assert_eq!(ask(&new, &copying, fence), Err(ErrorKind::NotOwner));
        assert!(objects.open(&new, Purpose::Read).is_err());
    }
}
