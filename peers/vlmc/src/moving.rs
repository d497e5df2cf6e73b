//! Reads, writes and zeroing: splitting a range at blocks.

use std::ops::Range;

use peer::Effects;
use protocol::{ErrorKind, Failure, Flags, Fresh, Op, Shape};
use xseg::Held;

use crate::{
    composer::Composer,
    object::{Object, Place},
    operation::{Claim, Errand, Operation, Stage, Step},
    volume::{CallKind, Volume},
};

/// The part of an operation that lies in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Which block.
    pub(crate) block: u64,
    /// Where in the block, in bytes.
    pub(crate) within: u64,
    /// How many bytes.
    pub(crate) size: u64,
    /// Whether that is all of the block that the volume has.
    pub(crate) is_whole: bool,
}

impl Piece {
    /// The first piece of the `size` bytes at `offset`.
    pub(crate) fn first(shape: &Shape, offset: u64, size: u64) -> Piece {
        let block_size = u64::from(shape.block_size);
        let (block, within) = (offset / block_size, offset % block_size);
        let taken = size.min(block_size - within);
        let is_whole = within == 0 && (taken == block_size || offset + taken == shape.size_bytes);
        Piece { block, within, size: taken, is_whole }
    }
}

/// The blocks that lie wholly in a range, which lies in the volume.
pub(crate) fn whole_blocks(shape: &Shape, offset: u64, size: u64) -> Range<u64> {
    let block_size = u64::from(shape.block_size);
    let end = offset + size;
    let last = if end == shape.size_bytes { end.div_ceil(block_size) } else { end / block_size };
    let first = offset.div_ceil(block_size);
    first..last.max(first)
}

impl Composer {
    /// Whether zeroing a range needs the mapper, which no other request may run beside: what reads or writes a block must
    /// not find its object deleted.
    pub(crate) fn needs_punch(&self, volume: u32, offset: u64, size: u64) -> bool {
        let grant = self.volumes.get(volume).and_then(|volume| volume.grant.as_ref());
        let Some(shape) = grant.map(|grant| &grant.shape) else { return size > 0 };
        check_range(shape, offset, size).is_ok() && !self.punch_run(volume, shape, offset, size).is_empty()
    }

    /// The whole blocks of a range without those at its ends that are known to be holes.
    fn punch_run(&self, volume: u32, shape: &Shape, offset: u64, size: u64) -> Range<u64> {
        let mut run = whole_blocks(shape, offset, size);
        while !run.is_empty() && self.cache.is_hole(volume, run.start) {
            run.start += 1;
        }
        while !run.is_empty() && self.cache.is_hole(volume, run.end - 1) {
            run.end -= 1;
        }
        run
    }

    /// The shape of an operation's volume, if it is known.
    pub(crate) fn shape(&self, operation: &Operation) -> Option<Shape> {
        let granted = self.volumes.get(operation.volume).and_then(|volume| volume.grant.as_ref());
        let shape = granted.map(|grant| &grant.shape);
        shape.or(operation.once.as_ref().map(|once| &once.shape)).cloned()
    }

    /// Whether what is known of an operation's volume is what this node may change.
    fn has_lock(&self, key: u32) -> bool {
        let volume = self.operations.get(key).and_then(|operation| self.volumes.get(operation.volume));
        volume.is_some_and(|volume| volume.grant.is_some())
    }

    /// Where a block is for this operation. What it may use only once is never writable.
    pub(crate) fn place(&mut self, key: u32, block: u64) -> Option<Place> {
        let operation = self.operations.get(key)?;
        if self.volumes.get(operation.volume)?.grant.is_some() {
            // It may be partial before the mapper says so, and until nothing of that is under way any more.
            if let Some(partial) = self.partials.get(&(operation.volume, block)).filter(|it| !it.is_once) {
                let (object, base) = (partial.object.clone(), partial.base.clone());
                return Some(Place::Partial { object, base });
            }
            return self.cache.place(operation.volume, block);
        }
        let once = operation.once.as_ref()?;
        let position = usize::try_from(block.checked_sub(once.first)?).ok()?;
        match Place::of(once.entries.get(position)?, block) {
            Place::At { object, .. } => Some(Place::At { object, is_writable: false }),
            other => Some(other),
        }
    }

