//! The root of a map: the object that is named as the volume. Layout: docs/formats.md#map-root

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian};

use crate::error::{self, FormatError, Problem, VolumeError};
use crate::log::{BootId, LogChain};
use crate::name::{Checkpoint, Generation, LogSequence, ObjectName, ParsedName, VolumeId};
use crate::node::{HEIGHT_MAX, NodeKey, NodeRef};

/// Bytes of a root object.
pub const ROOT_BYTES: usize = size_of::<RootBytes>();
/// Smallest block, in bytes: below it a table of the original has no entry.
pub const BLOCK_SIZE_MIN: u32 = 256;
/// Largest block, in bytes.
pub const BLOCK_SIZE_MAX: u32 = 1 << 30;
/// Largest volume, in bytes.
pub const SIZE_MAX: u64 = 1 << 63;
/// How far a session's counters may run ahead of its root, so that the next one, after a bad end, starts beyond all of them.
pub const SESSION_SPAN: u64 = 1 << 20;
/// Largest number that a counter of a root may have reached.
const COUNTER_MAX: u64 = 1 << 62;
/// The first bytes of a root, and of the original's version 2.
pub const MAGIC: [u8; 4] = *b"AMF.";

const VERSION: u32 = 3;
const WHAT: &str = "map root";
const FLAG_READ_ONLY: u32 = 1;
const FLAG_DELETED: u32 = 2;
const FLAG_MOVED: u32 = 4;
const FLAG_CHANGING: u32 = 8;
const NAME_BYTES: usize = 254;

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
    reserved: [u8; 336],
}

const _: () = assert!(size_of::<RootBytes>() == 1024);
const _: () = assert!(offset_of!(RootBytes, id) == 16);
const _: () = assert!(offset_of!(RootBytes, generation) == 40);
const _: () = assert!(offset_of!(RootBytes, log_sequence) == 72);
const _: () = assert!(offset_of!(RootBytes, height) == 100);
const _: () = assert!(offset_of!(RootBytes, last_request) == 104);
const _: () = assert!(offset_of!(RootBytes, parent) == 176);
const _: () = assert!(offset_of!(RootBytes, moved_to) == 432);
const _: () = assert!(offset_of!(RootBytes, reserved) == 688);

/// Which request changed a map: opaque here, all zeros for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RequestId(pub [u8; 32]);

/// What a volume is and where its map begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The volume's id; 0 for a snapshot, which never writes an object.
    pub id: VolumeId,
    /// Size in bytes.
    pub size: u64,
    /// Bytes of a block, a power of two.
    pub block_size: u32,
    /// What may be done with it.
    pub state: RootState,
    /// Names of new blocks carry it.
    pub generation: Generation,
    /// Entries older than this are shared with a snapshot.
    pub shared_before: Generation,
    /// The last checkpoint whose number may have been used.
    pub checkpoint: Checkpoint,
    /// Nodes written up to this checkpoint may be seen by snapshots.
    pub shared_checkpoint: Checkpoint,
    /// The last log whose number may have been used; while changing, the first one to replay.
    pub log_sequence: LogSequence,
    /// Levels of the tree, 0 if all blocks are holes.
    pub height: u8,
    /// The node on top, if `height` is not 0.
    pub top: Option<NodeRef>,
    /// What changed the volume last.
    pub last_request: RequestId,
    /// What created it.
    pub created_by: RequestId,
    /// When, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The volume it was made from: of a clone its snapshot, of a snapshot its volume.
    pub parent: Option<ObjectName>,
    /// Where it is being, or was, renamed to.
    pub moved_to: Option<ObjectName>,
    /// Whether the tree lies in tables of the original: such a root is never written, and nothing begins with it.
    pub(crate) is_legacy: bool,
}

/// What may be done with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootState {
    /// It can be changed; nobody was changing it when the root was written.
    Clean,
    /// A session changes it, or ended badly: its logs must be replayed.
    Changing,
    /// A snapshot, or an image that is only read.
    ReadOnly,
    /// It was deleted; what is left keeps its names from being used again.
    Deleted,
    /// It was renamed to `moved_to`; the id went along.
    Moved,
}

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

    /// Whether there is a volume at all.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Clean | Self::Changing | Self::ReadOnly)
    }
}

