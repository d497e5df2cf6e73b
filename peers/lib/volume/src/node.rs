//! A node of a map: 512 entries in an object that is written once. Layout: docs/formats.md#map-node

use std::fmt;
use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::entry::{ENTRY_BYTES, Entry, Kind, MapEntry, Packed};
use crate::error::{self, FormatError, Problem};
use crate::name::{BlockIndex, Checkpoint, Generation, OBJECT_NAME_MAX, ObjectName, VolumeId};

/// Entries of a node.
pub const FANOUT: usize = 512;
/// Bits of a block's index that each level resolves.
pub(crate) const FANOUT_BITS: u32 = 9;
/// Levels of the tallest tree: it covers more blocks than any volume has.
pub const HEIGHT_MAX: u8 = 7;
/// Longest node object, in bytes: a leaf full of the longest names.
pub const NODE_BYTES_MAX: usize = NAMES_AT + FANOUT * (2 + OBJECT_NAME_MAX);

const MAGIC: [u8; 4] = *b"AMN3";
const VERSION: u32 = 3;
const WHAT: &str = "map node";
const ENTRIES_AT: usize = size_of::<NodeHeader>();
const NAMES_AT: usize = ENTRIES_AT + FANOUT * ENTRY_BYTES;
const SUMS_AT: usize = NAMES_AT;
const INNER_BYTES: usize = SUMS_AT + FANOUT * 4;
const SUMMED_FROM: usize = offset_of!(NodeHeader, level);

/// First bytes of a node object.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NodeHeader {
    magic: [u8; 4],
    version: U32,
    length: U32,
    checksum: U32,
    level: U32,
    entry_count: U32,
    index: U64,
    tail_bytes: U32,
    reserved: [u8; 28],
}

const _: () = assert!(size_of::<NodeHeader>() == 64);
const _: () = assert!(offset_of!(NodeHeader, level) == 16);
const _: () = assert!(offset_of!(NodeHeader, index) == 24);
const _: () = assert!(offset_of!(NodeHeader, reserved) == 36);

/// Which node object: who wrote it, when, and the CRC32C of all its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// The volume that wrote it.
    pub owner: VolumeId,
    /// The checkpoint in which it did.
    pub checkpoint: Checkpoint,
    /// CRC32C of the whole object.
    pub checksum: u32,
}

/// A node at its place in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey {
    /// 0 is a leaf.
    pub level: u8,
    /// The node's place in its level: covers blocks from `index * 512^(level+1)`.
    pub index: u64,
    /// The object, or `None` for a leaf that lies in a table of the original.
    pub stored: Option<NodeRef>,
}

impl NodeKey {
    /// The object to read, unless the leaf lies in a table of the original.
    pub fn name(&self) -> Option<ObjectName> {
        self.stored.map(|at| ObjectName::node(at.owner, at.checkpoint, self.level, self.index))
    }

    /// The blocks that the node covers, as far as a number can say it.
    pub fn blocks(&self) -> std::ops::Range<BlockIndex> {
        let first = u128::from(self.index) * coverage(self.level);
        let clamp = |at: u128| BlockIndex(u64::try_from(at).unwrap_or(u64::MAX));
        clamp(first)..clamp(first + coverage(self.level))
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => name.fmt(f),
            None => write!(f, "{} of the block table", self.index),
        }
    }
}

/// Blocks under a node of `level`.
pub(crate) fn coverage(level: u8) -> u128 {
    1 << (FANOUT_BITS * (u32::from(level) + 1))
}

/// A node's bytes, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Level 0: where 512 blocks are.
    Leaf(Leaf),
    /// Above: where 512 nodes are.
    Inner(Box<[Option<NodeRef>]>),
}

impl Node {
    /// Reads the node that `key` refers to from all of its object's bytes.
    ///
    /// # Errors
    /// Where the bytes differ from what was written at `key`.
    pub fn decode(key: &NodeKey, bytes: &[u8]) -> Result<Self, FormatError> {
        if let Some(stored) = key.stored {
            error::checksum(WHAT, 0, crc32c::crc32c(bytes), stored.checksum)?;
        }
        let tail_bytes = check_header(key, bytes)?;
        if key.level == 0 {
            return Leaf::decode(key.index, bytes, tail_bytes).map(Node::Leaf);
        }
        decode_inner(key.index, bytes, tail_bytes).map(Node::Inner)
    }
}

