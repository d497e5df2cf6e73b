//! Lets a write pass only while its lock is held with its number.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FlockOperation, StatxFlags};
use rustix::io::Errno;
use store::{ErrorKind, Fence, ObjectName};

use crate::fault::Result;
use crate::locks::Locks;

/// The records that fenced writes named lately.
#[derive(Default)]
pub(crate) struct Fences {
    known: Mutex<HashMap<ObjectName, Arc<Known>>>,
    is_shared: bool,
    is_foreign: bool,
}

/// A lock's record as it was when it was opened. The open file keeps its inode from being used again.
struct Known {
    file: OwnedFd,
    is_held: bool,
    number: u64,
    running: Mutex<u32>,
}

/// The right to write under a lock: as long as it lives, no process of this host reports a change of the lock.
pub(crate) struct Pass(Arc<Known>);

/// How many records are kept open.
const KNOWN_MAX: usize = 256;
/// How often a record is read anew because the lock changed meanwhile.
const TRIES_MAX: usize = 64;

impl Fences {
    pub(crate) fn new(is_shared: bool, is_foreign: bool) -> Self {
        Self { known: Mutex::default(), is_shared, is_foreign }
    }

    /// Checks a fence without opening anything: none if the lock is not known or changed since.
    pub(crate) fn enter_known(&self, fence: &Fence) -> Option<Result<Pass>> {
        let known = self.known().get(&fence.lock)?.clone();
        if !(self.is_foreign && known.number < fence.number)
            && let Some(pass) = Pass::begin(&known)
            && self.is_current(&known)
        {
            let is_owner = known.is_held && known.number == fence.number;
            return Some(if is_owner { Ok(pass) } else { Err(ErrorKind::NotOwner.into()) });
        }
        self.known().remove(&fence.lock);
        None
    }

    /// Checks a fence, reading the lock's record if need be.
    pub(crate) fn enter(&self, locks: &Locks, fence: &Fence) -> Result<Pass> {
        for _ in 0..TRIES_MAX {
            if let Some(result) = self.enter_known(fence) {
                return result;
            }
            let record = locks.current(&fence.lock)?.record;
            if self.is_foreign && record.as_ref().is_none_or(|(record, _)| record.number < fence.number) {
                locks.adopt(&fence.lock, fence.number)?;
                continue;
            }
            let Some((record, file)) = record else { return Err(ErrorKind::NotOwner.into()) };
            let known =
                Known { file, is_held: record.is_held, number: record.number, running: Mutex::new(0) };
            let mut all = self.known();
            if all.len() >= KNOWN_MAX {
                all.clear();
            }
            all.insert(fence.lock.clone(), Arc::new(known));
        }
        Err(ErrorKind::Busy.into())
    }

    /// One system call where nothing changed: an ended record is empty.
    fn is_current(&self, known: &Known) -> bool {
        if !self.is_shared {
            return rustix::fs::fstat(&known.file).is_ok_and(|stat| stat.st_size > 0 && stat.st_nlink > 0);
        }
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        let found = rustix::fs::statx(&known.file, "", flags, StatxFlags::SIZE | StatxFlags::NLINK);
        found.is_ok_and(|found| found.stx_size > 0 && found.stx_nlink > 0)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ObjectName, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// None if the lock is just being changed.
    fn begin(known: &Arc<Known>) -> Option<Self> {
        let mut running = known.running();
        // Where the filesystem has no such locks, the window of docs/formats.md (Fencing) stays open.
        if *running == 0
            && rustix::fs::flock(&known.file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
        {
            return None;
        }
        *running += 1;
        drop(running);
        Some(Self(known.clone()))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut running = self.0.running();
        *running -= 1;
        if *running == 0 {
            // Cannot fail on a file that is open; where there are no such locks there is nothing to give back.
            let _is_given_back = rustix::fs::flock(&self.0.file, FlockOperation::NonBlockingUnlock);
        }
    }
}

impl Known {
    fn running(&self) -> MutexGuard<'_, u32> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::legacy_locks::LegacyLocks;
    use crate::root::Root;

    /// Hundreds of changes, each synced, would take a disk too long.
    fn in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    fn locks(directory: &tempfile::TempDir) -> Locks {
        Locks::new(Root::open(directory.path()).unwrap(), LegacyLocks::None)
    }

    #[test]
    fn a_lock_is_not_reported_broken_while_a_fenced_write_runs() {
        let directory = in_memory();
        let (ours, theirs) = (locks(&directory), locks(&directory));
        let (lock, fences) = (ObjectName::new("volume").unwrap(), Fences::new(false, false));
        let fence = Fence { lock: lock.clone(), number: ours.acquire(&lock, "a", "", false).unwrap() };
        let pass = fences.enter(&ours, &fence).unwrap();
        let has_ended = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let breaking = threads.spawn(|| {
                theirs.release(&lock, "b", true, false).unwrap();
                has_ended.load(Ordering::SeqCst)
            });
            // Once the lock is being broken no other write may begin, though this one goes on.
            while fences.enter(&ours, &fence).is_ok() {
                std::thread::yield_now();
            }
            has_ended.store(true, Ordering::SeqCst);
            drop(pass);
            assert!(breaking.join().unwrap(), "broken while a write was running");
        });
    }

    #[test]
    fn the_highest_number_of_a_foreign_lock_is_the_one_that_may_write() {
        let directory = in_memory();
        let (locks, fences) = (locks(&directory), Fences::new(false, true));
        let enter = |number| {
            let fence = Fence { lock: ObjectName::new("volume").unwrap(), number };
            fences.enter(&locks, &fence).map(drop).map_err(|fault| fault.kind())
        };
        assert_eq!(
            [3, 3, 2, 4, 3, 4].map(enter),
            [Ok(()), Ok(()), Err(ErrorKind::NotOwner), Ok(()), Err(ErrorKind::NotOwner), Ok(())]
        );
    }

    #[test]
    fn the_records_kept_open_are_bounded() {
        let directory = in_memory();
        let (locks, fences) = (locks(&directory), Fences::new(false, false));
        for number in 0..KNOWN_MAX + 10 {
            let lock = ObjectName::new(format!("volume {number}")).unwrap();
            let number = locks.acquire(&lock, "a", "", false).unwrap();
            drop(fences.enter(&locks, &Fence { lock, number }).unwrap());
        }
        assert!(fences.known().len() <= KNOWN_MAX);
    }
}
