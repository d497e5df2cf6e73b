//! The store itself: takes operations, runs them side by side, says which are finished. One thread's, never blocks it.

mod transfers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};
use store::{ErrorKind, NodeRecord, StoreError, StoreOperation, StoreReply, StoreRequest};

use crate::config::Config;
use crate::entries::{Access, Entries};
use crate::error::Error;
use crate::fault::{Fault, Result};
use crate::handle::{Handle, Purpose};
use crate::inline::Inline;
use crate::notifier::{Notifier, ring_as_configured};
use crate::objects::Objects;
use crate::operation::{Operation, Way, access_of, way_of};
use crate::pool::{Hands, Job, Outcome, Pool, Wake, Work};
use crate::premade::Premade;
use crate::prepare::prepare;
use crate::ring::{Futex, Region, Ring, must_go_on};
use crate::status::Status;
use crate::syncs::Syncs;
use crate::waiting::Waiting;
use peer::slots::Slots;

/// A store on files, as a state machine of one thread. `T` comes back with each finished operation.
pub struct Engine<T> {
    // Dropped first, in this order: nothing may touch the memory of operations once they are gone.
    ring: Option<Ring>,
    _notifier: Option<Notifier>,
    waiting: Waiting,
    pool: Pool,
    premade: Premade,
    operations: Slots<Operation<T>>,
    /// Operations that wait for a lock; bounded by those who ask.
    waiting_count: usize,
    entries: Entries,
    syncs: Syncs,
    /// Operations that may go on now.
    ready: VecDeque<u32>,
    finished: VecDeque<Finished<T>>,
    /// What threads report.
    ended: Receiver<(u32, Outcome)>,
    objects: Arc<Objects>,
    inline: Inline,
}

/// What an engine has around it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Whether the kernel may wait for a futex in a ring.
    pub(crate) has_futex: bool,
    /// That of the port that is served, whose earlier owner may have died over what is asked now.
    pub(crate) key: Option<u32>,
    /// The stack for which locks are kept here; none if they are kept for nobody in particular.
    pub(crate) node: Option<NodeRecord>,
}

/// An operation that ended.
pub struct Finished<T> {
    /// What was given with it.
    pub token: T,
    /// How it ended.
    pub result: std::result::Result<StoreReply, StoreError>,
}

impl<T> Engine<T> {
    /// A store as the configuration says, for at most `nr_ops` operations at a time. `wake` is called from other threads
    /// when there is something for [`Engine::turn`].
    ///
    /// # Errors
    /// [`Error`] by the setting that cannot work.
    pub fn new(config: &Config, nr_ops: usize, wake: Wake) -> std::result::Result<Self, Error> {
        Self::with(config, nr_ops, wake, Surroundings { has_futex: true, key: None, node: None })
    }

    /// As `new`, in given surroundings.
    pub(crate) fn with(
        config: &Config,
        nr_ops: usize,
        wake: Wake,
        surroundings: Surroundings,
    ) -> std::result::Result<Self, Error> {
        config.check(nr_ops)?;
        let (ring, notifier) = ring_as_configured(config.io, nr_ops, &wake, surroundings.has_futex)?;
        // Threads that move bytes keep their process alive; only a ring can outlive it.
        let claim = surroundings.key.filter(|_| config.direct && ring.is_some());
        let objects = Arc::new(prepare(config, claim, surroundings.node)?);
        let (sender, ended) = unbounded();
        let hands = Hands { objects: objects.clone(), ended: sender, wake };
        Ok(Self {
            operations: Slots::default(),
            waiting_count: 0,
            entries: Entries::new(config.fdcache),
            syncs: Syncs::default(),
            ready: VecDeque::new(),
            finished: VecDeque::new(),
            ended,
            objects,
            inline: Inline::new(config.passes_cache()),
            ring,
            _notifier: notifier,
            waiting: Waiting::start(hands.clone(), config.shared)?,
            pool: Pool::start(config.nr_threads, &hands)?,
            premade: Premade::start(&hands.objects)?,
        })
    }

