//! The receiving half of a port.

use std::{
    cell::Cell,
    collections::{HashSet, VecDeque},
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    held::{Control, Held},
    inbox::{Cells, Taken, collect, disarm},
    kill::step,
    local::{Local, Mark},
    memory::RawFutex,
    passing::{self, Refused, STATUS_CORRUPT, STATUS_UNAVAILABLE, answer_for},
    port::{Leave, PortNumber},
    process::Census,
    state::{Arrival, Phase, State},
    sync::Ordering,
    trace::{Step, trace},
    wait::{self, Sleeper, Spin, Waker, Woken},
};

/// What a port received.
#[must_use = "a dropped request is answered with an error"]
#[derive(Debug)]
pub enum Received {
    /// Somebody asks: serve it, then respond.
    Request(Held),
    /// An answer: to a request of our own (then [`Held::is_home`]), or to one we forwarded (then respond).
    Reply(Held),
}

/// The receiving half of a port: receives, responds, frees. One thread's, like the port.
pub struct Receiver {
    pub(crate) local: Arc<Local>,
    /// Out of the inbox, not handed out yet.
    batch: VecDeque<Taken>,
    /// Requests that wait until the orphans are home.
    held_back: VecDeque<Taken>,
    /// The port's own requests, of an earlier owner, that must be home before anything is served.
    waited_for: HashSet<u32>,
    /// The port's own slots that are free once they are.
    freed_then: Vec<u32>,
    /// Dropped without an answer, while their buffers were lent.
    lent: Vec<(u32, State)>,
    /// Requests received so far.
    order: u64,
    spin: Spin,
    _leave: Arc<Leave>,
    _one_thread: PhantomData<Cell<()>>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", self.number())
    }
}

impl Receiver {
    pub(crate) fn new(local: Arc<Local>, leave: Arc<Leave>, accepted: VecDeque<Taken>) -> Receiver {
        let mut receiver = Receiver {
            local,
            batch: accepted,
            held_back: VecDeque::new(),
            waited_for: HashSet::new(),
            freed_then: Vec::new(),
            lent: Vec::new(),
            order: 0,
            spin: Spin::default(),
            _leave: leave,
            _one_thread: PhantomData,
        };
        receiver.number_batch(0);
        receiver
    }

    /// Serve nothing before these requests are home; then free those.
    pub(crate) fn recover(&mut self, waited_for: HashSet<u32>, freed_then: Vec<u32>) {
        self.waited_for = waited_for;
        self.freed_then = freed_then;
        self.end_recovery();
    }

    /// The number of the port.
    pub fn number(&self) -> PortNumber {
        PortNumber(self.local.me.port)
    }

    /// The next request or reply, in the order in which they were sent; `None` if there is none now.
    pub fn receive(&mut self) -> Option<Received> {
        loop {
            if self.local.take_dropped() || !self.lent.is_empty() {
                self.answer_dropped();
            }
            if self.batch.is_empty() {
                self.fill();
            }
            let taken = self.batch.pop_front()?;
            if let Some(received) = self.deliver(taken) {
                return Some(received);
            }
        }
    }

