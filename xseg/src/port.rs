//! A port: the address of one owner on a segment, and all that owner can do.

use std::{
    cell::Cell,
    collections::HashSet,
    fmt,
    marker::PhantomData,
    mem::offset_of,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    abi::{SLAB_BYTES, SLAB_REQUESTS, Slot},
    error::{Error, ErrorKind, Result},
    held::{Control, Held},
    inbox::Cells,
    kill::step,
    local::{Local, Mark},
    memory::RawFutex,
    passing::{self, Refused},
    pool::{Pool, Ranges, capacity},
    process::Census,
    reap,
    receiver::{Received, Receiver},
    recovery::{self, Legacy},
    shared::Shared,
    slabs::{self, Kind},
    state::{Holder, State},
    sync::Ordering,
    wait::{Sleeper, Waker, Woken},
};

/// The number of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortNumber(pub u32);

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a port reserves when it binds; nobody else can use it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Request slots, rounded up to slabs of 16.
    pub requests: u32,
    /// Bytes for buffers, rounded up to slabs of 64 KiB.
    pub bytes: u64,
}

/// Leaves the port when both halves are gone.
#[derive(Debug)]
pub(crate) struct Leave(Arc<Local>);

impl Drop for Leave {
    fn drop(&mut self) {
        if self.0.is_closed() {
            return;
        }
        self.0.close();
        reap::leave(&self.0.shared, self.0.me);
    }
}

/// A bound port. Dropping it leaves the port in order: what waits stays for the next owner of a static port; a dynamic
/// one is freed. Drop all its requests first.
pub struct Port {
    submitter: Submitter,
    receiver: Receiver,
}

/// The allocating and submitting half of a port, for a thread of its own.
pub struct Submitter {
    local: Arc<Local>,
    pool: Pool,
    _leave: Arc<Leave>,
    _one_thread: PhantomData<Cell<()>>,
}

/// Binds a port that this process has just claimed.
pub(crate) fn settle(
    shared: &Arc<Shared>,
    me: Holder,
    reserve: Reserve,
    census: &mut Census,
) -> Result<Port> {
    let leave = Arc::new(Leave(Arc::new(Local::new(Arc::clone(shared), me))));
    let (legacy, old_table, old_arena) = inherit(shared, me, census);
    let missing = |want: u64, have: &[u32]| {
        u32::try_from(want.saturating_sub(have.len().try_into().unwrap_or(u64::MAX))).unwrap_or(u32::MAX)
    };
    let table_want = missing(u64::from(reserve.requests.div_ceil(SLAB_REQUESTS)), &old_table);
    let arena_want = missing(reserve.bytes.div_ceil(SLAB_BYTES), &old_arena);
    let new_table = slabs::claim(shared, Kind::Table, me, table_want);
    let new_arena = slabs::claim(shared, Kind::Arena, me, arena_want);
    if missing(table_want.into(), &new_table) > 0 || missing(arena_want.into(), &new_arena) > 0 {
        return Err(Error::port(ErrorKind::NoSpace, "reserve what was asked for, for", me.port));
    }
    if shared.is_file {
        slabs::populate(shared, &new_arena)
            .map_err(|error| Error::system("reserve memory in", &shared.name, error))?;
    }
    step("bind: slabs claimed");
    let ranges = slabs::ranges_of(&[old_arena, new_arena].concat());
    Ok(assemble(leave, legacy, &new_table, ranges))
}

/// What earlier owners left: nothing on a dynamic port, which was emptied before.
fn inherit(shared: &Shared, me: Holder, census: &mut Census) -> (Legacy, Vec<u32>, Vec<u32>) {
    if !shared.is_static(me.port) {
        return Default::default();
    }
    let legacy = recovery::take_over(shared, me, census);
    (legacy, shared.slabs_of(Kind::Table, me.port), shared.slabs_of(Kind::Arena, me.port))
}

fn assemble(leave: Arc<Leave>, mut legacy: Legacy, new: &[u32], mut ranges: Ranges) -> Port {
    let local = Arc::clone(&leave.0);
    for &slot in &legacy.home {
        local.make_own(slot, Mark::Held);
        keep_buffer(&local, slot, &mut ranges);
    }
    for &(slot, _) in &legacy.orphans {
        local.make_own(slot, Mark::Away);
        keep_buffer(&local, slot, &mut ranges);
    }
    for &slab in new {
        legacy.free.extend(slabs::clear_slots(&local.shared, local.me, slab));
    }
    let mut pool = Pool::new(ranges);
    for &slot in legacy.free.iter().rev() {
        local.make_own(slot, Mark::Free);
        pool.free(&local, slot);
    }
    let waited_for: HashSet<u32> =
        legacy.orphans.iter().filter(|(_, waits)| *waits).map(|&(slot, _)| slot).collect();
    let mut receiver = Receiver::new(Arc::clone(&local), Arc::clone(&leave), legacy.accepted);
    receiver.recover(waited_for, legacy.home);
    let submitter = Submitter { local, pool, _leave: leave, _one_thread: PhantomData };
    Port { submitter, receiver }
}

