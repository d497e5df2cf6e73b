//! Questions to the mapper: where blocks are, and to make them writable.

use std::sync::Arc;

use peer::failure_of;
use protocol::{Entries, Entry, ErrorKind, Failure, Message, Op, Shape};
use xseg::Held;

use crate::{
    cache::LEAF_BLOCKS,
    composer::{Composer, unsent},
    object::Place,
    operation::{Stage, Step, Wait},
    overlay::PARTIALS_MAX,
    partial::{BlockKey, Partial, Phase},
    volume::{CallKind, Grant, MapCall},
};

/// Room for an answer: a leaf of our own objects. With longer names the mapper answers fewer at a time.
pub(crate) const ENTRIES_BYTES: u64 = 16 << 10;

impl Composer {
    /// Asks for the first block: every volume has one, and the answer tells the volume's shape.
    pub(crate) fn ask_shape(&mut self, key: u32) -> Step {
        self.ask(key, CallKind::Read, 0, 1)
    }

    /// Asks for the leaf that `block` is in, or for what of it is missing.
    pub(crate) fn ask_entries(&mut self, key: u32, shape: &Shape, block: u64) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let leaf = block - block % LEAF_BLOCKS;
        // An answer may be shorter than the question: what can't be kept must be what is needed.
        let first = match operation.once {
            Some(_) => block,
            None => self.cache.first_unknown(operation.volume, block),
        };
        let blocks = shape.size_bytes.div_ceil(u64::from(shape.block_size));
        self.ask(key, CallKind::Read, first, (leaf + LEAF_BLOCKS).min(blocks))
    }

    /// Asks to make writable the blocks from `block` on, as far as this operation, which ends at `end` bytes, needs it.
    pub(crate) fn ask_writable(&mut self, key: u32, shape: &Shape, block: u64, end: u64) -> Step {
        let leaf_end = block - block % LEAF_BLOCKS + LEAF_BLOCKS;
        let last = end.div_ceil(u64::from(shape.block_size)).min(leaf_end);
        let mut run_end = block + 1;
        while run_end < last && !self.is_writable(key, run_end) {
            run_end += 1;
        }
        self.ask(key, CallKind::Write, block, run_end)
    }

    fn is_writable(&mut self, key: u32, block: u64) -> bool {
        matches!(self.place(key, block), Some(Place::At { is_writable: true, .. }))
    }

    /// Asks, or waits for the answer to a question that is under way already.
    ///
    /// In one leaf there are either reads or writes under way, and those to different blocks: so no answer can be older than
    /// what is known. What is read beside writes is not kept.
    fn ask(&mut self, key: u32, kind: CallKind, first: u64, end: u64) -> Step {
        let Some(operation) = self.operations.get_mut(key) else { return Step::Wait };
        let Some(volume) = self.volumes.get_mut(operation.volume) else { return Step::Wait };
        let (mut kind, mut end) = (kind, end);
        // A change may wait for another node's lock, and what only reads does not.
        let looks = volume.grant.is_none() && matches!(operation.op, Op::Read | Op::Extents);
        for call in volume.calls.iter_mut().filter(|call| call.is_same_leaf(first)) {
            match (kind.is_change(), call.kind.is_change()) {
                (true, false) if call.kind == CallKind::Look => continue,
                (false, true) if looks => {
                    kind = CallKind::Look;
                    continue;
                }
                _ => {}
            }
            let is_beside = kind.is_change() && call.kind.is_change() && !call.covers(first);
            if !is_beside {
                call.waiting.push(key);
                operation.under_way += 1;
                operation.wait = Wait::Map;
                return Step::Wait;
            }
            if call.first > first {
                end = end.min(call.first);
            }
        }
        self.send_call(key, kind, first, end)
    }

    fn send_call(&mut self, key: u32, kind: CallKind, first: u64, end: u64) -> Step {
        let Some(volume) = self.operations.get(key).map(|operation| operation.volume) else {
            return Step::Wait;
        };
        if let Err(failure) = self.open_call(volume, kind, first, end, vec![key]) {
            return self.unmade(key, failure);
        }
        if let Some(operation) = self.operations.get_mut(key) {
            operation.under_way += 1;
            operation.wait = Wait::Map;
        }
        Step::Wait
    }

    /// Lets an operation wait for a question that keeps one about this block from being asked; none if there is none.
    pub(crate) fn await_leaf(&mut self, key: u32, block: u64) -> Option<Step> {
        let operation = self.operations.get_mut(key)?;
        let volume = self.volumes.get_mut(operation.volume)?;
        let call = volume.calls.iter_mut().find(|call| call.is_in_the_way(block))?;
        call.waiting.push(key);
        operation.under_way += 1;
        operation.wait = Wait::Map;
        Some(Step::Wait)
    }

    /// Whether a question is under way that keeps one about this block from being asked.
    pub(crate) fn is_asked(&self, (volume, block): BlockKey) -> bool {
        let volume = self.volumes.get(volume);
        volume.is_some_and(|volume| volume.calls.iter().any(|call| call.is_in_the_way(block)))
    }

    /// Asks, for these operations.
    ///
    /// # Errors
    /// There is no room for the question, or no mapper.
    pub(crate) fn open_call(
        &mut self,
        volume: u32,
        kind: CallKind,
        first: u64,
        end: u64,
        waiting: Vec<u32>,
    ) -> Result<(), Failure> {
        let Some(known) = self.volumes.get_mut(volume) else { return Ok(()) };
        let mut question = self.effects.allocate(ENTRIES_BYTES)?;
        let name = &known.name;
        question.set_op(kind.op().number());
        question.set_flags(kind.flags().bits());
        question.set_offset(first);
        question.set_size(end - first);
        let named = question.set_target(name).and_then(|()| question.set_argument(&[]));
        debug_assert!(named.is_ok(), "the name came in a request");
        let slot = question.slot();
        if let Err(refused) = self.effects.submit(question, self.mapper) {
            let (question, failure) = unsent(refused);
            self.effects.free(question);
            return Err(failure);
        }
        known.calls.push(MapCall { number: self.call_count, kind, first, end, waiting });
        self.expect_map(slot, volume, self.call_count);
        self.call_count += 1;
        Ok(())
    }

    /// The mapper answered: learn it, and let those go on who waited.
    pub(crate) fn map_replied(&mut self, volume: u32, number: u64, reply: Held) {
        let calls = self.volumes.get_mut(volume).map(|volume| &mut volume.calls);
        let call = calls.and_then(|calls| {
            let position = calls.iter().position(|call| call.number == number)?;
            Some(calls.swap_remove(position))
        });
        let Some(call) = call else { return self.effects.free(reply) };
        let answer = answer_of(&reply, &call);
        let holes = answer.as_ref().map_or((0, 0), holes_of);
        self.effects.free(reply);
        let once = match answer {
            Ok(entries) if call.kind == CallKind::Look => Ok(Some(Arc::new(entries))),
            Ok(entries) => self.learn(volume, entries),
            Err(failure) => {
                self.change_failed(volume, call.kind);
                Err(failure)
            }
        };
        let block = (volume, call.first);
        if matches!(call.kind, CallKind::Partial | CallKind::Whole) {
            self.block_answered(block, call.kind, once.as_ref().err());
        }
        let is_void = call.kind == CallKind::Partial && !self.is_granted(block);
        for key in call.waiting {
            self.learn_holes(key, holes);
            if let (true, Some(operation)) = (is_void && once.is_ok(), self.operations.get_mut(key)) {
                operation.wait = Wait::Parts;
            }
            self.go_on_with(key, &once);
        }
    }

    /// Nobody knows how much of a change of the map was done.
    fn change_failed(&mut self, key: u32, kind: CallKind) {
        let Some(volume) = self.volumes.get_mut(key).filter(|_| kind.is_change()) else { return };
        volume.changes.add();
        // The mapper may have given the name up that a block would have had.
        volume.fresh = None;
        if kind == CallKind::Partial {
            // What was written went to the block's own object already, and may come back from there.
            self.forget_map(key);
        }
    }

    /// Tells a scan of a run of holes. Nobody else: others may write there by the time it would be used.
    fn learn_holes(&mut self, key: u32, holes: (u64, u64)) {
        let stage = self.operations.get_mut(key).map(|operation| &mut operation.stage);
        if let Some(Stage::Scanning(scanning)) = stage {
            scanning.holes = holes;
        }
    }

    /// Keeps entries if that is allowed, else gives them to those who wait.
    fn learn(&mut self, key: u32, entries: Entries) -> Result<Option<Arc<Entries>>, Failure> {
        let Some(volume) = self.volumes.get_mut(key) else { return Ok(None) };
        if entries.has_changed {
            volume.changes.add();
        }
        let Some(fence) = entries.fence else {
            self.forget_map(key);
            return Ok(Some(Arc::new(entries)));
        };
        let grant = Grant { shape: entries.shape.clone(), fence };
        volume.dirty.learn_lock(fence);
        volume.fresh = entries.fresh;
        if volume.grant.as_ref() != Some(&grant) {
            volume.grant = Some(grant);
            self.cache.forget(key);
            self.forget_partials(key);
        }
        self.cache.learn(key, entries.first, &entries.entries);
        self.learn_partials(key, &entries.shape, entries.first, &entries.entries);
        Ok(None)
    }

    /// What a predecessor left partial is to be completed.
    fn learn_partials(&mut self, volume: u32, shape: &Shape, first: u64, entries: &[Entry]) {
        for (block, entry) in (first..).zip(entries) {
            let is_known =
                self.partials.len() >= PARTIALS_MAX || self.partials.contains_key(&(volume, block));
            if let (false, Place::Partial { object, base }) = (is_known, Place::of(entry, block)) {
                let size = u64::from(shape.block_size);
                self.partials
                    .insert((volume, block), Partial::new(object, base, size, Phase::Unknown { at: 0 }));
            }
        }
    }

    fn go_on_with(&mut self, key: u32, once: &Result<Option<Arc<Entries>>, Failure>) {
        let Some(operation) = self.operations.get_mut(key) else { return };
        if operation.wait == Wait::Map {
            operation.wait = Wait::Nothing;
        }
        match once {
            Ok(once) => operation.once.clone_from(once),
            Err(failure) => {
                let failure = self.explain(key, failure.clone());
                self.fail(key, failure);
            }
        }
        self.came_home(key);
    }
}

