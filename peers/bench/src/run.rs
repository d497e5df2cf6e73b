//! Doing a job.

use std::time::{Duration, Instant};

use client::{Completion, Stack};
use protocol::{ErrorKind, Failure};
use xseg::Held;

use crate::{
    Faults, Job, Report, Target,
    content::{self, Stamp},
    lane::{self, Errand, Kind, Lane},
    order::{Order, mix},
    pace::Pace,
    report::Times,
    versions::Versions,
};

/// How long nothing may come back before a run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// With so many failures there is nothing left to be measured.
const FAILURES_MAX: u64 = 100;

/// Does a job and tells how it went. What goes wrong with single requests is in the report.
///
/// # Errors
/// `Invalid` if the job makes no sense; `NotFound`, `ReadOnly`; `Unavailable` if the segment has no room, or nobody answers.
pub fn run(stack: &Stack, job: &Job) -> Result<Report, Failure> {
    job.check()?;
    let (mut lane, target_bytes) = lane::open(stack, job)?;
    let block_count = job.block_count(target_bytes)?;
    let mut bench = Bench::new(job, block_count);
    bench.put_in_data(&mut *lane)?;
    let start = Instant::now();
    bench.go(&mut *lane, Phase::Load, start)?;
    let seconds = start.elapsed().as_secs_f64();
    if job.is_verified {
        bench.go(&mut *lane, Phase::ReadBack { next: 0 }, Instant::now())?;
    }
    Ok(bench.report(seconds))
}

/// What is written where nobody compares it.
const DATA: u8 = 0xa5;

/// What is being done.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The load itself.
    Load,
    /// Reading back what was written; blocks before `next` are done.
    ReadBack { next: u64 },
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Slot {
    kind: Kind,
    block: u64,
    version: u32,
    due: Instant,
}

struct Bench<'a> {
    job: &'a Job,
    phase: Phase,
    /// Requests that a phase may send.
    limit: Option<u64>,
    sent: u64,
    order: Order,
    /// The next block, while another request has it.
    deferred: Option<u64>,
    versions: Versions,
    target_hash: u64,
    reads: Times,
    writes: Times,
    pings: Times,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    failed: u64,
    first_failure: Option<String>,
    faults: Faults,
    /// One block.
    scratch: Vec<u8>,
}

