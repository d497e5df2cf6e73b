//! Locks in a pool: safe between threads, processes and hosts. Everything here blocks, for a thread of the pool.
//!
//! A lock is a record in an object; a change replaces the record if nobody else did since it was read. What a change promises to
//! those who wrote under the lock is told in docs/protocols.md, "Fences in RADOS".

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use peer::node::unix_ms;
use store::{ErrorKind, LockState, ObjectName};

use crate::fault::{Result, if_found};
use crate::librados::{Buffer, Context, Heard, Watch};
use crate::names::{of_legacy_lock, of_lock};
use crate::record::{RECORD_MAX, Record, State, WRITERS_MAX, Writer};

/// The locks of a pool and namespace, as one client sees them.
pub(crate) struct Locks {
    context: Arc<Context>,
    /// What this client is called in records.
    writer: Writer,
    /// The locks are kept elsewhere: numbers are believed when they are first named.
    is_foreign: bool,
}

/// What becomes of a lock.
enum Decision {
    /// It stays, and this is its number.
    Keep(u64),
    Change(Record),
}

/// A record as it was read.
struct Current {
    record: Option<Record>,
    version: u64,
    /// What is there is no record.
    is_damaged: bool,
}

/// How often a change is tried again because others changed the lock meanwhile.
const TRIES_MAX: usize = 64;
/// How long writers have to say that they have ended; after that they are shut out.
const PATIENCE: Duration = Duration::from_secs(3);
/// The original's class lock, and where the class keeps it.
const LEGACY_LOCK: &CStr = c"RadosLock";
const LEGACY_ATTRIBUTE: &CStr = c"lock.RadosLock";
/// Where that attribute has the number of holders: after two versions and a length.
const LEGACY_COUNT: std::ops::Range<usize> = 6..10;
/// The attribute of one holder is shorter, in bytes.
const LEGACY_MAX: usize = 4096;

impl Locks {
    /// Those of `context`, for the radosd that `key` names. `address`: of its client, as the blocklist takes it.
    pub(crate) fn new(context: Arc<Context>, key: &str, address: &str, is_foreign: bool) -> Self {
        let writer = Writer { is_to_end: false, key: key.to_owned(), address: address.to_owned() };
        Self { context, writer, is_foreign }
    }

    /// The client's address, with which it answers notifications.
    pub(crate) fn address(&self) -> &str {
        &self.writer.address
    }

    /// Takes the lock, or fails with `Busy`. The number of the grant.
    pub(crate) fn acquire(
        &self,
        name: &ObjectName,
        owner: &str,
        description: &str,
        force: bool,
    ) -> Result<u64> {
        self.refuse_foreign()?;
        self.change(name, force, |record| {
            match record {
                Some(held) if held.is_held() && held.owner == owner => {
                    return Ok(Decision::Keep(held.number));
                }
                Some(held) if held.is_held() && !force => return Err(ErrorKind::Busy.into()),
                _ if force => drop(self.break_legacy(name)?),
                _ if self.has_legacy(name)? => return Err(ErrorKind::Busy.into()),
                _ => {}
            }
            Ok(Decision::Change(Record {
                state: State::Held,
                number: record.map_or(0, |record| record.number) + 1,
                since_unix_ms: unix_ms(),
                owner: owner.into(),
                description: description.into(),
                writers: record.map_or_else(Vec::new, Record::ending),
            }))
        })
    }

    /// Gives the lock back. A second attempt finds its work done if the lock is free and this owner was the last.
    pub(crate) fn release(&self, name: &ObjectName, owner: &str, force: bool, is_second: bool) -> Result<()> {
        self.refuse_foreign()?;
        if force && self.break_legacy(name)? && self.info(name)?.owner.is_none() {
            return Ok(());
        }
        let freed = |held: &Record, number| {
            let (state, since_unix_ms, writers) = (State::Free, unix_ms(), held.ending());
            Ok(Decision::Change(Record { state, number, since_unix_ms, writers, ..held.clone() }))
        };
        let mut former = None;
        let decide = |record: Option<&Record>| match record {
            Some(held) if held.is_held() && held.owner == owner => freed(held, held.number),
            Some(held) if held.is_held() && force => {
                former = Some(held.owner.clone());
                freed(held, held.number + 1)
            }
            Some(held) if held.is_held() => Err(ErrorKind::NotOwner.into()),
            Some(free) if is_second && (force || free.owner == owner) => Ok(Decision::Keep(free.number)),
            Some(_) | None if self.has_legacy(name)? => Err(ErrorKind::NotOwner.into()),
            Some(_) | None => Err(ErrorKind::NotFound.into()),
        };
        self.change(name, force, decide)?;
        if let Some(former) = former {
            tracing::warn!(lock = %name, former, by = owner, "broke a lock: its former owner can write no more");
        }
        Ok(())
    }

