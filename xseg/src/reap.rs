//! After a death: freeing what nobody owns, and telling owners to look for what the dead left half done.

use crate::{
    abi::INBOX_FIRST,
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
    let count = empty(shared, me, census);
    step("retire: emptied");
    shared.owner(port).store(0, Ordering::Release);
    count
}

/// Frees or answers all that a dynamic port holds.
pub(crate) fn empty(shared: &Shared, me: Holder, census: &mut Census) -> u32 {
    let legacy = take_over(shared, me, census);
    let count = legacy.accepted.len() + legacy.home.len();
    for taken in legacy.accepted {
        answer_for(shared, me, taken.slot, taken.state, STATUS_UNAVAILABLE);
    }
    for slot in legacy.home {
        shared.state(slot).store(State::free(me.port, me.incarnation).encode(), Ordering::Release);
        step("retire: freed");
    }
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Finds what dead pushers left, and asks the owners of the targets to look for it.
fn audit(shared: &Shared, census: &mut Census, reaped: &mut Reaped) {
    for slot in 0..shared.slots() {
        let word = shared.state(slot).load(Ordering::Acquire);
        let Some(state) = State::decode(word).filter(|state| state.phase == Phase::Passing) else { continue };
        let to = shared.to(slot).load(Ordering::Relaxed);
        if to >= shared.geometry.ports() {
            shared.anomaly();
            continue;
        }
        if !shared.is_gone(Holder { port: state.port, incarnation: state.incarnation }, census) {
            continue;
        }
        if shared.owner(to).load(Ordering::Acquire) != 0 {
            ask_audit(shared, to);
            reaped.audits += 1;
        } else if !shared.is_static(to) {
            reaped.requests += retire(shared, to, census);
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
