//! What peers say to each other: operations, flags, statuses, and the typed arguments and results of each operation.
//!
//! A request's control fields (operation, flags, target, offset, size) travel in the request itself; what an operation
//! needs beyond them is its *argument*, a message of this crate in at most [`ARGUMENT_MAX`] bytes. Results come back the
//! same way, or, where they may be long, in the request's buffer. `docs/protocols.md` section 2 is the table.
//!
//! This crate knows no segment: it turns messages into bytes and back, and never panics on noise.

mod flags;
mod message;
mod operation;
mod status;

pub use flags::Flags;
pub use message::{
    Acquire, Attach, Attached, AttachedList, Base, BlockList, BlockSource, Checked, Clone, Collected,
    Compare, Copy, Damaged, Differences, Entries, Entry, Extent, Extents, Finding, Fresh, Granted, Hashed,
    List, Listed, ListedVolume, ListedVolumes, LockInfo, Malformed, Message, Nodes, PARTIAL_BLOCK_BYTES,
    PIECE_BYTES, Release, Renamed, Resize, Scrub, Scrubbed, Severity, Shape, Snapshot, VolumeInfo,
    VolumeKind,
};
pub use operation::Op;
pub use status::{Failure, Status};
pub use store::{ErrorKind, LockWait, Node, NodeRecord};

/// The longest argument of a request, in bytes.
pub const ARGUMENT_MAX: usize = 512;
/// The longest target name of a request, in bytes.
pub const NAME_MAX: usize = 256;
/// The size of a block unless a volume says otherwise, in bytes.
pub const BLOCK_SIZE_DEFAULT: u32 = 4 << 20;
