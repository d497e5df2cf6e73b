//! Locks in a directory: safe between threads, processes and, as far as the filesystem is, hosts.
//!
//! A lock is a directory of numbered records. Whoever links the next number in has changed the lock; nobody else can link
//! the same number. The record before it is then emptied, which is what a fenced writer looks at. Emptied records stay
//! for a while, so that nobody who slept through some changes finds a number free that is history.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peer::node::unix_ms;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::{Errno, retry_on_intr};
use store::{ErrorKind, LockState, ObjectName};

use crate::copy::write_all;
use crate::fault::{Result, if_found};
use crate::layout::lock_path;
use crate::legacy_locks::LegacyLocks;
use crate::record::{RECORD_MAX, Record};
use crate::root::Root;

/// The locks of a directory.
pub(crate) struct Locks {
    root: Root,
    legacy: LegacyLocks,
}

/// The newest record of a lock, or that there is none yet.
pub(crate) struct Current {
    version: u64,
    pub(crate) record: Option<(Record, OwnedFd)>,
}

/// The newest record of a lock, as far as it can be read.
enum Newest {
    Known(Current),
    /// There is one, with this version, and it is not what was written.
    Damaged(u64),
}

/// What becomes of a lock.
enum Decision {
    /// It stays, and this is its number.
    Keep(u64),
    Change(Record),
}

/// Who holds a lock that is kept elsewhere: whoever does so there.
const FOREIGN_OWNER: &str = "as another store knows";
/// How often a change is tried again because others changed the lock meanwhile.
const TRIES_MAX: usize = 256;
/// How many emptied records stay.
const HISTORY: u64 = 64;
/// How long a change waits for others of this host; a stopped process must not hold everybody up.
const GUARD_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const GUARD_LOOK: Duration = Duration::from_micros(200);
/// How long a change of a lock waits for fenced writes of this host that began before it.
const WRITERS_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it looks meanwhile.
const WRITERS_LOOK: Duration = Duration::from_millis(2);