    /// Deals with the next block of an operation's range.
    pub(crate) fn move_step(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let Stage::Moving { at } = operation.stage else { return Step::Wait };
        let (op, flags, offset, left) =
            (operation.op, operation.flags, operation.offset, operation.size.saturating_sub(at));
        if left == 0 {
            return self.end_stage(key);
        }
        let Some(shape) = self.shape(operation) else { return self.ask_shape(key) };
        if let Some(failure) = check(&shape, operation).err().or_else(|| self.was_taken(operation)) {
            return self.fail(key, failure);
        }
        let piece = Piece::first(&shape, offset + at, left);
        let is_zeroing = matches!(op, Op::Discard | Op::WriteZeroes);
        if is_zeroing && piece.is_whole {
            let skipped = blocks_bytes(&shape, whole_blocks(&shape, offset + at, left));
            return self.moved(key, skipped.min(left).max(piece.size));
        }
        match (self.place(key, piece.block), op) {
            (None, _) => self.ask_entries(key, &shape, piece.block),
            (Some(Place::Hole), Op::Read) => self.read_hole(key, at, piece),
            (Some(Place::Partial { object, base }), _) => self.partial_step(key, at, piece, (object, base)),
            (Some(Place::At { object, .. }), Op::Read) => self.send_piece(key, at, piece, object, None),
            (Some(Place::Hole), Op::Discard | Op::WriteZeroes) if self.has_lock(key) => {
                self.moved(key, piece.size)
            }
            // That it is a hole may be what another node has not committed.
            (Some(Place::Hole), Op::Discard | Op::WriteZeroes) => {
                self.ask_writable(key, &shape, piece.block, offset + at + piece.size)
            }
            (Some(Place::At { is_writable: true, .. }), _) if self.must_settle(key, at, piece, &shape) => {
                self.await_settled(key)
            }
            (Some(Place::At { object, is_writable: true }), _) => {
                self.send_piece(key, at, piece, object, None)
            }
            (Some(_), _) if is_zeroing && flags.contains(Flags::FAST) => {
                let message = format!("cannot zero block {} fast: it is shared", piece.block);
                self.fail(key, Failure::new(ErrorKind::Unsupported, message))
            }
            // What is zeroed beyond this block may be punched, and needs no copy then.
            (Some(_), _) if is_zeroing => {
                self.ask_writable(key, &shape, piece.block, offset + at + piece.size)
            }
            (Some(place), _) => {
                let begun = match &place {
                    Place::At { object, .. } => self.begin_partial(key, at, piece, object, &shape),
                    Place::Hole | Place::Partial { .. } => None,
                };
                begun.unwrap_or_else(|| self.ask_writable(key, &shape, piece.block, offset + at + left))
            }
        }
    }

    /// So many more bytes of an operation's range are handed out.
    fn moved(&mut self, key: u32, bytes: u64) -> Step {
        if let Some(Stage::Moving { at }) = self.operations.get_mut(key).map(|operation| &mut operation.stage)
        {
            *at += bytes;
        }
        Step::Again
    }

    fn read_hole(&mut self, key: u32, at: u64, piece: Piece) -> Step {
        let request = self.operations.get(key).and_then(|operation| operation.request.as_ref());
        match request.map(|request| request.zero(at..at + piece.size)) {
            Some(Ok(())) => self.moved(key, piece.size),
            Some(Err(error)) => self.fail(key, Failure::new(ErrorKind::Invalid, error.to_string())),
            None => Step::Wait,
        }
    }

    /// Sends the child request for a piece in an object; it borrows its part of the parent's buffer.
    pub(crate) fn send_piece(
        &mut self,
        key: u32,
        at: u64,
        piece: Piece,
        object: Object,
        claim: Option<Claim>,
    ) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let Some(volume) = self.volumes.get(operation.volume) else { return Step::Wait };
        let mut part = match allocate(&self.effects, operation, at, piece) {
            Ok(part) => part,
            Err(failure) => return self.unmade(key, failure),
        };
        if let Err(failure) = fill(&mut part, operation, volume, piece, &object) {
            self.effects.free(part);
            return self.fail(key, failure);
        }
        let errand = match operation.op {
            Op::Read => Errand::Read { operation: key, object },
            _ => {
                let is_durable = operation.flags.contains(Flags::FUA);
                Errand::Change { operation: key, object, is_durable, claim }
            }
        };
        match self.send(key, part, self.blocker, errand) {
            Step::Again => self.moved(key, piece.size),
            other => other,
        }
    }

    /// Makes the whole blocks of a range holes.
    pub(crate) fn punch_step(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let Some(shape) = self.shape(operation) else { return self.ask_shape(key) };
        if let Err(failure) = check(&shape, operation) {
            return self.fail(key, failure);
        }
        let run = self.punch_run(operation.volume, &shape, operation.offset, operation.size);
        if run.is_empty() || matches!(operation.stage, Stage::Punching { is_sent: true }) {
            return self.end_stage(key);
        }
        let Some(volume) = self.volumes.get(operation.volume) else { return Step::Wait };
        let mut part = match self.effects.allocate(0) {
            Ok(part) => part,
            Err(failure) => return self.unmade(key, failure),
        };
        part.set_op(Op::MapPunch.number());
        part.set_flags(0);
        part.set_offset(run.start);
        part.set_size(run.end - run.start);
        let named = part.set_target(&volume.name).and_then(|()| part.set_argument(&[]));
        debug_assert!(named.is_ok(), "the name came in a request");
        if let Some(operation) = self.operations.get_mut(key) {
            operation.stage = Stage::Punching { is_sent: true };
        }
        self.send(key, part, self.mapper, Errand::Punch { operation: key, first: run.start, end: run.end })
    }

    /// Learns what became of a punch.
    pub(crate) fn punched(&mut self, key: u32, first: u64, end: u64, fresh: Option<Fresh>, is_done: bool) {
        let Some(volume) = self.operations.get(key).map(|operation| operation.volume) else { return };
        self.punch_partials(volume, first, end);
        if is_done {
            self.cache.punch(volume, first, end);
        } else {
            // Nobody knows how much of it was done.
            self.forget_map(volume);
        }
        if let Some(volume) = self.volumes.get_mut(volume) {
            volume.changes.add();
            volume.fresh = fresh.filter(|_| is_done);
        }
    }
}