    /// Who holds the lock. One that nobody ever took is free and has number 0.
    pub(crate) fn info(&self, name: &ObjectName) -> Result<LockState> {
        self.refuse_foreign()?;
        let Current { record, is_damaged, .. } = self.read(&of_lock(name))?;
        if is_damaged {
            return Err(ErrorKind::Corrupt.into());
        }
        let number = record.as_ref().map_or(0, |record| record.number);
        match record {
            Some(held) if held.is_held() => Ok(LockState {
                owner: Some(held.owner),
                description: held.description,
                number,
                since_unix_ms: held.since_unix_ms,
            }),
            free => Ok(LockState {
                owner: self.legacy_owner(name)?,
                description: String::new(),
                number,
                since_unix_ms: free.map_or(0, |record| record.since_unix_ms),
            }),
        }
    }

    /// Begins to watch a lock; `NotFound` if nobody ever took it.
    pub(crate) fn watch(
        &self,
        name: &ObjectName,
        tell: impl Fn(Heard) + Send + Sync + 'static,
    ) -> Result<Watch> {
        let object = of_lock(name);
        if self.is_foreign && self.read(&object)?.record.is_none() {
            self.replace(&object, 0, &Record::foreign(0, Vec::new()))?;
        }
        Ok(Watch::start(&self.context, &object, Box::new(tell))?)
    }

    /// Enters this client among those that write under a lock's number. It must watch the lock already.
    pub(crate) fn enlist(&self, name: &ObjectName, number: u64) -> Result<()> {
        let enlisted = |record: &Record| {
            let mut writers = record.writers.clone();
            writers.retain(|writer| writer.key != self.writer.key);
            writers.push(self.writer.clone());
            if writers.len() > WRITERS_MAX {
                return Err(ErrorKind::Unavailable.into());
            }
            Ok(Decision::Change(Record { writers, ..record.clone() }))
        };
        let decide = |record: Option<&Record>| match record {
            Some(held) if held.state != State::Free && held.number == number => {
                if held.writers.contains(&self.writer) { Ok(Decision::Keep(number)) } else { enlisted(held) }
            }
            Some(old) if self.is_foreign && old.number < number => {
                // Our own entry too: what we wrote under the old number must have ended as well.
                let mut writers = old.ending();
                writers.push(self.writer.clone());
                Ok(Decision::Change(Record::foreign(number, writers)))
            }
            _ => Err(ErrorKind::NotOwner.into()),
        };
        self.change(name, false, decide).map(drop)
    }

    fn refuse_foreign(&self) -> Result<()> {
        if self.is_foreign { Err(ErrorKind::Unsupported.into()) } else { Ok(()) }
    }

    /// Does what `decide` says about the record, again and again until nobody came between. With `force` a damaged record is one
    /// that somebody holds.
    fn change(
        &self,
        name: &ObjectName,
        force: bool,
        mut decide: impl FnMut(Option<&Record>) -> Result<Decision>,
    ) -> Result<u64> {
        let object = of_lock(name);
        for _ in 0..TRIES_MAX {
            let Current { mut record, version, is_damaged } = self.read(&object)?;
            if is_damaged {
                record = Some(if force { Record::unknown() } else { return Err(ErrorKind::Corrupt.into()) });
            }
            if let Some(unfinished) = record.as_ref().filter(|record| record.has_to_end()) {
                // Its maker died, or is at it.
                self.end_writers(&object, unfinished, version)?;
                continue;
            }
            let next = match decide(record.as_ref())? {
                Decision::Keep(number) => return Ok(number),
                Decision::Change(next) => next,
            };
            if let Some(version) = self.replace(&object, version, &next)? {
                if record.is_some_and(|before| before.is_ended_by(&next)) {
                    self.end_writers(&object, &next, version)?;
                }
                return Ok(next.number);
            }
        }
        Err(ErrorKind::Busy.into())
    }

    /// Waits until those who wrote under the number before have ended, shuts out those who do not say so, and notes that.
    fn end_writers(&self, object: &CStr, record: &Record, version: u64) -> Result<()> {
        let ended = self.context.notify_now(object, PATIENCE).unwrap_or_else(|error| {
            tracing::warn!(lock = %object.to_string_lossy(), %error, "writers could not be asked to end");
            Vec::new()
        });
        let to_end = || record.writers.iter().filter(|writer| writer.is_to_end);
        for writer in to_end().filter(|writer| !ended.iter().any(|said| said == writer.address.as_bytes())) {
            self.shut_out(object, &writer.address)?;
        }
        if to_end().next().is_some() {
            let writers = record.writers.iter().filter(|writer| !writer.is_to_end).cloned().collect();
            // If somebody changed the record since, it was they who ended the writers.
            self.replace(object, version, &Record { writers, ..record.clone() })?;
        }
        Ok(())
    }