impl Locks {
    pub(crate) fn new(root: Root, legacy: LegacyLocks) -> Self {
        Self { root, legacy }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn has_legacy(&self) -> bool {
        !matches!(self.legacy, LegacyLocks::None)
    }

    /// Takes the lock, or fails with `Busy`. The number of the grant.
    pub(crate) fn acquire(
        &self,
        name: &ObjectName,
        owner: &str,
        description: &str,
        force: bool,
    ) -> Result<u64> {
        self.change(name, force, |record| {
            let number = record.map_or(0, |record| record.number);
            match record {
                Some(held) if held.is_held && held.owner == owner => return Ok(Decision::Keep(number)),
                Some(held) if held.is_held && !force => return Err(ErrorKind::Busy.into()),
                _ => self.displace_legacy(name, owner, force)?,
            }
            Ok(Decision::Change(Record {
                is_held: true,
                number: number + 1,
                since_unix_ms: unix_ms(),
                owner: owner.into(),
                description: description.into(),
            }))
        })
    }

    /// Gives the lock back. A second attempt finds its work done if the lock is free and this owner was the last.
    pub(crate) fn release(&self, name: &ObjectName, owner: &str, force: bool, is_second: bool) -> Result<()> {
        if self.release_legacy(name, owner, force)? {
            return Ok(());
        }
        if matches!(self.newest(name)?, Newest::Known(Current { record: None, .. })) {
            return Err(ErrorKind::NotFound.into());
        }
        let mut former = None;
        let freed = |record: Option<&Record>| match record {
            Some(held) if held.is_held && held.owner == owner => {
                Ok(Decision::Change(Record { is_held: false, since_unix_ms: unix_ms(), ..held.clone() }))
            }
            Some(held) if held.is_held && force => {
                former = Some(held.owner.clone());
                let number = held.number + 1;
                Ok(Decision::Change(Record {
                    is_held: false,
                    number,
                    since_unix_ms: unix_ms(),
                    ..held.clone()
                }))
            }
            Some(held) if held.is_held => Err(ErrorKind::NotOwner.into()),
            Some(free) if is_second && (force || free.owner == owner) => Ok(Decision::Keep(free.number)),
            Some(_) | None => Err(ErrorKind::NotFound.into()),
        };
        self.change(name, force, freed)?;
        if let Some(former) = former {
            tracing::warn!(lock = %name, former, by = owner, "broke a lock: its former owner can write no more");
        }
        Ok(())
    }

    /// Notes the number of a lock that is kept elsewhere; writes under a lower one end before this returns.
    pub(crate) fn adopt(&self, name: &ObjectName, number: u64) -> Result<()> {
        let adopted = |record: Option<&Record>| match record {
            Some(newer) if newer.number >= number => Ok(Decision::Keep(newer.number)),
            _ => Ok(Decision::Change(Record {
                is_held: true,
                number,
                since_unix_ms: unix_ms(),
                owner: FOREIGN_OWNER.into(),
                description: String::new(),
            })),
        };
        self.change(name, false, adopted).map(drop)
    }

    /// Who holds the lock. One that nobody ever took is free and has number 0.
    pub(crate) fn info(&self, name: &ObjectName) -> Result<LockState> {
        let record = self.current(name)?.record.map(|(record, _)| record);
        if !record.as_ref().is_some_and(|record| record.is_held)
            && let Some(state) = self.legacy.state(name)?
        {
            return Ok(LockState { number: record.map_or(0, |record| record.number), ..state });
        }
        let free = LockState { owner: None, description: String::new(), number: 0, since_unix_ms: 0 };
        Ok(record.map_or(free, Record::state))
    }

    /// The newest record.
    pub(crate) fn current(&self, name: &ObjectName) -> Result<Current> {
        match self.newest(name)? {
            Newest::Known(current) => Ok(current),
            Newest::Damaged(_) => Err(ErrorKind::Corrupt.into()),
        }
    }

    fn newest(&self, name: &ObjectName) -> Result<Newest> {
        let directory = lock_path(name);
        let mut first_empty = None;
        for _ in 0..TRIES_MAX {
            let Some(version) = self.versions(&directory)?.pop() else {
                return Ok(Newest::Known(Current { version: 0, record: None }));
            };
            // Gone or empty: it was superseded since we looked.
            let Some(file) = if_found(self.root.open_file(&version_path(&directory, version), OFlags::RDWR))?
            else {
                continue;
            };
            let bytes = read_record(&file)?;
            if bytes.is_empty() {
                first_empty.get_or_insert(version);
                continue;
            }
            return match Record::decode(&bytes) {
                Ok(record) => Ok(Newest::Known(Current { version, record: Some((record, file)) })),
                Err(fault) if fault.kind() == ErrorKind::Corrupt => Ok(Newest::Damaged(version)),
                Err(fault) => Err(fault),
            };
        }
        let newest = self.versions(&directory)?.pop();
        match first_empty.filter(|first| newest == Some(*first)) {
            // Its successor would have been there by now.
            Some(version) => Ok(Newest::Damaged(version)),
            None => Err(ErrorKind::Busy.into()),
        }
    }

    /// Where the lock's records are, relative to the lock directory, for those who watch it.
    pub(crate) fn directory(name: &ObjectName) -> PathBuf {
        lock_path(name)
    }

    /// Does what `decide` says about the newest record, again and again until nobody came between. With `force` a damaged
    /// record is one that somebody holds.
    fn change(
        &self,
        name: &ObjectName,
        force: bool,
        mut decide: impl FnMut(Option<&Record>) -> Result<Decision>,
    ) -> Result<u64> {
        let directory = lock_path(name);
        self.root.create_directories(&directory)?;
        let _guard = self.guard(&directory)?;
        for _ in 0..TRIES_MAX {
            let current = match self.newest(name)? {
                Newest::Known(current) => current,
                Newest::Damaged(version) if force => {
                    if let Some(number) = self.replace_damaged(&directory, version, &mut decide)? {
                        return Ok(number);
                    }
                    continue;
                }
                Newest::Damaged(_) => return Err(ErrorKind::Corrupt.into()),
            };
            // Its successor's maker may have died before emptying it.
            self.supersede(&directory, current.version.saturating_sub(1))?;
            match decide(current.record.as_ref().map(|(record, _)| record))? {
                Decision::Keep(number) => return Ok(number),
                Decision::Change(record) => {
                    if self.append(&directory, current.version + 1, &record)? {
                        self.supersede(&directory, current.version)?;
                        return Ok(record.number);
                    }
                }
            }
        }
        Err(ErrorKind::Busy.into())
    }

    /// Does what `decide` says about a record that nobody can read. None if somebody else changed the lock.
    fn replace_damaged(
        &self,
        directory: &Path,
        version: u64,
        decide: &mut impl FnMut(Option<&Record>) -> Result<Decision>,
    ) -> Result<Option<u64>> {
        // A number grows at most as fast as the version, so none was ever greater.
        let unknown = Record {
            is_held: true,
            number: version,
            since_unix_ms: 0,
            owner: "a damaged record".to_owned(),
            description: String::new(),
        };
        let record = match decide(Some(&unknown))? {
            Decision::Keep(number) => return Ok(Some(number)),
            Decision::Change(record) => record,
        };
        if !self.append(directory, version + 1, &record)? {
            return Ok(None);
        }
        self.supersede(directory, version)?;
        Ok(Some(record.number))
    }

    /// Keeps others of this host from changing the lock, which would only make both try again. Ends when dropped, or with
    /// its process. Not needed for safety, so a filesystem without such locks does as well.
    fn guard(&self, directory: &Path) -> Result<OwnedFd> {
        let opened = self.root.open_directory(directory)?;
        let give_up = Instant::now() + GUARD_WAIT_MAX;
        while rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
            && Instant::now() < give_up
        {
            std::thread::sleep(GUARD_LOOK);
        }
        Ok(opened)
    }

    /// Links a new record in, durably. False if somebody else's has that version, or had it and is history.
    fn append(&self, directory: &Path, version: u64, record: &Record) -> Result<bool> {
        let path = version_path(directory, version);
        let temp = self.root.temp()?;
        write_all(&temp.file, &record.encode()?, 0)?;
        self.root.sync_file(&temp.file)?;
        if !temp.link_to(&path)? {
            return Ok(false);
        }
        let versions = self.versions(directory)?;
        let newest = versions.last().copied().unwrap_or(version);
        // Only what is that far behind can have been free because it is history; all else nobody had before us.
        if newest >= version.saturating_add(HISTORY / 2) {
            self.root.unlink(&path)?;
            return Ok(false);
        }
        self.root.sync_name(&path)?;
        for old in versions.iter().take_while(|old| old.saturating_add(HISTORY) <= newest) {
            self.root.unlink(&version_path(directory, *old))?;
        }
        Ok(true)
    }

    /// Ends a version: from now on no fenced write starts under it, and those that run have ended.
    fn supersede(&self, directory: &Path, version: u64) -> Result<()> {
        let path = version_path(directory, version);
        let Some(file) = if_found(self.root.open_file(&path, OFlags::RDWR))? else { return Ok(()) };
        if rustix::fs::fstat(&file)?.st_size > 0 {
            rustix::fs::ftruncate(&file, 0)?;
            wait_for_writers(&file, &path);
        }
        Ok(())
    }

    fn versions(&self, directory: &Path) -> Result<Vec<u64>> {
        let entries = self.root.entries(directory)?;
        let mut versions: Vec<u64> = entries.iter().filter_map(|(name, _)| parse_version(name)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    fn displace_legacy(&self, name: &ObjectName, owner: &str, force: bool) -> Result<()> {
        match self.legacy.owner(name)? {
            Some(other) if other != owner.as_bytes() && !force => Err(ErrorKind::Busy.into()),
            Some(_) if force => self.legacy.remove(name).map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a lock file of the original was all there was to release.
    fn release_legacy(&self, name: &ObjectName, owner: &str, force: bool) -> Result<bool> {
        match self.legacy.owner(name)? {
            Some(ours) if ours == owner.as_bytes() || force => self.legacy.remove(name)?,
            Some(_) => return Err(ErrorKind::NotOwner.into()),
            None => return Ok(false),
        };
        let record = self.current(name)?.record;
        Ok(!record.is_some_and(|(record, _)| record.is_held))
    }
}

fn version_path(directory: &Path, version: u64) -> PathBuf {
    directory.join(format!("{version:016x}"))
}

fn parse_version(name: &[u8]) -> Option<u64> {
    let text = str::from_utf8(name).ok().filter(|text| text.len() == 16)?;
    u64::from_str_radix(text, 16).ok()
}

/// In one step: of a record that is emptied between two, half would be seen.
fn read_record(file: &OwnedFd) -> Result<Vec<u8>> {
    // One byte more than a record may have, so that a longer file is seen to be none.
    let mut bytes = vec![0; RECORD_MAX + 1];
    let count = retry_on_intr(|| rustix::io::pread(file, &mut bytes, 0))?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Waits until no fenced write holds the record any more. Pairs with the shared lock of `Fences::enter`.
fn wait_for_writers(file: &OwnedFd, path: &Path) {
    let give_up = Instant::now() + WRITERS_WAIT_MAX;
    while rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        if Instant::now() > give_up {
            tracing::warn!(record = %path.display(), "a write under a lock that ended still runs");
            return;
        }
        std::thread::sleep(WRITERS_LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    /// Hundreds of changes, each synced, would take a disk too long.
    fn in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    fn locks(directory: &tempfile::TempDir) -> Locks {
        Locks::new(Root::open(directory.path()).unwrap(), LegacyLocks::None)
    }

    fn name() -> ObjectName {
        ObjectName::new("volume").unwrap()
    }

    fn record(owner: &str, number: u64) -> Record {
        let owner = owner.to_owned();
        Record { is_held: true, number, since_unix_ms: 1, owner, description: String::new() }
    }

    #[test]
    fn history_is_bounded() {
        let directory = in_memory();
        let locks = locks(&directory);
        for _ in 0..HISTORY {
            locks.acquire(&name(), "a", "", false).unwrap();
            locks.release(&name(), "a", false, false).unwrap();
        }
        let versions = locks.versions(&lock_path(&name())).unwrap();
        assert_eq!((versions.last(), versions.len() as u64), (Some(&(2 * HISTORY)), HISTORY));
    }

    #[test]
    fn whoever_slept_through_all_of_history_has_not_changed_the_lock() {
        let directory = in_memory();
        let locks = locks(&directory);
        for _ in 0..HISTORY {
            locks.acquire(&name(), "a", "", false).unwrap();
            locks.release(&name(), "a", false, false).unwrap();
        }
        let number = locks.acquire(&name(), "a", "", false).unwrap();
        // It saw version 1, and wants to make version 2 now.
        assert!(!locks.append(&lock_path(&name()), 2, &record("sleeper", 2)).unwrap());
        assert_eq!(locks.acquire(&name(), "a", "", false).unwrap(), number);
        assert_eq!(locks.acquire(&name(), "sleeper", "", false).unwrap_err().kind(), ErrorKind::Busy);
    }

    #[test]
    fn a_damaged_record_is_broken_by_force_alone_and_its_number_is_beaten() {
        for damage in [&b"noise where a record was"[..], b""] {
            let directory = in_memory();
            let locks = locks(&directory);
            for _ in 0..3 {
                locks.acquire(&name(), "a", "", true).unwrap();
                locks.acquire(&name(), "b", "", true).unwrap();
            }
            let newest = locks.versions(&lock_path(&name())).unwrap().pop().unwrap();
            std::fs::write(directory.path().join(version_path(&lock_path(&name()), newest)), damage).unwrap();
            let corrupt = |fault: Fault| assert_eq!(fault.kind(), ErrorKind::Corrupt);
            corrupt(locks.acquire(&name(), "b", "", false).unwrap_err());
            corrupt(locks.release(&name(), "b", false, false).unwrap_err());
            corrupt(locks.info(&name()).unwrap_err());
            locks.release(&name(), "c", true, false).unwrap();
            assert_eq!(locks.info(&name()).unwrap().owner, None);
            assert_eq!(locks.acquire(&name(), "c", "", false).unwrap(), 8);
        }
    }

    #[test]
    fn a_damaged_record_is_taken_over_by_force() {
        let directory = in_memory();
        let locks = locks(&directory);
        locks.acquire(&name(), "a", "", false).unwrap();
        std::fs::write(directory.path().join(version_path(&lock_path(&name()), 1)), b"noise").unwrap();
        assert_eq!(locks.acquire(&name(), "b", "", true).unwrap(), 2);
        assert_eq!(locks.info(&name()).unwrap().owner.as_deref(), Some("b"));
    }

    #[test]
    fn whoever_slept_through_one_change_begins_again() {
        let directory = in_memory();
        let locks = locks(&directory);
        locks.acquire(&name(), "a", "", false).unwrap();
        assert!(!locks.append(&lock_path(&name()), 1, &record("sleeper", 1)).unwrap());
        assert_eq!(locks.info(&name()).unwrap().owner.as_deref(), Some("a"));
    }

    #[test]
    fn the_next_change_ends_what_a_dead_maker_left() {
        let directory = in_memory();
        let locks = locks(&directory);
        locks.acquire(&name(), "a", "", false).unwrap();
        let before = locks.current(&name()).unwrap().record.unwrap().1;
        // It died between linking its record and emptying the one before.
        assert!(locks.append(&lock_path(&name()), 2, &record("b", 2)).unwrap());
        assert!(rustix::fs::fstat(&before).unwrap().st_size > 0);
        assert_eq!(locks.acquire(&name(), "b", "", false).unwrap(), 2);
        assert_eq!(rustix::fs::fstat(&before).unwrap().st_size, 0);
    }
}
