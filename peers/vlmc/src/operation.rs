//! A request that is being served, and what its parts are doing.

use std::{ops::Range, sync::Arc};

use protocol::{Entries, Extent, Failure, Flags, Op};
use xseg::Held;

use crate::{dirty::Unsynced, object::Object, partial::BlockKey};

/// A request that was admitted to its volume.
///
/// It has one [`Stage`] at a time, sends what that needs as far as there are free slots, goes on when parts come home, and is
/// answered when none is left.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) volume: u32,
    /// None while it is with the mapper.
    pub(crate) request: Option<Held>,
    pub(crate) op: Op,
    pub(crate) flags: Flags,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Whether it runs alone on its volume.
    pub(crate) is_barrier: bool,
    pub(crate) stage: Stage,
    /// Parts and questions that are not home yet.
    pub(crate) under_way: u32,
    pub(crate) wait: Wait,
    /// The number of the lock with which a part was refused, and how often that happened.
    pub(crate) refused: Option<(u64, u32)>,
    /// The first part that failed.
    pub(crate) failure: Option<Failure>,
    /// Entries that may be used for this operation alone.
    pub(crate) once: Option<Arc<Entries>>,
}

/// What keeps an operation from sending more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing.
    Nothing,
    /// An answer of the mapper.
    Map,
    /// A free slot.
    Slot,
    /// A change of a partial block.
    Block,
    /// All its parts, to be sent again under the lock's new number.
    Parts,
}

/// How far an operation is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Waits for what nobody asked for, so that it runs alone.
    Clearing,
    /// Makes durable what was acknowledged before.
    Flushing(Flushing),
    /// Splits its range at blocks; everything before `at` (counted from its offset, in bytes) was handed out.
    Moving { at: u64 },
    /// Makes whole blocks holes.
    Punching { is_sent: bool },
    /// Makes the changes of the map durable; none left means it was sent.
    Committing { made: Option<u64> },
    /// Looks which blocks are holes.
    Scanning(Scanning),
    /// Is with the mapper.
    Passing { is_sent: bool },
}

/// How far a scan is.
#[derive(Debug, Default)]
pub(crate) struct Scanning {
    /// Counted from the operation's offset, in bytes.
    pub(crate) at: u64,
    /// What was found up to there.
    pub(crate) extents: Vec<Extent>,
    /// How many blocks were looked at one by one.
    pub(crate) looked: u64,
    /// Blocks that the mapper said to be holes, for this scan alone: (first, end).
    pub(crate) holes: (u64, u64),
}

/// A flush under way.
#[derive(Debug)]
pub(crate) struct Flushing {
    /// Its number in the volume's dirty set.
    pub(crate) number: u64,
    /// What is still to be synced.
    pub(crate) unsynced: Unsynced,
    /// How many changes of the map are to be committed after that, if any.
    pub(crate) changes: Option<u64>,
}

/// What a reply belongs to.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A part that reads.
    Read { operation: u32, object: Object },
    /// A part that changes an object.
    Change { operation: u32, object: Object, is_durable: bool, claim: Option<Claim> },
    /// Durability of objects.
    Sync { operation: u32 },
    /// Durability of the map.
    Commit { operation: u32, made: u64 },
    /// Holes instead of whole blocks.
    Punch { operation: u32, first: u64, end: u64 },
    /// The operation itself, from the mapper.
    Passed { operation: u32 },
    /// A request that concerns nothing we keep, from the mapper.
    PassedBy,
    /// Durability of blocks that became whole.
    Settled { volume: u32, made: u64 },
    /// What a partial block's own object holds.
    Survey { block: BlockKey },
    /// Pieces of a partial block's base.
    FillRead { block: BlockKey },
    /// The same, to the block's own object.
    FillWrite { block: BlockKey },
    /// Whether the lock is to be had.
    Asked { volume: u32 },
    /// Entries.
    Map { volume: u32, number: u64 },
}

/// Pieces of a partial block that a part writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) block: BlockKey,
    pub(crate) pieces: Range<usize>,
}

/// What one step of an operation led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done; there may be more to do.
    Again,
    /// Replies must come first.
    Wait,
    /// There was no free slot.
    Starved,
    /// All is done, well or not.
    Done,
}

impl Operation {
    /// The stage after the present one, once all its parts are home.
    pub(crate) fn next_stage(&self, pending_changes: Option<u64>) -> NextStage {
        let is_zeroing = matches!(self.op, Op::Discard | Op::WriteZeroes);
        let is_durable = self.flags.contains(Flags::FUA) && self.op != Op::Read;
        match &self.stage {
            Stage::Flushing(_) if is_zeroing || self.op == Op::Write => NextStage::Moving,
            Stage::Flushing(_) if self.is_barrier => NextStage::Passing,
            Stage::Moving { .. } if is_zeroing && self.is_barrier => NextStage::Punching,
            Stage::Moving { .. } | Stage::Punching { .. } if is_durable => match pending_changes {
                Some(made) => NextStage::Committing(made),
                None => NextStage::End,
            },
            Stage::Clearing
            | Stage::Flushing(_)
            | Stage::Moving { .. }
            | Stage::Punching { .. }
            | Stage::Committing { .. }
            | Stage::Scanning(_)
            | Stage::Passing { .. } => NextStage::End,
        }
    }

    /// Whether the volume's map is another one afterwards.
    pub(crate) fn changes_map(&self) -> bool {
        matches!(
            self.op,
            Op::Snapshot
                | Op::Resize
                | Op::Close
                | Op::Delete
                | Op::Rename
                | Op::Update
                | Op::Clone
                | Op::Create
                // Since the lock was lost, another node may have changed it.
                | Op::Open
        )
    }

    /// Whether nothing of the volume is left when this is done.
    pub(crate) fn ends_volume(&self) -> bool {
        matches!(self.op, Op::Close | Op::Delete | Op::Rename)
    }
}

/// What comes after a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStage {
    Moving,
    Punching,
    Committing(u64),
    Passing,
    End,
}