impl<'a> Bench<'a> {
    fn new(job: &'a Job, block_count: u64) -> Bench<'a> {
        let depth = usize::try_from(job.depth).unwrap_or(0);
        let per_pass = job.duration.is_none().then_some(block_count);
        Bench {
            job,
            phase: Phase::Load,
            limit: job.amount_bytes.map(|bytes| bytes.div_ceil(job.io_bytes)).or(per_pass),
            sent: 0,
            order: Order::new(job.pattern, block_count, job.seed),
            deferred: None,
            versions: Versions::new(if job.is_verified { block_count } else { 0 }),
            target_hash: target_hash(&job.target),
            reads: Times::new(),
            writes: Times::new(),
            pings: Times::new(),
            slots: vec![None; depth],
            free: (0..depth).rev().collect(),
            failed: 0,
            first_failure: None,
            faults: Faults::default(),
            scratch: vec![0; usize::try_from(job.io_bytes).unwrap_or(0)],
        }
    }

    /// Puts data into all buffers: a volume takes zeros another way, and what others left in a buffer is not for its volume.
    fn put_in_data(&mut self, lane: &mut dyn Lane) -> Result<(), Failure> {
        if self.job.write_percent == 0 || matches!(self.job.target, Target::Ping { .. }) {
            return Ok(());
        }
        self.scratch.fill(DATA);
        let buffers = (0..self.job.depth).map(|_| lane.buffer()).collect::<Result<Vec<_>, _>>()?;
        for held in buffers {
            let filled = held.write(0, &self.scratch);
            lane.done(held);
            filled.map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))?;
        }
        Ok(())
    }

    /// Keeps requests under way until the phase is over and all are home.
    fn go(&mut self, lane: &mut dyn Lane, phase: Phase, start: Instant) -> Result<(), Failure> {
        self.phase = phase;
        let is_load = matches!(phase, Phase::Load);
        let mut pace = Pace::new(start, self.job.rate_per_second.filter(|_| is_load));
        let end = self.job.duration.filter(|_| is_load).map(|duration| start + duration);
        loop {
            let now = Instant::now();
            let is_over = end.is_some_and(|end| now >= end) || self.failed > FAILURES_MAX;
            let is_idle = self.free.len() == self.slots.len();
            let due = pace.due(now);
            if !is_over && due <= now && !self.free.is_empty() && self.send_next(lane, due)? {
                pace.sent();
                continue;
            }
            let is_paused = !is_over && due > now && !self.free.is_empty();
            if is_idle && !is_paused {
                return Ok(());
            }
            let until = if is_paused { due.min(end.unwrap_or(due)) } else { now + PATIENCE };
            match lane.next(until) {
                Some(completion) => self.complete(lane, completion),
                None if is_paused => {}
                None => {
                    let message = format!("nothing was answered for {} s", PATIENCE.as_secs());
                    return Err(Failure::new(ErrorKind::Unavailable, message));
                }
            }
        }
    }

    /// Sends the next request. False if there is none now.
    fn send_next(&mut self, lane: &mut dyn Lane, due: Instant) -> Result<bool, Failure> {
        let Some((kind, block)) = self.next_errand() else { return Ok(false) };
        let Some(token) = self.free.pop() else { return Ok(false) };
        let version = self.versions.next(block);
        let mut held = lane.buffer()?;
        if kind == Kind::Write && self.job.is_verified {
            self.stamp(&mut held, block, version)?;
        }
        let io_bytes = self.job.io_bytes;
        let errand = Errand { kind, offset: block * io_bytes, size: io_bytes };
        lane.send(held, errand, u64::try_from(token).unwrap_or(u64::MAX))?;
        self.slots[token] = Some(Slot { kind, block, version, due });
        Ok(true)
    }

    /// What comes next, and to which block; nothing if the phase is through or the block is in use.
    fn next_errand(&mut self) -> Option<(Kind, u64)> {
        if let Phase::ReadBack { next } = self.phase {
            let block = self.versions.next_held(next)?;
            self.phase = Phase::ReadBack { next: block + 1 };
            return Some((Kind::Read, block));
        }
        if self.limit == Some(self.sent) {
            return None;
        }
        let block = self.deferred.take().unwrap_or_else(|| self.order.next());
        if self.job.is_verified && !self.versions.take(block) {
            self.deferred = Some(block);
            return None;
        }
        self.sent += 1;
        let is_write = mix(self.job.seed.wrapping_add(self.sent)) % 100 < u64::from(self.job.write_percent);
        let kind = match self.job.target {
            Target::Ping { .. } => Kind::Ping,
            _ if is_write => Kind::Write,
            _ => Kind::Read,
        };
        Some((kind, block))
    }

    fn stamp_of(&self, block: u64, version: u32) -> Stamp {
        let (target, seed) = (self.target_hash, self.job.seed);
        Stamp { target, offset: block * self.job.io_bytes, version, seed }
    }

    fn stamp(&mut self, held: &mut Held, block: u64, version: u32) -> Result<(), Failure> {
        let stamp = self.stamp_of(block, version);
        content::fill(&mut self.scratch, stamp);
        held.write(0, &self.scratch).map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))
    }

    fn complete(&mut self, lane: &mut dyn Lane, completion: Completion) {
        let Completion { token, result, held } = completion;
        let token = usize::try_from(token).unwrap_or(usize::MAX);
        if let Some(slot) = self.slots.get_mut(token).and_then(Option::take) {
            self.free.push(token);
            self.account(slot, result.err(), &held);
        }
        lane.done(held);
    }

    fn account(&mut self, slot: Slot, failure: Option<Failure>, held: &Held) {
        let is_load = matches!(self.phase, Phase::Load);
        if self.job.is_verified {
            self.compare(slot, failure.is_none(), held);
            if is_load {
                self.versions.give_back(slot.block);
            }
        }
        if let Some(failure) = failure {
            self.failed += 1;
            self.first_failure.get_or_insert(failure.message);
        } else if is_load {
            let nanos = u64::try_from(slot.due.elapsed().as_nanos()).unwrap_or(u64::MAX);
            match slot.kind {
                Kind::Read => self.reads.record(nanos, self.job.io_bytes),
                Kind::Write => self.writes.record(nanos, self.job.io_bytes),
                Kind::Ping => self.pings.record(nanos, 0),
            }
        }
    }

    /// Remembers what was written, or compares what was read with it.
    fn compare(&mut self, slot: Slot, is_done: bool, held: &Held) {
        match (slot.kind, self.versions.held(slot.block)) {
            (Kind::Write, _) => self.versions.written(slot.block, slot.version, is_done),
            (Kind::Read, Some(version)) if is_done && held.read(0, &mut self.scratch).is_ok() => {
                let found = content::check(&self.scratch, self.stamp_of(slot.block, version));
                self.faults.count(found);
            }
            (Kind::Read | Kind::Ping, _) => {}
        }
    }

    fn report(self, seconds: f64) -> Report {
        let measured = [("read", &self.reads), ("write", &self.writes), ("ping", &self.pings)];
        let operations =
            measured.into_iter().filter_map(|(name, times)| Some((name, times.measured(seconds)?)));
        Report {
            job: self.job.clone(),
            seconds,
            operations: operations.collect(),
            failed: self.failed,
            first_failure: self.first_failure,
            faults: self.job.is_verified.then_some(self.faults),
        }
    }
}

fn target_hash(target: &Target) -> u64 {
    let name = match target {
        Target::Volume { name } => name,
        Target::Objects { prefix, .. } => prefix,
        Target::Ping { .. } => return 0,
    };
    name.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)))
}