    /// Waits until there is something to receive, a waker was called, or the deadline passed.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Woken {
        if !self.batch.is_empty() {
            return Woken::Inbox;
        }
        wait::wait(&self.local, &mut self.spin, deadline)
    }

    /// Spins at most so long before a wait sleeps; zero for never. By default 20 µs, less when it does not pay.
    pub fn set_spin(&mut self, longest: Duration) {
        self.spin.set_longest(longest);
    }

    /// Says in the inbox word that the owner sleeps. True: the word now holds [`RawFutex::SLEEPING`], it is safe to
    /// block elsewhere until it changes. False: there is something to receive, or a waker was called. Call `disarm` in
    /// either case: it tells of the waker.
    pub fn arm(&mut self) -> bool {
        self.batch.is_empty() && wait::try_arm(&self.local)
    }

    /// Says that the owner is awake. Whether a waker was called since.
    pub fn disarm(&mut self) -> bool {
        disarm(&*self.local.shared, self.local.me.port);
        self.local.take_woken()
    }

    /// The address of the word to block on after [`Receiver::arm`].
    pub fn futex_word(&self) -> RawFutex {
        self.local.shared.map.raw_futex(self.local.shared.inbox_at(self.local.me.port))
    }

    /// Wakes this port's owner, from any thread.
    pub fn waker(&self) -> Waker {
        Waker { local: Arc::clone(&self.local) }
    }

    /// What sleeps in this port's inbox without the port.
    pub fn sleeper(&self) -> Sleeper {
        Sleeper::new(Arc::clone(&self.local))
    }

    /// Answers an accepted request, or passes on a reply that came through here.
    ///
    /// # Errors
    /// As [`Port::respond`](crate::Port::respond).
    pub fn respond(&mut self, held: Held) -> Result<(), Refused> {
        passing::respond(&self.local, held)
    }

    /// Passes an accepted request on, so that its reply comes back through here.
    ///
    /// # Errors
    /// As [`Port::submit`](crate::Port::submit).
    pub fn forward(&mut self, held: Held, to: PortNumber) -> Result<(), Refused> {
        passing::submit(&self.local, held, to)
    }

    /// Frees a request that came home; the submitting half gets the slot. An accepted one is answered with status 7.
    pub fn free(&mut self, held: Held) {
        drop(held);
    }

    /// Takes what is in the inbox.
    fn fill(&mut self) {
        let local = &self.local;
        let mut census = None;
        let start = self.batch.len();
        collect(
            &*local.shared,
            local.me,
            &mut self.batch,
            |slot, state| is_expected(local, slot, state),
            |holder| local.shared.is_gone(holder, census.get_or_insert_with(Census::default)),
        );
        self.number_batch(start);
    }

    /// Notes the order of arrival in the requests, for the next owner, and that they are here.
    fn number_batch(&mut self, start: usize) {
        for taken in self.batch.range(start..) {
            self.order += 1;
            self.local.set_mark(taken.slot, Mark::Held);
            let word = self.local.shared.arrival(taken.slot);
            let arrival = Arrival(word.load(Ordering::Relaxed)).received(self.order);
            word.store(arrival.0, Ordering::Relaxed);
        }
    }

    /// Makes of a slot what its receiver sees. `None` if it is not for the receiver.
    fn deliver(&mut self, taken: Taken) -> Option<Received> {
        let Taken { slot, state, from } = taken;
        let is_own = self.local.is_own(slot);
        let Some(control) = Control::load(&self.local, slot, state.reply) else {
            self.reject(slot, state);
            return None;
        };
        if !is_own && state.depth == 0 {
            self.free_foreign(slot);
            return None;
        }
        let is_older = is_own && control.incarnation != self.local.me.incarnation;
        let is_home = is_own && state.depth == 0;
        if is_older || (is_home && control.serial != self.local.serial(slot)) {
            self.take_orphan(slot, is_older);
            return None;
        }
        if !state.reply && !self.waited_for.is_empty() {
            self.held_back.push_back(taken);
            return None;
        }
        let mut held = Held { local: Arc::clone(&self.local), slot, state, from, control };
        if is_home {
            self.come_home(&mut held);
        } else {
            let word = self.local.shared.arrival(slot);
            word.store(Arrival(word.load(Ordering::Relaxed)).handed_out().0, Ordering::Relaxed);
        }
        step("receive: handed out");
        let kind = if state.reply { Step::Return } else { Step::Accept };
        trace(&self.local, kind, slot, from);
        Some(if state.reply { Received::Reply(held) } else { Received::Request(held) })
    }

    /// The buffer of our own request is where we know it to be, whatever the slot says.
    fn come_home(&self, held: &mut Held) {
        (held.control.at, held.control.bytes, held.control.parent) = self.local.buffer(held.slot);
        self.local.child_returns(held.slot);
    }

    /// A request of an earlier owner came home: nobody waits for its answer.
    fn take_orphan(&mut self, slot: u32, is_older: bool) {
        if !is_older {
            self.local.shared.anomaly();
        }
        self.local.child_returns(slot);
        self.local.give_back(slot);
        if self.waited_for.remove(&slot) {
            self.end_recovery();
        }
    }

    /// A reply to an earlier owner of this dynamic port: nobody waits for it, and its slab is nobody's.
    fn free_foreign(&mut self, slot: u32) {
        self.local.set_mark(slot, Mark::Away);
        let me = self.local.me;
        self.local.shared.state(slot).store(State::free(me.port, me.incarnation).encode(), Ordering::Release);
    }

    fn end_recovery(&mut self) {
        if !self.waited_for.is_empty() {
            return;
        }
        for slot in self.freed_then.drain(..) {
            self.local.give_back(slot);
        }
        self.held_back.append(&mut self.batch);
        std::mem::swap(&mut self.held_back, &mut self.batch);
    }

    /// A request whose control words make no sense.
    fn reject(&mut self, slot: u32, state: State) {
        self.local.shared.anomaly();
        if self.local.is_own(slot) && state.depth == 0 {
            self.take_orphan(slot, true);
        } else {
            self.local.set_mark(slot, Mark::Away);
            answer_for(&self.local.shared, self.local.me, slot, state, STATUS_CORRUPT);
        }
    }

    /// Answers what was dropped, but for requests whose buffer is lent to others under way: those wait for them.
    fn answer_dropped(&mut self) {
        self.lent.extend(std::iter::from_fn(|| self.local.dropped.pop()));
        let local = &self.local;
        self.lent.retain(|&(slot, state)| {
            let is_lent = local.has_children(slot);
            if !is_lent {
                local.set_mark(slot, Mark::Away);
                answer_for(&local.shared, local.me, slot, state, STATUS_UNAVAILABLE);
            }
            is_lent
        });
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.answer_dropped();
    }
}

/// Whether a request in our inbox may be there.
fn is_expected(local: &Local, slot: u32, state: State) -> bool {
    let is_whole = state.reply || state.depth > 0;
    state.phase == Phase::Passing && is_whole && local.is_marked(slot, Mark::Away)
}
