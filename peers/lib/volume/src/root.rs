//! The root of a map: the object that is named as the volume. Layout: docs/formats.md#map-root

use crate::error::VolumeError;
use crate::log::{BootId, LogChain};
use crate::name::{Checkpoint, Generation, LogSequence, ObjectName, ParsedName, VolumeId};
use crate::node::{NodeKey, NodeRef};

mod format;
#[cfg(test)]
mod tests;

use format::NAME_BYTES;
pub use format::ROOT_BYTES;

/// Smallest block, in bytes: below it a table of the original has no entry.
pub const BLOCK_SIZE_MIN: u32 = 256;
/// Largest block, in bytes.
pub const BLOCK_SIZE_MAX: u32 = 1 << 30;
/// Largest volume, in bytes.
pub const SIZE_MAX: u64 = 1 << 63;
/// How far a session's counters may run ahead of its root, so that the next one, after a bad end, starts beyond all of them.
pub const SESSION_SPAN: u64 = 1 << 20;
/// The first bytes of a root, and of the original's version 2.
pub const MAGIC: [u8; 4] = *b"AMF.";

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
    /// The oldest generation that names a block which is partial; 0: none is. The logs say which are.
    pub partial_since: Generation,
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
    /// The name it had before, while an intent to rename it may still be there.
    pub moved_from: Option<ObjectName>,
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

/// A root has room for any volume's name, not for any object's.
fn check_name(name: &ObjectName) -> Result<(), VolumeError> {
    if name.as_bytes().len() <= NAME_BYTES {
        return Ok(());
    }
    Err(VolumeError::Name { name: name.to_string(), rule: "a root has room for 254 bytes" })
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
            partial_since: Generation(0),
            height: 0,
            top: None,
            last_request: new.created_by,
            created_by: new.created_by,
            created_unix_ms: new.created_unix_ms,
            parent: None,
            moved_to: None,
            moved_from: None,
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
        check_name(parent)?;
        let blank = Self::blank(new, self.block_size)?;
        Ok(Self { height: self.height, top: self.top, parent: Some(parent.clone()), ..blank })
    }

    /// The snapshot of this volume, called `parent`, as its last checkpoint left it. If it is being changed, ask this of
    /// [`crate::Map::root`] right after that checkpoint: what was logged since is not in it.
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
        check_name(parent)?;
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
            partial_since: Generation(0),
            last_request: created_by,
            created_by,
            created_unix_ms,
            parent: Some(parent.clone()),
            moved_to: None,
            moved_from: None,
            ..self.clone()
        })
    }

    /// What is left of the volume when it is deleted.
    pub fn tombstone(&self, cause: RequestId) -> Self {
        let settled = self.settled();
        Self {
            state: RootState::Deleted,
            partial_since: Generation(0),
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
        check_name(to)?;
        if !matches!(self.state, RootState::Clean | RootState::ReadOnly) {
            return Err(VolumeError::State { action: "rename", reason: "its session must close first" });
        }
        Ok(Self { moved_to: Some(to.clone()), last_request: cause, ..self.clone() })
    }

    /// The second step: the volume, called `from` until now, under its new name.
    ///
    /// # Errors
    /// [`VolumeError::Name`] if a root has no room for `from`.
    pub fn renamed(&self, from: &ObjectName, cause: RequestId) -> Result<Self, VolumeError> {
        check_name(from)?;
        let generation = Generation(self.generation.0 + 1);
        let moved_from = Some(from.clone());
        Ok(Self { generation, last_request: cause, moved_to: None, moved_from, ..self.clone() })
    }

    /// The last step: what is left under the old name.
    pub fn moved(&self, to: &ObjectName, cause: RequestId) -> Self {
        let tombstone = self.tombstone(cause);
        Self { state: RootState::Moved, moved_to: Some(to.clone()), ..tombstone }
    }

    /// Whether this volume went on as `there`, which lies under the name that it was to get.
    pub fn went_on_as(&self, there: &Root) -> bool {
        // Snapshots have no id of their own: they are told apart by what made them.
        let same = |root: &Root| (root.id, root.created_by, root.created_unix_ms);
        // What it was before it came here is no later.
        same(self) == same(there) && there.generation > self.generation
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

    /// Whether nobody but this volume can refer to an object of the tree or the logs, so that its deletion may delete it.
    pub fn owns(&self, name: &ParsedName) -> bool {
        match *name {
            ParsedName::Block { owner, written_at, .. } => {
                owner == self.id && written_at >= self.shared_before
            }
            ParsedName::Node { owner, checkpoint, .. } => {
                owner == self.id && checkpoint > self.shared_checkpoint
            }
            ParsedName::Log { owner, .. } => owner == self.id,
            ParsedName::Id(_)
            | ParsedName::LegacyBlock { .. }
            | ParsedName::LegacyTable { .. }
            | ParsedName::Other => false,
        }
    }

    /// The logs to replay before the map is what it was. `boot` is that of this machine, now.
    pub fn logs(&self, boot: BootId) -> LogChain {
        let first = (self.state == RootState::Changing).then_some(self.log_sequence);
        LogChain::new(self.id, first, boot)
    }

    /// The oldest generation that may name a block which only the logs know.
    fn logged_since(&self) -> Generation {
        match self.partial_since {
            Generation(0) => self.generation,
            oldest => oldest.min(self.generation),
        }
    }

    /// Whether an object of this volume may be in use without being in its tree yet: a collector leaves it alone. What is
    /// only in the logs is among it.
    pub fn protects(&self, name: &ParsedName) -> bool {
        match *name {
            ParsedName::Block { owner, written_at, .. } => {
                owner == self.id && self.state.is_live() && written_at >= self.logged_since()
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
