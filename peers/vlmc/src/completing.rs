//! Making partial blocks whole: at once where somebody waits for it, else while nothing else is to be done, or slowly.

use std::ops::Range;

use protocol::{ErrorKind, Failure};

use crate::{
    composer::Composer,
    object::Place,
    operation::{Stage, Step, Wait},
    overlay::taken,
    partial::{BlockKey, Need, Partial, Phase, Work, piece_of},
    volume::{CallKind, Volume},
};

/// The most that is copied or looked through at a time, in bytes.
pub(crate) const FILL_BYTES: u64 = 256 << 10;
/// Copies under way at a time, when somebody waits for them.
pub(crate) const FILLS_MAX: usize = 4;
/// Copies under way at a time, when nobody does and there is nothing else to do.
const FILLS_IDLE: usize = 2;
/// How often blocks are looked after that nobody waits for: while clients are served one copy each time, so 25 MB a second.
const TICK_NS: u64 = 10_000_000;
/// After so many ticks without a request there is nothing else to do.
const IDLE_TICKS: u32 = 2;
/// How many ticks a block rests whose copy failed.
const REST_TICKS: u32 = 100;

/// An operation that waited for a block, and why it goes on.
#[derive(Debug)]
pub(crate) enum Wakeup {
    /// Something changed.
    GoOn(u32),
    /// What it did is not to be relied on: it is done again.
    Again(u32),
    /// The lock's number, with which it was waited for, is not the current one.
    Refused(u32, u64, Failure),
    /// What it waits for cannot be done.
    Fail(u32, Failure),
}

