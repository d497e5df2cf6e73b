//! Looking through partial blocks, and copying what they lack.

use std::ops::Range;

use peer::failure_of;
use protocol::{ErrorKind, Failure, Flags, Op, PIECE_BYTES};
use xseg::Held;

use crate::{
    completing::{FILL_BYTES, Wakeup},
    composer::{Composer, unsent},
    object::Object,
    operation::Errand,
    partial::{BlockKey, Need, PIECE_LENGTH, Phase, Work, piece_of, start_of},
};

impl Composer {
    /// Looks which pieces of the own object are not all zeros.
    pub(crate) fn survey(&mut self, block: BlockKey, from: usize) -> bool {
        let Some(partial) = self.partials.get(&block) else { return false };
        let size = (start_of(partial.own.count) - start_of(from)).min(FILL_BYTES);
        let object = partial.object.clone();
        let sent = self.send_read(block, &object, start_of(from), size, Errand::Survey { block });
        if let (true, Some(partial)) = (sent, self.partials.get_mut(&block)) {
            partial.work = Work::Survey;
        }
        sent
    }

    /// Copies pieces from the base.
    pub(crate) fn fill(&mut self, block: BlockKey, pieces: Range<usize>) -> bool {
        let Some(partial) = self.partials.get(&block) else { return false };
        let (from, end) = (start_of(pieces.start), start_of(pieces.end));
        let base = partial.base.clone();
        let sent = self.send_read(block, &base, from, end - from, Errand::FillRead { block });
        if let (true, Some(partial)) = (sent, self.partials.get_mut(&block)) {
            partial.work = Work::Reading(pieces);
        }
        sent
    }

    fn send_read(&mut self, block: BlockKey, object: &Object, at: u64, size: u64, errand: Errand) -> bool {
        let mut part = match self.effects.allocate(size) {
            Ok(part) => part,
            Err(failure) => {
                self.cannot_work(block, failure);
                return false;
            }
        };
        part.set_op(Op::Read.number());
        part.set_flags(0);
        part.set_offset(at);
        part.set_size(size);
        let named = object.with_name(|name| part.set_target(name)).and_then(|()| part.set_argument(&[]));
        debug_assert!(named.is_ok(), "the map's names are names");
        self.send_work(block, part, errand)
    }

    fn send_work(&mut self, block: BlockKey, part: Held, errand: Errand) -> bool {
        let slot = part.slot();
        match self.effects.submit(part, self.blocker) {
            Ok(()) => {
                self.errands.put(slot, errand);
                self.sent += 1;
                true
            }
            Err(refused) => {
                let (part, failure) = unsent(refused);
                self.effects.free(part);
                self.fail_block(block, &failure);
                false
            }
        }
    }

    /// A part of the own object was looked through.
    pub(crate) fn surveyed(&mut self, block: BlockKey, reply: Held) {
        let failure = failure_of(&reply);
        let first = piece_of(reply.offset());
        let mut found = Vec::new();
        if failure.is_none() {
            found = non_zero_pieces(&reply);
        }
        self.effects.free(reply);
        let Some(partial) = self.partials.get_mut(&block) else { return };
        partial.work = Work::Nothing;
        match failure {
            // Nothing was written yet, so there is nothing to be found further on.
            Some(failure) if failure.kind == ErrorKind::NotFound => partial.phase = Phase::Ready,
            Some(failure) => return self.fail_block(block, &failure),
            None => {
                partial.is_there = true;
                let end = first + found.len();
                for (piece, _) in (first..).zip(&found).filter(|(_, is_own)| **is_own) {
                    partial.own.add(piece..piece + 1);
                }
                let is_done = end >= partial.own.count || found.is_empty();
                partial.phase = if is_done { Phase::Ready } else { Phase::Unknown { at: end } };
            }
        }
        if partial.phase == Phase::Ready {
            let need = if partial.need == Need::Survey { Need::Nothing } else { partial.need };
            partial.need = need;
            self.wake_all(block);
        }
    }

