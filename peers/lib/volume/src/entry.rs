//! One line of a map. Layout: docs/formats.md#map-entry

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{self, FormatError};
use crate::name::{BlockIndex, Checkpoint, Generation, ObjectName, VolumeId};

/// Bytes of an entry at rest.
pub const ENTRY_BYTES: usize = size_of::<MapEntry>();

/// Flag of a named entry: the block may be written in place.
pub(crate) const FLAG_WRITABLE: u32 = 0x10;

const KIND_MASK: u32 = 0x0f;
const KIND_HOLE: u32 = 0;
const KIND_OBJECT: u32 = 1;
const KIND_NAMED: u32 = 2;
const KIND_NODE: u32 = 3;

/// One block of a volume in its map, as it lies in a node or a log record.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MapEntry {
    /// Generation that allocated the block, or checkpoint that wrote the node.
    pub written_at: U64,
    /// Volume that did, or where the name is in the node's tail.
    pub owner: U64,
    /// Kind and flags.
    pub flags: U32,
    /// CRC32C of the index and the first 20 bytes; a hole has none.
    pub checksum: U32,
}

const _: () = assert!(size_of::<MapEntry>() == 24);
const _: () = assert!(offset_of!(MapEntry, owner) == 8);
const _: () = assert!(offset_of!(MapEntry, flags) == 16);
const _: () = assert!(offset_of!(MapEntry, checksum) == 20);

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry<'a> {
    /// Nowhere: it reads zeros.
    Hole,
    /// In an object of ours, whose name these numbers and the index make.
    Object {
        /// The volume that allocated it.
        owner: VolumeId,
        /// The generation in which it did.
        written_at: Generation,
    },
    /// In an object with a name of its own: of the original, or from a block list.
    Named {
        /// The object.
        name: &'a str,
        /// Since when it is in the map.
        written_at: Generation,
        /// Whether it may be written in place while no snapshot sees it.
        writable: bool,
    },
}

impl Entry<'_> {
    /// The object that holds block `index`, if any does.
    pub fn object_name(&self, index: BlockIndex) -> Option<ObjectName> {
        match *self {
            Entry::Hole => None,
            Entry::Object { owner, written_at } => Some(ObjectName::block(owner, written_at, index)),
            Entry::Named { name, .. } => ObjectName::new(name),
        }
    }
}

/// An entry in memory: checked, in host order, a hole is all zeros. `owner` of a name is its place in the leaf's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Packed {
    pub(crate) written_at: u64,
    pub(crate) owner: u64,
    pub(crate) flags: u32,
}

const _: () = assert!(size_of::<Packed>() == 24);

/// What an entry in memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hole,
    Object,
    Named,
}

impl Packed {
    pub(crate) const HOLE: Self = Self { written_at: 0, owner: 0, flags: KIND_HOLE };

    pub(crate) fn object(owner: VolumeId, written_at: Generation) -> Self {
        Self { written_at: written_at.0, owner: owner.0, flags: KIND_OBJECT }
    }

    pub(crate) fn named(offset: u64, written_at: Generation, writable: bool) -> Self {
        let flags = KIND_NAMED | if writable { FLAG_WRITABLE } else { 0 };
        Self { written_at: written_at.0, owner: offset, flags }
    }

    pub(crate) fn kind(self) -> Kind {
        match self.flags & KIND_MASK {
            KIND_OBJECT => Kind::Object,
            KIND_NAMED => Kind::Named,
            _ => Kind::Hole,
        }
    }

    pub(crate) fn is_writable_name(self) -> bool {
        self.kind() == Kind::Named && self.flags & FLAG_WRITABLE != 0
    }
}

impl MapEntry {
    const HOLE: Self =
        Self { written_at: U64::ZERO, owner: U64::ZERO, flags: U32::ZERO, checksum: U32::ZERO };

    fn sealed(written_at: u64, owner: u64, flags: u32, index: u64) -> Self {
        let mut entry =
            Self { written_at: written_at.into(), owner: owner.into(), flags: flags.into(), ..Self::HOLE };
        entry.checksum = entry.sum(index).into();
        entry
    }