fn check_header(key: &NodeKey, bytes: &[u8]) -> Result<usize, FormatError> {
    let head = error::head(WHAT, bytes, size_of::<NodeHeader>())?;
    let header = NodeHeader::read_from_bytes(head)
        .map_err(|_| FormatError::new(WHAT, 0, Problem::Length { found: head.len(), expected: 64 }))?;
    if header.magic != MAGIC {
        return Err(FormatError::new(WHAT, 0, Problem::Magic));
    }
    if header.version.get() != VERSION {
        return Err(FormatError::new(WHAT, 4, Problem::Version(header.version.get())));
    }
    let expected = header.length.get() as usize;
    if bytes.len() != expected {
        return Err(FormatError::new(WHAT, 8, Problem::Length { found: bytes.len(), expected }));
    }
    error::checksum(WHAT, 12, crc32c::crc32c(&bytes[SUMMED_FROM..]), header.checksum.get())?;
    if header.level.get() != u32::from(key.level) {
        return Err(FormatError::value(WHAT, 16, "level", u64::from(header.level.get())));
    }
    if header.entry_count.get() as usize != FANOUT {
        return Err(FormatError::value(WHAT, 20, "entry count", u64::from(header.entry_count.get())));
    }
    if header.index.get() != key.index {
        return Err(FormatError::value(WHAT, 24, "index", header.index.get()));
    }
    error::zeros(WHAT, bytes, offset_of!(NodeHeader, reserved)..size_of::<NodeHeader>())?;
    Ok(header.tail_bytes.get() as usize)
}

fn check_length(bytes: &[u8], expected: usize) -> Result<(), FormatError> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(FormatError::new(WHAT, 32, Problem::Length { found: bytes.len(), expected }))
}

fn entry_at(bytes: &[u8], slot: usize) -> Result<(MapEntry, usize), FormatError> {
    let offset = ENTRIES_AT + slot * ENTRY_BYTES;
    let raw = &bytes[offset..offset + ENTRY_BYTES];
    let entry = MapEntry::read_from_bytes(raw).map_err(|_| {
        FormatError::new(WHAT, offset, Problem::Length { found: raw.len(), expected: ENTRY_BYTES })
    })?;
    Ok((entry, offset))
}

fn decode_inner(index: u64, bytes: &[u8], tail_bytes: usize) -> Result<Box<[Option<NodeRef>]>, FormatError> {
    if tail_bytes != 0 {
        return Err(FormatError::value(WHAT, 32, "tail bytes", tail_bytes as u64));
    }
    check_length(bytes, INNER_BYTES)?;
    let mut children = Vec::with_capacity(FANOUT);
    for slot in 0..FANOUT {
        let (entry, offset) = entry_at(bytes, slot)?;
        let child = entry.decode_child(child_index(index, slot), WHAT, offset)?;
        let sum_at = SUMS_AT + slot * 4;
        let mut sum = [0; 4];
        sum.copy_from_slice(&bytes[sum_at..sum_at + 4]);
        let checksum = u32::from_le_bytes(sum);
        if child.is_none() && checksum != 0 {
            return Err(FormatError::value(WHAT, sum_at, "checksum of no child", u64::from(checksum)));
        }
        children.push(child.map(|(owner, checkpoint)| NodeRef { owner, checkpoint, checksum }));
    }
    Ok(children.into_boxed_slice())
}

/// The place of child `slot` of node `index` in the level below, or of a leaf's block in the volume.
pub(crate) fn child_index(index: u64, slot: usize) -> u64 {
    // Wraps only for a node beyond every volume, whose checksum no writer made.
    index.wrapping_mul(FANOUT as u64).wrapping_add(slot as u64)
}

fn seal(level: u8, index: u64, tail_bytes: usize, mut bytes: Vec<u8>) -> (Vec<u8>, u32) {
    let small = |n: usize| U32::new(u32::try_from(n).expect("a node is smaller than 4 GiB"));
    let mut header = NodeHeader {
        magic: MAGIC,
        version: VERSION.into(),
        length: small(bytes.len()),
        checksum: U32::ZERO,
        level: u32::from(level).into(),
        entry_count: small(FANOUT),
        index: index.into(),
        tail_bytes: small(tail_bytes),
        reserved: [0; 28],
    };
    bytes[..ENTRIES_AT].copy_from_slice(header.as_bytes());
    header.checksum = crc32c::crc32c(&bytes[SUMMED_FROM..]).into();
    bytes[..ENTRIES_AT].copy_from_slice(header.as_bytes());
    let checksum = crc32c::crc32c(&bytes);
    (bytes, checksum)
}

