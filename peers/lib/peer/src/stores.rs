//! Requests of the segment as operations of a store, and back: docs/protocols.md#store-operations-blockers.

use std::fmt::Display;

use protocol::{
    Acquire, Copy, Damaged, Failure, Flags, Granted, Hashed, List, Listed, LockInfo, Message, Nodes, Op,
    Release, Scrub, Scrubbed,
};
use store::{
    ErrorKind, Fence, LockState, ObjectName, ScrubState, StoreError, StoreOperation, StoreReply,
    StoreRequest, WriteMode,
};
use xseg::{Held, RawBuffer};

/// What a page of names costs beside its names, in bytes: their count, and whether there are more.
const PAGE_COST: usize = 16;

/// What is asked. Reads and writes are about [`buffer`].
///
/// # Errors
/// `Unsupported` for operations that are not a store's, `Invalid` for what makes no sense.
pub fn decode(held: &Held) -> Result<StoreRequest, Failure> {
    let target = held.target();
    let object = ObjectName::new(target).map_err(|error| refused(held, ErrorKind::Invalid, &error))?;
    let Some(op) = Op::from_number(held.op()) else {
        return Err(refused(held, ErrorKind::Unsupported, &"there is no such operation"));
    };
    let flags = Flags::from_bits(held.flags());
    let flags = flags.ok_or_else(|| refused(held, ErrorKind::Unsupported, &"it has unknown flags"))?;
    if flags.contains(Flags::FLUSH) && op != Op::Flush {
        return Err(refused(held, ErrorKind::Unsupported, &"a store flushes by an operation of its own"));
    }
    let operation = operation(held, op, flags)?;
    let fence = if flags.contains(Flags::FENCED) { Some(fence(held, &operation)?) } else { None };
    Ok(StoreRequest { object, operation, fence, is_second_attempt: held.attempts() > 0 })
}

fn operation(held: &Held, op: Op, flags: Flags) -> Result<StoreOperation, Failure> {
    let (offset, size) = (held.offset(), held.size());
    let is_durable = flags.contains(Flags::FUA);
    Ok(match op {
        Op::Read => StoreOperation::Read { offset },
        Op::Write => StoreOperation::Write { offset, mode: write_mode(held, flags)?, is_durable },
        Op::Sync => StoreOperation::Sync,
        Op::Truncate => StoreOperation::Truncate { size: offset, is_durable },
        Op::Delete => StoreOperation::Delete { is_durable },
        Op::Acquire => {
            let Acquire { owner, description } = argument(held)?;
            let (wait, force) = (!flags.contains(Flags::NOSYNC), flags.contains(Flags::FORCE));
            StoreOperation::Acquire { owner, description, wait, force }
        }
        Op::Release => {
            let Release { owner } = argument(held)?;
            StoreOperation::Release { owner, force: flags.contains(Flags::FORCE) }
        }
        Op::Copy => {
            let Copy { source } = argument(held)?;
            let source =
                ObjectName::new(&source).map_err(|error| refused(held, ErrorKind::Invalid, &error))?;
            StoreOperation::Copy { source: Box::new(source), size, is_durable }
        }
        Op::Info => StoreOperation::Info,
        Op::Hash => StoreOperation::Hash,
        Op::Flush => StoreOperation::Flush,
        Op::Discard => StoreOperation::Discard { offset, size, is_durable },
        Op::WriteZeroes => {
            let (may_trim, is_fast) = (flags.contains(Flags::MAY_TRIM), flags.contains(Flags::FAST));
            StoreOperation::WriteZeroes { offset, size, may_trim, is_fast, is_durable }
        }
        Op::List => {
            let List { prefix, after } = argument(held)?;
            let room = usize::try_from(held.buffer_bytes()).unwrap_or(usize::MAX);
            StoreOperation::List { prefix, after, max_bytes: room.saturating_sub(PAGE_COST) }
        }
        Op::LockInfo => StoreOperation::LockInfo,
        Op::Nodes => StoreOperation::Nodes,
        Op::Scrub => {
            let Scrub { is_restart, max_bytes } = argument(held)?;
            StoreOperation::Scrub { is_restart, max_bytes }
        }
        other => {
            let message = format!("{} is not an operation of a store", other.name());
            return Err(refused(held, ErrorKind::Unsupported, &message));
        }
    })
}

fn write_mode(held: &Held, flags: Flags) -> Result<WriteMode, Failure> {
    match (flags.contains(Flags::EXCLUSIVE), flags.contains(Flags::REPLACE)) {
        (false, false) => Ok(WriteMode::Update),
        (true, false) => Ok(WriteMode::Exclusive),
        (false, true) => Ok(WriteMode::Replace),
        (true, true) => Err(refused(held, ErrorKind::Invalid, &"it is to be new and replaced at once")),
    }
}

