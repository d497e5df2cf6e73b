//! The store itself: takes operations, has many under way in the cluster, says which are finished. One thread's, never blocks it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, unbounded};
use peer::slots::Slots;
use store::{ErrorKind, Lister, ObjectName, StoreError, StoreReply, StoreRequest};

use crate::config::Config;
use crate::error::Error;
use crate::fault::{Fault, Result, is_shut_out};
use crate::fences::{Fences, Wish};
use crate::jobs;
use crate::librados::{Done, Ended, Heard, Region, Watch};
use crate::link::{Link, Linker, Own};
use crate::operation::{After, Operation, Way, begin, way_of};
use crate::pool::{Pool, Wake};
use crate::presence::Presence;
use crate::status::Status;
use crate::under_way::UnderWay;

/// A store in RADOS, as a state machine of one thread. `T` comes back with each finished operation.
pub(crate) struct Engine<T> {
    operations: Slots<Operation<T>>,
    fences: Fences<Watch>,
    connection: Connection,
    /// Counts connections: what belongs to an earlier one is told by its number.
    generation: u64,
    /// Operations that wait for a connection.
    stalled: VecDeque<u32>,
    finished: VecDeque<Finished<T>>,
    /// Operations that began to wait for a lock since they were counted last.
    set_aside: usize,
    /// Operations that the library has; their memory must stay until they end.
    under_way: UnderWay,
    /// How often the cluster shut this client out.
    shut_outs: u64,
    presence: Presence,
    arrived: Receiver<Event>,
    tell: Teller,
    linker: Arc<Linker>,
    lister: Arc<Lister>,
    stop: Arc<AtomicBool>,
    pool: Pool,
}

enum Connection {
    Up(Arc<Link>),
    Connecting,
    /// The last attempt failed; the next operation makes another.
    Down,
}

/// An operation that ended.
pub(crate) struct Finished<T> {
    /// What was given with it.
    pub(crate) token: T,
    pub(crate) result: std::result::Result<StoreReply, StoreError>,
    /// Whether it was set aside to wait for a lock.
    pub(crate) was_set_aside: bool,
}

/// What other threads tell the engine.
enum Event {
    Ended(u32, Ended),
    Done(u32, Result<StoreReply>),
    Watching(u64, ObjectName, Result<Watch>),
    Enlisted(u64, ObjectName, u64, u64, Result<()>),
    Heard(u64, ObjectName, Heard),
    Present(u64, Result<Option<Watch>>),
    Asked(u64, Heard),
    Linked(std::result::Result<Link, Error>),
}

/// How other threads tell it.
#[derive(Clone)]
struct Teller {
    sender: Sender<Event>,
    wake: Wake,
}

/// How often an operation is served again because the cluster had shut this client out.
const RETRIES_MAX: u32 = 8;

impl Teller {
    fn tell(&self, event: Event) {
        // Nobody listens any more once the engine is gone.
        let _is_heard = self.sender.send(event);
        (self.wake)();
    }
}

impl<T> Engine<T> {
    /// Connects to the cluster. `wake` is called from other threads when there is something
    /// for [`Engine::turn`].
    ///
    /// # Errors
    /// [`Error`] by the setting that cannot work, or what cannot be reached.
    pub(crate) fn new(config: &Config, own: Own, wake: Wake) -> std::result::Result<Self, Error> {
        let linker = Arc::new(Linker::new(config.clone(), own)?);
        let link = Arc::new(linker.connect()?);
        let (sender, arrived) = unbounded();
        let mut engine = Self {
            operations: Slots::default(),
            fences: Fences::new(config.foreign_locks),
            connection: Connection::Up(link),
            generation: 0,
            stalled: VecDeque::new(),
            finished: VecDeque::new(),
            set_aside: 0,
            under_way: UnderWay::default(),
            shut_outs: 0,
            presence: Presence::default(),
            arrived,
            tell: Teller { sender, wake },
            linker,
            lister: Arc::default(),
            stop: Arc::default(),
            pool: Pool::start(config.nr_threads)?,
        };
        engine.appear();
        Ok(engine)
    }