impl Composer {
    /// Asks for the next tick, while there are partial blocks of which nothing is under way.
    pub(crate) fn wake_later(&self) {
        if self.partials.values().any(|partial| !partial.is_busy()) {
            self.effects.wake_at(self.effects.now_ns().saturating_add(TICK_NS));
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self) {
        let is_quiet = std::mem::take(&mut self.accepted) == 0 && self.operations.len() == 0;
        self.quiet_ticks = if is_quiet { self.quiet_ticks.saturating_add(1) } else { 0 };
        for partial in self.partials.values_mut() {
            partial.rest = partial.rest.saturating_sub(1);
            if !partial.is_busy() {
                // Whoever could not begin what he waits for tries again.
                self.woken.extend(std::mem::take(&mut partial.waiting).into_iter().map(Wakeup::GoOn));
            }
        }
        let is_busy = self.partials.values().any(|partial| !matches!(partial.work, Work::Nothing));
        if !self.is_stopping && !is_busy && !self.is_idle_now() {
            self.drive_one(|_| true);
        }
        self.wake_later();
    }

    fn is_idle_now(&self) -> bool {
        self.quiet_ticks >= IDLE_TICKS
    }

    /// Lets those go on that waited, and begins what can be begun, after each event.
    pub(crate) fn settle_blocks(&mut self) {
        loop {
            while let Some(wakeup) = self.woken.pop_front() {
                self.wake(wakeup);
            }
            self.drop_stale();
            let most = if self.is_idle_now() && !self.is_stopping { FILLS_IDLE } else { 0 };
            let fills =
                self.partials.values().filter(|partial| !matches!(partial.work, Work::Nothing)).count();
            let has_begun = (fills < FILLS_MAX && self.drive_one(|partial| partial.need != Need::Nothing))
                || (fills < most && self.drive_one(|_| true))
                || self.drive_one(|partial| partial.phase == Phase::Ready && partial.own.is_full());
            if !has_begun && self.woken.is_empty() {
                break;
            }
        }
        self.admit_postponed();
        if self.effects.wakes_at_ns().is_none() {
            self.wake_later();
        }
    }

    fn wake(&mut self, wakeup: Wakeup) {
        let key = match &wakeup {
            Wakeup::GoOn(key) | Wakeup::Again(key) | Wakeup::Fail(key, _) | Wakeup::Refused(key, ..) => *key,
        };
        let Some(operation) = self.operations.get_mut(key) else { return };
        if operation.wait == Wait::Block {
            operation.wait = Wait::Nothing;
        }
        // What runs alone only waits until nothing else does.
        let is_moving = matches!(operation.stage, Stage::Moving { .. });
        match wakeup {
            Wakeup::Again(_) if is_moving => operation.wait = Wait::Parts,
            Wakeup::Fail(_, failure) if is_moving => drop(operation.failure.get_or_insert(failure)),
            Wakeup::Refused(_, fence, failure) if is_moving => {
                if !self.retake(key, fence) {
                    let failure = self.explain(key, failure);
                    self.fail(key, failure);
                }
            }
            Wakeup::GoOn(_) | Wakeup::Again(_) | Wakeup::Fail(..) | Wakeup::Refused(..) => {}
        }
        self.came_home(key);
    }

    /// Forgets blocks that are not to be relied on any more, once nothing of them is under way.
    fn drop_stale(&mut self) {
        let is_gone = |partial: &Partial| {
            // What was looked through for one look only was used by now.
            let is_used = partial.is_once && partial.phase == Phase::Ready;
            (partial.is_stale || is_used) && !partial.is_busy()
        };
        let gone: Vec<BlockKey> =
            self.partials.iter().filter(|(_, partial)| is_gone(partial)).map(|(block, _)| *block).collect();
        gone.into_iter().for_each(|block| self.remove_partial(block, Wakeup::Again));
    }

    /// Begins the next step of the first block that wants one. False if there is none.
    fn drive_one(&mut self, is_wanted: impl Fn(&Partial) -> bool) -> bool {
        let is_ready = |composer: &Composer, (block, partial): (&BlockKey, &Partial)| {
            let is_alone = composer.volumes.get(block.0).is_none_or(|volume| volume.flow.is_alone());
            is_wanted(partial)
                && !partial.is_stale
                && partial.rest == 0
                && (partial.need != Need::Nothing || !is_alone)
                && composer.next_work(*block, partial).is_some()
        };
        let next = self.partials.iter().find(|entry| is_ready(self, *entry)).map(|(block, _)| *block);
        let Some(block) = next else { return false };
        let work = self.partials.get(&block).and_then(|partial| self.next_work(block, partial));
        match work {
            Some(NextWork::Survey(from)) => self.survey(block, from),
            Some(NextWork::Fill(pieces)) => self.fill(block, pieces),
            Some(NextWork::Settle) => self.settle_block(block),
            None => false,
        }
    }

    fn next_work(&self, block: BlockKey, partial: &Partial) -> Option<NextWork> {
        if !matches!(partial.work, Work::Nothing) {
            return None;
        }
        match partial.phase {
            Phase::Granting | Phase::Settling => None,
            Phase::Unknown { .. } if !partial.claims.is_empty() => None,
            Phase::Unknown { at } => Some(NextWork::Survey(at)),
            Phase::Ready if partial.is_once => None,
            Phase::Ready => match partial.missing(piece_of(FILL_BYTES)) {
                Some(pieces) => Some(NextWork::Fill(pieces)),
                None if partial.own.is_full() && partial.claims.is_empty() && !self.is_asked(block) => {
                    Some(NextWork::Settle)
                }
                None => None,
            },
        }
    }

    /// Tells the mapper that a block is whole.
    fn settle_block(&mut self, block: BlockKey) -> bool {
        match self.open_call(block.0, CallKind::Whole, block.1, block.1 + 1, Vec::new()) {
            Ok(()) => {
                if let Some(partial) = self.partials.get_mut(&block) {
                    partial.phase = Phase::Settling;
                }
                true
            }
            Err(failure) => {
                self.cannot_work(block, failure);
                false
            }
        }
    }

    /// There is no room now: it is tried again when something came free, or at the next tick.
    pub(crate) fn cannot_work(&mut self, block: BlockKey, failure: Failure) {
        if failure.kind != ErrorKind::NoSpace {
            return self.fail_block(block, &failure);
        }
        if let Some(partial) = self.partials.get_mut(&block) {
            partial.rest = 1;
        }
    }

    /// The mapper's answer about a block that is to become partial, or whole. `failure`: it said no.
    pub(crate) fn block_answered(&mut self, block: BlockKey, kind: CallKind, failure: Option<&Failure>) {
        let now = self.cache.place(block.0, block.1);
        let Some(partial) = self.partials.get_mut(&block) else { return };
        let is_as_asked = match (kind, &now) {
            (CallKind::Partial, Some(Place::Partial { object, base })) => {
                *object == partial.object && *base == partial.base
            }
            _ => false,
        };
        partial.phase = Phase::Ready;
        match (kind, now, failure) {
            (CallKind::Partial, _, None) if is_as_asked && !partial.is_stale => self.wake_all(block),
            (CallKind::Whole, Some(Place::At { is_writable: true, .. }), None) if !partial.is_stale => {
                self.volumes.get_mut(block.0).into_iter().for_each(Volume::whole);
                self.remove_partial(block, Wakeup::GoOn);
            }
            (CallKind::Whole, _, Some(failure)) => {
                let failure = taken(failure.clone());
                partial.is_stale |= failure.kind == ErrorKind::NotOwner;
                self.fail_block(block, &failure);
            }
            _ => {
                partial.is_stale = true;
                self.wake_all(block);
            }
        }
    }

    /// Whether what was written to a block that was to become partial went where the mapper says that it is.
    pub(crate) fn is_granted(&self, block: BlockKey) -> bool {
        self.partials.get(&block).is_some_and(|partial| !partial.is_stale)
    }

    pub(crate) fn wake_all(&mut self, block: BlockKey) {
        let Some(partial) = self.partials.get_mut(&block) else { return };
        self.woken.extend(std::mem::take(&mut partial.waiting).into_iter().map(Wakeup::GoOn));
    }

    /// It is no partial block any more. `end`: what becomes of those who wrote zeros to it.
    fn remove_partial(&mut self, block: BlockKey, end: fn(u32) -> Wakeup) {
        let Some(partial) = self.partials.remove(&block) else { return };
        self.woken.extend(partial.waiting.into_iter().map(Wakeup::GoOn));
        self.woken.extend(partial.unanswered.into_iter().map(end));
        self.is_rushed(block);
    }

    /// What was to be done to a block cannot be done now; those who wait for it fail.
    pub(crate) fn fail_block(&mut self, block: BlockKey, failure: &Failure) {
        let Some(partial) = self.partials.get_mut(&block) else { return };
        partial.need = Need::Nothing;
        partial.rest = REST_TICKS;
        let waiting = std::mem::take(&mut partial.waiting);
        let unanswered = std::mem::take(&mut partial.unanswered);
        // What they wrote is neither there nor not there.
        partial.is_stale |= !unanswered.is_empty();
        let all = waiting.into_iter().chain(unanswered);
        self.woken.extend(all.map(|key| Wakeup::Fail(key, failure.clone())));
        self.is_rushed(block);
    }

    /// What is known of a volume's partial blocks is not to be relied on any more.
    pub(crate) fn forget_partials(&mut self, volume: u32) {
        for (_, partial) in self.partials.range_mut((volume, 0)..=(volume, u64::MAX)) {
            partial.is_stale = true;
        }
    }

    /// These blocks became holes.
    pub(crate) fn punch_partials(&mut self, volume: u32, first: u64, end: u64) {
        for (_, partial) in self.partials.range_mut((volume, first)..(volume, end)) {
            partial.is_stale = true;
        }
    }

    pub(crate) fn has_partials(&self, volume: u32) -> bool {
        self.partials.range((volume, 0)..=(volume, u64::MAX)).next().is_some()
    }

    /// What runs alone on a volume waits for what nobody asked for.
    pub(crate) fn clear_step(&mut self, key: u32) -> Step {
        let Some(volume) = self.operations.get(key).map(|operation| operation.volume) else {
            return Step::Wait;
        };
        let mut blocks = self.partials.range((volume, 0)..=(volume, u64::MAX));
        if let Some(block) = blocks.find(|(_, partial)| partial.is_busy()).map(|(block, _)| *block) {
            return self.await_block(key, block, Need::Nothing);
        }
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let stage = Composer::first_stage(&mut self.volumes, operation);
        if let Some(operation) = self.operations.get_mut(key) {
            operation.stage = stage;
        }
        Step::Again
    }

    /// Completes what is partial now before a request stops the volume. False if nothing is.
    pub(crate) fn rush(&mut self, volume: u32) -> bool {
        let mut blocks = Vec::new();
        for ((_, block), partial) in self.partials.range_mut((volume, 0)..=(volume, u64::MAX)) {
            if !partial.is_stale {
                partial.need = Need::Whole;
                partial.rest = 0;
                blocks.push(*block);
            }
        }
        let Some(known) = self.volumes.get_mut(volume) else { return false };
        known.rush.extend(blocks);
        !known.rush.is_empty()
    }

    /// A block for which a request waits is whole, or cannot be.
    fn is_rushed(&mut self, (volume, block): BlockKey) {
        let Some(known) = self.volumes.get_mut(volume) else { return };
        if known.rush.remove(&block) && known.rush.is_empty() {
            self.rushed.push_back(volume);
        }
    }

    /// Lets requests stop their volume whose partial blocks were completed.
    pub(crate) fn admit_postponed(&mut self) {
        while let Some(volume) = self.rushed.pop_front() {
            let postponed = self.volumes.get_mut(volume).map(|volume| std::mem::take(&mut volume.postponed));
            for (op, request) in postponed.into_iter().flatten() {
                self.admit_now(volume, op, request);
            }
        }
    }
}

/// The next step of a partial block.
enum NextWork {
    Survey(usize),
    Fill(Range<usize>),
    Settle,
}
