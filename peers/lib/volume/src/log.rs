//! The log of a map: what changed since its last checkpoint. Layout: docs/formats.md#map-log

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::entry::{Entry, Kind, MapEntry, Packed};
use crate::error::{self, FormatError, Problem};
use crate::name::{BlockIndex, Generation, LogSequence, ObjectName, VolumeId};

mod blocks;

pub use blocks::LoggedBlock;

/// Records after which a checkpoint is due.
pub const LOG_LIMIT: u64 = 65_536;
/// Bytes of the header, which the first append carries.
pub const LOG_HEADER_BYTES: usize = size_of::<LogHeader>();
/// Bytes of a record.
pub const LOG_RECORD_BYTES: usize = size_of::<LogRecord>();

const MAGIC: [u8; 4] = *b"AML3";
const VERSION: u32 = 3;
const WHAT: &str = "map log";
const KIND_SET: u32 = 1;
const KIND_COMMIT: u32 = 2;
const KIND_PUNCH: u32 = 3;
const KIND_PARTIAL: u32 = 4;

/// Which start of which machine: what was written unsynced in another one may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// The same for one grant of the volume's lock alone: who lost the lock in between goes on as after a loss of power.
    #[must_use]
    pub fn under(self, grant: u64) -> BootId {
        let grant = u128::from(grant).to_le_bytes();
        BootId(std::array::from_fn(|at| self.0[at] ^ grant[at]))
    }
}

/// First bytes of a log object.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LogHeader {
    magic: [u8; 4],
    version: U32,
    checksum: U32,
    reserved: U32,
    id: U64,
    sequence: U64,
    boot: [u8; 16],
    reserved_end: [u8; 16],
}

const _: () = assert!(size_of::<LogHeader>() == 64);
const _: () = assert!(offset_of!(LogHeader, checksum) == 8);
const _: () = assert!(offset_of!(LogHeader, id) == 16);
const _: () = assert!(offset_of!(LogHeader, boot) == 32);

/// One change.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LogRecord {
    checksum: U32,
    kind: U32,
    sequence: U64,
    index: U64,
    entry: MapEntry,
}

const _: () = assert!(size_of::<LogRecord>() == 48);
const _: () = assert!(offset_of!(LogRecord, kind) == 4);
const _: () = assert!(offset_of!(LogRecord, entry) == 24);

/// A change of a map, as its log holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Block `index` is now in the object that `written_at` names.
    Set {
        /// Which block.
        index: BlockIndex,
        /// The generation of its object; the owner is the volume itself.
        written_at: Generation,
    },
    /// What is written to block `index` goes to the object that `written_at` names; what was not is in the tree's entry.
    Partial {
        /// Which block.
        index: BlockIndex,
        /// The generation of its object; the owner is the volume itself.
        written_at: Generation,
    },
    /// `count` blocks from `index` are holes now.
    Punch {
        /// The first block.
        index: BlockIndex,
        /// How many.
        count: u64,
    },
}

/// Bytes for a log object, to be written at `offset` in the order in which they were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogAppend {
    /// The log object.
    pub name: ObjectName,
    /// Where in it.
    pub offset: u64,
    /// What to write there.
    pub bytes: Vec<u8>,
    /// Whether it ends in a commit, and must be durable, with all before it, when it is answered.
    pub durable: bool,
}

/// The log that a session writes.
#[derive(Debug)]
pub(crate) struct LogWriter {
    id: VolumeId,
    sequence: LogSequence,
    boot: BootId,
    records: u64,
    /// Whether a change was recorded after the last commit.
    uncommitted: bool,
    /// Offset of `waiting` in the object.
    offset: u64,
    waiting: Vec<u8>,
    commit_waits: bool,
}

impl LogWriter {
    pub(crate) fn new(id: VolumeId, sequence: LogSequence, boot: BootId) -> Self {
        let waiting = encode_header(id, sequence, boot);
        Self { id, sequence, boot, records: 0, uncommitted: false, offset: 0, waiting, commit_waits: false }
    }

    /// The log that follows this one.
    pub(crate) fn next(&self) -> Self {
        Self::new(self.id, LogSequence(self.sequence.0 + 1), self.boot)
    }

    /// Begins the log with what a checkpoint cannot say; all of it, if there is any, is to be durable before the root. With
    /// `replaces` the log begins in any case, because another one may lie under its name.
    pub(crate) fn carry(
        &mut self,
        changes: impl Iterator<Item = Change>,
        replaces: bool,
    ) -> Option<LogAppend> {
        changes.for_each(|change| self.change(change));
        self.commit();
        self.commit_waits |= replaces;
        if replaces { Some(self.take_all()) } else { self.take() }
    }

    pub(crate) fn sequence(&self) -> LogSequence {
        self.sequence
    }