    /// Takes an operation. The region's memory must stay until the operation is among the finished.
    pub(crate) fn start(&mut self, request: StoreRequest, region: Region, token: T) {
        let is_sensible = request.is_sensible(region.len() as u64);
        let slot = self.operations.insert(Operation::new(request, region, token));
        if is_sensible {
            self.proceed(slot);
            self.fulfil();
        } else {
            self.finish(slot, Err(ErrorKind::Invalid.into()));
        }
    }

    /// Deals with what other threads have told since. Whether there was anything.
    pub(crate) fn turn(&mut self) -> bool {
        let mut has_turned = false;
        while let Ok(event) = self.arrived.try_recv() {
            has_turned = true;
            self.take(event);
            self.fulfil();
        }
        has_turned
    }

    /// The next finished operation.
    pub(crate) fn finished(&mut self) -> Option<Finished<T>> {
        self.finished.pop_front()
    }

    /// How many operations began to wait for a lock since this was asked last.
    pub(crate) fn take_set_aside(&mut self) -> usize {
        std::mem::take(&mut self.set_aside)
    }

    /// Whether every operation is finished.
    pub(crate) fn is_idle(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether [`Engine::look_again`] is of use.
    pub(crate) fn looks_again(&self) -> bool {
        self.fences.needs_look() || self.presence.is_lost()
    }

    /// Looks at the locks that are waited for, should a notification have been lost.
    pub(crate) fn look_again(&mut self) {
        if matches!(self.connection, Connection::Down) {
            self.connect();
        }
        if self.presence.is_lost() {
            self.appear();
        }
        self.fences.look_again();
        self.fulfil();
    }

    /// Ends what would wait for others for ever or work for long: these operations finish as `Unavailable`.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for slot in self.fences.end_waiting() {
            self.finish(slot, Err(ErrorKind::Unavailable.into()));
        }
    }

    /// What a person wants to know of the store.
    pub(crate) fn status(&self) -> Status {
        let link = if let Connection::Up(link) = &self.connection { Some(link) } else { None };
        Status {
            client: link.map(|link| link.locks.address().to_owned()).unwrap_or_default(),
            is_connected: link.is_some(),
            under_way: self.under_way.count(),
            locks_held: self.fences.held_count(),
            lock_waiters: self.presence.waits_count(),
            shut_outs: self.shut_outs,
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ended(slot, ended) => {
                self.under_way.end();
                self.ended(slot, ended);
            }
            Event::Done(slot, result) => self.done(slot, result),
            // Who waits for it is asked for again when there is a new connection.
            Event::Watching(generation, _, Err(fault))
            | Event::Enlisted(generation, _, _, _, Err(fault))
            | Event::Present(generation, Err(fault))
                if generation == self.generation && fault.is_shut_out() =>
            {
                self.lose();
            }
            Event::Watching(generation, lock, result) if generation == self.generation => {
                self.fences.watching(&lock, result);
            }
            Event::Enlisted(generation, lock, number, epoch, result) if generation == self.generation => {
                self.fences.enlisted(&lock, number, epoch, result);
            }
            Event::Heard(generation, lock, heard) if generation == self.generation => {
                self.fences.heard(&lock, heard);
            }
            Event::Present(generation, result) if generation == self.generation => {
                self.presence.began(result)
            }
            Event::Asked(generation, heard) if generation == self.generation => {
                let link = if let Connection::Up(link) = &self.connection { Some(&**link) } else { None };
                let lost = self.presence.heard(heard, link);
                self.drop_in_pool(lost);
            }
            Event::Watching(_, _, Ok(watch)) | Event::Present(_, Ok(Some(watch))) => self.drop_in_pool(watch),
            Event::Watching(..)
            | Event::Enlisted(..)
            | Event::Heard(..)
            | Event::Present(..)
            | Event::Asked(..) => {}
            Event::Linked(result) => self.linked(result),
        }
    }

    /// The next step of an operation that has no step under way: its fence, its work.
    fn proceed(&mut self, slot: u32) {
        let operation = &self.operations[slot];
        match &operation.request.fence {
            Some(fence) if !operation.has_passed => self.fences.enter(slot, fence),
            _ => self.submit(slot),
        }
    }

    /// Does what the fences wish.
    fn fulfil(&mut self) {
        while let Some(wish) = self.fences.wish() {
            match wish {
                Wish::Pass(slot) => {
                    self.operations[slot].has_passed = true;
                    self.submit(slot);
                }
                Wish::Refuse(slot, fault) => self.finish(slot, Err(fault)),
                Wish::Acquire(slot) => self.submit(slot),
                Wish::Forget(watch) => self.drop_in_pool(watch),
                Wish::Answer(watch, notification) => {
                    if let Connection::Up(link) = &self.connection {
                        watch.answer(notification, link.locks.address().as_bytes());
                    }
                }
                Wish::Watch(lock) => self.watch(lock),
                Wish::Enlist(lock, number, epoch) => self.enlist(lock, number, epoch),
            }
        }
    }

    fn watch(&mut self, lock: ObjectName) {
        let Connection::Up(link) = &self.connection else { return };
        let (link, tell, generation) = (link.clone(), self.tell.clone(), self.generation);
        let work = move || {
            let (teller, name) = (tell.clone(), lock.clone());
            let hear = move |heard| teller.tell(Event::Heard(generation, name.clone(), heard));
            let result = link.locks.watch(&lock, hear);
            drop(link);
            tell.tell(Event::Watching(generation, lock, result));
        };
        self.pool.run(false, Box::new(work));
    }

    /// Begins to answer those who ask which nodes live.
    fn appear(&mut self) {
        self.presence.begin();
        let Connection::Up(link) = &self.connection else { return };
        let (link, tell, generation) = (link.clone(), self.tell.clone(), self.generation);
        let work = move || {
            let teller = tell.clone();
            let result = link.register.watch(move |heard| teller.tell(Event::Asked(generation, heard)));
            drop(link);
            tell.tell(Event::Present(generation, result));
        };
        self.pool.run(false, Box::new(work));
    }

    fn enlist(&mut self, lock: ObjectName, number: u64, epoch: u64) {
        let Connection::Up(link) = &self.connection else { return };
        let (link, tell, generation) = (link.clone(), self.tell.clone(), self.generation);
        let work = move || {
            let result = link.locks.enlist(&lock, number);
            drop(link);
            tell.tell(Event::Enlisted(generation, lock, number, epoch, result));
        };
        self.pool.run(false, Box::new(work));
    }

    /// Gives an operation to the library, or to a thread.
    fn submit(&mut self, slot: u32) {
        let link = match &self.connection {
            Connection::Up(link) => link.clone(),
            Connection::Connecting => return self.stalled.push_back(slot),
            Connection::Down => {
                self.stalled.push_back(slot);
                return self.connect();
            }
        };
        let tell = self.tell.clone();
        let operation = &mut self.operations[slot];
        operation.generation = self.generation;
        match way_of(operation) {
            Way::Library => {
                self.under_way.begin();
                let under_way = self.under_way.clone();
                let done: Done = Box::new(move |ended| {
                    let is_last = || under_way.count() == 0;
                    peer::tell_and_linger(|| tell.tell(Event::Ended(slot, ended)), is_last);
                });
                begin(operation, &link.objects, done);
            }
            Way::Thread { is_heavy } => {
                let (request, region) = (operation.request.clone(), operation.region);
                let (lister, stop) = (self.lister.clone(), self.stop.clone());
                let work = move || {
                    let result = jobs::perform(&link, &request, region, &lister, &stop);
                    drop(link);
                    tell.tell(Event::Done(slot, result));
                };
                self.pool.run(is_heavy, Box::new(work));
            }
        }
    }

    fn ended(&mut self, slot: u32, ended: Ended) {
        if let Err(error) = &ended.result
            && is_shut_out(error)
        {
            return self.again(slot);
        }
        match self.operations[slot].after(ended) {
            After::Finish(result) => self.finish(slot, result),
            After::Submit => self.submit(slot),
        }
    }

    fn done(&mut self, slot: u32, result: Result<StoreReply>) {
        let operation = &mut self.operations[slot];
        let is_shut_out = result.as_ref().is_err_and(Fault::is_shut_out);
        if !operation.waits_for_lock() {
            return if is_shut_out { self.again(slot) } else { self.finish(slot, result) };
        }
        let is_busy = is_shut_out || result.as_ref().is_err_and(|fault| fault.kind() == ErrorKind::Busy);
        let lock = operation.request.object.clone();
        if operation.is_set_aside {
            self.fences.tried(&lock, is_busy);
        } else if is_busy {
            operation.is_set_aside = true;
            self.set_aside += 1;
            self.presence.waits(slot, &lock);
            self.fences.wait(slot, &lock);
        }
        if is_shut_out {
            self.lose();
        }
        if !is_busy {
            self.finish(slot, result);
        } else if self.stop.load(Ordering::Relaxed) {
            self.stop();
        }
    }

    /// The cluster did nothing for an operation, because it has shut out the connection on which it came.
    fn again(&mut self, slot: u32) {
        let operation = &mut self.operations[slot];
        operation.retries += 1;
        let is_current = operation.generation == self.generation;
        if operation.retries > RETRIES_MAX {
            return self.finish(slot, Err(ErrorKind::Unavailable.into()));
        }
        self.leave(slot);
        if is_current {
            self.lose();
        }
        self.stall(slot);
    }

    fn stall(&mut self, slot: u32) {
        match self.connection {
            Connection::Up(_) => self.proceed(slot),
            _ => self.stalled.push_back(slot),
        }
    }

    /// The connection is of no use any more: makes another.
    fn lose(&mut self) {
        let Connection::Up(link) = std::mem::replace(&mut self.connection, Connection::Down) else { return };
        tracing::warn!("the cluster has shut this client out; connecting anew");
        self.shut_outs += 1;
        self.generation += 1;
        // Before what may wait for the old one.
        self.connect();
        self.fences.down();
        let watch = self.presence.lose();
        self.drop_in_pool(watch);
        self.fulfil();
        self.drop_in_pool(link);
    }

    fn connect(&mut self) {
        self.connection = Connection::Connecting;
        let (linker, tell) = (self.linker.clone(), self.tell.clone());
        self.pool.run(true, Box::new(move || tell.tell(Event::Linked(linker.connect()))));
    }

    fn linked(&mut self, result: std::result::Result<Link, Error>) {
        let stalled = std::mem::take(&mut self.stalled);
        match result {
            Ok(link) => {
                self.connection = Connection::Up(Arc::new(link));
                self.fences.up();
                self.appear();
                stalled.into_iter().for_each(|slot| self.proceed(slot));
            }
            Err(error) => {
                tracing::error!(error = %error, cause = std::error::Error::source(&error), "no connection to the cluster");
                self.connection = Connection::Down;
                self.fences.refuse_all(&ErrorKind::Unavailable.into());
                stalled.into_iter().for_each(|slot| self.finish_stalled(slot));
            }
        }
    }

    /// An acquire that waits goes on waiting; all else fails.
    fn finish_stalled(&mut self, slot: u32) {
        if self.operations[slot].is_set_aside {
            let lock = self.operations[slot].request.object.clone();
            self.fences.tried(&lock, true);
        } else {
            self.finish(slot, Err(ErrorKind::Unavailable.into()));
        }
    }

    /// The last one to drop a connection, or a watch, waits for the cluster: not this thread.
    fn drop_in_pool<D: Send + 'static>(&self, what: D) {
        self.pool.run(true, Box::new(move || drop(what)));
    }

    fn leave(&mut self, slot: u32) {
        let operation = &mut self.operations[slot];
        if std::mem::take(&mut operation.has_passed)
            && let Some(fence) = &operation.request.fence
        {
            self.fences.leave(&fence.lock);
        }
    }

    fn finish(&mut self, slot: u32, result: Result<StoreReply>) {
        self.leave(slot);
        self.presence.finished(slot);
        let Operation { request, token, is_set_aside, .. } = self.operations.remove(slot);
        let result = result.map_err(|fault| fault.while_doing(request.operation.action(), &request.object));
        self.finished.push_back(Finished { token, result, was_set_aside: is_set_aside });
    }
}

impl<T> Drop for Engine<T> {
    /// Waits for what the library still does in the memory of operations.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.under_way.count() > 0 {
            match self.arrived.recv() {
                Ok(Event::Ended(..)) => self.under_way.end(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
        if let Connection::Up(link) = &self.connection {
            link.leave();
        }
        if self.is_idle() {
            self.linker.forget();
        }
    }
}
