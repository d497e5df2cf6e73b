//! What a store is asked, and what it answers.

use crate::{Action, Node, ObjectName};

/// One operation on one object or lock. The bytes of reads, writes and lists travel beside it, in a buffer of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRequest {
    /// The object or lock; without meaning for flush and list.
    pub object: ObjectName,
    /// What to do.
    pub operation: StoreOperation,
    /// Refuse the change with `NotOwner` unless this lock is held with this number.
    pub fence: Option<Fence>,
    /// The request was served before by a process that died: work that is already done is not a failure.
    pub is_second_attempt: bool,
}

/// A lock and the number that its holder was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Name of the lock.
    pub lock: ObjectName,
    /// Number of the grant.
    pub number: u64,
}

/// The operations of docs/protocols.md. Sizes and offsets are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOperation {
    /// Fill the buffer; bytes past the object's end are zeros.
    Read {
        /// Where to start in the object.
        offset: u64,
    },
    /// Write the buffer.
    Write {
        /// Where to start in the object; 0 for a replacement.
        offset: u64,
        /// What becomes of bytes that are there already.
        mode: WriteMode,
        /// Answer when the bytes and the name are durable. A replacement always is.
        is_durable: bool,
    },
    /// Make the object and its name durable.
    Sync,
    /// Make the object exactly `size` bytes long; creates it.
    Truncate {
        /// The new size.
        size: u64,
        /// Answer when that is durable.
        is_durable: bool,
    },
    /// Remove the object.
    Delete {
        /// Answer when that is durable.
        is_durable: bool,
    },
    /// Take the lock.
    Acquire {
        /// Who takes it; compared whole.
        owner: String,
        /// For people: what for.
        description: String,
        /// Wait until it is free instead of failing with `Busy`.
        wait: bool,
        /// Take it from whoever holds it.
        force: bool,
    },
    /// Give the lock back.
    Release {
        /// Who gives it back.
        owner: String,
        /// Break it, whoever holds it.
        force: bool,
    },
    /// The object becomes `size` bytes of another one, zero padded, all at once.
    Copy {
        /// The object to copy from.
        source: Box<ObjectName>,
        /// How many bytes of it.
        size: u64,
        /// Answer when bytes and name are durable.
        is_durable: bool,
    },
    /// The object's size.
    Info,
    /// SHA-256 of the object without its trailing zero bytes.
    Hash,
    /// All that was answered so far is durable.
    Flush,
    /// The range reads zeros; its space is given back where possible. The size stays.
    Discard {
        /// Start of the range.
        offset: u64,
        /// Length of the range.
        size: u64,
        /// Answer when that is durable.
        is_durable: bool,
    },
    /// The range reads zeros; the object grows to hold it.
    WriteZeroes {
        /// Start of the range.
        offset: u64,
        /// Length of the range.
        size: u64,
        /// Space may be given back instead of kept allocated.
        may_trim: bool,
        /// Fail with `Unsupported` rather than write bytes.
        is_fast: bool,
        /// Answer when that is durable.
        is_durable: bool,
    },
    /// Names of objects, in byte order.
    List {
        /// Only names that begin so.
        prefix: Vec<u8>,
        /// Only names after this one.
        after: Vec<u8>,
        /// At most so many bytes, counting [`Page::NAME_COST`] more for each name.
        max_bytes: usize,
    },
    /// Who holds the lock.
    LockInfo,
    /// Who uses the store.
    Nodes,
    /// One step of a scrub: compares objects with their checksums, and makes those that are missing.
    Scrub {
        /// Begin anew instead of going on where the last step of anybody ended.
        is_restart: bool,
        /// Stop before the next object when so many bytes were looked at.
        max_bytes: u64,
    },
}

/// What a write does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Overwrites the range, creating the object if missing.
    Update,
    /// Creates the object, fails with `Exists` if it is there.
    Exclusive,
    /// The object becomes exactly these bytes, atomically.
    Replace,
}

/// What a store answers when it did what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreReply {
    /// Done; a read's bytes are in the buffer.
    Done,
    /// Size of the object in bytes.
    Size(u64),
    /// SHA-256 of the object.
    Hash([u8; 32]),
    /// Number of the lock's grant.
    Granted(u64),
    /// State of the lock.
    Lock(LockState),
    /// Names of objects.
    Names(Page),
    /// Who uses the store, in order of their names.
    Nodes(Vec<Node>),
    /// How far a scrub is.
    Scrubbed(Box<ScrubState>),
}