/// The blocks after an answer's that are known to be holes: (first, end).
fn holes_of(entries: &Entries) -> (u64, u64) {
    let first = entries.first.saturating_add(u64::try_from(entries.entries.len()).unwrap_or(0));
    (first, first.saturating_add(entries.holes_after))
}

/// What the mapper says, checked against what it was asked.
fn answer_of(reply: &Held, call: &MapCall) -> Result<Entries, Failure> {
    if let Some(failure) = failure_of(reply) {
        return Err(failure);
    }
    let senseless = |what: String| {
        let op = call.kind.op().name();
        Failure::new(ErrorKind::Corrupt, format!("the mapper's answer to {op} makes no sense: {what}"))
    };
    let mut bytes = vec![0; usize::try_from(reply.serviced().min(reply.buffer_bytes())).unwrap_or(0)];
    reply.read(0, &mut bytes).map_err(|error| senseless(error.to_string()))?;
    let mut entries = Entries::decode(&bytes).map_err(|error| senseless(error.to_string()))?;
    if entries.shape.block_size == 0 {
        return Err(senseless("blocks of no bytes".to_owned()));
    }
    if entries.first != call.first || entries.entries.is_empty() {
        return Err(senseless(format!("{} entries from block {}", entries.entries.len(), entries.first)));
    }
    if call.kind.is_change() && entries.fence.is_none() {
        return Err(senseless("blocks to write without a lock".to_owned()));
    }
    let asked = usize::try_from(call.end - call.first).unwrap_or(usize::MAX);
    if entries.entries.len() > asked {
        entries.entries.truncate(asked);
        entries.holes_after = 0;
    }
    Ok(entries)
}