    /// Whether anything was taken to be written.
    pub(crate) fn is_begun(&self) -> bool {
        self.offset > 0
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    pub(crate) fn change(&mut self, change: Change) {
        match change {
            Change::Set { index, written_at } => {
                let entry = MapEntry::encode(Packed::object(self.id, written_at), index);
                self.push(KIND_SET, index.0, entry);
            }
            Change::Partial { index, written_at } => {
                let entry = MapEntry::encode(Packed::object(self.id, written_at), index);
                self.push(KIND_PARTIAL, index.0, entry);
            }
            Change::Punch { index, count } => {
                let entry = MapEntry::encode(Packed::object(self.id, Generation(count)), index);
                self.push(KIND_PUNCH, index.0, entry);
            }
        }
        self.uncommitted = true;
    }

    /// Records a commit, unless nothing changed since the last one.
    pub(crate) fn commit(&mut self) {
        if self.uncommitted {
            self.push(KIND_COMMIT, 0, MapEntry::encode(Packed::HOLE, BlockIndex(0)));
            self.uncommitted = false;
            self.commit_waits = true;
        }
    }

    /// Ends the log: the next one counts only after a commit at the end of this one.
    pub(crate) fn seal(&mut self) {
        self.push(KIND_COMMIT, 0, MapEntry::encode(Packed::HOLE, BlockIndex(0)));
        self.uncommitted = false;
        self.commit_waits = true;
    }

    fn push(&mut self, kind: u32, index: u64, entry: MapEntry) {
        let mut record = LogRecord {
            checksum: U32::ZERO,
            kind: kind.into(),
            sequence: self.records.into(),
            index: index.into(),
            entry,
        };
        record.checksum = record_sum(self.id, self.sequence, &record).into();
        self.waiting.extend_from_slice(record.as_bytes());
        self.records += 1;
    }

    /// What was recorded since the last call.
    pub(crate) fn take(&mut self) -> Option<LogAppend> {
        // A log of nothing but its header is not worth an object.
        if self.records == 0 || self.waiting.is_empty() {
            return None;
        }
        Some(self.take_all())
    }

    fn take_all(&mut self) -> LogAppend {
        let bytes = std::mem::take(&mut self.waiting);
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        let durable = std::mem::take(&mut self.commit_waits);
        LogAppend { name: ObjectName::log(self.id, self.sequence), offset, bytes, durable }
    }
}

fn encode_header(id: VolumeId, sequence: LogSequence, boot: BootId) -> Vec<u8> {
    let mut header = LogHeader {
        magic: MAGIC,
        version: VERSION.into(),
        checksum: U32::ZERO,
        reserved: U32::ZERO,
        id: id.0.into(),
        sequence: sequence.0.into(),
        boot: boot.0,
        reserved_end: [0; 16],
    };
    header.checksum = header_sum(header.as_bytes()).into();
    header.as_bytes().to_vec()
}

fn header_sum(header: &[u8]) -> u32 {
    crc32c::crc32c(&header[12..LOG_HEADER_BYTES])
}

/// Seeded with the log it is in, so that what a disk held before can never pass for a record.
fn record_sum(id: VolumeId, sequence: LogSequence, record: &LogRecord) -> u32 {
    let seed = crc32c::crc32c(&id.0.to_le_bytes());
    let seed = crc32c::crc32c_append(seed, &sequence.0.to_le_bytes());
    crc32c::crc32c_append(seed, &record.as_bytes()[4..])
}

/// What a log object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The start of the machine that wrote it.
    pub boot: BootId,
    /// All changes whose records are whole, in order.
    pub changes: Vec<Change>,
    /// How many of them a commit vouches for.
    pub committed: usize,
}

impl Log {
    /// Reads a log object, up to the first record that is torn. An object cut off inside its header holds nothing.
    ///
    /// # Errors
    /// If it is another log, or a whole record says what no writer writes.
    pub fn decode(id: VolumeId, sequence: LogSequence, bytes: &[u8]) -> Result<Self, FormatError> {
        let Some(boot) = decode_header(id, sequence, bytes)? else {
            return Ok(Self { boot: BootId([0; 16]), changes: Vec::new(), committed: 0 });
        };
        let mut log = Self { boot, changes: Vec::new(), committed: 0 };
        let records = bytes[LOG_HEADER_BYTES..].chunks_exact(LOG_RECORD_BYTES);
        for (number, raw) in (0..).zip(records) {
            let Ok(record) = LogRecord::read_from_bytes(raw) else { break };
            let whole = record_sum(id, sequence, &record) == record.checksum.get();
            if !whole || record.sequence.get() != number {
                break;
            }
            log.add(id, &record)?;
        }
        Ok(log)
    }