fn allocate(effects: &Effects, operation: &Operation, at: u64, piece: Piece) -> Result<Held, Failure> {
    match (operation.op, &operation.request) {
        (Op::Read | Op::Write, Some(parent)) => effects.allocate_child(parent, at..at + piece.size),
        _ => effects.allocate(0),
    }
}

fn fill(
    part: &mut Held,
    operation: &Operation,
    volume: &Volume,
    piece: Piece,
    object: &Object,
) -> Result<(), Failure> {
    let passed_on = match operation.op {
        Op::WriteZeroes => Flags::FUA | Flags::FAST | Flags::MAY_TRIM,
        _ => Flags::FUA,
    };
    part.set_op(operation.op.number());
    part.set_offset(piece.within);
    part.set_size(piece.size);
    let mut argument: &[u8] = &[];
    let mut flags = Flags::empty();
    if operation.op != Op::Read {
        argument = &volume.name;
        flags = operation.flags & passed_on | Flags::FENCED;
        part.set_fence(volume.grant.as_ref().map_or(0, |grant| grant.fence));
    }
    part.set_flags(flags.bits());
    let named = object.with_name(|name| part.set_target(name)).and_then(|()| part.set_argument(argument));
    named.map_err(|error| {
        let message = format!("the map's name for block {} cannot be an object's: {error}", piece.block);
        Failure::new(ErrorKind::Corrupt, message)
    })
}

/// Whether an operation makes sense on a volume of this shape.
fn check(shape: &Shape, operation: &Operation) -> Result<(), Failure> {
    if operation.op != Op::Read && shape.is_read_only {
        let message = format!("cannot {} a snapshot", operation.op.name());
        return Err(Failure::new(ErrorKind::ReadOnly, message));
    }
    check_range(shape, operation.offset, operation.size)
}

/// Whether a range lies in a volume of this shape.
pub(crate) fn check_range(shape: &Shape, offset: u64, size: u64) -> Result<(), Failure> {
    if offset.checked_add(size).is_some_and(|end| end <= shape.size_bytes) {
        return Ok(());
    }
    let total = shape.size_bytes;
    let message = format!("{size} bytes at {offset} are not inside a volume of {total} bytes");
    Err(Failure::new(ErrorKind::Invalid, message))
}

fn blocks_bytes(shape: &Shape, blocks: Range<u64>) -> u64 {
    (blocks.end - blocks.start).saturating_mul(u64::from(shape.block_size))
}

impl CallKind {
    /// Whether it needs the lock.
    pub(crate) fn is_change(self) -> bool {
        !matches!(self, CallKind::Read | CallKind::Look)
    }

    /// The operation that asks it.
    pub(crate) fn op(self) -> Op {
        match self {
            CallKind::Read | CallKind::Look => Op::MapRead,
            CallKind::Write | CallKind::Partial | CallKind::Whole => Op::MapWrite,
        }
    }

    /// What it asks for.
    pub(crate) fn flags(self) -> Flags {
        match self {
            CallKind::Read | CallKind::Look | CallKind::Write => Flags::empty(),
            CallKind::Partial => Flags::PARTIAL,
            CallKind::Whole => Flags::WHOLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape { size_bytes: 1000, block_size: 300, is_read_only: false }
    }

    #[test]
    fn a_range_is_cut_at_blocks() {
        let first = Piece::first(&shape(), 298, 512);
        assert_eq!(first, Piece { block: 0, within: 298, size: 2, is_whole: false });
        let second = Piece::first(&shape(), 300, 510);
        assert_eq!(second, Piece { block: 1, within: 0, size: 300, is_whole: true });
    }

    #[test]
    fn the_short_last_block_is_whole_when_the_range_reaches_the_end() {
        assert!(Piece::first(&shape(), 900, 100).is_whole);
        assert!(!Piece::first(&shape(), 900, 99).is_whole);
        assert_eq!(whole_blocks(&shape(), 1, 999), 1..4);
        assert_eq!(whole_blocks(&shape(), 1, 998), 1..3);
        assert!(whole_blocks(&shape(), 301, 200).is_empty());
    }

    #[test]
    fn a_range_that_wraps_around_is_outside() {
        let failure = check_range(&shape(), u64::MAX, 2).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Invalid);
        assert_eq!(check_range(&shape(), 999, 1), Ok(()));
    }
}
