//! Blocks that are written piece by piece over what a snapshot shares. The rules: docs/formats.md#partial-blocks

use super::{Map, Writability};
use crate::error::VolumeError;
use crate::log::Change;
use crate::name::{BlockIndex, Generation, ObjectName};

/// Most partial blocks of a volume at a time.
pub const PARTIAL_LIMIT: usize = 1024;

/// A block whose own object holds only the pieces that were written to it. The tree still names its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Which block.
    pub index: BlockIndex,
    /// The generation that names its own object.
    pub written_at: Generation,
    /// Its own object, which may not be there yet.
    pub name: ObjectName,
}

impl Map {
    /// Makes a shared block partial, and records it in the log. One that is partial stays as it is.
    ///
    /// # Errors
    /// [`VolumeError::Busy`] if the block is being allocated, [`VolumeError::Writable`] if it needs nothing,
    /// [`VolumeError::State`] if it is a hole, if there are [`PARTIAL_LIMIT`], or outside of a session; and as [`Map::entry`].
    pub fn make_partial(&mut self, index: BlockIndex) -> Result<Partial, VolumeError> {
        self.check_changing("make a block partial")?;
        if let Some(partial) = self.partial(index) {
            return Ok(partial);
        }
        let refuse = |reason| Err(VolumeError::State { action: "make a block partial", reason });
        match self.writability(index)? {
            Writability::Writable(_) => return Err(VolumeError::Writable(index)),
            Writability::Hole => return refuse("it is a hole"),
            Writability::Shared(_) => {}
        }
        if self.allocating.contains_key(&index) {
            return Err(VolumeError::Busy(index));
        }
        if self.partial.len() >= PARTIAL_LIMIT {
            return refuse("too many blocks are");
        }
        let written_at = self.now.generation;
        self.partial.insert(index, written_at);
        self.record(Change::Partial { index, written_at });
        Ok(self.named(index, written_at))
    }

    /// All pieces of a partial block are in its own object: from now on it is a block like others. False if it was not partial.
    ///
    /// # Errors
    /// [`VolumeError::NotLoaded`], [`VolumeError::State`]: it stays partial, try again.
    pub fn complete(&mut self, partial: &Partial) -> Result<bool, VolumeError> {
        if self.partial.get(&partial.index) != Some(&partial.written_at) {
            return Ok(false);
        }
        self.check_changing("complete a block")?;
        self.put(partial.index, partial.written_at)?;
        self.record(Change::Set { index: partial.index, written_at: partial.written_at });
        Ok(true)
    }

    /// The block's own object, if it is partial.
    pub fn partial(&self, index: BlockIndex) -> Option<Partial> {
        self.partial.get(&index).map(|&written_at| self.named(index, written_at))
    }

    /// All partial blocks, in order.
    pub fn partials(&self) -> Vec<Partial> {
        self.partial.iter().map(|(&index, &written_at)| self.named(index, written_at)).collect()
    }

    /// Whether any block is partial.
    pub fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    fn named(&self, index: BlockIndex, written_at: Generation) -> Partial {
        Partial { index, written_at, name: ObjectName::block(self.now.id, written_at, index) }
    }

    /// The changes that the first log after a checkpoint must begin with: the tree does not say them.
    pub(super) fn carried(&self) -> impl Iterator<Item = Change> {
        self.partial.iter().map(|(&index, &written_at)| Change::Partial { index, written_at })
    }

    /// The oldest generation that names a partial block's object.
    pub(super) fn partial_since(&self) -> Generation {
        self.partial.values().copied().min().unwrap_or_default()
    }

    /// Forgets that blocks of `range` are partial; says whether any was. Their objects are released.
    pub(super) fn drop_partial(&mut self, range: &std::ops::Range<u64>) -> bool {
        let gone: Vec<_> = self
            .partial
            .range(BlockIndex(range.start)..BlockIndex(range.end))
            .map(|(&i, &g)| (i, g))
            .collect();
        for (index, written_at) in &gone {
            self.partial.remove(index);
            self.released.own_block(*index, *written_at);
        }
        !gone.is_empty()
    }
}