    fn add(&mut self, id: VolumeId, record: &LogRecord) -> Result<(), FormatError> {
        let number = usize::try_from(record.sequence.get()).unwrap_or(usize::MAX);
        let offset = number.saturating_mul(LOG_RECORD_BYTES).saturating_add(LOG_HEADER_BYTES);
        let index = BlockIndex(record.index.get());
        let entry = record.entry.decode(index, WHAT, offset + offset_of!(LogRecord, entry))?;
        let is_own = entry.kind() == Kind::Object && entry.owner == id.0;
        match record.kind.get() {
            KIND_SET if is_own => {
                self.changes.push(Change::Set { index, written_at: Generation(entry.written_at) });
            }
            KIND_PARTIAL if is_own => {
                self.changes.push(Change::Partial { index, written_at: Generation(entry.written_at) });
            }
            KIND_PUNCH if is_own => self.changes.push(Change::Punch { index, count: entry.written_at }),
            KIND_COMMIT if entry == Packed::HOLE => self.committed = self.changes.len(),
            kind => return Err(FormatError::value(WHAT, offset, "kind of a record", u64::from(kind))),
        }
        Ok(())
    }
}

fn decode_header(id: VolumeId, sequence: LogSequence, bytes: &[u8]) -> Result<Option<BootId>, FormatError> {
    let Some(head) = bytes.get(..LOG_HEADER_BYTES) else { return Ok(None) };
    if head.iter().all(|&byte| byte == 0) {
        // The name was synced, the bytes were not.
        return Ok(None);
    }
    let length = Problem::Length { found: head.len(), expected: LOG_HEADER_BYTES };
    let header = LogHeader::read_from_bytes(head).map_err(|_| FormatError::new(WHAT, 0, length))?;
    if header.magic != MAGIC {
        return Err(FormatError::new(WHAT, 0, Problem::Magic));
    }
    if header.version.get() != VERSION {
        return Err(FormatError::new(WHAT, 4, Problem::Version(header.version.get())));
    }
    error::checksum(WHAT, 8, header_sum(head), header.checksum.get())?;
    error::zeros(WHAT, head, 12..16)?;
    error::zeros(WHAT, head, 48..64)?;
    if header.id.get() != id.0 {
        return Err(FormatError::value(WHAT, 16, "volume id", header.id.get()));
    }
    if header.sequence.get() != sequence.0 {
        return Err(FormatError::value(WHAT, 24, "log sequence", header.sequence.get()));
    }
    Ok(Some(BootId(header.boot)))
}

/// The logs of a volume that were not checkpointed, read one after the other.
///
/// Ask [`LogChain::wanted`], read that object, and [`LogChain::add`] its bytes, or [`LogChain::end`] if it does not exist.
#[derive(Debug)]
pub struct LogChain {
    id: VolumeId,
    boot: BootId,
    next: Option<LogSequence>,
    /// The first log that was not read.
    end: LogSequence,
    changes: Vec<Change>,
}

impl LogChain {
    /// Starts at log `first`; `None` if a clean root says that there is none. `boot` is that of this machine, now.
    pub(crate) fn new(id: VolumeId, first: Option<LogSequence>, boot: BootId) -> Self {
        Self { id, boot, next: first, end: first.unwrap_or_default(), changes: Vec::new() }
    }

    /// The log to read next.
    pub fn wanted(&self) -> Option<ObjectName> {
        self.next.map(|sequence| ObjectName::log(self.id, sequence))
    }

    /// Takes the bytes of the wanted log.
    ///
    /// # Errors
    /// As [`Log::decode`]; the volume must not be changed then.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let Some(sequence) = self.next else { return Ok(()) };
        let log = Log::decode(self.id, sequence, bytes)?;
        let kept = if log.boot == self.boot { log.changes.len() } else { log.committed };
        // A log is sealed by a commit before the next one is begun: without it, nothing after it was promised.
        let sealed = !log.changes.is_empty() && log.committed == log.changes.len();
        self.changes.extend_from_slice(&log.changes[..kept]);
        self.end = LogSequence(sequence.0.saturating_add(1));
        self.next = sealed.then_some(self.end);
        Ok(())
    }

    /// The wanted log does not exist.
    pub fn end(&mut self) {
        self.next = None;
    }

    /// All changes that count, oldest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    pub(crate) fn end_sequence(&self) -> LogSequence {
        self.end
    }
}

/// The object that a change names.
impl Change {
    /// The block object that this change refers to, in volume `id`.
    pub fn object_name(&self, id: VolumeId) -> Option<ObjectName> {
        match *self {
            Self::Set { index, written_at } | Self::Partial { index, written_at } => {
                Entry::Object { owner: id, written_at }.object_name(index)
            }
            Self::Punch { .. } => None,
        }
    }

    /// The last block that this change is of.
    pub(crate) fn last_block(&self) -> BlockIndex {
        match *self {
            Self::Set { index, .. } | Self::Partial { index, .. } => index,
            Self::Punch { index, count } => BlockIndex(index.0.saturating_add(count.saturating_sub(1))),
        }
    }
}

#[cfg(test)]
mod tests;