/// The buffer of a slot that an earlier owner allocated stays taken, unless the slot only borrows it.
fn keep_buffer(local: &Local, slot: u32, ranges: &mut Ranges) {
    let word = |field| local.shared.slot64(slot, field).load(Ordering::Relaxed);
    let (at, bytes) = (word(offset_of!(Slot, buffer_at)), word(offset_of!(Slot, buffer_bytes)));
    let is_borrowed = local.shared.slot32(slot, offset_of!(Slot, parent)).load(Ordering::Relaxed) != 0;
    if bytes == 0 || is_borrowed {
        return;
    }
    let is_sane = bytes <= local.shared.geometry.arena_bytes() && at <= local.shared.geometry.arena_bytes();
    if is_sane && ranges.take_exact(at..at + capacity(bytes)) {
        local.set_buffer(slot, at, bytes, 0);
    } else {
        local.shared.anomaly();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.number())
    }
}

impl fmt::Debug for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Submitter({})", self.number())
    }
}

impl Submitter {
    /// The number of the port.
    pub fn number(&self) -> PortNumber {
        PortNumber(self.local.me.port)
    }

    /// A free request with a buffer of its own, aligned to 4096 bytes if it has as many, else to 64.
    ///
    /// # Errors
    /// `NoSpace` if what the port reserved is in use: receive and free, then try again.
    pub fn allocate(&mut self, buffer_bytes: u64) -> Result<Held> {
        let no_space = || Error::port(ErrorKind::NoSpace, "allocate a request of", self.local.me.port);
        if buffer_bytes > self.local.shared.geometry.arena_bytes() {
            return Err(no_space());
        }
        let (slot, at) = self.pool.allocate(&self.local, buffer_bytes).ok_or_else(no_space)?;
        Ok(self.take_up(slot, Control { at, bytes: buffer_bytes, ..Control::default() }))
    }

    /// A free request whose buffer is a range of another's. The other cannot be answered while this one is under way.
    ///
    /// # Errors
    /// `NoSpace` as [`Submitter::allocate`]; `Invalid` if the range is not inside the parent's buffer, or the parent is
    /// another port's.
    pub fn allocate_child(&mut self, parent: &Held, range: Range<u64>) -> Result<Held> {
        if !Arc::ptr_eq(&parent.local, &self.local) {
            return Err(Error::slot(ErrorKind::Invalid, "borrow another port's buffer from", parent.slot));
        }
        let (at, bytes) = parent.child_range(range)?;
        let no_space = || Error::port(ErrorKind::NoSpace, "allocate a request of", self.local.me.port);
        let (slot, _) = self.pool.allocate(&self.local, 0).ok_or_else(no_space)?;
        let (flow, fence) = (parent.control.flow, parent.control.fence);
        Ok(self
            .take_up(slot, Control { at, bytes, flow, fence, parent: parent.slot + 1, ..Control::default() }))
    }

    fn take_up(&self, slot: u32, mut control: Control) -> Held {
        let me = self.local.me;
        self.local.set_buffer(slot, control.at, control.bytes, control.parent);
        control.incarnation = me.incarnation;
        control.serial = self.local.next_serial(slot);
        control.store_buffer(&self.local, slot);
        step("allocate: buffer written");
        let state = State::held(me.port, me.incarnation);
        // Pairs with the scans of a take-over: who sees it held sees its buffer.
        self.local.shared.state(slot).store(state.encode(), Ordering::Release);
        self.local.set_mark(slot, Mark::Held);
        step("allocate: held");
        Held { local: Arc::clone(&self.local), slot, state, from: me.port, control }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// As [`Port::submit`].
    pub fn submit(&mut self, held: Held, to: PortNumber) -> std::result::Result<(), Refused> {
        passing::submit(&self.local, held, to)
    }

    /// Answers an accepted request.
    ///
    /// # Errors
    /// As [`Port::respond`].
    pub fn respond(&mut self, held: Held) -> std::result::Result<(), Refused> {
        passing::respond(&self.local, held)
    }

    /// Frees a request that is at home. An accepted one is answered with status 7.
    pub fn free(&mut self, held: Held) {
        if held.is_home() && !self.local.has_children(held.slot) {
            let local = Arc::clone(&self.local);
            let slot = held.into_slot();
            local.release(slot);
            self.pool.free(&local, slot);
        }
    }
}

impl Port {
    /// The number of the port.
    pub fn number(&self) -> PortNumber {
        self.submitter.number()
    }

