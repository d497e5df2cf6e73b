//! The radix tree of a map in memory: only the nodes that were loaded or changed.

use std::ops::Range;

use crate::entry::Entry;
use crate::node::{FANOUT, FANOUT_BITS, Leaf, Node, NodeKey, NodeRef, coverage};

mod evict;
mod punch;
mod write;

pub use write::Write;

/// Where a node is when it is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Home {
    /// Nowhere: all holes, or not written yet.
    #[default]
    Absent,
    /// In a node object.
    Stored(NodeRef),
    /// In the block tables of the original.
    Legacy,
}

/// A place in the tree.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    home: Home,
    node: Option<Box<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    /// When it was used last, in ticks.
    used: u64,
    dirty: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Leaf(Leaf),
    Inner(Box<[Slot]>),
}

impl Body {
    fn empty(level: u8) -> Self {
        if level == 0 {
            return Self::Leaf(Leaf::default());
        }
        Self::Inner(std::iter::repeat_with(Slot::default).take(FANOUT).collect())
    }
}

/// What the recursion over the tree counts along the way.
#[derive(Debug, Default)]
struct Counts {
    tick: u64,
    loaded: usize,
    dirty_leaves: usize,
}

/// Levels of 512 entries each.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    height: u8,
    top: Slot,
    counts: Counts,
    /// Blocks that the tables of the original describe.
    legacy_blocks: u64,
}

/// Which nodes a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All that overlap the range.
    All,
    /// Those that overlap it in part.
    Edges,
}

/// Which of the 512 entries of a node at `level` leads to `block`.
fn position(block: u64, level: u8) -> usize {
    let low = (block >> (FANOUT_BITS * u32::from(level))) & (FANOUT as u64 - 1);
    usize::try_from(low).expect("below 512")
}

/// The place of the node that leads to `block` in its level.
fn node_index(block: u64, level: u8) -> u64 {
    block >> (FANOUT_BITS * (u32::from(level) + 1))
}

/// First block under a node.
fn first_block(level: u8, index: u64) -> u128 {
    u128::from(index) * coverage(level)
}

/// Which entries of node `index` at `level` lead to blocks of `range`.
fn positions(level: u8, index: u64, range: &Range<u64>) -> Range<usize> {
    let first = first_block(level, index);
    let last = first + coverage(level);
    let (start, end) = (u128::from(range.start).max(first), u128::from(range.end).min(last));
    if start >= end {
        return 0..0;
    }
    let at = |block: u128| usize::try_from((block - first) >> (FANOUT_BITS * u32::from(level)));
    at(start).expect("below 512")..at(end - 1).expect("below 512") + 1
}

fn is_covered(level: u8, index: u64, range: &Range<u64>) -> bool {
    let first = first_block(level, index);
    u128::from(range.start) <= first && first + coverage(level) <= u128::from(range.end)
}

fn key_of(level: u8, index: u64, home: Home) -> NodeKey {
    let stored = match home {
        Home::Stored(node) => Some(node),
        Home::Absent | Home::Legacy => None,
    };
    NodeKey { level, index, stored }
}

impl Tree {
    /// The tree of a root: nothing is loaded.
    pub(crate) fn new(height: u8, top: Option<NodeRef>) -> Self {
        let home = top.map_or(Home::Absent, Home::Stored);
        Self { height, top: Slot { home, node: None }, ..Self::default() }
    }

    /// The tree over the tables of the original.
    pub(crate) fn legacy(blocks: u64) -> Self {
        let mut tree = Self { legacy_blocks: blocks, ..Self::default() };
        if let Some(last) = blocks.checked_sub(1) {
            tree.raise(last);
            tree.top.home = Home::Legacy;
        }
        tree
    }

    /// Nodes in memory.
    pub(crate) fn loaded(&self) -> usize {
        self.counts.loaded
    }

    /// Changed leaves.
    pub(crate) fn dirty_leaves(&self) -> usize {
        self.counts.dirty_leaves
    }

    fn covers(&self, block: u64) -> bool {
        self.height > 0 && u128::from(block) < coverage(self.height - 1)
    }

