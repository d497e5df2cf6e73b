//! The inbox: one word a port, requests linked behind it. The same code runs on the segment and under loom.

use std::collections::VecDeque;

use crate::{
    abi::{INBOX_EMPTY, INBOX_FIRST, INBOX_SLEEPING},
    kill::step,
    state::{Holder, Phase, State, is_reply},
    sync::{AtomicU32, AtomicU64, Ordering, fence},
};

/// The words the protocol works on. Indices given to it are below `slots`, ports are ports of the segment.
pub(crate) trait Cells {
    fn slots(&self) -> u32;
    fn inbox(&self, port: u32) -> &AtomicU32;
    fn audit(&self, port: u32) -> &AtomicU32;
    fn state(&self, slot: u32) -> &AtomicU64;
    fn next(&self, slot: u32) -> &AtomicU32;
    fn to(&self, slot: u32) -> &AtomicU32;
    /// Wakes whoever sleeps on the inbox word of `port`.
    fn wake(&self, port: u32);
    /// Has the port served, which was sent something while its owner slept: by whoever can do that here, or by its owner.
    fn rouse(&self, port: u32) {
        self.wake(port);
    }
    /// Counts something that no correct peer writes.
    fn anomaly(&self);
    /// Hints that the words of the protocol in this slot are about to be read and written.
    fn prefetch_control(&self, _slot: u32) {}
    /// Hints that the request's fields are about to be read, or written anew if it comes home.
    fn prefetch_request(&self, _slot: u32, _is_reply: bool) {}
    /// Hints that the inbox is about to be emptied.
    fn prefetch_inbox(&self, _port: u32) {}
}

/// A request that left an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) slot: u32,
    /// Its state now: held by the taker.
    pub(crate) state: State,
    /// Who pushed it.
    pub(crate) from: u32,
}

/// Puts a request, which the caller holds, into the inbox of `target`.
pub(crate) fn push(cells: &impl Cells, slot: u32, passing: State, target: u32) {
    // Before the state: whoever finds the request passing must know where to.
    cells.to(slot).store(target, Ordering::Relaxed);
    step("push: target written");
    // Pairs with the loads of the state in `take` and in scans.
    cells.state(slot).store(passing.encode(), Ordering::Release);
    step("push: state is passing");
    let inbox = cells.inbox(target);
    // A guess instead of a look: a look would fetch the cache line to read, and then once more to write.
    let mut word = INBOX_EMPTY;
    loop {
        cells.next(slot).store(word, Ordering::Relaxed);
        step("push: linked");
        // Release pairs with the acquire in `take`; older pushes keep theirs, as every change of the word is a
        // read-modify-write.
        match inbox.compare_exchange(word, slot + INBOX_FIRST, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => break,
            Err(newer) => word = newer,
        }
    }
    step("push: in the inbox");
    if word == INBOX_SLEEPING {
        cells.rouse(target);
    }
    step("push: woken");
}

/// Takes what is in the inbox of `me`, and does an audit if one is due. Returns at once if there is nothing to do.
pub(crate) fn collect(
    cells: &impl Cells,
    me: Holder,
    found: &mut VecDeque<Taken>,
    mut accept: impl FnMut(u32, State) -> bool,
    is_dead: impl FnMut(Holder) -> bool,
) {
    if cells.audit(me.port).load(Ordering::Relaxed) != 0 {
        cells.audit(me.port).swap(0, Ordering::AcqRel);
        let suspects = abandoned(cells, me.port, is_dead);
        take(cells, me, found, &mut accept);
        for (slot, word) in suspects {
            if State::decode(word).is_some_and(|state| accept(slot, state)) {
                found.extend(adopt(cells, me, (slot, word)));
            }
        }
    } else if cells.inbox(me.port).load(Ordering::Relaxed) >= INBOX_FIRST {
        take(cells, me, found, accept);
    }
}

/// Takes over the inbox of a port whose earlier owner is dead, with what only seems to be on its way there. Oldest
/// first.
pub(crate) fn inherit(
    cells: &impl Cells,
    me: Holder,
    is_dead: impl FnMut(Holder) -> bool,
) -> VecDeque<Taken> {
    disarm(cells, me.port);
    cells.audit(me.port).swap(0, Ordering::AcqRel);
    let suspects = abandoned(cells, me.port, is_dead);
    let mut found = VecDeque::new();
    take(cells, me, &mut found, |_, state| match state.phase {
        Phase::Passing => true,
        // The dead owner marked it, and did not come to take it out.
        Phase::Held => state.port == me.port,
        Phase::Free => false,
    });
    found.extend(suspects.into_iter().filter_map(|suspect| adopt(cells, me, suspect)));
    found
}

/// Marks what earlier owners of the port held as held by `me`; `note` sees each before. After [`inherit`]: what that
/// found is not found again.
pub(crate) fn reclaim(cells: &impl Cells, me: Holder, mut note: impl FnMut(u32)) -> Vec<(u32, State)> {
    let mut again = Vec::new();
    for slot in 0..cells.slots() {
        let word = cells.state(slot).load(Ordering::Acquire);
        let Some(state) = State::decode(word) else { continue };
        if state.phase == Phase::Held && state.port == me.port && state.incarnation != me.incarnation {
            note(slot);
            let held = state.held_by(me.port, me.incarnation);
            cells.state(slot).store(held.encode(), Ordering::Release);
            again.push((slot, held));
        }
    }
    again
}

