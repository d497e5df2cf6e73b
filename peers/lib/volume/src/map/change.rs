//! Changes of a map, each recorded in its log.

use std::ops::Range;

use super::session::Session;
use super::{ALLOCATING_LIMIT, DIRTY_LIMIT, Map, WANTED_LIMIT, Wanted, Writability};
use crate::entry::Entry;
use crate::error::VolumeError;
use crate::log::{Change, LOG_LIMIT, LogChain};
use crate::name::{BlockIndex, Generation, ObjectName};
use crate::root::{Root, RootState, SESSION_SPAN, check_size};
use crate::tree::Reach;

/// A name for a block that cannot be written where it is. The map changes when it is [`Map::set`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Which block.
    pub index: BlockIndex,
    /// The object for it, which no block had before.
    pub name: ObjectName,
    /// What must be copied there first; nothing, if the block was a hole.
    pub source: Option<ObjectName>,
    written_at: Generation,
}

/// The part of a volume's last block that must read zeros before the size changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Which block.
    pub index: BlockIndex,
    /// Which bytes of it.
    pub range: Range<u64>,
    /// Whether it can be zeroed where it is, or must be allocated, copied and set first.
    pub access: Writability,
}

impl Map {
    /// Names a new object for block `index`. Nothing changes yet.
    ///
    /// # Errors
    /// [`VolumeError::Writable`] if it needs none, [`VolumeError::Busy`] if it is being allocated already or is partial,
    /// [`VolumeError::State`] outside of a session, or when a checkpoint is overdue; and as [`Map::entry`].
    pub fn allocate(&mut self, index: BlockIndex) -> Result<Allocation, VolumeError> {
        self.check_changing("allocate a block")?;
        let source = match self.writability(index)? {
            Writability::Writable(_) => return Err(VolumeError::Writable(index)),
            Writability::Shared(source) => Some(source),
            Writability::Hole => None,
        };
        if self.allocating.contains_key(&index) || self.partial.contains_key(&index) {
            return Err(VolumeError::Busy(index));
        }
        if self.allocating.len() >= ALLOCATING_LIMIT {
            let reason = "too many blocks are being allocated";
            return Err(VolumeError::State { action: "allocate a block", reason });
        }
        let written_at = self.now.generation;
        self.allocating.insert(index, written_at);
        Ok(Allocation { index, name: ObjectName::block(self.now.id, written_at, index), source, written_at })
    }

    /// Puts an allocated block in the map and records it in the log.
    ///
    /// # Errors
    /// [`VolumeError::Overtaken`] if a punch, shrink or snapshot came between: allocate again.
    /// [`VolumeError::NotLoaded`], [`VolumeError::State`]: the allocation stands, try again.
    pub fn set(&mut self, allocation: &Allocation) -> Result<(), VolumeError> {
        let index = allocation.index;
        if self.allocating.get(&index) != Some(&allocation.written_at) {
            return Err(VolumeError::Overtaken(index));
        }
        self.check_changing("set a block")?;
        self.put(index, allocation.written_at)?;
        self.allocating.remove(&index);
        self.record(Change::Set { index, written_at: allocation.written_at });
        Ok(())
    }

    /// The tree names the block's own object.
    pub(super) fn put(&mut self, index: BlockIndex, written_at: Generation) -> Result<(), VolumeError> {
        let entry = Entry::Object { owner: self.now.id, written_at };
        self.tree.set(index.0, entry).map_err(VolumeError::NotLoaded)?;
        self.partial.remove(&index);
        Ok(())
    }

    /// Gives an allocation up. Its name is not given again.
    ///
    /// # Errors
    /// [`VolumeError::State`] if a checkpoint is overdue: the allocation stands, try again.
    pub fn abandon(&mut self, allocation: &Allocation) -> Result<(), VolumeError> {
        if self.allocating.get(&allocation.index) != Some(&allocation.written_at) {
            return Ok(());
        }
        self.check_generation()?;
        self.allocating.remove(&allocation.index);
        self.now.generation.0 += 1;
        Ok(())
    }

