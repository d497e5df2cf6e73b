//! What differs between two trees, without looking below nodes that both have.

use std::ops::Range;

use crate::entry::Entry;
use crate::error::FormatError;
use crate::name::BlockIndex;
use crate::node::{FANOUT, Leaf, Node, NodeKey, NodeRef, child_index};
use crate::root::Root;

/// Compares two volumes, as they were last checkpointed, from the first block to the last.
///
/// Call [`Compare::step`] until it is done; when it wants nodes, read and [`Compare::load`] them first.
#[derive(Debug)]
pub struct Compare {
    /// Pairs still to be compared, the next one last.
    ahead: Vec<Pair>,
    found: Option<Range<u64>>,
    /// Blocks of the leaf that was compared last, still to be given.
    blocks: Vec<u64>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These nodes must be loaded.
    Load(Vec<NodeKey>),
    /// These blocks are in different objects. Ranges come in order, and never touch.
    Differ(Range<BlockIndex>),
    /// That was all.
    Done,
}

/// The same place in both trees.
#[derive(Debug)]
struct Pair {
    level: u8,
    index: u64,
    sides: [Side; 2],
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    /// All holes.
    Empty,
    /// A node of this place.
    Wanted(NodeRef),
    /// A node of a lower level, the first below this place: one tree is not as tall as the other.
    Below(u8, NodeRef),
    Loaded(Node),
}

impl Compare {
    /// Begins to compare. Both must have blocks of the same size; sizes may differ, what lies beyond an end counts as holes.
    pub fn new(left: &Root, right: &Root) -> Self {
        let level = left.height.max(right.height).saturating_sub(1);
        let side = |root: &Root| match root.top_key() {
            None => Side::Empty,
            Some(NodeKey { stored: Some(node), level: own, .. }) if own == level => Side::Wanted(node),
            Some(NodeKey { stored: Some(node), level: own, .. }) => Side::Below(own, node),
            Some(NodeKey { stored: None, .. }) => Side::Empty,
        };
        let pair = Pair { level, index: 0, sides: [side(left), side(right)] };
        Self { ahead: vec![pair], found: None, blocks: Vec::new() }
    }

    /// Goes on comparing.
    pub fn step(&mut self) -> Step {
        loop {
            while let Some(block) = self.blocks.pop() {
                match &mut self.found {
                    Some(range) if range.end == block => range.end += 1,
                    found => {
                        if let Some(range) = found.replace(block..block + 1) {
                            return Step::Differ(indices(range));
                        }
                    }
                }
            }
            let Some(pair) = self.ahead.last() else {
                return self.found.take().map_or(Step::Done, |range| Step::Differ(indices(range)));
            };
            let wanted = pair.wanted();
            if !wanted.is_empty() {
                return Step::Load(wanted);
            }
            if let Some(pair) = self.ahead.pop() {
                self.open(pair);
            }
        }
    }

    /// Takes the bytes of a node that [`Step::Load`] named.
    ///
    /// # Errors
    /// If they are not what was written.
    pub fn load(&mut self, key: &NodeKey, bytes: &[u8]) -> Result<(), FormatError> {
        let Some(pair) = self.ahead.last_mut() else { return Ok(()) };
        if (pair.level, pair.index) != (key.level, key.index) {
            return Ok(());
        }
        for side in &mut pair.sides {
            if matches!(side, Side::Wanted(node) if Some(*node) == key.stored) {
                *side = Side::Loaded(Node::decode(key, bytes)?);
            }
        }
        Ok(())
    }

    /// Compares a pair whose nodes are loaded: puts ahead what differs below, or gives the blocks that do.
    fn open(&mut self, pair: Pair) {
        if pair.sides[0] == pair.sides[1] {
            return;
        }
        if pair.level == 0 {
            let empty = Leaf::default();
            let [left, right] = pair.sides.each_ref().map(|side| side.leaf().unwrap_or(&empty));
            let differ = (0..FANOUT).rev().filter(|&at| !is_same(&left.get(at), &right.get(at)));
            self.blocks.extend(differ.map(|at| child_index(pair.index, at)));
            return;
        }
        let below = pair.level - 1;
        for at in (0..FANOUT).rev() {
            let sides = pair.sides.each_ref().map(|side| side.child(below, at));
            if sides[0] != sides[1] {
                self.ahead.push(Pair { level: below, index: child_index(pair.index, at), sides });
            }
        }
    }
}

impl Pair {
    fn wanted(&self) -> Vec<NodeKey> {
        if self.sides[0] == self.sides[1] {
            return Vec::new();
        }
        let nodes = self.sides.iter().filter_map(|side| match side {
            Side::Wanted(node) => Some(*node),
            Side::Empty | Side::Below(..) | Side::Loaded(_) => None,
        });
        nodes.map(|node| NodeKey { level: self.level, index: self.index, stored: Some(node) }).collect()
    }
}

impl Side {
    fn leaf(&self) -> Option<&Leaf> {
        match self {
            Self::Loaded(Node::Leaf(leaf)) => Some(leaf),
            Self::Loaded(Node::Inner(_)) | Self::Empty | Self::Wanted(_) | Self::Below(..) => None,
        }
    }

    fn child(&self, level: u8, at: usize) -> Self {
        match self {
            Self::Below(own, node) if at == 0 && *own == level => Self::Wanted(*node),
            Self::Below(own, node) if at == 0 => Self::Below(*own, *node),
            Self::Loaded(Node::Inner(children)) => children[at].map_or(Self::Empty, Self::Wanted),
            Self::Loaded(Node::Leaf(_)) | Self::Empty | Self::Wanted(_) | Self::Below(..) => Self::Empty,
        }
    }
}

/// Whether both entries name the same object: bytes are not compared.
fn is_same(left: &Entry<'_>, right: &Entry<'_>) -> bool {
    match (left, right) {
        (Entry::Named { name: left, .. }, Entry::Named { name: right, .. }) => left == right,
        _ => left == right,
    }
}

fn indices(range: Range<u64>) -> Range<BlockIndex> {
    BlockIndex(range.start)..BlockIndex(range.end)
}
