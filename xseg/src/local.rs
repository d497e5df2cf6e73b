//! What one owner knows of its port, in its own memory, where no other process can change it.

use std::{fmt, sync::Arc};

use crossbeam::queue::SegQueue;

use crate::{
    geometry::index,
    inbox::{call, ring},
    shared::Shared,
    state::{Holder, State},
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// Where a slot is, as far as this owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Not here: with somebody else, or of no concern.
    Away = 0,
    /// In our hands.
    Held = 1,
    /// On our free list.
    Free = 2,
}

/// Set in a mark for slots that this port owns.
const OWN: u32 = 4;
/// In `pending`: somebody called a waker.
const WOKEN: u32 = 1;
/// In `pending`: an accepted request was dropped without an answer.
const DROPPED: u32 = 2;

/// What we know of one slot.
#[derive(Debug, Default)]
struct Side {
    mark: AtomicU32,
    /// Requests under way that borrow this one's buffer.
    children: AtomicU32,
    /// Slot whose buffer this one borrows, plus 1; 0 for none.
    parent: AtomicU32,
    /// 1 while it counts among its parent's children.
    counted: AtomicU32,
    /// 1 if it was freed while children were under way: the last of them takes it along.
    doomed: AtomicU32,
    /// Buffer of our own slot, its own or borrowed.
    at: AtomicU64,
    bytes: AtomicU64,
    serial: AtomicU64,
}

/// The part of a port that its requests carry along. All fields are atomics, as requests may change threads.
pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    pub(crate) me: Holder,
    side: Box<[Side]>,
    pending: AtomicU32,
    serial: AtomicU64,
    /// 1 once the port was left: its requests then belong to somebody else.
    closed: AtomicU32,
    /// Free slots on their way back to the pool.
    pub(crate) returned: SegQueue<u32>,
    /// Accepted requests that were dropped without an answer.
    pub(crate) dropped: SegQueue<(u32, State)>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.me)
    }
}

impl Local {
    pub(crate) fn new(shared: Arc<Shared>, me: Holder) -> Local {
        let side = (0..shared.geometry.requests()).map(|_| Side::default()).collect();
        Local {
            shared,
            me,
            side,
            pending: AtomicU32::new(0),
            serial: AtomicU64::new(0),
            closed: AtomicU32::new(0),
            returned: SegQueue::new(),
            dropped: SegQueue::new(),
        }
    }

    fn side(&self, slot: u32) -> &Side {
        &self.side[index(slot)]
    }

    pub(crate) fn is_own(&self, slot: u32) -> bool {
        self.side(slot).mark.load(Ordering::Relaxed) & OWN != 0
    }

    pub(crate) fn make_own(&self, slot: u32, mark: Mark) {
        self.side(slot).mark.store(OWN | mark as u32, Ordering::Relaxed);
    }

    pub(crate) fn is_marked(&self, slot: u32, mark: Mark) -> bool {
        self.side(slot).mark.load(Ordering::Relaxed) & !OWN == mark as u32
    }

    /// No read-modify-write: a slot is in one pair of hands at a time.
    pub(crate) fn set_mark(&self, slot: u32, mark: Mark) {
        let word = &self.side(slot).mark;
        word.store(word.load(Ordering::Relaxed) & OWN | mark as u32, Ordering::Relaxed);
    }

    /// Where the buffer of our own slot begins, its bytes, and whose it is: slot + 1, 0 for its own.
    pub(crate) fn buffer(&self, slot: u32) -> (u64, u64, u32) {
        let side = self.side(slot);
        let (at, bytes) = (side.at.load(Ordering::Relaxed), side.bytes.load(Ordering::Relaxed));
        (at, bytes, side.parent.load(Ordering::Relaxed))
    }

    /// The part of the port's reserve that goes with the slot.
    pub(crate) fn reserved(&self, slot: u32) -> (u64, u64) {
        match self.buffer(slot) {
            (at, bytes, 0) => (at, bytes),
            _ => (0, 0),
        }
    }

    pub(crate) fn set_buffer(&self, slot: u32, at: u64, bytes: u64, parent: u32) {
        let side = self.side(slot);
        side.at.store(at, Ordering::Relaxed);
        side.bytes.store(bytes, Ordering::Relaxed);
        side.parent.store(parent, Ordering::Relaxed);
    }

    pub(crate) fn next_serial(&self, slot: u32) -> u64 {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        self.side(slot).serial.store(serial, Ordering::Relaxed);
        serial
    }

    pub(crate) fn serial(&self, slot: u32) -> u64 {
        self.side(slot).serial.load(Ordering::Relaxed)
    }

    /// Our request in `slot` leaves: its parent cannot be answered before it is back.
    pub(crate) fn child_leaves(&self, slot: u32) {
        if let Some(parent) = self.side(slot).parent.load(Ordering::Relaxed).checked_sub(1) {
            self.side(slot).counted.store(1, Ordering::Relaxed);
            self.side(parent).children.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Our request in `slot` came home.
    pub(crate) fn child_returns(&self, slot: u32) {
        if self.side(slot).counted.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.side(slot).counted.store(0, Ordering::Relaxed);
        let Some(parent) = self.side(slot).parent.load(Ordering::Relaxed).checked_sub(1) else { return };
        let was_last = self.side(parent).children.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && self.side(parent).doomed.swap(0, Ordering::AcqRel) == 1 {
            self.release(parent);
            self.returned.push(parent);
        }
    }

    /// Gives our own slot back to the pool, at once or when its last child is home.
    pub(crate) fn give_back(&self, slot: u32) {
        if self.has_children(slot) {
            self.side(slot).doomed.store(1, Ordering::Release);
        } else {
            self.release(slot);
            self.returned.push(slot);
        }
    }

    pub(crate) fn has_children(&self, slot: u32) -> bool {
        self.side(slot).children.load(Ordering::Relaxed) != 0
    }

    /// Makes our own slot free in the segment; the caller gives it to the pool.
    pub(crate) fn release(&self, slot: u32) {
        self.set_mark(slot, Mark::Free);
        let free = State::free(self.me.port, self.me.incarnation);
        crate::kill::step("free: before");
        // Pairs with the scans of a take-over.
        crate::inbox::Cells::state(&*self.shared, slot).store(free.encode(), Ordering::Release);
        crate::kill::step("free: after");
    }

    /// Makes the owner's wait return.
    pub(crate) fn wake(&self) {
        self.pending.fetch_or(WOKEN, Ordering::Release);
        ring(&*self.shared, self.me.port);
    }

    /// As [`Local::wake`]; where somebody can stand in, that is who calls.
    pub(crate) fn call(&self) {
        self.pending.fetch_or(WOKEN, Ordering::Release);
        call(&*self.shared, self.me.port);
    }

    pub(crate) fn drop_accepted(&self, slot: u32, state: State) {
        self.dropped.push((slot, state));
        self.pending.fetch_or(DROPPED, Ordering::Release);
        ring(&*self.shared, self.me.port);
    }

    pub(crate) fn close(&self) {
        self.closed.store(1, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) != 0
    }

    pub(crate) fn take_woken(&self) -> bool {
        self.pending.load(Ordering::Relaxed) & WOKEN != 0
            && self.pending.fetch_and(!WOKEN, Ordering::AcqRel) & WOKEN != 0
    }

    pub(crate) fn take_dropped(&self) -> bool {
        self.pending.load(Ordering::Relaxed) & DROPPED != 0
            && self.pending.fetch_and(!DROPPED, Ordering::AcqRel) & DROPPED != 0
    }
}
