//! An operation while it runs.

use store::{ErrorKind, StoreOperation, StoreReply, StoreRequest, WriteMode};

use crate::fault::Result;
use crate::librados::{Buffer, Context, Done, Ended, Region, WriteOp};
use crate::names::of_object;

/// An operation in its slot.
pub(crate) struct Operation<T> {
    pub(crate) request: Box<StoreRequest>,
    pub(crate) region: Region,
    pub(crate) token: T,
    /// Whether it passed its fence, which it then has to leave.
    pub(crate) has_passed: bool,
    /// Whether it waits for a lock, and costs nothing meanwhile.
    pub(crate) is_set_aside: bool,
    /// The connection it was submitted on.
    pub(crate) generation: u64,
    /// How often the cluster refused to serve its client.
    pub(crate) retries: u32,
    step: Step,
}

/// What a step of the library is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The first, which is the only one of most operations.
    First,
    /// The range to be discarded; the last one goes up to the object's end.
    Zero { offset: u64, end: u64, is_last: bool },
    /// An exclusive write found the object there, and may have made it itself.
    Compare,
}

/// Who does a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The library, on its own.
    Library,
    /// A thread that waits for the library.
    Thread { is_heavy: bool },
}

/// What follows a step.
pub(crate) enum After {
    Finish(Result<StoreReply>),
    /// Another step.
    Submit,
}

/// Who does an operation's next step.
pub(crate) fn way_of<T>(operation: &Operation<T>) -> Way {
    if operation.step == Step::Compare {
        return Way::Thread { is_heavy: true };
    }
    match &operation.request.operation {
        StoreOperation::Hash | StoreOperation::List { .. } | StoreOperation::Scrub { .. } => {
            Way::Thread { is_heavy: true }
        }
        StoreOperation::Acquire { .. }
        | StoreOperation::Release { .. }
        | StoreOperation::LockInfo
        | StoreOperation::Nodes => Way::Thread { is_heavy: false },
        _ => Way::Library,
    }
}

/// Begins an operation's next step; `done` is called when it ends.
pub(crate) fn begin<T>(operation: &Operation<T>, objects: &Context, done: Done) {
    let (request, region) = (&operation.request, operation.region);
    let (name, zero) = (of_object(&request.object), Buffer::of(&[0]));
    let change = match &request.operation {
        // RADOS takes no bytes for all of them.
        StoreOperation::Read { offset } if region.len() > 0 => {
            return objects.read(&name, *offset, region, done);
        }
        StoreOperation::Read { .. } | StoreOperation::Sync | StoreOperation::Info => {
            return objects.stat(&name, done);
        }
        StoreOperation::Discard { .. } => match operation.step {
            // RADOS takes zeros up to the end for a cut, so the last byte is written.
            Step::Zero { offset, end, is_last: true } => {
                zeroed(objects.change().assert_exists(), offset, end - 1).write(zero.region(), end - 1)
            }
            Step::Zero { offset, end, is_last: false } => {
                zeroed(objects.change().assert_exists(), offset, end)
            }
            Step::First | Step::Compare => return objects.stat(&name, done),
        },
        StoreOperation::Delete { .. } => return objects.remove(&name, done),
        StoreOperation::Flush => return objects.flush(done),
        StoreOperation::Write { offset, mode, .. } => {
            let change = objects.change();
            match mode {
                WriteMode::Replace => change.write_full(region),
                WriteMode::Update if region.len() == 0 => change.create(false),
                WriteMode::Update => change.write(region, *offset),
                WriteMode::Exclusive if region.len() == 0 => change.create(true),
                WriteMode::Exclusive => change.create(true).write(region, *offset),
            }
        }
        StoreOperation::Truncate { size, .. } => objects.change().create(false).truncate(*size),
        StoreOperation::Copy { source, size, .. } if **source == request.object => {
            objects.change().assert_exists().truncate(*size)
        }
        StoreOperation::Copy { source, size, .. } => objects.copy_of(&of_object(source)).truncate(*size),
        StoreOperation::WriteZeroes { size: 0, .. } => objects.change().create(false),
        StoreOperation::WriteZeroes { offset, size, .. } => {
            // RADOS takes zeros up to the end for a cut, so the last byte is written; it makes the object long enough too.
            let end = offset + size;
            zeroed(objects.change(), *offset, end).write(zero.region(), end - 1)
        }
        StoreOperation::Acquire { .. }
        | StoreOperation::Release { .. }
        | StoreOperation::LockInfo
        | StoreOperation::Nodes
        | StoreOperation::Hash
        | StoreOperation::Scrub { .. }
        | StoreOperation::List { .. } => unreachable!("threads do these: way_of()"),
    };
    objects.operate(&name, change, done);
}

/// A change that also gives a range back.
fn zeroed(change: WriteOp, offset: u64, end: u64) -> WriteOp {
    if offset < end { change.zero(offset, end - offset) } else { change }
}

impl<T> Operation<T> {
    pub(crate) fn new(request: StoreRequest, region: Region, token: T) -> Self {
        let request = Box::new(request);
        Self {
            request,
            region,
            token,
            has_passed: false,
            is_set_aside: false,
            generation: 0,
            retries: 0,
            step: Step::First,
        }
    }

    /// Whether it is an acquire that rather waits than fails.
    pub(crate) fn waits_for_lock(&self) -> bool {
        matches!(&self.request.operation, StoreOperation::Acquire { wait: true, .. })
    }

    /// What follows a step of the library that ended so.
    pub(crate) fn after(&mut self, ended: Ended) -> After {
        let is_second = self.request.is_second_attempt;
        let count = match ended.result {
            Ok(count) => count,
            Err(error) => {
                let kind = ErrorKind::of_io(&error);
                return match (&self.request.operation, kind) {
                    (StoreOperation::Delete { .. }, ErrorKind::NotFound) if is_second => {
                        After::Finish(Ok(StoreReply::Done))
                    }
                    (StoreOperation::Write { mode: WriteMode::Exclusive, .. }, ErrorKind::Exists)
                        if is_second =>
                    {
                        self.step = Step::Compare;
                        After::Submit
                    }
                    _ => After::Finish(Err(error.into())),
                };
            }
        };
        match (&self.request.operation, self.step) {
            (StoreOperation::Read { .. }, _) => {
                self.region.fill_zero_from(count);
                After::Finish(Ok(StoreReply::Done))
            }
            (StoreOperation::Info, _) => After::Finish(Ok(StoreReply::Size(ended.size))),
            (StoreOperation::Discard { offset, size, .. }, Step::First) => {
                let end = (offset + size).min(ended.size);
                if end <= *offset {
                    return After::Finish(Ok(StoreReply::Done));
                }
                self.step = Step::Zero { offset: *offset, end, is_last: end == ended.size };
                After::Submit
            }
            _ => After::Finish(Ok(StoreReply::Done)),
        }
    }
}
