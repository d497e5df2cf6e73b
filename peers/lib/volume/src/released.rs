//! Objects that a map let go of: to be deleted once its root no longer refers to them.

use crate::entry::Entry;
use crate::name::{BlockIndex, Checkpoint, Generation, ObjectName, VolumeId};
use crate::node::{NodeKey, NodeRef};

/// Most names remembered between two checkpoints; what is beyond is left to the collector.
pub const RELEASED_LIMIT: usize = 65_536;

/// What a volume may write in place, and so may delete: what no snapshot can see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ownership {
    pub(crate) id: VolumeId,
    pub(crate) shared_before: Generation,
    pub(crate) shared_checkpoint: Checkpoint,
}

impl Ownership {
    pub(crate) fn has_block(&self, entry: &Entry<'_>) -> bool {
        match *entry {
            Entry::Hole => false,
            Entry::Object { owner, written_at } => owner == self.id && written_at >= self.shared_before,
            Entry::Named { written_at, writable, .. } => writable && written_at >= self.shared_before,
        }
    }

    fn has_node(&self, node: &NodeRef) -> bool {
        node.owner == self.id && node.checkpoint > self.shared_checkpoint
    }
}

/// Names to delete, of both stores.
#[derive(Debug, Default)]
pub(crate) struct Released {
    blocks: Vec<(BlockIndex, Generation)>,
    nodes: Vec<NodeKey>,
}

impl Released {
    /// Remembers a block that is no longer in the map. Blocks with names of their own are left alone: others may use them.
    pub(crate) fn block(&mut self, index: BlockIndex, entry: &Entry<'_>, owned: &Ownership) {
        if let Entry::Object { written_at, .. } = *entry
            && owned.has_block(entry)
        {
            self.own_block(index, written_at);
        }
    }

    /// Remembers a block of this volume that no snapshot can see.
    pub(crate) fn own_block(&mut self, index: BlockIndex, written_at: Generation) {
        if self.blocks.len() < RELEASED_LIMIT {
            self.blocks.push((index, written_at));
        }
    }

    pub(crate) fn node(&mut self, key: NodeKey, owned: &Ownership) {
        let is_own = key.stored.is_some_and(|node| owned.has_node(&node));
        if is_own && self.nodes.len() < RELEASED_LIMIT {
            self.nodes.push(key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len() + self.nodes.len()
    }

    /// Names of blocks and of nodes.
    pub(crate) fn take(&mut self, id: VolumeId) -> (Vec<ObjectName>, Vec<ObjectName>) {
        let blocks = std::mem::take(&mut self.blocks);
        let blocks = blocks.into_iter().map(|(index, at)| ObjectName::block(id, at, index)).collect();
        let nodes = std::mem::take(&mut self.nodes);
        (blocks, nodes.iter().filter_map(NodeKey::name).collect())
    }
}
