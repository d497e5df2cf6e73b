//! What a composer knows of one volume.

use std::collections::{BTreeSet, VecDeque};

use protocol::{Fresh, Op, Shape};
use xseg::Held;

use crate::{
    cache::LEAF_BLOCKS,
    dirty::{Changes, Dirty},
    flow::Flow,
};

/// A volume that somebody asked about.
///
/// Forgetting one that nothing runs on loses nothing but time: the map is asked for again, and a volume that is not known
/// is taken to have unsynced objects and uncommitted changes.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) name: Box<[u8]>,
    pub(crate) grant: Option<Grant>,
    pub(crate) flow: Flow<Held>,
    pub(crate) dirty: Dirty,
    pub(crate) changes: Changes,
    /// Questions to the mapper that are under way.
    pub(crate) calls: Vec<MapCall>,
    /// Operations that wait for a free slot.
    pub(crate) starved: VecDeque<u32>,
    /// How blocks are named that become partial, if that is known.
    pub(crate) fresh: Option<Fresh>,
    /// Blocks that are being completed before what is postponed may stop the volume.
    pub(crate) rush: BTreeSet<u64>,
    pub(crate) postponed: Vec<(Op, Held)>,
    /// So many changes of the map must be durable before zeros may be written: a partial block became whole with the last
    /// of them.
    pub(crate) zeros_after: u64,
    /// Operations that wait for that.
    pub(crate) zeroing: Vec<u32>,
}

/// The right to keep a volume's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) shape: Shape,
    /// Number of the volume's lock; every write carries it.
    pub(crate) fence: u64,
}

/// A question about blocks of one leaf, and who waits for its answer.
#[derive(Debug)]
pub(crate) struct MapCall {
    pub(crate) number: u64,
    pub(crate) kind: CallKind,
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) waiting: Vec<u32>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Where blocks are.
    Read,
    /// The same, for those alone who wait for the answer.
    Look,
    /// To make blocks writable, and where they are then.
    Write,
    /// To make a shared block partial.
    Partial,
    /// To take a partial block for whole.
    Whole,
}

impl MapCall {
    pub(crate) fn covers(&self, block: u64) -> bool {
        (self.first..self.end).contains(&block)
    }

    pub(crate) fn is_same_leaf(&self, block: u64) -> bool {
        self.first / LEAF_BLOCKS == block / LEAF_BLOCKS
    }

    /// Whether a question that changes this block has to wait for it.
    pub(crate) fn is_in_the_way(&self, block: u64) -> bool {
        self.is_same_leaf(block) && (self.kind == CallKind::Read || self.covers(block))
    }
}

impl Volume {
    pub(crate) fn new(name: &[u8]) -> Volume {
        Volume {
            name: name.into(),
            grant: None,
            flow: Flow::Serving { running: 0 },
            dirty: Dirty::default(),
            changes: Changes::default(),
            calls: Vec::new(),
            starved: VecDeque::new(),
            fresh: None,
            rush: BTreeSet::new(),
            postponed: Vec::new(),
            zeros_after: 1,
            zeroing: Vec::new(),
        }
    }

    /// A partial block became whole: before zeros are written, that must be durable.
    pub(crate) fn whole(&mut self) {
        self.zeros_after = self.changes.made();
    }

    /// The name as people read it.
    pub(crate) fn display(&self) -> String {
        self.name.escape_ascii().to_string()
    }

    /// Whether nothing is known that would not be assumed of an unknown volume.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.is_idle() && self.grant.is_none() && self.dirty.is_as_after_start()
    }

    /// Whether nothing runs, waits or is asked.
    pub(crate) fn is_idle(&self) -> bool {
        self.flow.is_idle() && self.calls.is_empty() && self.postponed.is_empty()
    }
}