/// The bytes of an inner node, and their CRC32C.
pub(crate) fn encode_inner(
    level: u8,
    index: u64,
    children: impl Iterator<Item = Option<NodeRef>>,
) -> (Vec<u8>, u32) {
    let mut bytes = vec![0; INNER_BYTES];
    for (slot, child) in children.enumerate() {
        let Some(child) = child else { continue };
        let entry = MapEntry::encode_child(child.owner, child.checkpoint, child_index(index, slot));
        let at = ENTRIES_AT + slot * ENTRY_BYTES;
        bytes[at..at + ENTRY_BYTES].copy_from_slice(entry.as_bytes());
        let at = SUMS_AT + slot * 4;
        bytes[at..at + 4].copy_from_slice(&child.checksum.to_le_bytes());
    }
    seal(level, index, 0, bytes)
}

/// Where 512 blocks are: 24 bytes each, names of strangers behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    entries: Box<[Packed]>,
    /// Each name as its length in 16 bits and its bytes, found by its offset.
    names: Vec<u8>,
}

impl Default for Leaf {
    fn default() -> Self {
        Self { entries: vec![Packed::HOLE; FANOUT].into_boxed_slice(), names: Vec::new() }
    }
}

impl Leaf {
    /// The entry in `slot`, from 0 to 511.
    pub fn get(&self, slot: usize) -> Entry<'_> {
        let packed = self.entries[slot];
        match packed.kind() {
            Kind::Hole => Entry::Hole,
            Kind::Object => {
                Entry::Object { owner: VolumeId(packed.owner), written_at: Generation(packed.written_at) }
            }
            Kind::Named => Entry::Named {
                name: read_name(&self.names, packed.owner).expect("checked when it came in"),
                written_at: Generation(packed.written_at),
                writable: packed.is_writable_name(),
            },
        }
    }

    /// Puts `entry` in `slot`. A name is copied.
    ///
    /// # Panics
    /// If a name is empty or longer than 256 bytes: an [`ObjectName`] never is.
    pub(crate) fn set(&mut self, slot: usize, entry: Entry<'_>) {
        self.entries[slot] = match entry {
            Entry::Hole => Packed::HOLE,
            Entry::Object { owner, written_at } => Packed::object(owner, written_at),
            Entry::Named { name, written_at, writable } => {
                let offset = push_name(&mut self.names, name);
                Packed::named(offset, written_at, writable)
            }
        };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.kind() == Kind::Hole)
    }

    fn decode(index: u64, bytes: &[u8], tail_bytes: usize) -> Result<Self, FormatError> {
        check_length(bytes, NAMES_AT.saturating_add(tail_bytes))?;
        let names = bytes[NAMES_AT..].to_vec();
        let mut entries = Vec::with_capacity(FANOUT);
        for slot in 0..FANOUT {
            let (entry, offset) = entry_at(bytes, slot)?;
            let packed = entry.decode(BlockIndex(child_index(index, slot)), WHAT, offset)?;
            if packed.kind() == Kind::Named && read_name(&names, packed.owner).is_none() {
                return Err(FormatError::new(WHAT, offset, Problem::Name("name of a block")));
            }
            entries.push(packed);
        }
        Ok(Self { entries: entries.into_boxed_slice(), names })
    }

    /// The bytes of the leaf, and their CRC32C. Names that no entry uses any more are left out.
    pub(crate) fn encode(&self, index: u64) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; NAMES_AT];
        let mut names = Vec::new();
        for (slot, &packed) in self.entries.iter().enumerate() {
            let mut packed = packed;
            if packed.kind() == Kind::Named {
                let name = read_name(&self.names, packed.owner).expect("checked when it came in");
                packed.owner = push_name(&mut names, name);
            }
            let entry = MapEntry::encode(packed, BlockIndex(child_index(index, slot)));
            let at = ENTRIES_AT + slot * ENTRY_BYTES;
            bytes[at..at + ENTRY_BYTES].copy_from_slice(entry.as_bytes());
        }
        bytes.extend_from_slice(&names);
        seal(0, index, names.len(), bytes)
    }
}

fn read_name(names: &[u8], offset: u64) -> Option<&str> {
    let at = usize::try_from(offset).ok()?;
    let after = at.checked_add(2)?;
    let length = names.get(at..after)?;
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let name = names.get(after..after.checked_add(length)?)?;
    (1..=OBJECT_NAME_MAX).contains(&length).then_some(())?;
    std::str::from_utf8(name).ok()
}

fn push_name(names: &mut Vec<u8>, name: &str) -> u64 {
    assert!((1..=OBJECT_NAME_MAX).contains(&name.len()), "an object name has 1 to 256 bytes");
    let offset = names.len() as u64;
    let length = u16::try_from(name.len()).expect("256 fits");
    names.extend_from_slice(&length.to_le_bytes());
    names.extend_from_slice(name.as_bytes());
    offset
}

#[cfg(test)]
mod tests;