    fn shut_out(&self, object: &CStr, address: &str) -> Result<()> {
        tracing::warn!(lock = %object.to_string_lossy(), address, "a client does not answer; shutting it out");
        self.context.cluster().blocklist(address).map_err(|error| {
            let hint = "this client needs the right to: mon 'profile rbd'";
            tracing::error!(address, %error, hint, "a client cannot be put on the blocklist");
            error.into()
        })
    }

    fn read(&self, object: &CStr) -> Result<Current> {
        match if_found(self.context.read_now(object, 0, RECORD_MAX))? {
            None => Ok(Current { record: None, version: 0, is_damaged: false }),
            Some((bytes, version)) => match Record::decode(&bytes) {
                Ok(record) => Ok(Current { record: Some(record), version, is_damaged: false }),
                Err(ErrorKind::Corrupt) => Ok(Current { record: None, version, is_damaged: true }),
                Err(kind) => Err(kind.into()),
            },
        }
    }

    /// Replaces a record that has this version, 0 if there is none. The new version; none if somebody else came first.
    fn replace(&self, object: &CStr, version: u64, record: &Record) -> Result<Option<u64>> {
        let bytes = Buffer::of(&record.encode()?);
        let change = self.context.change();
        let change = if version == 0 { change.create(true) } else { change.assert_version(version) };
        let ended = self.context.operate_now(object, change.write_full(bytes.region()));
        match ended {
            Ok(version) => Ok(Some(version)),
            Err(error) if has_lost(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn has_legacy(&self, name: &ObjectName) -> Result<bool> {
        let Some(object) = of_legacy_lock(name) else { return Ok(false) };
        let attribute = if_found(self.context.attribute_now(&object, LEGACY_ATTRIBUTE, LEGACY_MAX))?;
        // A lock that was given back leaves an attribute without holders.
        Ok(attribute.is_some_and(|held| held.get(LEGACY_COUNT).is_some_and(|count| count != [0; 4])))
    }

    fn legacy_owner(&self, name: &ObjectName) -> Result<Option<String>> {
        if !self.has_legacy(name)? {
            return Ok(None);
        }
        let Some(object) = of_legacy_lock(name) else { return Ok(None) };
        let holder = self.context.holder_now(&object, LEGACY_LOCK)?;
        Ok(holder.map(|holder| holder.client.to_string_lossy().into_owned()))
    }

    /// Takes a lock of the original away from its holder, and shuts that out. Whether there was one.
    fn break_legacy(&self, name: &ObjectName) -> Result<bool> {
        let Some(object) = of_legacy_lock(name) else { return Ok(false) };
        if !self.has_legacy(name)? {
            return Ok(false);
        }
        let Some(holder) = self.context.holder_now(&object, LEGACY_LOCK)? else { return Ok(false) };
        if_found(self.context.break_lock_now(&object, LEGACY_LOCK, &holder))?;
        self.shut_out(&object, &holder.address.to_string_lossy())?;
        Ok(true)
    }
}

impl Record {
    fn is_held(&self) -> bool {
        self.state == State::Held
    }

    fn has_to_end(&self) -> bool {
        self.writers.iter().any(|writer| writer.is_to_end)
    }

    /// Whether those who wrote or wait under this record must hear of the next.
    fn is_ended_by(&self, next: &Record) -> bool {
        self.state != State::Free && (next.number != self.number || next.state != self.state)
    }

    /// What a damaged record is taken for. Nobody counts locks as fast as time passes, so the number is higher than any before.
    fn unknown() -> Self {
        let (number, since_unix_ms) = (unix_ms(), unix_ms());
        let (owner, description) = ("whoever had it".to_owned(), String::new());
        Self { state: State::Held, number, since_unix_ms, owner, description, writers: Vec::new() }
    }

    fn foreign(number: u64, writers: Vec<Writer>) -> Self {
        let (owner, description) = (String::new(), String::new());
        Self { state: State::Foreign, number, since_unix_ms: unix_ms(), owner, description, writers }
    }

    /// Its writers, all of them to be ended.
    fn ending(&self) -> Vec<Writer> {
        self.writers.iter().map(|writer| Writer { is_to_end: true, ..writer.clone() }).collect()
    }
}

/// Whether somebody else changed or made the object first.
pub(crate) fn has_lost(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ERANGE | libc::EOVERFLOW | libc::ENOENT))
}
