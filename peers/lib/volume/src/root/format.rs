//! The bytes of a root. Layout: docs/formats.md#map-root

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian};

use super::{MAGIC, RequestId, Root, RootState, check_block_size, check_size};
use crate::error::{self, FormatError, Problem};
use crate::name::{Checkpoint, Generation, LogSequence, ObjectName, VolumeId};
use crate::node::{HEIGHT_MAX, NodeRef};

/// Bytes of a root object.
pub const ROOT_BYTES: usize = size_of::<RootBytes>();
/// Largest number that a counter of a root may have reached.
const COUNTER_MAX: u64 = 1 << 62;

const VERSION: u32 = 3;
const WHAT: &str = "map root";
const FLAG_READ_ONLY: u32 = 1;
const FLAG_DELETED: u32 = 2;
const FLAG_MOVED: u32 = 4;
const FLAG_CHANGING: u32 = 8;
/// Longest name in a root, in bytes.
pub(super) const NAME_BYTES: usize = 254;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NameField {
    length: U16,
    bytes: [u8; NAME_BYTES],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RootBytes {
    magic: [u8; 4],
    version: big_endian::U32,
    length: U32,
    checksum: U32,
    id: U64,
    size: U64,
    block_size: U32,
    flags: U32,
    generation: U64,
    shared_before: U64,
    checkpoint: U64,
    shared_checkpoint: U64,
    log_sequence: U64,
    top_owner: U64,
    top_checkpoint: U64,
    top_checksum: U32,
    height: U32,
    last_request: [u8; 32],
    created_by: [u8; 32],
    created_unix_ms: U64,
    parent: NameField,
    moved_to: NameField,
    moved_from: NameField,
    partial_since: U64,
    reserved: [u8; 72],
}

const _: () = assert!(size_of::<RootBytes>() == 1024);
const _: () = assert!(offset_of!(RootBytes, id) == 16);
const _: () = assert!(offset_of!(RootBytes, generation) == 40);
const _: () = assert!(offset_of!(RootBytes, log_sequence) == 72);
const _: () = assert!(offset_of!(RootBytes, height) == 100);
const _: () = assert!(offset_of!(RootBytes, last_request) == 104);
const _: () = assert!(offset_of!(RootBytes, parent) == 176);
const _: () = assert!(offset_of!(RootBytes, moved_to) == 432);
const _: () = assert!(offset_of!(RootBytes, moved_from) == 688);
const _: () = assert!(offset_of!(RootBytes, partial_since) == 944);

impl RootState {
    fn flags(self) -> u32 {
        match self {
            Self::Clean => 0,
            Self::Changing => FLAG_CHANGING,
            Self::ReadOnly => FLAG_READ_ONLY,
            Self::Deleted => FLAG_DELETED,
            Self::Moved => FLAG_DELETED | FLAG_MOVED,
        }
    }

    fn from_flags(flags: u32) -> Option<Self> {
        [Self::Clean, Self::Changing, Self::ReadOnly, Self::Deleted, Self::Moved]
            .into_iter()
            .find(|state| state.flags() == flags)
    }
}

impl Root {
    /// The bytes of the root object, 1024.
    pub fn encode(&self) -> Vec<u8> {
        let top = self.top.unwrap_or(NodeRef { owner: VolumeId(0), checkpoint: Checkpoint(0), checksum: 0 });
        let mut bytes = RootBytes {
            magic: MAGIC,
            version: VERSION.into(),
            length: 1024.into(),
            checksum: U32::ZERO,
            id: self.id.0.into(),
            size: self.size.into(),
            block_size: self.block_size.into(),
            flags: self.state.flags().into(),
            generation: self.generation.0.into(),
            shared_before: self.shared_before.0.into(),
            checkpoint: self.checkpoint.0.into(),
            shared_checkpoint: self.shared_checkpoint.0.into(),
            log_sequence: self.log_sequence.0.into(),
            top_owner: top.owner.0.into(),
            top_checkpoint: top.checkpoint.0.into(),
            top_checksum: top.checksum.into(),
            height: u32::from(self.height).into(),
            last_request: self.last_request.0,
            created_by: self.created_by.0,
            created_unix_ms: self.created_unix_ms.into(),
            parent: NameField::encode(self.parent.as_ref()),
            moved_to: NameField::encode(self.moved_to.as_ref()),
            moved_from: NameField::encode(self.moved_from.as_ref()),
            partial_since: self.partial_since.0.into(),
            reserved: [0; 72],
        };
        bytes.checksum = root_sum(bytes.as_bytes()).into();
        bytes.as_bytes().to_vec()
    }

    /// Reads a root object of ours.
    ///
    /// # Errors
    /// Says which field is not what a writer of version 3 writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let head = error::head(WHAT, bytes, ROOT_BYTES)?;
        let length = |found| FormatError::new(WHAT, 8, Problem::Length { found, expected: ROOT_BYTES });
        let raw = RootBytes::read_from_bytes(head).map_err(|_| length(head.len()))?;
        if raw.magic != MAGIC {
            return Err(FormatError::new(WHAT, 0, Problem::Magic));
        }
        if raw.version.get() != VERSION {
            return Err(FormatError::new(WHAT, 4, Problem::Version(raw.version.get())));
        }
        if raw.length.get() as usize != ROOT_BYTES {
            return Err(length(raw.length.get() as usize));
        }
        // A store may give more than the object has; zeros then.
        error::zeros(WHAT, bytes, ROOT_BYTES..bytes.len())?;
        error::checksum(WHAT, 12, root_sum(head), raw.checksum.get())?;
        error::zeros(WHAT, head, offset_of!(RootBytes, reserved)..ROOT_BYTES)?;
        raw.checked()
    }
}