    /// Pieces of the base were read: writes those that are not all zeros.
    pub(crate) fn fill_read(&mut self, block: BlockKey, reply: Held) {
        let failure = failure_of(&reply);
        let Some(partial) = self.partials.get_mut(&block) else { return self.effects.free(reply) };
        let work = std::mem::replace(&mut partial.work, Work::Nothing);
        let (Work::Reading(pieces), false) = (work, partial.is_stale) else {
            return self.effects.free(reply);
        };
        if let Some(failure) = failure {
            let is_missing = failure.kind == ErrorKind::NotFound;
            let message = format!("object {} is in the map but not in the store", partial.base.display());
            self.effects.free(reply);
            let failure = if is_missing { Failure::new(ErrorKind::Corrupt, message) } else { failure };
            return self.fail_block(block, &failure);
        }
        // What is all zeros is in the own object without being written, if there is one.
        if partial.is_there && !non_zero_pieces(&reply).contains(&true) {
            self.effects.free(reply);
            return self.filled(block, pieces);
        }
        self.write_filled(block, pieces, reply);
    }

    fn write_filled(&mut self, block: BlockKey, pieces: Range<usize>, read: Held) {
        let size = read.size();
        let object = self.partials.get(&block).map(|partial| partial.object.clone());
        let volume = self.volumes.get(block.0);
        let grant = volume.and_then(|volume| Some((volume.name.clone(), volume.grant.as_ref()?.fence)));
        let (Some(object), Some((name, fence))) = (object, grant) else { return self.effects.free(read) };
        let mut part = match self.effects.allocate_child(&read, 0..size) {
            Ok(part) => part,
            Err(failure) => {
                self.effects.free(read);
                return self.cannot_work(block, failure);
            }
        };
        part.set_op(Op::Write.number());
        part.set_flags(Flags::FENCED.bits());
        part.set_fence(fence);
        part.set_offset(start_of(pieces.start));
        part.set_size(size);
        let named = object.with_name(|name| part.set_target(name)).and_then(|()| part.set_argument(&name));
        debug_assert!(named.is_ok(), "both names were used before");
        if let Some(partial) = self.partials.get_mut(&block) {
            partial.work = Work::Writing(pieces, read);
        }
        if !self.send_work(block, part, Errand::FillWrite { block })
            && let Some(partial) = self.partials.get_mut(&block)
            && let Work::Writing(_, read) = std::mem::replace(&mut partial.work, Work::Nothing)
        {
            self.effects.free(read);
        }
    }

    /// Pieces were copied.
    pub(crate) fn fill_written(&mut self, block: BlockKey, reply: Held) {
        let (failure, fence) = (failure_of(&reply), reply.fence());
        self.effects.free(reply);
        let Some(partial) = self.partials.get_mut(&block) else { return };
        let Work::Writing(pieces, read) = std::mem::replace(&mut partial.work, Work::Nothing) else { return };
        self.effects.free(read);
        match failure {
            None => {
                partial.is_there = true;
                self.filled(block, pieces);
            }
            Some(failure) if failure.kind == ErrorKind::NotOwner => {
                let waiting = std::mem::take(&mut partial.waiting);
                self.woken
                    .extend(waiting.into_iter().map(|key| Wakeup::Refused(key, fence, failure.clone())));
                self.forget_map(block.0);
            }
            Some(failure) => self.fail_block(block, &failure),
        }
    }

    fn filled(&mut self, block: BlockKey, pieces: Range<usize>) {
        if let Some(partial) = self.partials.get_mut(&block) {
            partial.own.add(pieces);
        }
        self.wake_all(block);
    }

    /// A client's write to pieces of a block is done, or failed: then nobody knows what they are.
    pub(crate) fn unclaim(&mut self, block: BlockKey, pieces: &Range<usize>, is_done: bool) {
        let Some(partial) = self.partials.get_mut(&block) else { return };
        partial.unclaim(pieces);
        match is_done {
            true => {
                partial.is_there = true;
                partial.own.add(pieces.clone());
            }
            false => partial.is_stale = true,
        }
        self.wake_all(block);
    }
}

/// Which pieces of what was read are not all zeros.
fn non_zero_pieces(reply: &Held) -> Vec<bool> {
    let size = reply.size();
    let mut bytes = [0; PIECE_LENGTH];
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let length = PIECE_BYTES.min(size - at);
        let part = &mut bytes[..usize::try_from(length).unwrap_or(0)];
        let is_read = reply.read(at, part).is_ok();
        found.push(is_read && part.iter().any(|byte| *byte != 0));
        at += length;
    }
    found
}
