//! The map of one volume in memory: what is read from it, what is changed in it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::entry::Entry;
use crate::error::VolumeError;
use crate::legacy::{LegacyMap, ObjectRange};
use crate::name::{BlockIndex, Generation, ObjectName};
use crate::node::{Node, NodeKey};
use crate::released::{Ownership, Released};
use crate::root::{Root, RootState};
use crate::tree::{Reach, Tree};

mod change;
mod partial;
mod session;

pub use change::{Allocation, Tail};
pub use partial::{PARTIAL_LIMIT, Partial};
use session::{Flight, Session};
pub use session::{Plan, Purpose};

/// Most nodes that are asked for at a time.
pub const WANTED_LIMIT: usize = 64;
/// Changed leaves after which a checkpoint is due.
pub const DIRTY_LIMIT: usize = 1024;
/// Most blocks that are being allocated at a time.
pub const ALLOCATING_LIMIT: usize = 4096;

/// A node to load, and what to read for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which node: give it to [`Map::load`].
    pub key: NodeKey,
    /// What to read, in this order, from the map store.
    pub reads: Vec<ObjectRange>,
}

/// Whether a block can be written where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writability {
    /// Yes: in this object.
    Writable(ObjectName),
    /// No: a snapshot, a clone or an image sees this object too.
    Shared(ObjectName),
    /// There is no block: it reads zeros.
    Hole,
}

/// The map of one volume: sparse, of bounded memory, without any I/O.
///
/// Before a question or a change, ask [`Map::wanted`] (or its like) which nodes it needs, read them, [`Map::load`] them,
/// and ask again until nothing is wanted.
///
/// A session changes it: [`Map::begin`], changes, [`Map::checkpoint`]. Each of these gives a [`Plan`] to carry out;
/// [`Map::done`] says that it was. If it could not be carried out, drop the map and open it again: what is at rest
/// is whole at every step.
#[derive(Debug)]
pub struct Map {
    /// The root as it would be written now.
    now: Root,
    /// The root as it was written last.
    at_rest: Root,
    tree: Tree,
    legacy: Option<LegacyMap>,
    session: Session,
    allocating: BTreeMap<BlockIndex, Generation>,
    /// Blocks that are written piece by piece; the tree names their bases.
    partial: BTreeMap<BlockIndex, Generation>,
    released: Released,
    flight: Option<Flight>,
}

impl Map {
    /// The map of a root. If it says [`RootState::Changing`], [`Map::replay`] its logs before anything else.
    pub fn open(root: Root) -> Self {
        let tree = Tree::new(root.height, root.top);
        Self::new(root, tree, Session::Reading { replayed: None })
    }

    /// A map of the original, to read in place, or to upgrade.
    pub fn open_legacy(legacy: LegacyMap) -> Self {
        let blocks = if legacy.root.state.is_live() { legacy.root.block_count() } else { 0 };
        let map = Self::new(legacy.root.clone(), Tree::legacy(blocks), Session::Reading { replayed: None });
        Self { legacy: Some(legacy), ..map }
    }

    /// The map of a new volume, to be filled from a list of blocks: the first checkpoint writes `root` as well.
    pub fn build(root: Root) -> Self {
        // Until its first snapshot the volume may write in place what the list says so of; its clones never.
        let root = Root { shared_before: Generation(0), ..root };
        let tree = Tree::new(root.height, root.top);
        Self::new(root, tree, Session::Building)
    }

    fn new(root: Root, tree: Tree, session: Session) -> Self {
        Self {
            at_rest: root.clone(),
            now: root,
            tree,
            legacy: None,
            session,
            allocating: BTreeMap::new(),
            partial: BTreeMap::new(),
            released: Released::default(),
            flight: None,
        }
    }

    /// The rename that brought the volume here has ended: the next root does not tell of it.
    pub fn forget_former_name(&mut self) {
        self.now.moved_from = None;
    }

    /// The root as it was written last.
    pub fn root(&self) -> &Root {
        &self.at_rest
    }

