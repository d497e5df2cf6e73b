//! Reads and writes of partial blocks.

use protocol::{ErrorKind, Failure, Flags, Fresh, Op, PARTIAL_BLOCK_BYTES, PIECE_BYTES, Shape};
use xseg::Held;

use crate::{
    completing::Wakeup,
    composer::{Composer, unsent},
    moving::Piece,
    object::Object,
    operation::{Claim, Errand, Operation, Step, Wait},
    partial::{BlockKey, Need, PIECE_LENGTH, Partial, Phase, pieces_of, start_of},
    volume::CallKind,
};

/// Most partial blocks that one port knows of; a write that would make one more waits for a copy of its block.
pub(crate) const PARTIALS_MAX: usize = 256;

impl Composer {
    /// Deals with a piece of an operation that lies in a partial block.
    pub(crate) fn partial_step(
        &mut self,
        key: u32,
        at: u64,
        piece: Piece,
        (object, base): (Object, Object),
    ) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let (op, flags, block) = (operation.op, operation.flags, (operation.volume, piece.block));
        let is_once = operation.once.is_some();
        let Some(shape) = self.shape(operation) else { return self.ask_shape(key) };
        if is_once && op != Op::Read {
            // Not without the lock.
            let end = operation.offset.saturating_add(at).saturating_add(piece.size);
            return self.ask_writable(key, &shape, piece.block, end);
        }
        let known = self.partials.entry(block).or_insert_with(|| {
            let (unknown, size) = (Phase::Unknown { at: 0 }, u64::from(shape.block_size));
            Partial { is_once, ..Partial::new(object.clone(), base.clone(), size, unknown) }
        });
        known.is_stale |= known.object != object || known.base != base;
        known.is_stale |= known.is_once != is_once;
        match (known.phase, op) {
            _ if known.is_stale => self.await_block(key, block, Need::Nothing),
            (Phase::Unknown { .. }, Op::Read | Op::Write) => self.await_block(key, block, Need::Survey),
            (_, Op::Read) => self.read_partial(key, at, piece, block),
            (Phase::Granting | Phase::Ready, Op::Write) => self.write_partial(key, at, piece, &shape),
            (Phase::Settling, Op::Write) => self.await_block(key, block, Need::Whole),
            _ if flags.contains(Flags::FAST) => {
                let message = format!("cannot zero block {} fast: it is shared", piece.block);
                self.fail(key, Failure::new(ErrorKind::Unsupported, message))
            }
            _ => self.await_block(key, block, Need::Whole),
        }
    }

    /// Lets an operation wait until something changes about a block, and says what it is waiting for.
    pub(crate) fn await_block(&mut self, key: u32, block: BlockKey, need: Need) -> Step {
        let Some(partial) = self.partials.get_mut(&block) else { return Step::Again };
        let Some(operation) = self.operations.get_mut(key) else { return Step::Wait };
        partial.need = partial.need.max(need);
        partial.rest = 0;
        partial.waiting.push(key);
        operation.under_way += 1;
        operation.wait = Wait::Block;
        Step::Wait
    }

    /// Reads as many pieces as are in the same object.
    fn read_partial(&mut self, key: u32, at: u64, piece: Piece, block: BlockKey) -> Step {
        let Some(partial) = self.partials.get(&block) else { return Step::Again };
        let pieces = pieces_of(piece.within, piece.size);
        let is_granted = partial.phase != Phase::Granting;
        let (is_own, count) = match is_granted {
            true => (partial.own.has(pieces.start), partial.own.run(pieces.clone())),
            false => (false, pieces.len()),
        };
        let end = start_of(pieces.start + count).min(piece.within + piece.size);
        let object = if is_own { partial.object.clone() } else { partial.base.clone() };
        self.send_piece(key, at, Piece { size: end - piece.within, ..piece }, object, None)
    }

    /// Writes to the own object of a partial block, unless something must come first.
    fn write_partial(&mut self, key: u32, at: u64, piece: Piece, shape: &Shape) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let block = (operation.volume, piece.block);
        let Some(partial) = self.partials.get(&block) else { return Step::Again };
        let pieces = pieces_of(piece.within, piece.size);
        let has_zeros = zero_pieces(operation, at, piece).next().is_some();
        // Zeros over what was written before would bring back what was there before that, should the power be lost.
        if has_zeros
            && (!piece.is_whole || zero_pieces(operation, at, piece).any(|piece| partial.own.has(piece)))
        {
            return self.await_block(key, block, Need::Whole);
        }
        if !partial.unanswered.is_empty() {
            return self.await_block(key, block, Need::Whole);
        }
        if partial.is_filled(&pieces) || (has_zeros && partial.is_claimed(&pieces)) {
            return self.await_block(key, block, Need::Nothing);
        }
        if let Some(edge) = cut_pieces(piece, shape).find(|edge| !partial.own.has(*edge)) {
            if !partial.is_busy() {
                self.fill(block, edge..edge + 1);
            }
            return self.await_block(key, block, Need::Nothing);
        }
        let is_granting = partial.phase == Phase::Granting;
        let (claim, object) = (Claim { block, pieces: pieces.clone() }, partial.object.clone());
        let sent = self.send_piece(key, at, piece, object, Some(claim));
        if sent != Step::Again || self.operations.get(key).is_none_or(|operation| operation.failure.is_some())
        {
            return sent;
        }
        if let Some(partial) = self.partials.get_mut(&block) {
            partial.claims.push(pieces);
            if has_zeros {
                partial.need = Need::Whole;
                partial.unanswered.push(key);
                self.operations.get_mut(key).into_iter().for_each(|operation| operation.under_way += 1);
            }
        }
        if is_granting {
            self.join_grant(key, block);
        }
        Step::Again
    }

    /// An operation is answered only when the mapper has the block that it writes to.
    fn join_grant(&mut self, key: u32, block: BlockKey) {
        let calls = self.volumes.get_mut(block.0).map(|volume| &mut volume.calls);
        let call = calls.and_then(|calls| {
            calls.iter_mut().find(|call| call.kind == CallKind::Partial && call.covers(block.1))
        });
        if let (Some(call), Some(operation)) = (call, self.operations.get_mut(key)) {
            call.waiting.push(key);
            operation.under_way += 1;
        }
    }

    /// Writes to a block that a snapshot shares: asks the mapper for a partial block, and writes to it meanwhile. None if the
    /// block has to be copied instead.
    pub(crate) fn begin_partial(
        &mut self,
        key: u32,
        at: u64,
        piece: Piece,
        base: &Object,
        shape: &Shape,
    ) -> Option<Step> {
        let operation = self.operations.get(key)?;
        let block = (operation.volume, piece.block);
        let volume = self.volumes.get(operation.volume)?;
        let fresh = volume.fresh.as_ref().filter(|fresh| is_newer(fresh, base))?;
        let is_refused = operation.once.is_some() || self.partials.len() >= PARTIALS_MAX;
        if is_refused || (!piece.is_whole && zero_pieces(operation, at, piece).next().is_some()) {
            return None;
        }
        let object = Object::Ours { owner: fresh.owner, written_at: fresh.written_at, index: piece.block };
        if let Some(step) = self.await_leaf(key, piece.block) {
            return Some(step);
        }
        if let Err(failure) = self.open_call(block.0, CallKind::Partial, block.1, block.1 + 1, Vec::new()) {
            return Some(self.unmade(key, failure));
        }
        let partial = Partial::new(object, base.clone(), u64::from(shape.block_size), Phase::Granting);
        self.partials.insert(block, partial);
        self.wake_later();
        Some(self.write_partial(key, at, piece, shape))
    }

    /// Whether a piece writes zeros before it is durable that a block of the volume is not partial any more.
    pub(crate) fn must_settle(&self, key: u32, at: u64, piece: Piece, shape: &Shape) -> bool {
        let Some(operation) = self.operations.get(key) else { return false };
        let Some(volume) = self.volumes.get(operation.volume) else { return false };
        let is_open = PARTIAL_BLOCK_BYTES.contains(&shape.block_size)
            && !volume.changes.has_durable(volume.zeros_after);
        match operation.op {
            _ if !is_open => false,
            Op::Write => zero_pieces(operation, at, piece).next().is_some(),
            op => matches!(op, Op::Discard | Op::WriteZeroes),
        }
    }

    /// Lets an operation wait until blocks that became whole are so durably.
    pub(crate) fn await_settled(&mut self, key: u32) -> Step {
        let Some(volume) = self.operations.get(key).map(|operation| operation.volume) else {
            return Step::Wait;
        };
        let Some(known) = self.volumes.get(volume) else { return Step::Wait };
        if known.zeroing.is_empty()
            && let Err(failure) = self.ask_settled(volume)
        {
            return self.unmade(key, failure);
        }
        self.volumes.get_mut(volume).into_iter().for_each(|known| known.zeroing.push(key));
        if let Some(operation) = self.operations.get_mut(key) {
            operation.under_way += 1;
            operation.wait = Wait::Block;
        }
        Step::Wait
    }

    fn ask_settled(&mut self, volume: u32) -> Result<(), Failure> {
        let Some(known) = self.volumes.get(volume) else { return Ok(()) };
        let made = known.changes.made();
        let mut part = self.effects.allocate(0)?;
        part.set_op(Op::Commit.number());
        part.set_flags(0);
        let named = part.set_target(&known.name).and_then(|()| part.set_argument(&[]));
        debug_assert!(named.is_ok(), "the name came in a request");
        let slot = part.slot();
        if let Err(refused) = self.effects.submit(part, self.mapper) {
            let (part, failure) = unsent(refused);
            self.effects.free(part);
            return Err(failure);
        }
        self.errands.put(slot, Errand::Settled { volume, made });
        self.sent += 1;
        Ok(())
    }

    /// What became whole is so durably, or not.
    pub(crate) fn settled(&mut self, volume: u32, made: u64, failure: Option<Failure>) {
        let Some(known) = self.volumes.get_mut(volume) else { return };
        if failure.is_none() {
            known.changes.committed(made);
        }
        let failure = failure.map(taken);
        for key in std::mem::take(&mut known.zeroing) {
            let failure = failure.clone().map(|failure| self.explain(key, failure));
            self.woken.push_back(failure.map_or(Wakeup::GoOn(key), |failure| Wakeup::Fail(key, failure)));
        }
    }
}

