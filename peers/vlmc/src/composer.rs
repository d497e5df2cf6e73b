//! The composer: its state, and what it does with one event.

use std::collections::{BTreeMap, HashMap, VecDeque};

use peer::{Effects, Event, Peer};
use protocol::{ErrorKind, Failure, Flags, Op};
use xseg::{Held, PortNumber, Refused};

use crate::{
    cache::Cache,
    completing::Wakeup,
    flow::{Flow, Next},
    lost::Lost,
    operation::{Errand, NextStage, Operation, Scanning, Stage, Step, Wait},
    partial::{BlockKey, Partial},
    slab::Slab,
    volume::Volume,
};

/// How many volumes are known at a time; beyond it idle ones are forgotten.
const VOLUMES_MAX: usize = 4096;
/// How many volumes a status tells of.
const VOLUMES_SHOWN: usize = 64;

/// Serves volumes: splits their I/O by the map entries it was granted, and passes on what changes maps.
pub(crate) struct Composer {
    pub(crate) effects: Effects,
    pub(crate) blocker: PortNumber,
    pub(crate) mapper: PortNumber,
    pub(crate) volumes: Slab<Volume>,
    pub(crate) operations: Slab<Operation>,
    pub(crate) cache: Cache,
    /// By slot of the request under way.
    pub(crate) errands: Slab<Errand>,
    /// Requests of our own that are under way.
    pub(crate) sent: u32,
    pub(crate) by_name: HashMap<Box<[u8]>, u32>,
    /// The volume that was asked for last.
    latest: u32,
    /// Volumes with operations that wait for a free slot, in turn.
    pub(crate) starved: VecDeque<u32>,
    /// Questions to the mapper so far.
    pub(crate) call_count: u64,
    /// Blocks that are written piece by piece.
    pub(crate) partials: BTreeMap<BlockKey, Partial>,
    /// Operations that waited for one of them.
    pub(crate) woken: VecDeque<Wakeup>,
    /// Volumes whose partial blocks were completed for a request that is postponed.
    pub(crate) rushed: VecDeque<u32>,
    /// Requests since the last tick.
    pub(crate) accepted: u32,
    /// Ticks without a request.
    pub(crate) quiet_ticks: u32,
    pub(crate) is_stopping: bool,
    lost: Lost,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// Served here, or passed on in its volume's turn.
    Ours,
    /// Passed on at once: it changes nothing.
    Mapper,
    /// Not a composer's.
    Unknown,
}

fn service(op: Option<Op>) -> Service {
    match op {
        Some(
            Op::Read
            | Op::Write
            | Op::Flush
            | Op::Discard
            | Op::WriteZeroes
            | Op::Extents
            | Op::Open
            | Op::Close
            | Op::Clone
            | Op::Create
            | Op::Snapshot
            | Op::Delete
            | Op::Rename
            | Op::Resize
            | Op::Update,
        ) => Service::Ours,
        Some(Op::Info | Op::Hash | Op::Compare) => Service::Mapper,
        _ => Service::Unknown,
    }
}

impl Peer for Composer {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(request) => self.accept(request),
            Event::Replied(reply) => self.replied(reply),
            Event::Tick => self.tick(),
            Event::Stopping => self.is_stopping = true,
        }
        if !(self.partials.is_empty() && self.woken.is_empty() && self.rushed.is_empty()) {
            self.settle_blocks();
        }
    }

    /// Copies that nobody asked for end before the port is given up.
    fn is_idle(&self) -> bool {
        !self.partials.values().any(Partial::is_busy)
    }

    fn serves_volumes(&self) -> bool {
        true
    }

    fn details(&self) -> serde_json::Value {
        let shown = self.volumes.iter().take(VOLUMES_SHOWN).map(|(key, volume)| {
            serde_json::json!({
                "name": volume.display(),
                "size_bytes": volume.grant.as_ref().map(|grant| grant.shape.size_bytes),
                "cached_leaves": self.cache.leaf_count(key),
                "running": volume.flow.running(),
                "waiting": volume.flow.waiting(),
                "state": volume.flow.name(),
            })
        });
        serde_json::json!({
            "volumes": shown.collect::<Vec<_>>(),
            "volume_count": self.volumes.len(),
            "entry_cache_bytes": self.cache.bytes(),
            "requests_under_way": self.sent,
            "mapper_calls": self.call_count,
            "partial_blocks": self.partials.len(),
            "volumes_lost": self.lost.count(),
            "lost": self.lost.told(),
        })
    }
}