/// What a new volume is to be.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Freshly drawn and reserved, or that of the tombstone that it replaces.
    pub id: VolumeId,
    /// Size in bytes.
    pub size: u64,
    /// What creates it.
    pub created_by: RequestId,
    /// When, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The tombstone that lies under the name, if one does: its counters go on.
    pub replaces: Option<Root>,
}

/// Checks a volume's size in bytes.
///
/// # Errors
/// [`VolumeError::Size`] says the rule it breaks.
pub fn check_size(size: u64) -> Result<(), VolumeError> {
    let rule = "a volume has 1 to 2^63 bytes";
    if (1..=SIZE_MAX).contains(&size) {
        Ok(())
    } else {
        Err(VolumeError::Size { what: "size", value: size, rule })
    }
}

/// Checks a block size in bytes.
///
/// # Errors
/// [`VolumeError::Size`] says the rule it breaks.
pub fn check_block_size(block_size: u32) -> Result<(), VolumeError> {
    if block_size.is_power_of_two() && (BLOCK_SIZE_MIN..=BLOCK_SIZE_MAX).contains(&block_size) {
        return Ok(());
    }
    let rule = "a block has a power of two from 256 to 2^30 bytes";
    Err(VolumeError::Size { what: "block size", value: u64::from(block_size), rule })
}

impl Root {
    /// An empty volume.
    ///
    /// # Errors
    /// [`VolumeError::Size`] for a size or block size that cannot be.
    pub fn blank(new: NewVolume, block_size: u32) -> Result<Self, VolumeError> {
        check_size(new.size)?;
        check_block_size(block_size)?;
        let before = new.replaces.as_ref().filter(|old| old.id == new.id).map(Self::settled);
        let generation = Generation(before.as_ref().map_or(1, |old| old.generation.0 + 1));
        let checkpoint = before.as_ref().map_or(Checkpoint(0), |old| old.checkpoint);
        Ok(Self {
            id: new.id,
            size: new.size,
            block_size,
            state: RootState::Clean,
            generation,
            shared_before: generation,
            checkpoint,
            shared_checkpoint: checkpoint,
            log_sequence: before.as_ref().map_or(LogSequence(0), |old| old.log_sequence),
            height: 0,
            top: None,
            last_request: new.created_by,
            created_by: new.created_by,
            created_unix_ms: new.created_unix_ms,
            parent: None,
            moved_to: None,
            is_legacy: false,
        })
    }

    /// A volume that begins as this snapshot, called `parent`.
    ///
    /// # Errors
    /// [`VolumeError::State`] unless this is a snapshot; [`VolumeError::Size`] if `new` is smaller.
    pub fn clone_as(&self, new: NewVolume, parent: &ObjectName) -> Result<Self, VolumeError> {
        self.check_ours("clone")?;
        if self.state != RootState::ReadOnly {
            return Err(VolumeError::State { action: "clone", reason: "only a snapshot can be cloned" });
        }
        if new.size < self.size {
            let rule = "a clone is not smaller than its snapshot";
            return Err(VolumeError::Size { what: "size", value: new.size, rule });
        }
        let blank = Self::blank(new, self.block_size)?;
        Ok(Self { height: self.height, top: self.top, parent: Some(parent.clone()), ..blank })
    }

    /// The snapshot of this volume, called `parent`, as its last checkpoint left it.
    ///
    /// # Errors
    /// [`VolumeError::State`] unless that checkpoint shared the tree ([`crate::Purpose::Share`]).
    pub fn snapshot(
        &self,
        parent: &ObjectName,
        created_by: RequestId,
        created_unix_ms: u64,
    ) -> Result<Self, VolumeError> {
        self.check_ours("snapshot")?;
        let is_shared = self.checkpoint <= self.shared_checkpoint;
        let may = match self.state {
            RootState::Clean | RootState::Changing => is_shared,
            RootState::ReadOnly => true,
            RootState::Deleted | RootState::Moved => false,
        };
        if !may {
            return Err(VolumeError::State { action: "snapshot", reason: "the tree must be shared first" });
        }
        Ok(Self {
            id: VolumeId(0),
            state: RootState::ReadOnly,
            generation: Generation(0),
            shared_before: Generation(0),
            checkpoint: Checkpoint(0),
            shared_checkpoint: Checkpoint(0),
            log_sequence: LogSequence(0),
            last_request: created_by,
            created_by,
            created_unix_ms,
            parent: Some(parent.clone()),
            moved_to: None,
            ..self.clone()
        })
    }