    /// Takes an operation. The region must be as its maker promised until the operation is among the finished.
    pub fn start(&mut self, request: StoreRequest, region: Region, token: T) {
        let is_sensible = request.is_sensible(region.len() as u64);
        let access = access_of(&request.operation, region, self.objects.opening.is_direct);
        let slot = self.operations.insert(Operation::new(request, region, token));
        if !is_sensible {
            self.finish(slot, Err(ErrorKind::Invalid.into()));
        } else if way_of(&self.operations[slot].request.operation) == Way::Elsewhere {
            self.proceed(slot);
        } else {
            self.enter(slot, access);
        }
        self.go_on();
    }

    /// How many operations are not finished. Those that wait for a lock do not count: whoever gives it back needs a place.
    #[must_use]
    pub fn running(&self) -> usize {
        self.operations.len() - self.waiting_count
    }

    /// Whether every operation is finished.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.operations.is_empty()
    }

    /// Deals with what threads and the kernel have done since.
    pub fn turn(&mut self) {
        self.reap();
    }

    /// Gives the kernel what is to do. A sleep on the ring does so too.
    pub fn submit(&mut self) {
        must_go_on(self.ring.as_mut().map(Ring::submit));
    }

    /// Gives the kernel what is to do, if that is worth a call.
    pub(crate) fn submit_group(&mut self) {
        must_go_on(self.ring.as_mut().map(Ring::submit_group));
    }

    /// Whether a `submit` would give the kernel something.
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        self.ring.as_mut().is_some_and(Ring::has_unsubmitted)
    }

    /// The next finished operation.
    pub fn finished(&mut self) -> Option<Finished<T>> {
        self.finished.pop_front()
    }

    /// What a person wants to know of the store.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(&self.objects, self.entries.open_count(), self.waiting_count, self.ring.is_some())
    }

    /// Whether a sleep must be one on the ring: [`Engine::sleep`].
    pub(crate) fn sleeps_on_ring(&self) -> bool {
        self.ring.as_ref().is_some_and(Ring::can_wait_for_futex)
    }

    /// Whether transfers are under way, of which only the ring tells.
    pub(crate) fn has_transfers(&self) -> bool {
        self.ring.as_ref().is_some_and(Ring::has_transfers)
    }

    /// Whether a turn would find something, as far as can be seen without asking the kernel.
    pub(crate) fn has_news(&mut self) -> bool {
        !self.ended.is_empty() || self.ring.as_mut().is_some_and(Ring::has_ended)
    }

    /// Sleeps until a transfer ends, the futex is woken, or the time is over.
    pub(crate) fn sleep(&mut self, futex: Futex, longest: Duration) {
        must_go_on(self.ring.as_mut().map(|ring| ring.wait(futex, longest)));
        self.reap();
    }

    /// Ends what would wait for others for ever or work for long: these operations finish as `Unavailable`.
    pub fn stop(&mut self) {
        self.objects.stop.store(true, Ordering::Relaxed);
        self.waiting.stop();
    }

    /// Tells the other nodes that this one stops in order.
    pub(crate) fn leave(&self) {
        self.objects.entry.leave();
    }

    fn enter(&mut self, slot: u32, access: Access) {
        let name = &self.operations[slot].request.object;
        let (entry, may_run) = self.entries.enter(name, slot, access);
        self.operations[slot].entry = Some(entry);
        if may_run {
            self.proceed(slot);
        }
    }

    /// Runs what became ready, which may make more ready.
    fn go_on(&mut self) {
        while let Some(slot) = self.ready.pop_front() {
            self.proceed(slot);
        }
    }

    /// The next step of an operation whose turn it is: its fence, its file, its work.
    fn proceed(&mut self, slot: u32) {
        let operation = &mut self.operations[slot];
        if let Some(fence) = &operation.request.fence
            && operation.pass.is_none()
        {
            match self.objects.fences.enter_known(fence) {
                Some(Ok(pass)) => operation.pass = Some(pass),
                Some(Err(fault)) => return self.finish(slot, Err(fault)),
                None => {
                    let work = Work::Enter(fence.clone());
                    return self.pool.run(Job { slot, work });
                }
            }
        }
        match (way_of(&operation.request.operation), operation.entry) {
            (Way::OnOpen(purpose), Some(entry)) => self.with_open(slot, entry, purpose),
            (_, entry) => {
                // The file changes or goes: the next operation opens what is there then.
                entry.into_iter().for_each(|entry| self.entries.forget(entry));
                if matches!(operation.request.operation, StoreOperation::Scrub { .. }) {
                    self.close_settled();
                }
                let operation = &self.operations[slot];
                let work = Work::OnName(operation.request.clone(), operation.region);
                self.pool.run(Job { slot, work });
            }
        }
    }

    /// Goes on as soon as the object's file is open.
    fn with_open(&mut self, slot: u32, entry: u32, purpose: Purpose) {
        let kept =
            self.entries.open(entry).filter(|open| open.is_current(&self.objects.root, self.objects.opening));
        if let Some(open) = kept {
            self.operations[slot].open = Some(open.clone());
            return self.run_on_open(slot);
        }
        self.entries.forget(entry);
        if !self.entries.begin_opening(entry, slot) {
            return;
        }
        let name = &self.operations[slot].request.object;
        match self.premade.give(name, purpose) {
            Some(open) => self.opened(slot, Ok(Arc::new(open))),
            None => self.pool.run(Job { slot, work: Work::Open(name.clone(), purpose) }),
        }
    }

    fn opened(&mut self, slot: u32, result: Result<Arc<Handle>>) {
        let entry = self.operations[slot].entry.expect("only operations on objects open files");
        let others = self.entries.opened(entry);
        match result {
            Ok(open) => {
                self.entries.keep(entry, open.clone());
                for slot in std::iter::once(slot).chain(others) {
                    self.operations[slot].open = Some(open.clone());
                    self.run_on_open(slot);
                }
            }
            Err(fault) => {
                for other in others {
                    self.not_opened(other, entry, &fault);
                }
                self.finish(slot, Err(fault));
            }
        }
    }

    /// Somebody else failed to open the file; one that may create it tries on its own.
    fn not_opened(&mut self, slot: u32, entry: u32, fault: &Fault) {
        match way_of(&self.operations[slot].request.operation) {
            Way::OnOpen(purpose @ Purpose::Change { creates: true }) if fault.is_not_found() => {
                self.with_open(slot, entry, purpose);
            }
            _ => self.finish(slot, Err(fault.again())),
        }
    }

    fn run_on_open(&mut self, slot: u32) {
        let operation = &mut self.operations[slot];
        let Some(open) = operation.open.clone() else { return };
        let is_change = matches!(way_of(&operation.request.operation), Way::OnOpen(Purpose::Change { .. }));
        if is_change && !open.is_claimed() {
            return self.pool.run(Job { slot, work: Work::Claim(open) });
        }
        if matches!(operation.request.operation, StoreOperation::Sync) && !self.syncs.begin(&open, slot) {
            return;
        }
        let Some((_, direction)) = operation.transfer() else { return self.hand_over(slot) };
        if self.inline.run(operation, &open, direction) {
            return self.moved(slot, direction);
        }
        self.transfer(slot);
    }

    /// The object may be changed now; if it was deleted meanwhile, it begins anew.
    fn claimed(&mut self, slot: u32, result: Result<()>) {
        match (result, self.operations[slot].entry) {
            (Ok(()), _) => self.run_on_open(slot),
            (Err(fault), Some(_)) if fault.is_not_found() => {
                self.operations[slot].open = None;
                self.proceed(slot);
            }
            (Err(fault), _) => self.finish(slot, Err(fault)),
        }
    }

    /// Files that are kept open may be written at once, so nobody can give them checksums: those that rest are closed.
    fn close_settled(&mut self) {
        let (settling, verifies) = (self.objects.scrubber.settling(), self.objects.opening.verifies);
        self.entries.close_idle(|open| {
            let is_unverified = verifies && !open.is_claimed() && open.sums().is_none();
            is_unverified || open.has_settled(settling)
        });
    }

    fn reap(&mut self) {
        if let Some(mut ring) = self.ring.take() {
            let mut transferred = Vec::new();
            ring.reap(|slot, result| transferred.push((slot, result)));
            self.ring = Some(ring);
            for (slot, result) in transferred {
                self.transferred(slot, result);
            }
        }
        while let Ok((slot, outcome)) = self.ended.try_recv() {
            self.job_ended(slot, outcome);
        }
        self.go_on();
    }

    fn job_ended(&mut self, slot: u32, outcome: Outcome) {
        match outcome {
            Outcome::Opened(result) => {
                result.iter().for_each(|open| self.premade.see(open));
                self.opened(slot, result);
            }
            Outcome::Claimed(result) => self.claimed(slot, result),
            Outcome::GivenUp => {
                let fault = self.operations[slot].failed.take();
                self.end(slot, Err(fault.unwrap_or(ErrorKind::Unavailable.into())));
            }
            Outcome::Entered(Ok(pass)) => {
                self.operations[slot].pass = Some(pass);
                self.proceed(slot);
            }
            Outcome::Entered(Err(fault)) => self.finish(slot, Err(fault)),
            Outcome::Replied(Err(fault))
                if fault.kind() == ErrorKind::Busy && self.operations[slot].waits_for_lock() =>
            {
                if !self.waiting.wait(slot, self.operations[slot].request.clone()) {
                    return self.finish(slot, Err(ErrorKind::Unavailable.into()));
                }
                self.operations[slot].is_waiting = true;
                self.waiting_count += 1;
            }
            Outcome::Replied(result) => {
                if matches!(self.operations[slot].request.operation, StoreOperation::Sync) {
                    self.synced(slot, &result);
                }
                self.finish(slot, result);
            }
        }
    }

    /// Answers those who shared a sync, and begins the next one.
    fn synced(&mut self, slot: u32, result: &Result<StoreReply>) {
        let Some(open) = &self.operations[slot].open else { return };
        let (sharing, next) = self.syncs.end(open);
        next.into_iter().for_each(|slot| self.hand_over(slot));
        for slot in sharing {
            let result = result.as_ref().map(|_| StoreReply::Done).map_err(Fault::again);
            self.finish(slot, result);
        }
    }

    fn finish(&mut self, slot: u32, result: Result<StoreReply>) {
        let operation = &mut self.operations[slot];
        match (result, &operation.open, operation.entry) {
            (Err(fault), Some(open), Some(entry)) if open.is_new() && self.entries.take_alone(entry) => {
                operation.failed = Some(fault);
                let work = Work::GiveUp(open.clone());
                self.entries.forget(entry);
                self.pool.run(Job { slot, work });
            }
            (result, open, _) => {
                open.iter().filter(|_| result.is_ok()).for_each(|open| open.stay());
                self.end(slot, result);
            }
        }
    }

    fn end(&mut self, slot: u32, result: Result<StoreReply>) {
        let Operation { request, token, entry, pass, open, is_waiting, .. } = self.operations.remove(slot);
        self.waiting_count -= usize::from(is_waiting);
        drop((pass, open));
        if let Some(entry) = entry {
            self.entries.leave(entry, &mut self.ready);
        }
        let result = result.map_err(|fault| fault.while_doing(request.operation.action(), &request.object));
        self.finished.push_back(Finished { token, result });
    }
}