impl Composer {
    pub(crate) fn new(effects: Effects, blocker: u32, mapper: u32, cache_bytes: u64) -> Composer {
        Composer {
            effects,
            blocker: PortNumber(blocker),
            mapper: PortNumber(mapper),
            volumes: Slab::default(),
            operations: Slab::default(),
            cache: Cache::new(cache_bytes),
            errands: Slab::default(),
            sent: 0,
            by_name: HashMap::new(),
            latest: 0,
            starved: VecDeque::new(),
            call_count: 0,
            partials: BTreeMap::new(),
            woken: VecDeque::new(),
            rushed: VecDeque::new(),
            accepted: 0,
            quiet_ticks: 0,
            is_stopping: false,
            lost: Lost::default(),
        }
    }

    fn accept(&mut self, request: Held) {
        self.accepted = self.accepted.saturating_add(1);
        self.quiet_ticks = 0;
        let op = Op::from_number(request.op());
        match (service(op), op) {
            (Service::Mapper, _) => self.pass_by(request),
            (Service::Ours, Some(op)) => self.admit(op, request),
            (Service::Ours | Service::Unknown, _) => {
                let failure = Failure::new(
                    ErrorKind::Unsupported,
                    format!("a composer does not serve operation {}", request.op()),
                );
                self.effects.respond(request, Err(&failure));
            }
        }
    }

    fn pass_by(&mut self, request: Held) {
        let slot = request.slot();
        match self.effects.submit(request, self.mapper) {
            Ok(()) => drop(self.errands.put(slot, Errand::PassedBy)),
            Err(refused) => {
                let (request, failure) = unsent(refused);
                self.effects.respond(request, Err(&failure));
            }
        }
    }

    fn volume_named(&mut self, name: &[u8]) -> u32 {
        if self.volumes.get(self.latest).is_some_and(|volume| *volume.name == *name) {
            return self.latest;
        }
        self.latest = match self.by_name.get(name) {
            Some(key) => *key,
            None => self.add_volume(name),
        };
        self.latest
    }

    fn add_volume(&mut self, name: &[u8]) -> u32 {
        if self.volumes.len() >= VOLUMES_MAX {
            let is_idle = |(key, volume): &(u32, &Volume)| volume.is_idle() && !self.has_partials(*key);
            let idle = self.volumes.iter().find(is_idle).map(|(key, _)| key);
            if let Some(idle) = idle {
                self.forget_volume(idle);
            }
        }
        let key = self.volumes.insert(Volume::new(name));
        self.by_name.insert(name.into(), key);
        key
    }

    fn forget_volume(&mut self, key: u32) {
        if let Some(volume) = self.volumes.remove(key) {
            self.by_name.remove(&volume.name);
            self.cache.forget(key);
        }
    }

    /// Lets a request run on its volume, or wait for its turn.
    pub(crate) fn admit(&mut self, op: Op, request: Held) {
        let volume = self.volume_named(request.target().as_ref());
        let needs_whole = matches!(op, Op::Snapshot | Op::Resize | Op::Close | Op::Rename | Op::Update);
        let is_rushing = needs_whole && !self.partials.is_empty() && self.rush(volume);
        match self.volumes.get_mut(volume).filter(|_| is_rushing) {
            Some(known) => known.postponed.push((op, request)),
            None => self.admit_now(volume, op, request),
        }
    }

    /// As `admit`, when nothing is to be completed first.
    pub(crate) fn admit_now(&mut self, volume: u32, op: Op, request: Held) {
        let is_barrier = match op {
            Op::Snapshot | Op::Resize | Op::Close | Op::Delete | Op::Rename | Op::Update => true,
            Op::Discard | Op::WriteZeroes => self.needs_punch(volume, request.offset(), request.size()),
            _ => false,
        };
        let Some(flow) = self.volumes.get_mut(volume).map(|volume| &mut volume.flow) else { return };
        let is_serving = matches!(flow, Flow::Serving { .. });
        match flow.admit(request, is_barrier) {
            Some(request) => self.start(volume, op, request, is_barrier),
            None if is_serving => self.drains(volume, op),
            None => {}
        }
    }