    /// Makes holes of the blocks in `range`; says whether any was not one.
    ///
    /// # Errors
    /// [`VolumeError::NotLoaded`] for a node at the edge, [`VolumeError::State`]; nothing has changed then.
    pub fn punch(&mut self, range: &Range<BlockIndex>) -> Result<bool, VolumeError> {
        self.check_changing("punch blocks")?;
        self.check_generation()?;
        let range = self.clamp(range);
        if range.start >= range.end {
            return Ok(false);
        }
        let mut changed = self.drop_blocks(&range)?;
        changed |= self.drop_allocations(&range);
        if changed {
            self.now.generation.0 += 1;
            let count = range.end - range.start;
            self.record(Change::Punch { index: BlockIndex(range.start), count });
        }
        Ok(changed)
    }

    /// What must be zeroed before [`Map::resize`], so that what lies beyond the end never shows when the volume grows.
    ///
    /// # Errors
    /// [`VolumeError::Size`], [`VolumeError::NotLoaded`].
    pub fn tail_of_resize(&self, size: u64) -> Result<Option<Tail>, VolumeError> {
        check_size(size)?;
        let (end, block) = (size.min(self.now.size), u64::from(self.now.block_size));
        let start = end % block;
        if start == 0 || size == self.now.size {
            return Ok(None);
        }
        let index = BlockIndex(end / block);
        let access = self.writability(index)?;
        Ok((access != Writability::Hole).then_some(Tail { index, range: start..block, access }))
    }

    /// Nodes to load before [`Map::tail_of_resize`] and [`Map::resize`].
    pub fn wanted_for_resize(&mut self, size: u64) -> Vec<Wanted> {
        let last = size.min(self.now.size).saturating_sub(1) / u64::from(self.now.block_size);
        let mut keys = self.tree.wanted(&(last..last + 1), Reach::All, WANTED_LIMIT);
        if keys.is_empty() {
            keys = self.tree.wanted(&(self.blocks_of(size)..u64::MAX), Reach::Edges, WANTED_LIMIT);
        }
        self.with_reads(keys)
    }

    fn blocks_of(&self, size: u64) -> u64 {
        size.div_ceil(u64::from(self.now.block_size))
    }

    /// Changes the size to `size` bytes; blocks beyond it are dropped. Nothing else can change until it is checkpointed.
    ///
    /// # Errors
    /// [`VolumeError::Size`], [`VolumeError::NotLoaded`], [`VolumeError::State`]; nothing has changed then.
    pub fn resize(&mut self, size: u64) -> Result<(), VolumeError> {
        check_size(size)?;
        self.check_changing("resize")?;
        if self.flight.is_some() {
            return Err(VolumeError::State { action: "resize", reason: "a checkpoint is under way" });
        }
        self.check_generation()?;
        if size < self.now.size {
            let beyond = self.blocks_of(size)..u64::MAX;
            self.drop_blocks(&beyond)?;
            self.drop_allocations(&beyond);
            self.now.generation.0 += 1;
        }
        self.now.size = size;
        if let Session::Changing { resized, .. } = &mut self.session {
            *resized = true;
        }
        Ok(())
    }

    /// Puts a block with a name of its own in a map that is being built.
    ///
    /// # Errors
    /// [`VolumeError::State`] unless it is, [`VolumeError::OutOfRange`].
    pub fn fill(&mut self, index: BlockIndex, name: &ObjectName, writable: bool) -> Result<(), VolumeError> {
        if !matches!(self.session, Session::Building) {
            let reason = "only a map that is being built takes them";
            return Err(VolumeError::State { action: "fill in a named block", reason });
        }
        self.check_index(index)?;
        // Generation 0, like those of the original: older than anything a clone may write in place.
        let entry = Entry::Named { name: name.as_str(), written_at: Generation(0), writable };
        self.tree.set(index.0, entry).map_err(VolumeError::NotLoaded)
    }