    /// Size in bytes, now.
    pub fn size(&self) -> u64 {
        self.now.size
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> u32 {
        self.now.block_size
    }

    /// How many blocks the volume has, now.
    pub fn block_count(&self) -> u64 {
        self.now.block_count()
    }

    /// The generation that new blocks are named with, now.
    pub fn generation(&self) -> Generation {
        self.now.generation
    }

    /// Whether the map is one of the original's, not upgraded yet.
    pub fn is_legacy(&self) -> bool {
        self.legacy.is_some()
    }

    /// The map of the original that is not upgraded yet, if it is one.
    pub fn legacy(&self) -> Option<&LegacyMap> {
        self.legacy.as_ref()
    }

    /// Nodes in memory: 12 KiB a leaf, 16 KiB another.
    pub fn loaded_nodes(&self) -> usize {
        self.tree.loaded()
    }

    /// Forgets nodes not used for long, until about `keep` are loaded. Changed ones stay.
    pub fn evict(&mut self, keep: usize) {
        // Nodes of a plan that is being carried out count as clean, but cannot be read yet.
        if self.flight.is_none() {
            self.tree.evict(keep);
        }
    }

    /// Nodes to load before blocks of `range` can be asked for, allocated or set; at most [`WANTED_LIMIT`], top down.
    pub fn wanted(&mut self, range: &Range<BlockIndex>) -> Vec<Wanted> {
        let range = self.clamp(range);
        let keys = self.tree.wanted(&range, Reach::All, WANTED_LIMIT);
        self.with_reads(keys)
    }

    /// Nodes to load before `range` can be punched: those at its edges.
    pub fn wanted_for_punch(&mut self, range: &Range<BlockIndex>) -> Vec<Wanted> {
        let range = self.clamp(range);
        let keys = self.tree.wanted(&range, Reach::Edges, WANTED_LIMIT);
        self.with_reads(keys)
    }

    fn with_reads(&self, keys: Vec<NodeKey>) -> Vec<Wanted> {
        keys.into_iter().map(|key| Wanted { reads: self.reads(&key), key }).collect()
    }

    fn reads(&self, key: &NodeKey) -> Vec<ObjectRange> {
        match (key.name(), &self.legacy) {
            (Some(name), _) => vec![ObjectRange { name, offset: 0, length: None }],
            (None, Some(legacy)) => legacy.reads(key.index),
            (None, None) => Vec::new(),
        }
    }

    /// Takes the bytes that were read for a wanted node. If the map changed there meanwhile, they are ignored.
    ///
    /// # Errors
    /// [`VolumeError::Format`] if they are not what was written.
    pub fn load(&mut self, key: &NodeKey, bytes: &[u8]) -> Result<(), VolumeError> {
        let node = match (&self.legacy, key.stored) {
            (Some(legacy), None) => Node::Leaf(legacy.decode_leaf(key.index, bytes)?),
            _ => Node::decode(key, bytes)?,
        };
        self.tree.load(key, node);
        Ok(())
    }

    /// Where block `index` is.
    ///
    /// # Errors
    /// [`VolumeError::OutOfRange`], [`VolumeError::NotLoaded`].
    pub fn entry(&self, index: BlockIndex) -> Result<Entry<'_>, VolumeError> {
        self.check_index(index)?;
        self.tree.get(index.0).map_err(VolumeError::NotLoaded)
    }

    /// Where the blocks of `range` are, in order.
    ///
    /// # Errors
    /// [`VolumeError::OutOfRange`] if the range goes beyond the end, [`VolumeError::NotLoaded`] for the first block that is not.
    pub fn entries(
        &self,
        range: Range<BlockIndex>,
    ) -> impl Iterator<Item = Result<(BlockIndex, Entry<'_>), VolumeError>> {
        (range.start.0..range.end.0).map(|at| {
            let index = BlockIndex(at);
            self.entry(index).map(|entry| (index, entry))
        })
    }

    /// The first block from `from` on that is no hole. Passes over what is empty without looking at each block.
    ///
    /// # Errors
    /// [`VolumeError::NotLoaded`]
    pub fn next_data(&self, from: BlockIndex) -> Result<Option<BlockIndex>, VolumeError> {
        let found = self.tree.next_data(from.0).map_err(VolumeError::NotLoaded)?;
        Ok(found.filter(|&at| at < self.block_count()).map(BlockIndex))
    }

    /// Whether block `index` can be written where it is.
    ///
    /// # Errors
    /// [`VolumeError::OutOfRange`], [`VolumeError::NotLoaded`].
    pub fn writability(&self, index: BlockIndex) -> Result<Writability, VolumeError> {
        let entry = self.entry(index)?;
        let Some(name) = entry.object_name(index) else { return Ok(Writability::Hole) };
        let is_frozen = self.now.state == RootState::ReadOnly;
        let is_own = !is_frozen && self.ownership().has_block(&entry);
        Ok(if is_own { Writability::Writable(name) } else { Writability::Shared(name) })
    }

    fn ownership(&self) -> Ownership {
        Ownership {
            id: self.now.id,
            shared_before: self.now.shared_before,
            shared_checkpoint: self.now.shared_checkpoint,
        }
    }

    fn check_index(&self, index: BlockIndex) -> Result<(), VolumeError> {
        let count = self.block_count();
        if index.0 < count { Ok(()) } else { Err(VolumeError::OutOfRange { index, count }) }
    }

    fn clamp(&self, range: &Range<BlockIndex>) -> Range<u64> {
        range.start.0..range.end.0.min(self.block_count())
    }
}

#[cfg(test)]
mod tests;