    fn start(&mut self, volume: u32, op: Op, request: Held, is_barrier: bool) {
        let flags = Flags::from_bits_truncate(request.flags());
        let (offset, size, room) = (request.offset(), request.size(), request.buffer_bytes());
        let is_oversized = matches!(op, Op::Read | Op::Write) && size > room;
        let failure = is_oversized.then(|| {
            let message = format!("cannot {} {size} bytes with a buffer of {room} bytes", op.name());
            Failure::new(ErrorKind::Invalid, message)
        });
        let operation = Operation {
            volume,
            request: Some(request),
            op,
            flags,
            offset,
            size,
            is_barrier,
            stage: Stage::Moving { at: 0 },
            under_way: 0,
            wait: Wait::Nothing,
            refused: None,
            failure,
            once: None,
        };
        let stage = match is_barrier && self.has_partials(volume) {
            true => Stage::Clearing,
            false => Composer::first_stage(&mut self.volumes, &operation),
        };
        let key = self.operations.insert(Operation { stage, ..operation });
        self.advance(key);
    }

    pub(crate) fn first_stage(volumes: &mut Slab<Volume>, operation: &Operation) -> Stage {
        let flushes_first = operation.flags.contains(Flags::FLUSH);
        match operation.op {
            _ if operation.failure.is_some() => Stage::Moving { at: 0 },
            Op::Write | Op::Discard | Op::WriteZeroes if flushes_first => {
                Composer::flushing(volumes, operation)
            }
            Op::Read | Op::Write | Op::Discard | Op::WriteZeroes => Stage::Moving { at: 0 },
            Op::Extents => Stage::Scanning(Scanning::default()),
            Op::Flush | Op::Snapshot | Op::Resize | Op::Close | Op::Rename | Op::Update => {
                Composer::flushing(volumes, operation)
            }
            _ => Stage::Passing { is_sent: false },
        }
    }

    /// Does what can be done for an operation now.
    pub(crate) fn advance(&mut self, key: u32) {
        loop {
            match self.step(key) {
                Step::Again => {}
                Step::Wait => return,
                Step::Starved => return self.starve(key),
                Step::Done => return self.finish(key),
            }
        }
    }

    fn step(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        if operation.failure.is_some() {
            return if operation.under_way == 0 { Step::Done } else { Step::Wait };
        }
        if operation.wait != Wait::Nothing {
            return Step::Wait;
        }
        match operation.stage {
            Stage::Clearing => self.clear_step(key),
            Stage::Flushing(_) => self.flush_step(key),
            Stage::Moving { .. } => self.move_step(key),
            Stage::Punching { .. } => self.punch_step(key),
            Stage::Committing { .. } => self.commit_step(key),
            Stage::Scanning(_) => self.scan_step(key),
            Stage::Passing { .. } => self.pass_step(key),
        }
    }

    /// Ends a stage in which nothing is left to be sent.
    pub(crate) fn end_stage(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        if operation.under_way > 0 {
            return Step::Wait;
        }
        let volume = self.volumes.get_mut(operation.volume);
        let pending = volume.as_ref().and_then(|volume| volume.changes.pending());
        if let (Stage::Flushing(flushing), Some(volume)) = (&operation.stage, volume) {
            volume.dirty.end(flushing.number, true);
        }
        let stage = match operation.next_stage(pending) {
            NextStage::End => return Step::Done,
            NextStage::Moving => Stage::Moving { at: 0 },
            NextStage::Punching => Stage::Punching { is_sent: false },
            NextStage::Committing(made) => Stage::Committing { made: Some(made) },
            NextStage::Passing => Stage::Passing { is_sent: false },
        };
        if let Some(operation) = self.operations.get_mut(key) {
            operation.stage = stage;
        }
        Step::Again
    }

    /// Marks an operation as failed; it ends when its parts are home.
    pub(crate) fn fail(&mut self, key: u32, failure: Failure) -> Step {
        if let Some(operation) = self.operations.get_mut(key) {
            operation.failure.get_or_insert(failure);
        }
        Step::Again
    }

