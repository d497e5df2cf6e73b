//! An operation while it runs.

use std::sync::Arc;

use store::{StoreOperation, StoreRequest, WriteMode};

use crate::entries::Access;
use crate::fault::Fault;
use crate::fences::Pass;
use crate::handle::{Handle, Purpose};
use crate::objects::is_aligned;
use crate::ring::{Direction, Region};

/// An operation in its slot. What it holds keeps its object, its file and its fence as long as it runs.
pub(crate) struct Operation<T> {
    pub(crate) request: Box<StoreRequest>,
    pub(crate) region: Region,
    pub(crate) token: T,
    /// The entry of its object; none for locks and for the store as a whole.
    pub(crate) entry: Option<u32>,
    pub(crate) pass: Option<Pass>,
    pub(crate) open: Option<Arc<Handle>>,
    /// Bytes moved so far.
    pub(crate) done: usize,
    /// Transfers that moved nothing and may move something the next time.
    pub(crate) retries: u32,
    /// Why it failed, while what was made for it is removed.
    pub(crate) failed: Option<Fault>,
    /// Whether it waits for a lock, and costs nothing meanwhile.
    pub(crate) is_waiting: bool,
}

/// Where an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// On the object's open file.
    OnOpen(Purpose),
    /// On the object's name, whatever file is open.
    OnObjectName,
    /// Not on an object.
    Elsewhere,
}

/// How the operation is run.
pub(crate) fn way_of(operation: &StoreOperation) -> Way {
    match operation {
        StoreOperation::Read { .. } | StoreOperation::Sync | StoreOperation::Info | StoreOperation::Hash => {
            Way::OnOpen(Purpose::Read)
        }
        StoreOperation::Discard { .. } => Way::OnOpen(Purpose::Change { creates: false }),
        StoreOperation::Write { mode: WriteMode::Update, .. }
        | StoreOperation::Truncate { .. }
        | StoreOperation::WriteZeroes { .. } => Way::OnOpen(Purpose::Change { creates: true }),
        StoreOperation::Write { .. } | StoreOperation::Delete { .. } | StoreOperation::Copy { .. } => {
            Way::OnObjectName
        }
        StoreOperation::Acquire { .. }
        | StoreOperation::Release { .. }
        | StoreOperation::LockInfo
        | StoreOperation::Nodes
        | StoreOperation::Flush
        | StoreOperation::List { .. }
        | StoreOperation::Scrub { .. } => Way::Elsewhere,
    }
}

/// What the operation means for others on the same object.
pub(crate) fn access_of(operation: &StoreOperation, region: Region, is_direct: bool) -> Access {
    match operation {
        StoreOperation::Truncate { .. } => Access::Exclusive,
        // Goes through the page cache, which must not meet a direct write of a neighbour in the same page.
        StoreOperation::Write { offset, .. } if is_direct && !is_aligned(*offset, region) => {
            Access::Exclusive
        }
        other if way_of(other) == Way::OnObjectName => Access::Exclusive,
        _ => Access::Shared,
    }
}

impl<T> Operation<T> {
    pub(crate) fn new(request: StoreRequest, region: Region, token: T) -> Self {
        let request = Box::new(request);
        Self {
            request,
            region,
            token,
            entry: None,
            pass: None,
            open: None,
            done: 0,
            retries: 0,
            failed: None,
            is_waiting: false,
        }
    }

    /// The transfer that a plain read or write is: where it goes on, and which way.
    pub(crate) fn transfer(&self) -> Option<(u64, Direction)> {
        let (offset, direction) = match &self.request.operation {
            StoreOperation::Read { offset } => (*offset, Direction::Read),
            StoreOperation::Write { offset, mode: WriteMode::Update, is_durable } => {
                (*offset, Direction::Write { is_durable: *is_durable })
            }
            _ => return None,
        };
        Some((offset + self.done as u64, direction))
    }

    /// Where the object's bytes begin that it is about.
    pub(crate) fn offset(&self) -> u64 {
        match &self.request.operation {
            StoreOperation::Read { offset } | StoreOperation::Write { offset, .. } => *offset,
            _ => 0,
        }
    }

    /// Whether it is an acquire that rather waits than fails.
    pub(crate) fn waits_for_lock(&self) -> bool {
        matches!(&self.request.operation, StoreOperation::Acquire { wait: true, .. })
    }
}
