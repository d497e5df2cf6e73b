//! Becoming the owner of a port, and finding what an earlier owner left.

use std::{
    collections::{HashSet, VecDeque},
    mem::offset_of,
};

use crate::{
    abi::Slot,
    error::{Error, Result},
    error::{ErrorKind, Subject},
    inbox::{Cells, Taken, ask_audit, inherit, reclaim},
    kill::step,
    process::{Census, Process},
    shared::Shared,
    state::{Arrival, Holder, Phase, State},
    sync::Ordering,
};

/// The protocol's flag for requests whose orphans nobody has to wait for.
pub const FLAG_ABANDONABLE: u32 = 256;

/// Makes this process the owner of a port that nobody alive owns.
///
/// # Errors
/// `Busy`, with the owner's pid.
pub(crate) fn claim(shared: &Shared, port: u32, census: &mut Census) -> Result<Holder> {
    let owner = shared.owner(port);
    let word = owner.load(Ordering::Acquire);
    let me = Process::current();
    let is_taken = census.is_alive(word)
        || owner.compare_exchange(word, me.word(), Ordering::AcqRel, Ordering::Acquire).is_err();
    if is_taken {
        let pid = Process::from_word(owner.load(Ordering::Acquire)).map_or(0, Process::pid);
        return Err(Error::new(ErrorKind::Busy, "bind", Subject::Owned(port, pid)));
    }
    step("claim: owner written");
    if word != 0 {
        shared.count(offset_of!(crate::abi::Counters, deaths));
    }
    // Only the owner writes it.
    let incarnation = shared.incarnation(port).load(Ordering::Relaxed).wrapping_add(1);
    shared.incarnation(port).store(incarnation, Ordering::Release);
    step("claim: incarnation written");
    Ok(Holder { port, incarnation })
}

/// What an earlier owner of a port left.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Requests of others, to be served (again), and replies that passed through; oldest first. All held by us now.
    pub(crate) accepted: VecDeque<Taken>,
    /// Requests of the port's own that are here. All held by us now.
    pub(crate) home: Vec<u32>,
    /// Requests of the port's own that are under way, and whether serving must wait for them.
    pub(crate) orphans: Vec<(u32, bool)>,
    /// Free slots of the port's own.
    pub(crate) free: Vec<u32>,
}

/// Takes over what earlier owners of `me.port` held, sent, and were sent.
pub(crate) fn take_over(shared: &Shared, me: Holder, census: &mut Census) -> Legacy {
    let mut found = inherit(shared, me, |holder| shared.is_gone(holder, census));
    step("take-over: inbox emptied");
    ask_targets(shared, me);
    let arrival = |slot| Arrival(shared.arrival(slot).load(Ordering::Relaxed));
    let mut again = reclaim(shared, me, |slot| {
        step("take-over: one is reclaimed");
        shared.arrival(slot).store(arrival(slot).owner_died().0, Ordering::Relaxed);
    });
    again.sort_by_key(|&(slot, _)| arrival(slot).order());
    let again =
        again.into_iter().map(|(slot, state)| Taken { slot, state, from: last_sender(shared, slot, state) });
    let mut here: VecDeque<Taken> = again.collect();
    here.append(&mut found);
    sort_out(shared, me, here)
}

/// Earlier owners may have died pushing: the targets look whether it happened.
fn ask_targets(shared: &Shared, me: Holder) {
    for slot in 0..shared.slots() {
        let word = shared.state(slot).load(Ordering::Acquire);
        let is_ours = |state: &State| state.port == me.port && state.incarnation != me.incarnation;
        let state = State::decode(word).filter(is_ours);
        let to = shared.to(slot).load(Ordering::Relaxed);
        if state.is_some_and(|state| state.phase == Phase::Passing) && to < shared.geometry.ports() {
            ask_audit(shared, to);
        }
    }
}

/// Who sent a request whose pusher is no longer known: the newest on its path.
fn last_sender(shared: &Shared, slot: u32, state: State) -> u32 {
    let newest = state.depth.checked_sub(1).map(|entry| shared.path(slot, entry).load(Ordering::Relaxed));
    newest.and_then(Holder::decode).map_or(state.port, |holder| holder.port)
}

/// Tells the port's own requests from those of others.
fn sort_out(shared: &Shared, me: Holder, here: VecDeque<Taken>) -> Legacy {
    let is_own = |slot| shared.origin(slot).is_some_and(|origin| origin.port == me.port);
    let mut legacy = Legacy::default();
    let mut is_here = HashSet::new();
    for taken in here {
        if is_own(taken.slot) {
            legacy.home.push(taken.slot);
            is_here.insert(taken.slot);
        } else {
            legacy.accepted.push_back(taken);
        }
    }
    for slot in (0..shared.slots()).filter(|&slot| is_own(slot) && !is_here.contains(&slot)) {
        match State::decode(shared.state(slot).load(Ordering::Acquire)).map(|state| state.phase) {
            Some(Phase::Free) => legacy.free.push(slot),
            Some(_) => legacy.orphans.push((slot, is_waited_for(shared, slot))),
            None => shared.anomaly(), // nobody knows where it is: lost until the segment is made anew
        }
    }
    legacy
}

/// An old write may neither land after a newer one nor touch a buffer that was given back.
fn is_waited_for(shared: &Shared, slot: u32) -> bool {
    let flags = shared.slot32(slot, offset_of!(Slot, flags)).load(Ordering::Relaxed);
    let parent = shared.slot32(slot, offset_of!(Slot, parent)).load(Ordering::Relaxed);
    parent != 0 || flags & FLAG_ABANDONABLE == 0
}