fn argument<M: Message>(held: &Held) -> Result<M, Failure> {
    M::decode(&held.argument()).map_err(|error| refused(held, ErrorKind::Invalid, &error))
}

/// The name of the lock takes the place of the argument.
fn fence(held: &Held, operation: &StoreOperation) -> Result<Fence, Failure> {
    match operation {
        StoreOperation::Acquire { .. }
        | StoreOperation::Release { .. }
        | StoreOperation::Copy { .. }
        | StoreOperation::List { .. }
        | StoreOperation::Scrub { .. } => {
            Err(refused(held, ErrorKind::Unsupported, &"an operation with an argument cannot be fenced"))
        }
        _ => {
            let lock = ObjectName::new(held.argument());
            let lock = lock.map_err(|error| refused(held, ErrorKind::Invalid, &error))?;
            Ok(Fence { lock, number: held.fence() })
        }
    }
}

/// The memory that a read or write is about; none for other operations. Keep the request as long as it is used.
///
/// # Errors
/// `Invalid` if the request has no such buffer.
pub fn buffer(held: &Held, operation: &StoreOperation) -> Result<Option<RawBuffer>, Failure> {
    match operation {
        StoreOperation::Read { .. } | StoreOperation::Write { .. } => {
            let buffer = held.raw(0..held.size());
            buffer.map(Some).map_err(|error| refused(held, ErrorKind::Invalid, &error))
        }
        _ => Ok(None),
    }
}

fn refused(held: &Held, kind: ErrorKind, why: &dyn Display) -> Failure {
    let op = Op::from_number(held.op())
        .map_or_else(|| format!("operation {}", held.op()), |op| op.name().to_owned());
    Failure::new(kind, format!("cannot {op} object {}: {why}", held.target().escape_ascii()))
}

/// Writes the result into the request; what is left to answer is its status.
///
/// # Errors
/// What the store said, or that the result has no room.
pub fn encode(held: &mut Held, result: Result<StoreReply, StoreError>) -> Result<(), Failure> {
    match result.map_err(|error| failure(&error))? {
        StoreReply::Done => held.set_serviced(held.size()),
        StoreReply::Size(size) => {
            held.set_serviced(size);
            set_argument(held, &size.to_le_bytes())?;
        }
        StoreReply::Hash(hash) => set_argument(held, &Hashed { hash }.encode())?,
        StoreReply::Granted(number) => set_argument(held, &Granted { number }.encode())?,
        StoreReply::Lock(LockState { owner, description, number, since_unix_ms }) => {
            set_argument(held, &LockInfo { owner, description, number, since_unix_ms }.encode())?;
        }
        StoreReply::Names(page) => {
            set_buffer(held, &Listed { names: page.names, more: page.more }.encode())?;
        }
        StoreReply::Nodes(nodes) => set_buffer(held, &Nodes { nodes }.encode())?,
        StoreReply::Scrubbed(state) => set_buffer(held, &scrubbed(*state).encode())?,
    }
    Ok(())
}

fn set_argument(held: &mut Held, bytes: &[u8]) -> Result<(), Failure> {
    held.set_argument(bytes).map_err(|error| refused(held, ErrorKind::Invalid, &error))
}

fn set_buffer(held: &mut Held, bytes: &[u8]) -> Result<(), Failure> {
    held.write(0, bytes).map_err(|error| refused(held, ErrorKind::Invalid, &error))?;
    held.set_serviced(bytes.len() as u64);
    Ok(())
}

fn scrubbed(state: ScrubState) -> Scrubbed {
    let damages = state.damages.into_iter().map(|damage| Damaged {
        object: damage.object,
        offset: damage.offset,
        size: damage.size,
        is_unreadable: damage.is_unreadable,
    });
    Scrubbed {
        begun_unix_ms: state.begun_unix_ms,
        progress: state.progress,
        objects: state.objects,
        bytes: state.bytes,
        verified: state.verified,
        summed: state.summed,
        unsettled: state.unsettled,
        damaged: state.damaged,
        damages: damages.collect(),
    }
}

/// The cause is told only where the kind does not say it.
fn failure(error: &StoreError) -> Failure {
    let message = match (error.kind, std::error::Error::source(error)) {
        (
            ErrorKind::Unavailable
            | ErrorKind::Unsupported
            | ErrorKind::Invalid
            | ErrorKind::ReadOnly
            | ErrorKind::Corrupt,
            Some(cause),
        ) => {
            format!("{error}: {cause}")
        }
        _ => error.to_string(),
    };
    Failure::new(error.kind, message)
}
