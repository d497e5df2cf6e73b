//! Which locks this client may write under, and who waits for one. Pure: what is to be done about them it only wishes.
//!
//! A write passes if the client is among the writers of its lock's record under its number: [`Locks::enlist`] puts it there,
//! once, under a watch. A notification ends that: no more writes start, and when those under way have ended it is answered.
//!
//! [`Locks::enlist`]: crate::locks::Locks::enlist

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use store::{ErrorKind, Fence, ObjectName};

use crate::fault::Fault;
use crate::librados::Heard;

/// What is to be done next, by whoever can.
#[derive(Debug)]
pub(crate) enum Wish<W> {
    /// Begin to watch a lock: [`Fences::watching`] is told what came of it.
    Watch(ObjectName),
    /// Enlist under a number: [`Fences::enlisted`]. The last is the epoch, to be handed back.
    Enlist(ObjectName, u64, u64),
    /// Try an acquire again that waits in this slot: [`Fences::tried`].
    Acquire(u32),
    /// Answer a notification.
    Answer(Arc<W>, u64),
    /// End a watch, which blocks.
    Forget(Arc<W>),
    /// Go on with the operation in this slot.
    Pass(u32),
    /// It may not.
    Refuse(u32, Fault),
}

/// The locks that somebody here is interested in; bounded by those that are open, and those that run.
pub(crate) struct Fences<W> {
    locks: HashMap<ObjectName, Lock<W>>,
    wishes: VecDeque<Wish<W>>,
    is_foreign: bool,
    /// Whether there is a connection.
    is_up: bool,
}

struct Lock<W> {
    watch: Watching<W>,
    grant: Grant,
    /// Counts what may have ended a grant: what was asked in an earlier epoch is asked again.
    epoch: u64,
    /// Operations under way under the lock.
    running: u32,
    /// Operations that wait for a grant, with their numbers.
    queue: VecDeque<(u32, u64)>,
    /// Notifications to be answered when nothing runs any more.
    answers: Vec<u64>,
    /// Acquires that wait until the lock is free.
    waiters: VecDeque<u32>,
    /// The one of them that is being tried, with the epoch in which that began.
    trying: Option<(u32, u64)>,
    /// For so many looks it is watched though nobody here needs it.
    lingers: u8,
}

/// Who was notified of a change is notified again by those who wait for the lock and find the change unfinished: as long as that may
/// take, it goes on answering. Who does not is shut out.
const LINGERS: u8 = 2;

enum Watching<W> {
    No,
    /// It failed; only the next look tries it again.
    Failed,
    Starting,
    Yes(Arc<W>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    None,
    Asking,
    /// This client may write under this number.
    Held(u64),
}

impl<W> Fences<W> {
    pub(crate) fn new(is_foreign: bool) -> Self {
        Self { locks: HashMap::new(), wishes: VecDeque::new(), is_foreign, is_up: true }
    }

    /// What is to be done next.
    pub(crate) fn wish(&mut self) -> Option<Wish<W>> {
        self.wishes.pop_front()
    }

    /// Whether [`Fences::look_again`] is of use: an acquire waits, or a watch lingers.
    pub(crate) fn needs_look(&self) -> bool {
        self.locks.values().any(|lock| !lock.waiters.is_empty() || lock.trying.is_some() || lock.lingers > 0)
    }

    /// Locks that this client may write under now.
    pub(crate) fn held_count(&self) -> usize {
        self.locks.values().filter(|lock| matches!(lock.grant, Grant::Held(_))).count()
    }

    /// An operation wants to pass: a wish says when it may, or that it may not. Who passed leaves again.
    pub(crate) fn enter(&mut self, slot: u32, fence: &Fence) {
        let is_foreign = self.is_foreign;
        let lock = self.locks.entry(fence.lock.clone()).or_default();
        match lock.grant {
            Grant::Held(number) if number == fence.number => {
                lock.running += 1;
                return self.wishes.push_back(Wish::Pass(slot));
            }
            Grant::Held(number) if !is_foreign || fence.number < number => {
                return self.wishes.push_back(Wish::Refuse(slot, ErrorKind::NotOwner.into()));
            }
            Grant::Held(_) => lock.grant = Grant::None,
            Grant::None | Grant::Asking => {}
        }
        lock.queue.push_back((slot, fence.number));
        self.step(&fence.lock);
    }