    /// A free request with a buffer of its own, aligned to 4096 bytes if it has as many, else to 64.
    ///
    /// # Errors
    /// `NoSpace` if what the port reserved is in use: receive and free, then try again.
    pub fn allocate(&mut self, buffer_bytes: u64) -> Result<Held> {
        self.submitter.allocate(buffer_bytes)
    }

    /// A free request whose buffer is a range of another's: nothing is copied. It inherits flow and fence. The other
    /// cannot be answered while this one is under way.
    ///
    /// # Errors
    /// As [`Submitter::allocate_child`].
    pub fn allocate_child(&mut self, parent: &Held, range: Range<u64>) -> Result<Held> {
        self.submitter.allocate_child(parent, range)
    }

    /// Sends a request to a port: one from home, or an accepted one onwards.
    ///
    /// # Errors
    /// The request comes back with the error: `NotFound` if there is no such port, `Unavailable` if it is dynamic and
    /// nobody owns it, `Invalid` if the request is of another port, came through eight ports already, or is a reply.
    pub fn submit(&mut self, held: Held, to: PortNumber) -> std::result::Result<(), Refused> {
        self.submitter.submit(held, to)
    }

    /// Answers an accepted request, or passes on a reply that came through here. If whoever asked is gone for ever, the
    /// request is freed.
    ///
    /// # Errors
    /// The request comes back with the error: `Invalid` if it was not accepted, `Busy` if children of it are under way,
    /// `Corrupt` if its path leads nowhere.
    pub fn respond(&mut self, held: Held) -> std::result::Result<(), Refused> {
        self.receiver.respond(held)
    }

    /// Passes an accepted request on, so that its reply comes back through here.
    ///
    /// # Errors
    /// As [`Port::submit`].
    pub fn forward(&mut self, held: Held, to: PortNumber) -> std::result::Result<(), Refused> {
        self.receiver.forward(held, to)
    }

    /// The next request or reply, in the order in which they were sent; `None` if there is none now.
    pub fn receive(&mut self) -> Option<Received> {
        self.receiver.receive()
    }

    /// Frees a request that is at home. An accepted one is answered with status 7.
    pub fn free(&mut self, held: Held) {
        self.submitter.free(held);
    }

    /// Wakes this port's owner, from any thread of its process.
    pub fn waker(&self) -> Waker {
        self.receiver.waker()
    }

    /// What sleeps in this port's inbox without the port.
    pub fn sleeper(&self) -> Sleeper {
        self.receiver.sleeper()
    }

    /// Waits until there is something to receive, a waker was called, or the deadline passed.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Woken {
        self.receiver.wait(deadline)
    }

    /// Spins at most so long before a wait sleeps; zero for never. By default 20 µs, less when it does not pay.
    pub fn set_spin(&mut self, longest: Duration) {
        self.receiver.set_spin(longest);
    }

    /// Says in the inbox word that the owner sleeps. True: the word now holds [`RawFutex::SLEEPING`], it is safe to
    /// block elsewhere until it changes. False: there is something to receive, or a waker was called. Call `disarm` in
    /// either case: it tells of the waker.
    ///
    /// Block for a second at most: a pusher may die between its push and its wake-up call.
    pub fn arm(&mut self) -> bool {
        self.receiver.arm()
    }

    /// Says that the owner is awake. Whether a waker was called since.
    pub fn disarm(&mut self) -> bool {
        self.receiver.disarm()
    }

    /// The address of the word to block on after [`Port::arm`].
    pub fn futex_word(&self) -> RawFutex {
        self.receiver.futex_word()
    }

    /// As if the port's process had died here: nothing is given back, and the next owner takes over. Drop the port and its
    /// requests before that one binds.
    #[cfg(feature = "simulation")]
    pub fn abandon(&mut self) {
        self.submitter.local.close();
        let shared = &self.submitter.local.shared;
        shared.owner(self.number().0).store(crate::process::Process::NOBODY_ALIVE, Ordering::Release);
    }

    /// Two halves for two threads: one allocates and submits, the other receives and frees.
    pub fn split(self) -> (Submitter, Receiver) {
        (self.submitter, self.receiver)
    }
}