    /// What is left of the volume when it is deleted.
    pub fn tombstone(&self, cause: RequestId) -> Self {
        let settled = self.settled();
        Self {
            state: RootState::Deleted,
            height: 0,
            top: None,
            last_request: cause,
            moved_to: None,
            is_legacy: false,
            ..settled
        }
    }

    /// The first step of renaming: the volume, which says that it may be `to` by now.
    ///
    /// # Errors
    /// [`VolumeError::State`] while it is being changed, or before a map of the original is upgraded.
    pub fn rename_intent(&self, to: &ObjectName, cause: RequestId) -> Result<Self, VolumeError> {
        self.check_ours("rename")?;
        if !matches!(self.state, RootState::Clean | RootState::ReadOnly) {
            return Err(VolumeError::State { action: "rename", reason: "its session must close first" });
        }
        Ok(Self { moved_to: Some(to.clone()), last_request: cause, ..self.clone() })
    }

    /// The second step: the volume under its new name.
    pub fn renamed(&self, cause: RequestId) -> Self {
        let generation = Generation(self.generation.0 + 1);
        Self { generation, last_request: cause, moved_to: None, ..self.clone() }
    }

    /// The last step: what is left under the old name.
    pub fn moved(&self, to: &ObjectName, cause: RequestId) -> Self {
        let tombstone = self.tombstone(cause);
        Self { state: RootState::Moved, moved_to: Some(to.clone()), ..tombstone }
    }

    fn check_ours(&self, action: &'static str) -> Result<(), VolumeError> {
        if self.is_legacy {
            return Err(VolumeError::State { action, reason: "the original's map must be upgraded first" });
        }
        Ok(())
    }

    /// The root with all numbers beyond those that a session that ended badly may have used.
    pub(crate) fn settled(&self) -> Self {
        if self.state != RootState::Changing {
            return self.clone();
        }
        Self {
            generation: Generation(self.generation.0 + SESSION_SPAN),
            checkpoint: Checkpoint(self.checkpoint.0 + SESSION_SPAN),
            log_sequence: LogSequence(self.log_sequence.0 + SESSION_SPAN),
            ..self.clone()
        }
    }

    /// How many blocks the volume has.
    pub fn block_count(&self) -> u64 {
        self.size.div_ceil(u64::from(self.block_size))
    }

    /// The top node's place, if there is one.
    pub fn top_key(&self) -> Option<NodeKey> {
        let level = self.height.checked_sub(1)?;
        Some(NodeKey { level, index: 0, stored: Some(self.top?) })
    }

    /// The logs to replay before the map is what it was. `boot` is that of this machine, now.
    pub fn logs(&self, boot: BootId) -> LogChain {
        let first = (self.state == RootState::Changing).then_some(self.log_sequence);
        LogChain::new(self.id, first, boot)
    }

    /// Whether an object of this volume may be in use without being in its map yet: a collector leaves it alone.
    pub fn protects(&self, name: &ParsedName) -> bool {
        match *name {
            ParsedName::Block { owner, written_at, .. } => {
                owner == self.id && self.state.is_live() && written_at >= self.generation
            }
            ParsedName::Node { owner, checkpoint, .. } => {
                owner == self.id && self.state.is_live() && checkpoint > self.checkpoint
            }
            ParsedName::Log { owner, sequence } => {
                owner == self.id && self.state.is_live() && sequence >= self.log_sequence
            }
            ParsedName::Id(id) => id == self.id,
            ParsedName::LegacyBlock { .. } | ParsedName::LegacyTable { .. } | ParsedName::Other => false,
        }
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
            reserved: [0; 336],
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
            height: self.height()?,
            top: self.top(),
            last_request: RequestId(self.last_request),
            created_by: RequestId(self.created_by),
            created_unix_ms: self.created_unix_ms.get(),
            parent: self.parent.decode(offset_of!(RootBytes, parent), "name of the parent")?,
            moved_to: self.moved_to.decode(offset_of!(RootBytes, moved_to), "name moved to")?,
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
        // The longest volume name of the original is 89 bytes; a longer object is no volume.
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
