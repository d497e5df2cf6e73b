//! Everything that a tree refers to, for collectors and for hashing: without keeping the tree in memory.

use crate::entry::Entry;
use crate::error::FormatError;
use crate::name::{BlockIndex, ObjectName};
use crate::node::{FANOUT, Leaf, Node, NodeKey};
use crate::root::Root;

/// Walks the tree of a root, in order, one node at a time.
///
/// ```text
/// while let Some(key) = walk.next_node() {
///     // key.name() is in use
///     walk.load(key, bytes)? gives a leaf's blocks, or walk.skip() if another walk has been below this node
/// }
/// ```
#[derive(Debug)]
pub struct Walk {
    /// What is still to be visited, the next one last. At most 511 a level.
    ahead: Vec<NodeKey>,
}

impl Walk {
    /// Begins at the top of `root`'s tree, as it was last checkpointed; its logs are not part of it.
    pub fn new(root: &Root) -> Self {
        Self { ahead: root.top_key().into_iter().collect() }
    }

    /// The node to load or skip next.
    pub fn next_node(&self) -> Option<NodeKey> {
        self.ahead.last().copied()
    }

    /// Passes over the next node and what is below it.
    pub fn skip(&mut self) {
        self.ahead.pop();
    }

    /// Takes the bytes of the next node; gives it back if it is a leaf.
    ///
    /// # Errors
    /// If they are not what was written; the walk stays where it is.
    pub fn load(&mut self, bytes: &[u8]) -> Result<Option<LeafBlocks>, FormatError> {
        let Some(key) = self.next_node() else { return Ok(None) };
        let node = Node::decode(&key, bytes)?;
        self.ahead.pop();
        match node {
            Node::Leaf(leaf) => Ok(Some(LeafBlocks::new(key.index, leaf))),
            Node::Inner(children) => {
                self.ahead.extend(key.children(&children).rev());
                Ok(None)
            }
        }
    }
}

impl NodeKey {
    /// The nodes below an inner node, in order.
    pub(crate) fn children(
        &self,
        children: &[Option<crate::node::NodeRef>],
    ) -> impl DoubleEndedIterator<Item = NodeKey> {
        let (level, first) = (self.level - 1, self.index.saturating_mul(FANOUT as u64));
        children.iter().enumerate().filter_map(move |(at, child)| {
            child.map(|node| NodeKey { level, index: first.saturating_add(at as u64), stored: Some(node) })
        })
    }
}

/// A leaf and the first of its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafBlocks {
    index: u64,
    leaf: Leaf,
}

impl LeafBlocks {
    /// Leaf `index` of a volume.
    pub fn new(index: u64, leaf: Leaf) -> Self {
        Self { index, leaf }
    }

    /// Its 512 entries.
    pub fn entries(&self) -> impl Iterator<Item = (BlockIndex, Entry<'_>)> {
        let first = self.index.saturating_mul(FANOUT as u64);
        (0..FANOUT).map(move |at| (BlockIndex(first.saturating_add(at as u64)), self.leaf.get(at)))
    }

    /// The objects it refers to.
    pub fn object_names(&self) -> impl Iterator<Item = ObjectName> {
        self.entries().filter_map(|(index, entry)| entry.object_name(index))
    }
}
