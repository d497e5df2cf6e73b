//! What a composer knows of one volume.

use std::collections::VecDeque;

use protocol::Shape;
use xseg::Held;

use crate::{
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
    /// To make blocks writable, and where they are then.
    Write,
}

impl MapCall {
    pub(crate) fn covers(&self, block: u64) -> bool {
        (self.first..self.end).contains(&block)
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
        }
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
        self.flow.is_idle() && self.calls.is_empty()
    }
}