    /// Nodes that must be loaded for `range`, at most `limit`, top down: ask again when they are.
    pub(crate) fn wanted(&mut self, range: &Range<u64>, reach: Reach, limit: usize) -> Vec<NodeKey> {
        let mut keys = Vec::new();
        if let Some(level) = self.height.checked_sub(1) {
            self.counts.tick += 1;
            let mut search = Search { range, reach, limit, keys: &mut keys, legacy: self.legacy_blocks };
            search.visit(&mut self.top, level, 0, &mut self.counts);
        }
        keys
    }

    /// Puts a node where `key` says, unless the tree has changed there meanwhile.
    pub(crate) fn load(&mut self, key: &NodeKey, node: Node) {
        let tick = self.counts.tick;
        let Some(slot) = self.slot_of(key) else { return };
        let expected = key.stored.map_or(Home::Legacy, Home::Stored);
        if slot.home != expected || slot.node.is_some() {
            return;
        }
        let body = match node {
            Node::Leaf(leaf) => Body::Leaf(leaf),
            Node::Inner(children) => Body::Inner(
                children
                    .iter()
                    .map(|child| Slot { home: child.map_or(Home::Absent, Home::Stored), node: None })
                    .collect(),
            ),
        };
        slot.node = Some(Box::new(Loaded { used: tick, dirty: false, body }));
        self.counts.loaded += 1;
    }

    /// The place of `key`, if the nodes above it are loaded.
    fn slot_of(&mut self, key: &NodeKey) -> Option<&mut Slot> {
        let first = u64::try_from(first_block(key.level, key.index)).ok()?;
        if !self.covers(first) || key.level >= self.height {
            return None;
        }
        let mut slot = &mut self.top;
        for level in (key.level + 1..self.height).rev() {
            match &mut slot.node.as_mut()?.body {
                Body::Inner(children) => slot = &mut children[position(first, level)],
                Body::Leaf(_) => return None,
            }
        }
        Some(slot)
    }

    /// The leaf of `block`; `None` if all around it are holes.
    ///
    /// # Errors
    /// The node that must be loaded first.
    pub(crate) fn leaf(&self, block: u64) -> Result<Option<&Leaf>, NodeKey> {
        if !self.covers(block) {
            return Ok(None);
        }
        let mut slot = &self.top;
        let mut level = self.height - 1;
        loop {
            let Some(node) = &slot.node else {
                return match slot.home {
                    Home::Absent => Ok(None),
                    Home::Stored(_) => Err(key_of(level, node_index(block, level), slot.home)),
                    Home::Legacy => Err(key_of(0, node_index(block, 0), slot.home)),
                };
            };
            match &node.body {
                Body::Leaf(leaf) => return Ok(Some(leaf)),
                Body::Inner(children) => slot = &children[position(block, level)],
            }
            level -= 1;
        }
    }

    /// Where `block` is.
    ///
    /// # Errors
    /// The node that must be loaded first.
    pub(crate) fn get(&self, block: u64) -> Result<Entry<'_>, NodeKey> {
        Ok(self.leaf(block)?.map_or(Entry::Hole, |leaf| leaf.get(position(block, 0))))
    }

    /// The first block from `from` on that is no hole.
    ///
    /// # Errors
    /// The node that must be loaded first.
    pub(crate) fn next_data(&self, from: u64) -> Result<Option<u64>, NodeKey> {
        match self.height.checked_sub(1) {
            Some(level) => next_data(&self.top, level, 0, from),
            None => Ok(None),
        }
    }

    /// Puts `entry` at `block`; the nodes above become dirty.
    ///
    /// # Errors
    /// The node that must be loaded first.
    pub(crate) fn set(&mut self, block: u64, entry: Entry<'_>) -> Result<(), NodeKey> {
        self.leaf(block)?;
        self.raise(block);
        self.counts.tick += 1;
        let mut slot = &mut self.top;
        let mut level = self.height - 1;
        loop {
            let node = slot.touch(level, &mut self.counts);
            match &mut node.body {
                Body::Leaf(leaf) => {
                    leaf.set(position(block, 0), entry);
                    return Ok(());
                }
                Body::Inner(children) => slot = &mut children[position(block, level)],
            }
            level -= 1;
        }
    }

    /// Adds levels until the tree covers `block`.
    fn raise(&mut self, block: u64) {
        while !self.covers(block) {
            let below = std::mem::take(&mut self.top);
            let is_empty = below.node.is_none() && below.home == Home::Absent;
            self.height += 1;
            if is_empty {
                continue;
            }
            let node = self.top.touch(self.height - 1, &mut self.counts);
            if let Body::Inner(children) = &mut node.body {
                children[0] = below;
            }
        }
    }
}