    /// Nodes to load before [`Map::replay`].
    pub fn wanted_for_replay(&mut self, logs: &LogChain) -> Vec<Wanted> {
        let mut keys = Vec::new();
        for change in logs.changes() {
            let left = WANTED_LIMIT - keys.len();
            let more = match *change {
                // The tree is not touched.
                Change::Partial { .. } => Vec::new(),
                Change::Set { index, .. } => {
                    self.tree.wanted(&(index.0..index.0.saturating_add(1)), Reach::All, left)
                }
                Change::Punch { index, count } => {
                    self.tree.wanted(&(index.0..index.0.saturating_add(count)), Reach::Edges, left)
                }
            };
            for key in more {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            if keys.len() >= WANTED_LIMIT {
                break;
            }
        }
        self.with_reads(keys)
    }

    /// Makes the changes that a session which ended badly, or still runs elsewhere, has logged.
    ///
    /// # Errors
    /// [`VolumeError::NotLoaded`]: load what [`Map::wanted_for_replay`] says, and replay again.
    /// [`VolumeError::OutOfRange`] if a log speaks of blocks that the volume never had.
    pub fn replay(&mut self, logs: &LogChain) -> Result<(), VolumeError> {
        if !matches!(self.session, Session::Reading { .. }) || self.now.state != RootState::Changing {
            return Err(VolumeError::State { action: "replay a log", reason: "the root names none" });
        }
        if logs.wanted().is_some() {
            return Err(VolumeError::State { action: "replay a log", reason: "there may be more logs" });
        }
        // Twice would release what a later change put where an earlier one punched.
        if matches!(self.session, Session::Reading { replayed: Some(_) }) {
            return Err(VolumeError::State { action: "replay a log", reason: "it was replayed" });
        }
        if let Some(wanted) = self.wanted_for_replay(logs).first() {
            return Err(VolumeError::NotLoaded(wanted.key));
        }
        for change in logs.changes() {
            self.check_index(change.last_block())?;
        }
        for change in logs.changes() {
            self.apply(change)?;
        }
        self.session = Session::Reading { replayed: Some(logs.end_sequence()) };
        Ok(())
    }

    fn apply(&mut self, change: &Change) -> Result<(), VolumeError> {
        match *change {
            Change::Set { index, written_at } => self.put(index, written_at),
            Change::Partial { index, written_at } => {
                self.partial.insert(index, written_at);
                Ok(())
            }
            Change::Punch { index, count } => {
                let range = self.clamp(&(index..BlockIndex(index.0.saturating_add(count))));
                self.drop_blocks(&range).map(drop)
            }
        }
    }

    fn drop_blocks(&mut self, range: &Range<u64>) -> Result<bool, VolumeError> {
        let owned = self.ownership();
        let changed = self.tree.punch(range, &owned, &mut self.released).map_err(VolumeError::NotLoaded)?;
        Ok(self.drop_partial(range) | changed)
    }

    fn drop_allocations(&mut self, range: &Range<u64>) -> bool {
        let before = self.allocating.len();
        self.allocating.retain(|index, _| !range.contains(&index.0));
        self.allocating.len() != before
    }

    pub(super) fn record(&mut self, change: Change) {
        if let Session::Changing { log, .. } = &mut self.session {
            log.change(change);
        }
    }

    pub(super) fn check_changing(&self, action: &'static str) -> Result<(), VolumeError> {
        let reason = match &self.session {
            Session::Changing { resized: true, .. } => "the new size must be checkpointed first",
            Session::Changing { log, .. } if self.logged(log) >= 2 * LOG_LIMIT => "a checkpoint is overdue",
            Session::Changing { .. } if self.tree.dirty_leaves() >= 4 * DIRTY_LIMIT => {
                "a checkpoint is overdue"
            }
            Session::Changing { .. } => return Ok(()),
            Session::Reading { .. } if self.now.state == RootState::ReadOnly => {
                return Err(VolumeError::ReadOnly);
            }
            Session::Reading { .. } => "no session has begun",
            Session::Recovering { .. } => "what was replayed must be checkpointed first",
            Session::Building => "the map is being built",
        };
        Err(VolumeError::State { action, reason })
    }

    /// Whether there is room for one more generation before the root must say so.
    fn check_generation(&self) -> Result<(), VolumeError> {
        let Root { generation, .. } = self.at_rest;
        if self.now.generation.0 + 1 < generation.0.saturating_add(SESSION_SPAN) {
            return Ok(());
        }
        Err(VolumeError::State { action: "count on", reason: "a checkpoint is overdue" })
    }
}
