//! Becoming the owner of a port, and finding what an earlier owner left.

use std::{
    collections::{HashSet, VecDeque},
    mem::offset_of,
};

use crate::{
    abi::Slot,
    error::{Error, Result},
    error::{ErrorKind, Subject},
    inbox::{Cells, Taken, abandoned, adopt, ask_audit, disarm, take},
    kill::step,
    process::{Census, Process},
    shared::Shared,
    state::{Holder, Phase, State},
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
    disarm(shared, me.port);
    shared.audit(me.port).store(0, Ordering::Relaxed);
    let suspects = abandoned(shared, me.port, |holder| shared.is_gone(holder, census));
    let mut found = VecDeque::new();
    take(shared, me, &mut found, |_, state| match state.phase {
        Phase::Passing => true,
        Phase::Held => state.port == me.port,
        Phase::Free => false,
    });
    let adopted: Vec<Taken> = suspects.into_iter().filter_map(|it| adopt(shared, me, it)).collect();
    step("take-over: inbox emptied");
    let mut accepted = reclaim(shared, me, &found);
    accepted.append(&mut found);
    accepted.extend(adopted);
    sort_out(shared, me, accepted)
}

/// Marks what earlier owners held as held by us, in the order they received it.
fn reclaim(shared: &Shared, me: Holder, found: &VecDeque<Taken>) -> VecDeque<Taken> {
    let found: HashSet<u32> = found.iter().map(|taken| taken.slot).collect();
    let mut again = Vec::new();
    for slot in 0..shared.slots() {
        let word = shared.state(slot).load(Ordering::Acquire);
        let Some(state) = State::decode(word).filter(|state| state.port == me.port) else { continue };
        let is_older = state.incarnation != me.incarnation;
        if state.phase == Phase::Passing && is_older {
            let to = shared.to(slot).load(Ordering::Relaxed);
            if to < shared.geometry.ports() && to != me.port {
                ask_audit(shared, to);
            }
        }
        if state.phase == Phase::Held && is_older && !found.contains(&slot) {
            let order = shared.slot64(slot, offset_of!(Slot, order)).load(Ordering::Relaxed);
            if order & 1 == 1 {
                shared.slot32(slot, offset_of!(Slot, attempts)).fetch_add(1, Ordering::Relaxed);
            }
            let held = state.held_by(me.port, me.incarnation);
            shared.state(slot).store(held.encode(), Ordering::Release);
            again.push((order, Taken { slot, state: held, from: last_sender(shared, slot, held) }));
        }
    }
    step("take-over: reclaimed");
    again.sort_by_key(|&(order, _)| order);
    again.into_iter().map(|(_, taken)| taken).collect()
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
