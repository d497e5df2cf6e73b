//! Maps that the original wrote, versions 0, 1 and 2, read leaf by leaf. Layout: docs/formats.md#maps-of-the-original

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U32 as LittleU32, U64 as LittleU64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian};

use crate::entry::Entry;
use crate::error::{self, FormatError, Problem};
use crate::name::{BlockIndex, Checkpoint, Generation, LogSequence, ObjectName, VolumeId};
use crate::node::{FANOUT, Leaf};
use crate::root::{MAGIC, RequestId, Root, RootState, check_block_size, check_size};

/// Bytes of a block in maps that do not say: 4 MiB.
pub const LEGACY_BLOCK_SIZE: u32 = 4 << 20;
/// The content address of nothing, which the original gave to blocks that were never written.
pub const ZERO_BLOCK: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const HEADER: &str = "map header of the original";
/// What may lie under a volume's name: neither a root of ours nor a map of the original.
const ANY: &str = "map";
const TABLE: &str = "block table of the original";
const TABLE_ENTRY_BYTES: usize = size_of::<TableEntry>();
const HASH_BYTES: usize = 32;
const V1_HEADER_BYTES: usize = 12;
const V1_ENTRY_BYTES: usize = 1 + HASH_BYTES;
const FLAG_READ_ONLY: u32 = 1;
const FLAG_DELETED: u32 = 2;
const ENTRY_WRITABLE: u8 = 1;
const ENTRY_OWNED: u8 = 2;
const ENTRY_ZERO: u8 = 4;
const ENTRY_DELETED: u8 = 8;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 4],
    version: big_endian::U32,
    size: big_endian::U64,
    block_size: big_endian::U32,
    flags: big_endian::U32,
    epoch: big_endian::U64,
}

const _: () = assert!(size_of::<HeaderBytes>() == 32);
const _: () = assert!(offset_of!(HeaderBytes, epoch) == 24);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TableEntry {
    flags: u8,
    length: LittleU32,
    name: [u8; 123],
}

const _: () = assert!(size_of::<TableEntry>() == 128);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct V1Header {
    version: LittleU32,
    size: LittleU64,
}

const _: () = assert!(size_of::<V1Header>() == V1_HEADER_BYTES);

/// Which of the original's formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyVersion {
    /// Raw hashes, of content-addressed images; does not know its size.
    V0,
    /// Hashes with a flag, in the header's object.
    V1,
    /// A header, and tables in objects of their own.
    V2,
}

/// A map of the original: its header, and where the rest lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyMap {
    /// The object that holds the header.
    pub name: ObjectName,
    /// Its format.
    pub version: LegacyVersion,
    /// What its header says, in our words; id 0, no tree.
    pub root: Root,
}

/// A piece of an object to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRange {
    /// The object.
    pub name: ObjectName,
    /// First byte.
    pub offset: u64,
    /// How many bytes: exactly, what the object does not have reads as zeros. `None` is the whole object.
    pub length: Option<u64>,
}

/// The object that is named as a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// A root of ours.
    Root(Root),
    /// A header of the original.
    Legacy(LegacyMap),
}

impl Header {
    /// Reads the first 1024 or more bytes of object `name` (fewer, if it has fewer). A file without any signature is
    /// taken for a version 0 map only if `v0_size` says how many bytes the volume has.
    ///
    /// # Errors
    /// If it is neither, or a field is not what a writer writes.
    pub fn decode(name: &ObjectName, bytes: &[u8], v0_size: Option<u64>) -> Result<Self, FormatError> {
        let head = error::head(ANY, bytes, 8)?;
        let version = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let legacy = |version, root| Self::Legacy(LegacyMap { name: name.clone(), version, root });
        match (head[..4] == MAGIC, version) {
            (true, 2) => decode_v2(bytes).map(|root| legacy(LegacyVersion::V2, root)),
            (true, _) => Root::decode(bytes).map(Self::Root),
            (false, _) if head[..4] == 1u32.to_le_bytes() => {
                decode_v1(bytes).map(|root| legacy(LegacyVersion::V1, root))
            }
            (false, _) => match v0_size {
                Some(size) => Ok(legacy(LegacyVersion::V0, legacy_root(size, RootState::ReadOnly, 0)?)),
                None => Err(FormatError::new(ANY, 0, Problem::Magic)),
            },
        }
    }
}

