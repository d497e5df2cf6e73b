use crate::name::BlockIndex;
use crate::node::NodeKey;

/// An operation on a volume's model that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// A name that no volume may have.
    #[error("volume name {name:?} is not allowed: {rule}")]
    Name {
        /// The name as given.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// Bytes at rest that are not what a writer of this format writes.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A node must be loaded first: ask [`crate::Map::wanted`].
    #[error("node {0} of the map is not loaded")]
    NotLoaded(NodeKey),
    /// A block beyond the end of the volume.
    #[error("block {} is outside the volume of {count} blocks", .index.0)]
    OutOfRange {
        /// The block that was asked for.
        index: BlockIndex,
        /// How many blocks the volume has.
        count: u64,
    },
    /// The map is frozen: a snapshot, a tombstone or a read-only image.
    #[error("map is read-only")]
    ReadOnly,
    /// The map is not in the state that the operation needs.
    #[error("cannot {action} now: {reason}")]
    State {
        /// What was tried.
        action: &'static str,
        /// What must come first.
        reason: &'static str,
    },
    /// An allocation that a punch, a snapshot or another allocation overtook.
    #[error("allocation of block {} was overtaken", .0.0)]
    Overtaken(BlockIndex),
    /// The block is being allocated already.
    #[error("block {} is being allocated", .0.0)]
    Busy(BlockIndex),
    /// The block can be written in place, there is nothing to allocate.
    #[error("block {} is writable in place", .0.0)]
    Writable(BlockIndex),
    /// A size or block size that no volume can have.
    #[error("{what} of {value} bytes is not allowed: {rule}")]
    Size {
        /// "size" or "block size".
        what: &'static str,
        /// The value as given.
        value: u64,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// What was wrong with an object's bytes, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}: {problem}")]
pub struct FormatError {
    /// The kind of object: "node", "root", "log", …
    pub what: &'static str,
    /// Where the trouble starts, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end too early, or go on too long.
    #[error("{found} bytes where {expected} belong")]
    Length {
        /// How many bytes there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// Not the first bytes of such an object.
    #[error("wrong magic")]
    Magic,
    /// A version that this code cannot read.
    #[error("unknown version {0}")]
    Version(u32),
    /// The bytes are not those that were written.
    #[error("checksum {found:#010x} where {expected:#010x} belongs")]
    Checksum {
        /// Computed from the bytes.
        found: u32,
        /// Stored beside them.
        expected: u32,
    },
    /// A field has a value that it cannot have here.
    #[error("{field} is {found:#x}")]
    Value {
        /// The field's name.
        field: &'static str,
        /// Its value.
        found: u64,
    },
    /// A name that is empty, too long, or not UTF-8.
    #[error("{0} is not a name")]
    Name(&'static str),
}

impl FormatError {
    pub(crate) fn new(what: &'static str, offset: usize, problem: Problem) -> Self {
        Self { what, offset, problem }
    }

    pub(crate) fn value(what: &'static str, offset: usize, field: &'static str, found: u64) -> Self {
        Self::new(what, offset, Problem::Value { field, found })
    }
}

/// Fails unless `bytes` is at least `expected` long, and gives its first `expected` bytes.
pub(crate) fn head<'a>(
    what: &'static str,
    bytes: &'a [u8],
    expected: usize,
) -> Result<&'a [u8], FormatError> {
    bytes.get(..expected).ok_or(FormatError::new(what, 0, Problem::Length { found: bytes.len(), expected }))
}

/// Fails at the first of the reserved bytes `range` that is not zero.
pub(crate) fn zeros(
    what: &'static str,
    bytes: &[u8],
    range: std::ops::Range<usize>,
) -> Result<(), FormatError> {
    match bytes[range.clone()].iter().position(|&byte| byte != 0) {
        None => Ok(()),
        Some(at) => {
            let at = range.start + at;
            Err(FormatError::value(what, at, "reserved byte", u64::from(bytes[at])))
        }
    }
}

/// Compares a stored checksum with the computed one.
pub(crate) fn checksum(
    what: &'static str,
    offset: usize,
    found: u32,
    expected: u32,
) -> Result<(), FormatError> {
    if found == expected {
        return Ok(());
    }
    Err(FormatError::new(what, offset, Problem::Checksum { found, expected }))
}