/// State of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockState {
    /// Who holds it; none if it is free.
    pub owner: Option<String>,
    /// What its owner said it is for.
    pub description: String,
    /// The newest number given out.
    pub number: u64,
    /// When it was taken or given back, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// A page of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In byte order.
    pub names: Vec<Vec<u8>>,
    /// Whether names after the last one remain.
    pub more: bool,
}

/// How far a scrub is, and what it found since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubState {
    /// When it began, in milliseconds since 1970.
    pub begun_unix_ms: u64,
    /// How much of the store is done, in 65,536ths.
    pub progress: u32,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes looked at.
    pub bytes: u64,
    /// Objects that agreed with their checksums.
    pub verified: u64,
    /// Objects that got checksums.
    pub summed: u64,
    /// Objects without checksums that are in use or were written lately.
    pub unsettled: u64,
    /// Pieces of objects that are damaged.
    pub damaged: u64,
    /// The first [`ScrubState::DAMAGES_MAX`] of them.
    pub damages: Vec<Damage>,
}

impl ScrubState {
    /// The progress of a scrub that is done.
    pub const DONE: u32 = 65_536;
    /// How many damages are told one by one.
    pub const DAMAGES_MAX: usize = 128;

    /// Whether all of the store was looked at.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.progress >= Self::DONE
    }
}

/// A piece of an object that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the object.
    pub object: Vec<u8>,
    /// Where the piece begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Whether the disk failed to give it at all.
    pub is_unreadable: bool,
}

impl Page {
    /// What a name costs beyond its bytes, in bytes: room for its length.
    pub const NAME_COST: usize = 2;
}

impl StoreRequest {
    /// An unfenced first attempt.
    #[must_use]
    pub fn new(object: &ObjectName, operation: StoreOperation) -> Self {
        Self { object: object.clone(), operation, fence: None, is_second_attempt: false }
    }

    /// Whether it can mean anything, for a buffer of so many bytes. What cannot is `Invalid` before anything is done.
    #[must_use]
    pub fn is_sensible(&self, buffer_bytes: u64) -> bool {
        match &self.operation {
            StoreOperation::Read { offset } => ends_in_range(*offset, buffer_bytes),
            StoreOperation::Write { offset, mode, .. } => {
                (*mode != WriteMode::Replace || *offset == 0) && ends_in_range(*offset, buffer_bytes)
            }
            StoreOperation::Discard { offset, size, .. }
            | StoreOperation::WriteZeroes { offset, size, .. } => ends_in_range(*offset, *size),
            StoreOperation::Truncate { size, .. } | StoreOperation::Copy { size, .. } => {
                *size <= StoreOperation::OFFSET_MAX
            }
            StoreOperation::Acquire { owner, description, .. } => {
                is_owner(owner) && description.len() <= LockState::DESCRIPTION_MAX
            }
            StoreOperation::Release { owner, .. } => is_owner(owner),
            StoreOperation::Sync
            | StoreOperation::Delete { .. }
            | StoreOperation::Info
            | StoreOperation::Hash
            | StoreOperation::Flush
            | StoreOperation::List { .. }
            | StoreOperation::LockInfo
            | StoreOperation::Nodes
            | StoreOperation::Scrub { .. } => true,
        }
    }
}

fn ends_in_range(offset: u64, size: u64) -> bool {
    offset.checked_add(size).is_some_and(|end| end <= StoreOperation::OFFSET_MAX)
}

fn is_owner(owner: &str) -> bool {
    (1..=LockState::OWNER_MAX).contains(&owner.len())
}

impl LockState {
    /// The longest owner, in bytes.
    pub const OWNER_MAX: usize = 200;
    /// The longest description, in bytes.
    pub const DESCRIPTION_MAX: usize = 256;
}

impl StoreOperation {
    /// Offsets end here: kernels count them as signed numbers.
    pub const OFFSET_MAX: u64 = i64::MAX as u64;

    /// What errors call this.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Read { .. } => Action::Read,
            Self::Write { .. } => Action::Write,
            Self::Sync => Action::Sync,
            Self::Truncate { .. } => Action::Truncate,
            Self::Delete { .. } => Action::Delete,
            Self::Acquire { .. } => Action::Acquire,
            Self::Release { .. } => Action::Release,
            Self::Copy { .. } => Action::Copy,
            Self::Info => Action::Info,
            Self::Hash => Action::Hash,
            Self::Flush => Action::Flush,
            Self::Discard { .. } => Action::Discard,
            Self::WriteZeroes { .. } => Action::WriteZeroes,
            Self::List { .. } => Action::List,
            Self::LockInfo => Action::LockInfo,
            Self::Nodes => Action::Nodes,
            Self::Scrub { .. } => Action::Scrub,
        }
    }
}