/// In the original's maps nothing is shared before the first snapshot: entries get generation 0.
fn legacy_root(size: u64, state: RootState, epoch: u64) -> Result<Root, FormatError> {
    check_size(size).map_err(|_| FormatError::value(HEADER, 8, "size", size))?;
    Ok(Root {
        id: VolumeId(0),
        size,
        block_size: LEGACY_BLOCK_SIZE,
        state,
        generation: Generation(epoch),
        shared_before: Generation(0),
        checkpoint: Checkpoint(0),
        shared_checkpoint: Checkpoint(0),
        log_sequence: LogSequence(0),
        partial_since: Generation(0),
        height: 0,
        top: None,
        last_request: RequestId::default(),
        created_by: RequestId::default(),
        created_unix_ms: 0,
        parent: None,
        moved_to: None,
        moved_from: None,
        is_legacy: true,
    })
}

fn decode_v2(bytes: &[u8]) -> Result<Root, FormatError> {
    let expected = size_of::<HeaderBytes>();
    let head = error::head(HEADER, bytes, expected)?;
    let header = HeaderBytes::read_from_bytes(head)
        .map_err(|_| FormatError::new(HEADER, 0, Problem::Length { found: head.len(), expected }))?;
    let flags = header.flags.get();
    let state = match flags {
        0 => RootState::Clean,
        FLAG_READ_ONLY => RootState::ReadOnly,
        // A deleted snapshot keeps its other flag.
        _ if flags & !FLAG_READ_ONLY == FLAG_DELETED => RootState::Deleted,
        _ => return Err(FormatError::value(HEADER, 20, "flags", u64::from(flags))),
    };
    let block_size = header.block_size.get();
    check_block_size(block_size)
        .map_err(|_| FormatError::value(HEADER, 16, "block size", u64::from(block_size)))?;
    let epoch = header.epoch.get();
    // Counting on from it must not overflow.
    if epoch > u64::MAX >> 2 {
        return Err(FormatError::value(HEADER, 24, "epoch", epoch));
    }
    Ok(Root { block_size, ..legacy_root(header.size.get(), state, epoch)? })
}

fn decode_v1(bytes: &[u8]) -> Result<Root, FormatError> {
    let head = error::head(HEADER, bytes, V1_HEADER_BYTES)?;
    let header = V1Header::read_from_bytes(head).map_err(|_| {
        FormatError::new(HEADER, 0, Problem::Length { found: head.len(), expected: V1_HEADER_BYTES })
    })?;
    legacy_root(header.size.get(), RootState::Clean, 1)
}

impl LegacyMap {
    /// Whether bytes begin as a map does that has a header: no table begins so.
    pub fn has_signature(bytes: &[u8]) -> bool {
        // The length of the first name in a table is at most 123, and 0 only if the entry says that there is none.
        bytes.starts_with(&MAGIC) || bytes.starts_with(&1u32.to_le_bytes())
    }

    /// How many leaves of ours the map has.
    pub fn leaf_count(&self) -> u64 {
        self.root.block_count().div_ceil(FANOUT as u64)
    }

    /// What to read for leaf `index`: the ranges' bytes, one after the other, are its entries.
    pub fn reads(&self, index: u64) -> Vec<ObjectRange> {
        let first = index.saturating_mul(FANOUT as u64).min(self.root.block_count());
        let count = (self.root.block_count() - first).min(FANOUT as u64);
        let one = |header: usize, entry: usize| {
            let (header, entry) = (header as u64, entry as u64);
            let offset = header.saturating_add(first.saturating_mul(entry));
            vec![ObjectRange { name: self.name.clone(), offset, length: Some(count * entry) }]
        };
        match self.version {
            LegacyVersion::V0 => one(0, HASH_BYTES),
            LegacyVersion::V1 => one(V1_HEADER_BYTES, V1_ENTRY_BYTES),
            LegacyVersion::V2 => self.table_reads(first, first + count),
        }
    }

    /// Tables are as long as blocks, so small blocks make many of them.
    fn table_reads(&self, first: u64, end: u64) -> Vec<ObjectRange> {
        let entry = TABLE_ENTRY_BYTES as u64;
        let per_table = u64::from(self.root.block_size) / entry;
        let mut ranges = Vec::new();
        let mut at = first;
        while at < end {
            let (table, inside) = (at / per_table, at % per_table);
            let count = (per_table - inside).min(end - at);
            if let Some(name) = ObjectName::new(format!("{}_{table:016x}", self.name)) {
                ranges.push(ObjectRange { name, offset: inside * entry, length: Some(count * entry) });
            }
            at += count;
        }
        ranges
    }