    fn pass_step(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get_mut(key) else { return Step::Wait };
        if let Stage::Passing { is_sent: true } = operation.stage {
            return self.end_stage(key);
        }
        let Some(request) = operation.request.take() else { return Step::Wait };
        operation.stage = Stage::Passing { is_sent: true };
        let slot = request.slot();
        let refused = self.effects.submit(request, self.mapper).err();
        let Some(operation) = self.operations.get_mut(key) else { return Step::Wait };
        match refused {
            None => {
                operation.under_way += 1;
                self.errands.put(slot, Errand::Passed { operation: key });
                Step::Wait
            }
            Some(refused) => {
                let (request, failure) = unsent(refused);
                operation.request = Some(request);
                self.fail(key, failure)
            }
        }
    }

    /// Sends a part of an operation.
    pub(crate) fn send(&mut self, key: u32, part: Held, to: PortNumber, errand: Errand) -> Step {
        let slot = part.slot();
        match self.effects.submit(part, to) {
            Ok(()) => {
                self.errands.put(slot, errand);
                self.sent += 1;
                if let Some(operation) = self.operations.get_mut(key) {
                    operation.under_way += 1;
                }
                Step::Again
            }
            Err(refused) => {
                let (part, failure) = unsent(refused);
                self.effects.free(part);
                self.fail(key, failure)
            }
        }
    }

    /// What to do when a part could not be made.
    pub(crate) fn unmade(&mut self, key: u32, failure: Failure) -> Step {
        let is_full = failure.kind == ErrorKind::NoSpace;
        if is_full && self.sent > 0 {
            return Step::Starved;
        }
        // With none of ours under way nothing will ever come free.
        let kind = if is_full { ErrorKind::Unavailable } else { failure.kind };
        self.fail(key, Failure { kind, ..failure })
    }

    /// Drops what the mapper told of a volume.
    pub(crate) fn forget_map(&mut self, volume: u32) {
        self.cache.forget(volume);
        self.forget_partials(volume);
        if let Some(volume) = self.volumes.get_mut(volume) {
            volume.grant = None;
            volume.fresh = None;
        }
    }

    /// Answers an operation, and lets those go on that waited for it.
    fn finish(&mut self, key: u32) {
        let Some(mut operation) = self.operations.remove(key) else { return };
        let volume = operation.volume;
        self.settle(&operation);
        if let Some(volume) = self.volumes.get(volume) {
            let (failure, effects) = (operation.failure.as_ref(), &self.effects);
            self.lost.note(&volume.name, operation.op, failure, || effects.unix_ms());
        }
        if let Some(mut request) = operation.request.take() {
            let is_passed = matches!(operation.stage, Stage::Passing { .. });
            if operation.failure.is_none() && !is_passed && operation.op != Op::Extents {
                request.set_serviced(operation.size);
            }
            self.effects.respond(request, operation.failure.as_ref().map_or(Ok(()), Err));
        }
        self.go_on(volume);
    }

    /// What an operation's end means for what is known of its volume.
    fn settle(&mut self, operation: &Operation) {
        if operation.changes_map() {
            self.forget_map(operation.volume);
        }
        let Some(volume) = self.volumes.get_mut(operation.volume) else { return };
        if let (Stage::Flushing(flushing), Some(_)) = (&operation.stage, &operation.failure) {
            volume.dirty.end(flushing.number, false);
        }
        if operation.ends_volume() && operation.failure.is_none() {
            volume.dirty = Default::default();
            volume.changes = Default::default();
            volume.zeros_after = volume.changes.made();
        }
    }

    fn go_on(&mut self, key: u32) {
        let Some(volume) = self.volumes.get_mut(key) else { return };
        match volume.flow.finish() {
            Next::Nothing => {}
            Next::Barrier(request) => {
                if let Some(op) = Op::from_number(request.op()) {
                    self.start(key, op, request, true);
                }
            }
            Next::Resume(waiting) => {
                for request in waiting {
                    if let Some(op) = Op::from_number(request.op()) {
                        self.admit(op, request);
                    }
                }
            }
        }
        if self.volumes.get(key).is_some_and(Volume::is_forgettable) && !self.has_partials(key) {
            self.forget_volume(key);
        }
    }

    /// Remembers what a reply to this request will mean.
    pub(crate) fn expect_map(&mut self, slot: u32, volume: u32, number: u64) {
        self.errands.put(slot, Errand::Map { volume, number });
        self.sent += 1;
    }
}

/// The request that could not be sent, and why.
pub(crate) fn unsent(refused: Refused) -> (Held, Failure) {
    let (request, error) = refused.into_parts();
    (request, Failure::new(ErrorKind::Unavailable, error.to_string()))
}