    /// An operation that passed is over.
    pub(crate) fn leave(&mut self, name: &ObjectName) {
        if let Some(lock) = self.locks.get_mut(name) {
            lock.running -= 1;
            if lock.running == 0 {
                self.step(name);
            }
        }
    }

    /// An acquire found the lock held by another, and waits.
    pub(crate) fn wait(&mut self, slot: u32, name: &ObjectName) {
        self.locks.entry(name.clone()).or_default().waiters.push_back(slot);
        self.step(name);
        self.try_first(name);
    }

    /// An acquire that waited was tried again; a busy one waits on.
    pub(crate) fn tried(&mut self, name: &ObjectName, is_busy: bool) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        let Some((slot, epoch)) = lock.trying.take() else { return };
        if is_busy {
            lock.waiters.push_front(slot);
        }
        if !is_busy || lock.epoch != epoch {
            self.try_first(name);
        }
        self.step(name);
    }

    /// What came of a wish to watch.
    pub(crate) fn watching(&mut self, name: &ObjectName, result: Result<W, Fault>) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        match result {
            Ok(watch) => lock.watch = Watching::Yes(Arc::new(watch)),
            Err(fault) => {
                lock.watch = Watching::Failed;
                lock.answers.clear();
                // Nobody ever took the lock.
                let fault =
                    if fault.kind() == ErrorKind::NotFound { ErrorKind::NotOwner.into() } else { fault };
                lock.refuse_all(&mut self.wishes, &fault);
            }
        }
        self.step(name);
        self.try_first(name);
    }

    /// What came of a wish to enlist.
    pub(crate) fn enlisted(&mut self, name: &ObjectName, number: u64, epoch: u64, result: Result<(), Fault>) {
        let Some(lock) = self.locks.get_mut(name).filter(|lock| lock.grant == Grant::Asking) else { return };
        lock.grant = Grant::None;
        if lock.epoch == epoch {
            let queue = std::mem::take(&mut lock.queue);
            let (asked, others): (VecDeque<_>, VecDeque<_>) =
                queue.into_iter().partition(|(_, it)| *it == number);
            lock.queue = others;
            match result {
                Ok(()) => {
                    lock.grant = Grant::Held(number);
                    lock.running += u32::try_from(asked.len()).unwrap_or(u32::MAX);
                    self.wishes.extend(asked.into_iter().map(|(slot, _)| Wish::Pass(slot)));
                }
                Err(fault) => {
                    self.wishes.extend(asked.into_iter().map(|(slot, _)| Wish::Refuse(slot, fault.again())));
                }
            }
        }
        self.step(name);
    }

    /// A watch heard something.
    pub(crate) fn heard(&mut self, name: &ObjectName, heard: Heard) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        lock.epoch += 1;
        if matches!(lock.grant, Grant::Held(_)) {
            lock.grant = Grant::None;
        }
        match heard {
            Heard::Notification(notification) => {
                lock.answers.push(notification);
                lock.lingers = LINGERS;
            }
            Heard::Lost if matches!(lock.watch, Watching::Yes(_)) => lock.unwatch(&mut self.wishes),
            // Another begins already.
            Heard::Lost => {}
        }
        self.step(name);
        self.try_first(name);
    }

    /// Some time has passed: a notification may have been lost.
    pub(crate) fn look_again(&mut self) {
        let names: Vec<ObjectName> = self
            .locks
            .iter()
            .filter(|(_, lock)| !lock.waiters.is_empty() || lock.lingers > 0)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(lock) = self.locks.get_mut(&name) {
                lock.lingers = lock.lingers.saturating_sub(1);
                if matches!(lock.watch, Watching::Failed) && !lock.waiters.is_empty() {
                    lock.watch = Watching::No;
                }
            }
            self.step(&name);
            self.try_first(&name);
        }
    }

    /// The connection is gone, and every grant and watch with it.
    pub(crate) fn down(&mut self) {
        self.is_up = false;
        for lock in self.locks.values_mut() {
            lock.epoch += 1;
            lock.grant = Grant::None;
            lock.answers.clear();
            lock.unwatch(&mut self.wishes);
        }
    }

    /// There is a new connection.
    pub(crate) fn up(&mut self) {
        self.is_up = true;
        let names: Vec<ObjectName> = self.locks.keys().cloned().collect();
        for name in names {
            self.step(&name);
            self.try_first(&name);
        }
    }

    /// There is no connection, and will not be soon: who waits for a grant waits no more.
    pub(crate) fn refuse_all(&mut self, fault: &Fault) {
        for lock in self.locks.values_mut() {
            lock.refuse_all(&mut self.wishes, fault);
        }
    }

    /// Every acquire that waits, in no order; none of them waits any more.
    pub(crate) fn end_waiting(&mut self) -> Vec<u32> {
        self.locks.values_mut().flat_map(|lock| std::mem::take(&mut lock.waiters)).collect()
    }

    fn try_first(&mut self, name: &ObjectName) {
        if let Some(lock) = self.locks.get_mut(name).filter(|lock| self.is_up && lock.trying.is_none())
            && let Some(slot) = lock.waiters.pop_front()
        {
            lock.trying = Some((slot, lock.epoch));
            self.wishes.push_back(Wish::Acquire(slot));
        }
    }

    /// What follows from a lock's state.
    fn step(&mut self, name: &ObjectName) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        if lock.running == 0
            && let Watching::Yes(watch) = &lock.watch
        {
            self.wishes.extend(lock.answers.drain(..).map(|answer| Wish::Answer(watch.clone(), answer)));
        }
        let wants_watch = !lock.queue.is_empty() || !lock.waiters.is_empty() || lock.trying.is_some();
        match (&lock.watch, lock.queue.front()) {
            (Watching::No, _) | (Watching::Failed, Some(_)) if self.is_up && wants_watch => {
                lock.watch = Watching::Starting;
                self.wishes.push_back(Wish::Watch(name.clone()));
            }
            // While a notification waits for its answer nobody may begin: then it would wait for ever.
            (Watching::Yes(_), Some((_, number)))
                if self.is_up && lock.grant == Grant::None && lock.answers.is_empty() =>
            {
                lock.grant = Grant::Asking;
                self.wishes.push_back(Wish::Enlist(name.clone(), *number, lock.epoch));
            }
            _ => {}
        }
        let is_used =
            wants_watch || lock.running > 0 || lock.grant != Grant::None || !lock.answers.is_empty();
        let is_used = is_used || lock.lingers > 0;
        if !is_used && !matches!(lock.watch, Watching::Starting) {
            lock.unwatch(&mut self.wishes);
            self.locks.remove(name);
        }
    }
}

impl<W> Lock<W> {
    fn unwatch(&mut self, wishes: &mut VecDeque<Wish<W>>) {
        if let Watching::Yes(watch) = std::mem::replace(&mut self.watch, Watching::No) {
            wishes.push_back(Wish::Forget(watch));
        }
    }

    fn refuse_all(&mut self, wishes: &mut VecDeque<Wish<W>>, fault: &Fault) {
        wishes.extend(self.queue.drain(..).map(|(slot, _)| Wish::Refuse(slot, fault.again())));
    }
}

impl<W> Default for Lock<W> {
    fn default() -> Self {
        Self {
            watch: Watching::No,
            grant: Grant::None,
            epoch: 0,
            running: 0,
            queue: VecDeque::new(),
            answers: Vec::new(),
            waiters: VecDeque::new(),
            trying: None,
            lingers: 0,
        }
    }
}

#[cfg(test)]
mod tests;