    /// Reads leaf `index` from the bytes of its [`LegacyMap::reads`].
    ///
    /// # Errors
    /// Where an entry is not what the original writes.
    pub fn decode_leaf(&self, index: u64, bytes: &[u8]) -> Result<Leaf, FormatError> {
        let first = index.saturating_mul(FANOUT as u64).min(self.root.block_count());
        let count = usize::try_from((self.root.block_count() - first).min(FANOUT as u64)).unwrap_or(FANOUT);
        let size = match self.version {
            LegacyVersion::V0 => HASH_BYTES,
            LegacyVersion::V1 => V1_ENTRY_BYTES,
            LegacyVersion::V2 => TABLE_ENTRY_BYTES,
        };
        if bytes.len() != count * size {
            let problem = Problem::Length { found: bytes.len(), expected: count * size };
            return Err(FormatError::new(TABLE, 0, problem));
        }
        let mut leaf = Leaf::default();
        for (slot, raw) in bytes.chunks_exact(size).enumerate() {
            let found = match self.version {
                LegacyVersion::V0 => decode_v0_entry(raw),
                LegacyVersion::V1 => decode_v1_entry(raw, slot * size)?,
                LegacyVersion::V2 => decode_v2_entry(raw, slot * size)?,
            };
            match found {
                Found::Hole => {}
                Found::End => break,
                Found::Block { name, writable } => {
                    leaf.set(slot, Entry::Named { name: &name, written_at: Generation(0), writable });
                }
            }
        }
        Ok(leaf)
    }

    /// The blocks of a leaf that the map has.
    pub fn leaf_blocks(&self, index: u64) -> std::ops::Range<BlockIndex> {
        let count = self.root.block_count();
        let at = |leaf: u64| BlockIndex(leaf.saturating_mul(FANOUT as u64).min(count));
        at(index)..at(index.saturating_add(1))
    }
}

enum Found {
    Hole,
    /// Nothing more is in the map.
    End,
    Block {
        name: String,
        writable: bool,
    },
}

fn hash_text(raw: &[u8]) -> String {
    raw.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_zero(raw: &[u8]) -> bool {
    raw.iter().all(|&byte| byte == 0)
}

fn decode_v0_entry(raw: &[u8]) -> Found {
    if is_zero(raw) {
        return Found::End;
    }
    let name = hash_text(raw);
    if name == ZERO_BLOCK { Found::Hole } else { Found::Block { name, writable: false } }
}

fn decode_v1_entry(raw: &[u8], offset: usize) -> Result<Found, FormatError> {
    let (flag, hash) = (raw[0], &raw[1..]);
    // The table was cut off: these blocks are lost, not holes.
    if is_zero(hash) {
        return Err(FormatError::new(TABLE, offset, Problem::Name("hash of a block")));
    }
    let hash = hash_text(hash);
    match flag {
        0 if hash == ZERO_BLOCK => Ok(Found::Hole),
        0 => Ok(Found::Block { name: hash, writable: false }),
        1 => Ok(Found::Block { name: format!("archip_{hash}"), writable: true }),
        flag => Err(FormatError::value(TABLE, offset, "flag of a block", u64::from(flag))),
    }
}

fn decode_v2_entry(raw: &[u8], offset: usize) -> Result<Found, FormatError> {
    let length = Problem::Length { found: raw.len(), expected: TABLE_ENTRY_BYTES };
    let entry = TableEntry::read_from_bytes(raw).map_err(|_| FormatError::new(TABLE, offset, length))?;
    if entry.flags & !(ENTRY_WRITABLE | ENTRY_OWNED | ENTRY_ZERO | ENTRY_DELETED) != 0 {
        return Err(FormatError::value(TABLE, offset, "flags of a block", u64::from(entry.flags)));
    }
    if entry.flags & (ENTRY_ZERO | ENTRY_DELETED) != 0 {
        return Ok(Found::Hole);
    }
    let wrong = || FormatError::new(TABLE, offset + 5, Problem::Name("name of a block"));
    let length = usize::try_from(entry.length.get()).unwrap_or(usize::MAX);
    let name = entry.name.get(..length).filter(|name| !name.is_empty()).ok_or_else(wrong)?;
    let name = std::str::from_utf8(name).map_err(|_| wrong())?;
    if name == ZERO_BLOCK {
        return Ok(Found::Hole);
    }
    Ok(Found::Block { name: name.to_owned(), writable: entry.flags & ENTRY_WRITABLE != 0 })
}

#[cfg(test)]
mod tests;