impl Slot {
    /// The node here, made if there was none, dirty from now on. Whoever calls has checked that it is loaded.
    fn touch(&mut self, level: u8, counts: &mut Counts) -> &mut Loaded {
        let node = self.node.get_or_insert_with(|| {
            counts.loaded += 1;
            Box::new(Loaded { used: 0, dirty: false, body: Body::empty(level) })
        });
        node.used = counts.tick;
        if !node.dirty {
            node.dirty = true;
            counts.dirty_leaves += usize::from(level == 0);
        }
        node
    }
}

struct Search<'a> {
    range: &'a Range<u64>,
    reach: Reach,
    limit: usize,
    keys: &'a mut Vec<NodeKey>,
    legacy: u64,
}

impl Search<'_> {
    fn visit(&mut self, slot: &mut Slot, level: u8, index: u64, counts: &mut Counts) {
        let inside = positions(level, index, self.range);
        let skipped = self.reach == Reach::Edges && is_covered(level, index, self.range);
        if inside.is_empty() || skipped || self.keys.len() >= self.limit {
            return;
        }
        if slot.node.is_none() {
            match slot.home {
                Home::Absent => return,
                Home::Legacy if level > 0 => slot.expand(level, index, self.legacy, counts),
                Home::Stored(_) | Home::Legacy => return self.keys.push(key_of(level, index, slot.home)),
            }
        }
        let Some(node) = &mut slot.node else { return };
        node.used = counts.tick;
        if let Body::Inner(children) = &mut node.body {
            for at in inside {
                self.visit(&mut children[at], level - 1, index * FANOUT as u64 + at as u64, counts);
            }
        }
    }
}

impl Slot {
    /// Makes the inner node that the tables of the original would have.
    fn expand(&mut self, level: u8, index: u64, blocks: u64, counts: &mut Counts) {
        let children = (0..FANOUT as u64).map(|at| {
            let first = first_block(level - 1, index * FANOUT as u64 + at);
            let home = if first < u128::from(blocks) { Home::Legacy } else { Home::Absent };
            Slot { home, node: None }
        });
        let body = Body::Inner(children.collect());
        self.node = Some(Box::new(Loaded { used: counts.tick, dirty: false, body }));
        counts.loaded += 1;
    }
}

fn next_data(slot: &Slot, level: u8, index: u64, from: u64) -> Result<Option<u64>, NodeKey> {
    let inside = positions(level, index, &(from..u64::MAX));
    if inside.is_empty() {
        return Ok(None);
    }
    let Some(node) = &slot.node else {
        return match slot.home {
            Home::Absent => Ok(None),
            Home::Stored(_) => Err(key_of(level, index, slot.home)),
            Home::Legacy => {
                let first = u128::from(from).max(first_block(level, index));
                Err(key_of(0, u64::try_from(first / coverage(0)).unwrap_or(0), slot.home))
            }
        };
    };
    match &node.body {
        Body::Leaf(leaf) => {
            let mut data = inside.filter(|&at| leaf.get(at) != Entry::Hole);
            Ok(data.next().map(|at| index * FANOUT as u64 + at as u64))
        }
        Body::Inner(children) => {
            for at in inside {
                let found = next_data(&children[at], level - 1, index * FANOUT as u64 + at as u64, from)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        }
    }
}

#[cfg(test)]
impl Tree {
    /// What is counted along the way is what is there.
    pub(crate) fn check_counts(&self) {
        fn count(slot: &Slot) -> (usize, usize) {
            let Some(node) = &slot.node else { return (0, 0) };
            match &node.body {
                Body::Leaf(_) => (1, usize::from(node.dirty)),
                Body::Inner(children) => {
                    let below = children.iter().map(count);
                    below.fold((1, 0), |sum, child| (sum.0 + child.0, sum.1 + child.1))
                }
            }
        }
        assert_eq!(count(&self.top), (self.counts.loaded, self.counts.dirty_leaves));
    }
}
