//! The model of volumes: maps, their bytes at rest, and how they change.
//!
//! ```text
//!   VOLUME (root) ── top ──▶ n.… (inner) ──▶ n.… (leaf) ── entry ──▶ b.… (block)
//!      └─ log_sequence ──▶ l.… (what changed since the root was written)
//! ```
//!
//! What a mapper does with a volume, in order:
//!
//! 1. Read the object that is named as the volume; [`Header::decode`]. A root of ours: [`Root::logs`], read each that is
//!    wanted, [`Map::open`], [`Map::replay`]. A map of the original: [`Map::open_legacy`]; before it is changed, load all
//!    of it, [`Map::upgrade`], and checkpoint.
//! 2. Ask: [`Map::wanted`], read, [`Map::load`], until nothing is wanted; then [`Map::entries`], [`Map::writability`].
//! 3. Change: [`Map::begin`] (and a checkpoint, if [`Map::needs_checkpoint`]); [`Map::allocate`], copy, [`Map::set`];
//!    [`Map::punch`]. Write what [`Map::take_log`] gives before anything is answered, and never two appends at once.
//!    For a flush: make the bytes of blocks durable, [`Map::commit`], write the log.
//! 4. When [`Map::needs_checkpoint`], before a snapshot, after [`Map::resize`], and at the end: make the bytes of blocks
//!    durable, [`Map::checkpoint`], carry the [`Plan`] out in order, [`Map::done`].
//!
//! If anything fails on the way, drop the map and begin at 1: what is at rest is whole at every step.
//!
//! No I/O, no clock, no threads: it says which objects to read and to write, and takes their bytes. Same input, same output.

mod compare;
mod entry;
mod error;
mod legacy;
mod log;
mod map;
mod merkle;
mod name;
mod node;
mod released;
mod root;
mod split;
mod tree;
mod walk;

pub use compare::{Compare, Step};
pub use entry::{ENTRY_BYTES, Entry, MapEntry};
pub use error::{FormatError, Problem, VolumeError};
pub use legacy::{Header, LEGACY_BLOCK_SIZE, LegacyMap, LegacyVersion, ObjectRange, ZERO_BLOCK};
pub use log::{
    BootId, Change, LOG_HEADER_BYTES, LOG_LIMIT, LOG_RECORD_BYTES, Log, LogAppend, LogChain, LoggedBlock,
};
pub use map::{
    ALLOCATING_LIMIT, Allocation, DIRTY_LIMIT, Map, PARTIAL_LIMIT, Partial, Plan, Purpose, Tail,
    WANTED_LIMIT, Wanted, Writability,
};
pub use merkle::Merkle;
pub use name::{
    BlockIndex, Checkpoint, Generation, LogSequence, OBJECT_NAME_MAX, ObjectName, ParsedName,
    VOLUME_NAME_MAX, VOLUME_NAME_MIN, VolumeId, VolumeName,
};
pub use node::{FANOUT, HEIGHT_MAX, Leaf, NODE_BYTES_MAX, Node, NodeKey, NodeRef};
pub use released::RELEASED_LIMIT;
pub use root::{
    BLOCK_SIZE_MAX, BLOCK_SIZE_MIN, MAGIC, NewVolume, ROOT_BYTES, RequestId, Root, RootState, SESSION_SPAN,
    SIZE_MAX, check_block_size, check_size,
};
pub use split::{BlockPart, split, whole_blocks};
pub use tree::Write;
pub use walk::{LeafBlocks, Walk};