/// What was ours when it was written is another node's now: that is no lock to wait for.
pub(crate) fn taken(failure: Failure) -> Failure {
    match failure.kind {
        ErrorKind::Busy => Failure { kind: ErrorKind::NotOwner, ..failure },
        _ => failure,
    }
}

/// Whether an object that is named so cannot be one that a snapshot sees.
fn is_newer(fresh: &Fresh, base: &Object) -> bool {
    match base {
        Object::Ours { owner, written_at, .. } => *owner != fresh.owner || *written_at < fresh.written_at,
        Object::Named(_) => true,
    }
}

/// The pieces at the ends of a range that it covers only in part.
fn cut_pieces(piece: Piece, shape: &Shape) -> impl Iterator<Item = usize> {
    let pieces = pieces_of(piece.within, piece.size);
    let end = piece.within + piece.size;
    let is_cut = |at: u64| !at.is_multiple_of(PIECE_BYTES);
    let head = is_cut(piece.within).then_some(pieces.start);
    let tail = (is_cut(end) && end != u64::from(shape.block_size)).then_some(pieces.end - 1);
    head.into_iter().chain(tail)
}

/// The pieces of which all that is written is zeros: in the own object that means that nothing was written.
fn zero_pieces(operation: &Operation, at: u64, piece: Piece) -> impl Iterator<Item = usize> {
    let is_zero = move |from: u64, to: u64| match &operation.request {
        Some(request) => is_zero_from(request, at + (from - piece.within), to - from),
        None => true,
    };
    pieces_of(piece.within, piece.size).filter(move |number| {
        let from = start_of(*number).max(piece.within);
        let to = start_of(number + 1).min(piece.within + piece.size);
        is_zero(from, to)
    })
}

/// Whether so many bytes of a buffer are zeros, at most a piece.
fn is_zero_from(request: &Held, at: u64, size: u64) -> bool {
    /// Most of what is not all zeros shows it at once.
    const GLANCE: u64 = 64;
    let mut bytes = [0; PIECE_LENGTH];
    let mut is_zero = |size: u64| {
        let part = &mut bytes[..usize::try_from(size).unwrap_or(0)];
        request.read(at, part).is_err() || part.iter().all(|byte| *byte == 0)
    };
    is_zero(size.min(GLANCE)) && is_zero(size)
}