/// Empties the inbox of `me` into `found`, oldest first. Each request is marked as held *before* it leaves the chain.
/// `accept` judges a request by slot and state; one it refuses is dropped, with all that is linked behind it.
fn take(
    cells: &impl Cells,
    me: Holder,
    found: &mut VecDeque<Taken>,
    mut accept: impl FnMut(u32, State) -> bool,
) {
    let inbox = cells.inbox(me.port);
    let mut head = inbox.load(Ordering::Acquire);
    cells.prefetch_inbox(me.port);
    let mut stop = INBOX_EMPTY;
    let mut budget = cells.slots();
    while head >= INBOX_FIRST {
        let start = found.len();
        walk(cells, me, head..stop, &mut budget, found, &mut accept);
        found.make_contiguous()[start..].reverse();
        step("take: marked");
        match inbox.compare_exchange(head, INBOX_EMPTY, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => break,
            Err(newer) if budget > 0 => (stop, head) = (head, newer),
            Err(_) => {
                cells.anomaly();
                inbox.swap(INBOX_EMPTY, Ordering::AcqRel);
                break;
            }
        }
    }
    step("take: emptied");
}

/// Marks the requests from `links.start` back to `links.end` as held by `me`: newest first.
fn walk(
    cells: &impl Cells,
    me: Holder,
    links: std::ops::Range<u32>,
    budget: &mut u32,
    found: &mut VecDeque<Taken>,
    accept: &mut impl FnMut(u32, State) -> bool,
) {
    let mut link = links.start;
    while link >= INBOX_FIRST && link != links.end {
        let slot = link - INBOX_FIRST;
        if slot >= cells.slots() || *budget == 0 {
            *budget = budget.saturating_sub(1);
            return cells.anomaly();
        }
        *budget -= 1;
        cells.prefetch_control(slot);
        let word = cells.state(slot).load(Ordering::Acquire);
        let next = cells.next(slot).load(Ordering::Relaxed);
        cells.prefetch_request(slot, is_reply(word));
        let to = cells.to(slot).load(Ordering::Relaxed);
        let Some(state) = State::decode(word).filter(|&state| to == me.port && accept(slot, state)) else {
            return cells.anomaly();
        };
        let held = state.held_by(me.port, me.incarnation);
        cells.state(slot).store(held.encode(), Ordering::Release);
        found.push_back(Taken { slot, state: held, from: state.port });
        link = next;
    }
}

/// Says in the inbox word that its owner sleeps. False if something is in the inbox.
///
/// The caller then checks its other reasons to be awake: whoever sets one calls [`ring`] afterwards.
pub(crate) fn arm(cells: &impl Cells, port: u32) -> bool {
    let inbox = cells.inbox(port);
    let armed = inbox
        .compare_exchange(INBOX_EMPTY, INBOX_SLEEPING, Ordering::AcqRel, Ordering::Relaxed)
        .map_or_else(|word| word == INBOX_SLEEPING, |_| true);
    // Pairs with the fence in `ring`: either we see its reason, or it sees us asleep.
    fence(Ordering::SeqCst);
    armed
}

/// Says in the inbox word that its owner is awake, or has to be.
pub(crate) fn disarm(cells: &impl Cells, port: u32) {
    // A failure means that a pusher did it.
    let _ =
        cells.inbox(port).compare_exchange(INBOX_SLEEPING, INBOX_EMPTY, Ordering::AcqRel, Ordering::Relaxed);
}

/// Wakes the owner of a port if it sleeps, after the caller set a reason for it to be awake.
pub(crate) fn ring(cells: &impl Cells, port: u32) {
    if end_sleep(cells, port) {
        cells.wake(port);
    }
}

/// As [`ring`], for a reason that whoever serves the port deals with.
pub(crate) fn call(cells: &impl Cells, port: u32) {
    if end_sleep(cells, port) {
        cells.rouse(port);
    }
}

/// Whether the word said that the owner sleeps; it does not any more.
fn end_sleep(cells: &impl Cells, port: u32) -> bool {
    // Pairs with the fence in `arm`.
    fence(Ordering::SeqCst);
    let inbox = cells.inbox(port);
    inbox.compare_exchange(INBOX_SLEEPING, INBOX_EMPTY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Asks the owner of a port to look for what a dead pusher left.
pub(crate) fn ask_audit(cells: &impl Cells, port: u32) {
    cells.audit(port).store(1, Ordering::Release);
    // Pairs with the fence in `arm`.
    fence(Ordering::SeqCst);
    disarm(cells, port);
    // Whatever the word says: the pusher may have died between its push and its wake-up call.
    cells.wake(port);
}

/// First half of an audit: requests that somebody dead was pushing to `port`, by slot and state word.
///
/// They are judged before the inbox is emptied: what a pusher managed to push before it died is found there, and
/// marked, so that its word differs by the time of [`adopt`].
fn abandoned(cells: &impl Cells, port: u32, mut is_dead: impl FnMut(Holder) -> bool) -> Vec<(u32, u64)> {
    let mut suspects = Vec::new();
    for slot in 0..cells.slots() {
        let word = cells.state(slot).load(Ordering::Acquire);
        let Some(state) = State::decode(word).filter(|state| state.phase == Phase::Passing) else { continue };
        if cells.to(slot).load(Ordering::Relaxed) == port
            && is_dead(Holder { port: state.port, incarnation: state.incarnation })
        {
            suspects.push((slot, word));
        }
    }
    suspects
}

/// Second half of an audit, after `take`: a suspect still in its old state was never pushed; take it as if it had been.
fn adopt(cells: &impl Cells, me: Holder, suspect: (u32, u64)) -> Option<Taken> {
    let (slot, word) = suspect;
    let state = State::decode(word)?;
    let held = state.held_by(me.port, me.incarnation);
    cells
        .state(slot)
        .compare_exchange(word, held.encode(), Ordering::AcqRel, Ordering::Relaxed)
        .ok()
        .map(|_| Taken { slot, state: held, from: state.port })
}