    fn sum(&self, index: u64) -> u32 {
        let seed = crc32c::crc32c(&index.to_le_bytes());
        crc32c::crc32c_append(seed, &self.as_bytes()[..offset_of!(MapEntry, checksum)])
    }

    fn is_zero(&self) -> bool {
        self.as_bytes().iter().all(|&byte| byte == 0)
    }

    pub(crate) fn encode(entry: Packed, index: BlockIndex) -> Self {
        match entry.kind() {
            Kind::Hole => Self::HOLE,
            Kind::Object | Kind::Named => Self::sealed(entry.written_at, entry.owner, entry.flags, index.0),
        }
    }

    /// Reads the entry of block `index`; `what` and `offset` say where it lies.
    pub(crate) fn decode(
        &self,
        index: BlockIndex,
        what: &'static str,
        offset: usize,
    ) -> Result<Packed, FormatError> {
        if self.is_zero() {
            return Ok(Packed::HOLE);
        }
        error::checksum(what, offset, self.sum(index.0), self.checksum.get())?;
        let entry =
            Packed { written_at: self.written_at.get(), owner: self.owner.get(), flags: self.flags.get() };
        match entry.flags {
            KIND_OBJECT | KIND_NAMED => Ok(entry),
            flags if flags == KIND_NAMED | FLAG_WRITABLE => Ok(entry),
            flags => Err(FormatError::value(what, offset, "flags of an entry", u64::from(flags))),
        }
    }

    pub(crate) fn encode_child(owner: VolumeId, checkpoint: Checkpoint, index: u64) -> Self {
        Self::sealed(checkpoint.0, owner.0, KIND_NODE, index)
    }

    /// Reads the entry of child `index`: who wrote it and when, if there is one.
    pub(crate) fn decode_child(
        &self,
        index: u64,
        what: &'static str,
        offset: usize,
    ) -> Result<Option<(VolumeId, Checkpoint)>, FormatError> {
        if self.is_zero() {
            return Ok(None);
        }
        error::checksum(what, offset, self.sum(index), self.checksum.get())?;
        if self.flags.get() != KIND_NODE {
            return Err(FormatError::value(what, offset, "flags of a child", u64::from(self.flags.get())));
        }
        Ok(Some((VolumeId(self.owner.get()), Checkpoint(self.written_at.get()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_all_zeros() {
        let entry = MapEntry::encode(Packed::HOLE, BlockIndex(9));
        assert_eq!(entry.as_bytes(), &[0; ENTRY_BYTES]);
        assert_eq!(entry.decode(BlockIndex(9), "test", 0), Ok(Packed::HOLE));
    }

    #[test]
    fn an_entry_belongs_to_its_index() {
        let packed = Packed::object(VolumeId(5), Generation(6));
        let entry = MapEntry::encode(packed, BlockIndex(7));
        assert_eq!(entry.decode(BlockIndex(7), "test", 0), Ok(packed));
        assert!(entry.decode(BlockIndex(8), "test", 0).is_err());
    }

    #[test]
    fn a_child_is_no_block() {
        let child = MapEntry::encode_child(VolumeId(5), Checkpoint(6), 7);
        assert_eq!(child.decode_child(7, "test", 0), Ok(Some((VolumeId(5), Checkpoint(6)))));
        assert!(child.decode(BlockIndex(7), "test", 0).is_err());
        let block = MapEntry::encode(Packed::object(VolumeId(5), Generation(6)), BlockIndex(7));
        assert!(block.decode_child(7, "test", 0).is_err());
    }

    #[test]
    fn unknown_flags_are_refused() {
        for flags in [KIND_OBJECT | FLAG_WRITABLE, 4, 0x20 | KIND_OBJECT, u32::MAX] {
            assert!(MapEntry::sealed(1, 2, flags, 3).decode(BlockIndex(3), "test", 0).is_err(), "{flags:#x}");
        }
    }
}