/// Of everything but the checksum itself.
fn root_sum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..ROOT_BYTES])
}

impl RootBytes {
    fn checked(&self) -> Result<Root, FormatError> {
        let root = Root {
            id: VolumeId(self.id.get()),
            size: self.size.get(),
            block_size: self.block_size.get(),
            state: self.state()?,
            generation: Generation(self.generation.get()),
            shared_before: Generation(self.shared_before.get()),
            checkpoint: Checkpoint(self.checkpoint.get()),
            shared_checkpoint: Checkpoint(self.shared_checkpoint.get()),
            log_sequence: LogSequence(self.log_sequence.get()),
            partial_since: Generation(self.partial_since.get()),
            height: self.height()?,
            top: self.top(),
            last_request: RequestId(self.last_request),
            created_by: RequestId(self.created_by),
            created_unix_ms: self.created_unix_ms.get(),
            parent: self.parent.decode(offset_of!(RootBytes, parent), "name of the parent")?,
            moved_to: self.moved_to.decode(offset_of!(RootBytes, moved_to), "name moved to")?,
            moved_from: self.moved_from.decode(offset_of!(RootBytes, moved_from), "name moved from")?,
            is_legacy: false,
        };
        self.check_counters()?;
        if check_size(root.size).is_err() {
            return Err(FormatError::value(WHAT, 24, "size", root.size));
        }
        if check_block_size(root.block_size).is_err() {
            return Err(FormatError::value(WHAT, 32, "block size", u64::from(root.block_size)));
        }
        Ok(root)
    }

    /// Counting on never overflows, and nothing is shared that was not counted yet.
    fn check_counters(&self) -> Result<(), FormatError> {
        let (generation, checkpoint) = (self.generation.get(), self.checkpoint.get());
        let counters = [
            (40, "generation", generation, COUNTER_MAX),
            (48, "shared before", self.shared_before.get(), generation),
            (56, "checkpoint", checkpoint, COUNTER_MAX),
            (64, "shared checkpoint", self.shared_checkpoint.get(), checkpoint),
            (944, "partial since", self.partial_since.get(), generation),
            (72, "log sequence", self.log_sequence.get(), COUNTER_MAX),
        ];
        match counters.into_iter().find(|&(_, _, found, most)| found > most) {
            Some((offset, field, found, _)) => Err(FormatError::value(WHAT, offset, field, found)),
            None => Ok(()),
        }
    }

    fn state(&self) -> Result<RootState, FormatError> {
        let flags = self.flags.get();
        RootState::from_flags(flags).ok_or(FormatError::value(
            WHAT,
            offset_of!(RootBytes, flags),
            "flags",
            u64::from(flags),
        ))
    }

    fn height(&self) -> Result<u8, FormatError> {
        let wrong = || FormatError::value(WHAT, 100, "height", u64::from(self.height.get()));
        let height = u8::try_from(self.height.get()).map_err(|_| wrong())?;
        if height > HEIGHT_MAX { Err(wrong()) } else { Ok(height) }
    }

    fn top(&self) -> Option<NodeRef> {
        (self.height.get() != 0).then_some(NodeRef {
            owner: VolumeId(self.top_owner.get()),
            checkpoint: Checkpoint(self.top_checkpoint.get()),
            checksum: self.top_checksum.get(),
        })
    }
}

impl NameField {
    fn encode(name: Option<&ObjectName>) -> Self {
        let mut field = Self { length: U16::ZERO, bytes: [0; NAME_BYTES] };
        // Longer ones were refused when they came in.
        let name = name.map_or(&[][..], ObjectName::as_bytes);
        let length = name.len().min(NAME_BYTES);
        field.bytes[..length].copy_from_slice(&name[..length]);
        field.length = u16::try_from(length).expect("254 fits").into();
        field
    }

    fn decode(&self, offset: usize, what: &'static str) -> Result<Option<ObjectName>, FormatError> {
        let length = usize::from(self.length.get());
        let wrong = FormatError::new(WHAT, offset, Problem::Name(what));
        let Some(name) = self.bytes.get(..length) else { return Err(wrong) };
        if self.bytes[length..].iter().any(|&byte| byte != 0) {
            return Err(wrong);
        }
        let name = std::str::from_utf8(name).map_err(|_| wrong)?;
        Ok(ObjectName::new(name))
    }
}
