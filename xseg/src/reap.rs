//! After a death: freeing what nobody owns, and telling owners to look for what the dead left half done.

use std::{collections::HashSet, mem::offset_of};

use crate::{
    abi::{INBOX_FIRST, Slot},
    inbox::{Cells, ask_audit, disarm},
    kill::step,
    passing::{STATUS_UNAVAILABLE, answer_for},
    process::Census,
    recovery::{self, take_over},
    shared::Shared,
    slabs,
    state::{Holder, Phase, State},
    sync::Ordering,
};

/// What a reaping found and gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Dynamic ports whose owner was dead.
    pub ports: u32,
    /// Requests they held, freed or answered with status 7.
    pub requests: u32,
    /// Slabs given back.
    pub slabs: u32,
    /// Owners asked to look for what a dead pusher left.
    pub audits: u32,
}

/// One round over all ports. Any process may do it at any time; two at once do no harm.
pub(crate) fn reap(shared: &Shared) -> Reaped {
    let mut census = Census::default();
    let mut reaped = Reaped::default();
    for port in shared.geometry.static_ports()..shared.geometry.ports() {
        let owner = shared.owner(port).load(Ordering::Acquire);
        // A late push to a port that nobody owns any more counts as well.
        let is_late = || shared.inbox(port).load(Ordering::Relaxed) >= INBOX_FIRST;
        if (owner != 0 || is_late()) && !census.is_alive(owner) {
            reaped.ports += u32::from(owner != 0);
            reaped.requests += retire(shared, port, &mut census);
        }
    }
    audit(shared, &mut census, &mut reaped);
    reaped.slabs += slabs::give_back(shared, |owner| is_over(shared, owner));
    reaped
}

/// Whether the slabs of an owner belong to nobody: it was a dynamic port's, and has been retired.
fn is_over(shared: &Shared, owner: Holder) -> bool {
    owner.port >= shared.geometry.ports()
        || (!shared.is_static(owner.port)
            && (shared.incarnation(owner.port).load(Ordering::Acquire) != owner.incarnation
                || shared.owner(owner.port).load(Ordering::Acquire) == 0))
}

/// Becomes the owner of a dead dynamic port for as long as it takes to empty it. How many requests were in it.
fn retire(shared: &Shared, port: u32, census: &mut Census) -> u32 {
    let Ok(me) = recovery::claim(shared, port, census) else { return 0 };
    let emptied = empty(shared, me, census);
    step("retire: emptied");
    shared.owner(port).store(0, Ordering::Release);
    emptied.done
}

/// How many requests of a dynamic port were freed or answered, and whether some had to stay.
pub(crate) struct Emptied {
    pub(crate) done: u32,
    pub(crate) is_empty: bool,
}

/// Frees or answers all that a dynamic port holds. A request whose buffer is still lent to one under way stays: its
/// client must not use the buffer again before that is back.
pub(crate) fn empty(shared: &Shared, me: Holder, census: &mut Census) -> Emptied {
    let legacy = take_over(shared, me, census);
    let parent = |slot| shared.slot32(slot, offset_of!(Slot, parent)).load(Ordering::Relaxed);
    let lent: HashSet<u32> =
        legacy.orphans.iter().filter_map(|&(slot, _)| parent(slot).checked_sub(1)).collect();
    let mut emptied = Emptied { done: 0, is_empty: true };
    for taken in legacy.accepted {
        if lent.contains(&taken.slot) {
            emptied.is_empty = false;
        } else {
            answer_for(shared, me, taken.slot, taken.state, STATUS_UNAVAILABLE);
            emptied.done += 1;
        }
    }
    for slot in legacy.home {
        shared.state(slot).store(State::free(me.port, me.incarnation).encode(), Ordering::Release);
        step("retire: freed");
        emptied.done += 1;
    }
    emptied
}

/// Finds what the dead left in the table: half-made pushes, whose targets are asked to look, and requests that a retired
/// port could not answer yet.
fn audit(shared: &Shared, census: &mut Census, reaped: &mut Reaped) {
    let mut retired = HashSet::new();
    for slot in 0..shared.slots() {
        let Some(state) = State::decode(shared.state(slot).load(Ordering::Acquire)) else { continue };
        let holder = Holder { port: state.port, incarnation: state.incarnation };
        let concerned = match state.phase {
            Phase::Passing => shared.to(slot).load(Ordering::Relaxed),
            Phase::Held if !shared.is_static(state.port) => state.port,
            Phase::Held | Phase::Free => continue,
        };
        if concerned >= shared.geometry.ports() {
            shared.anomaly();
        } else if !shared.is_gone(holder, census) {
        } else if shared.owner(concerned).load(Ordering::Acquire) == 0 {
            if !shared.is_static(concerned) && retired.insert(concerned) {
                reaped.requests += retire(shared, concerned, census);
            }
        } else if state.phase == Phase::Passing {
            ask_audit(shared, concerned);
            reaped.audits += 1;
        }
    }
}

/// The end of an owner that is alive: gives back what is free, and leaves the rest to its successor or to nobody.
pub(crate) fn leave(shared: &Shared, me: Holder) {
    let mut census = Census::default();
    disarm(shared, me.port);
    if shared.is_static(me.port) {
        let is_ours = |owner: Holder| owner.port == me.port;
        slabs::give_back(shared, is_ours);
        shared.owner(me.port).store(0, Ordering::Release);
        return;
    }
    // As if somebody else had come after us: what we held counts as an earlier owner's.
    let incarnation = me.incarnation.wrapping_add(1);
    shared.incarnation(me.port).store(incarnation, Ordering::Release);
    empty(shared, Holder { incarnation, ..me }, &mut census);
    shared.owner(me.port).store(0, Ordering::Release);
    slabs::give_back(shared, |owner| is_over(shared, owner));
}
