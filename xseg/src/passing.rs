//! Handing requests on: submit, forward, respond.

use std::{mem::offset_of, sync::Arc};

use crate::{
    abi::Slot,
    error::{Error, ErrorKind, Result},
    held::Held,
    inbox::{Cells, push},
    local::{Local, Mark},
    port::PortNumber,
    shared::Shared,
    state::{Holder, MAX_DEPTH, State},
    sync::Ordering,
    trace::{Step, trace},
};

/// The protocol's status for a server that is gone.
pub const STATUS_UNAVAILABLE: u32 = 7;
/// The protocol's status for a request that cannot be read.
pub(crate) const STATUS_CORRUPT: u32 = 5;

/// A request that could not be handed on: it is still held, and given back.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// The request, as it was.
    pub held: Box<Held>,
    /// Why.
    #[source]
    pub error: Error,
}

impl Refused {
    fn new(held: Held, error: Error) -> Refused {
        Refused { held: Box::new(held), error }
    }

    /// The request and the reason.
    pub fn into_parts(self) -> (Held, Error) {
        (*self.held, self.error)
    }
}

/// Sends a request to a port: one of our own from home, or an accepted one onwards, so that its reply comes back here.
pub(crate) fn submit(local: &Arc<Local>, mut held: Held, to: PortNumber) -> std::result::Result<(), Refused> {
    let target = match check_submit(local, &held, to.0) {
        Ok(target) => target,
        Err(error) => return Err(Refused::new(held, error)),
    };
    local.shared.prefetch_inbox(target);
    if held.is_home() {
        if held.state.reply {
            held.control.serial = local.next_serial(held.slot);
        }
        held.control.store_request(local, held.slot);
        local.child_leaves(held.slot);
    }
    trace(local, Step::Submit, held.slot, target);
    let depth = held.state.depth;
    local.shared.path(held.slot, depth).store(local.me.encode(), Ordering::Relaxed);
    let passing = held.state.passing(local.me.port, local.me.incarnation, depth + 1, false);
    hand_over(local, held, passing, target);
    Ok(())
}

fn check_submit(local: &Arc<Local>, held: &Held, to: u32) -> Result<u32> {
    let refuse = |kind| Err(Error::port(kind, "submit to", to));
    if !Arc::ptr_eq(local, &held.local) || held.state.depth >= MAX_DEPTH {
        return refuse(ErrorKind::Invalid);
    }
    if held.state.reply && !held.is_home() {
        return refuse(ErrorKind::Invalid);
    }
    if to >= local.shared.geometry.ports() {
        return refuse(ErrorKind::NotFound);
    }
    let target = route(local, held, to);
    let is_served = local.shared.is_static(target) || local.shared.owner(target).load(Ordering::Relaxed) != 0;
    if is_served { Ok(target) } else { refuse(ErrorKind::Unavailable) }
}

/// Where what is submitted to `to` goes: to its interposer, unless that sends it or has seen it.
fn route(local: &Local, held: &Held, to: u32) -> u32 {
    let via = local.shared.via(to).load(Ordering::Relaxed).checked_sub(1);
    let Some(via) = via.filter(|&via| via < local.shared.geometry.ports() && via != local.me.port) else {
        return to;
    };
    let is_on_path = (0..held.state.depth).any(|entry| {
        let entry = Holder::decode(local.shared.path(held.slot, entry).load(Ordering::Relaxed));
        entry.is_some_and(|entry| entry.port == via)
    });
    if is_on_path { to } else { via }
}

/// Sends an accepted request, or a reply that passes through, back to where it came from.
pub(crate) fn respond(local: &Arc<Local>, held: Held) -> std::result::Result<(), Refused> {
    let refuse = |kind| Error::slot(kind, "respond to the request in", held.slot);
    if !Arc::ptr_eq(local, &held.local) || held.is_home() || held.state.depth == 0 {
        let error = refuse(ErrorKind::Invalid);
        return Err(Refused::new(held, error));
    }
    if local.has_children(held.slot) {
        let error = refuse(ErrorKind::Busy);
        return Err(Refused::new(held, error));
    }
    let (slot, state) = (held.slot, held.state);
    match way_back(&local.shared, slot, state) {
        Err(kind) => {
            let error = refuse(kind);
            Err(Refused::new(held, error))
        }
        Ok(way) => {
            held.control.store_reply(local, slot);
            trace(local, Step::Respond, slot, way.target().unwrap_or(local.me.port));
            local.set_mark(held.into_slot(), Mark::Away);
            go_back(&local.shared, local.me, slot, state, way);
            Ok(())
        }
    }
}

fn hand_over(local: &Local, held: Held, passing: State, target: u32) {
    let slot = held.into_slot();
    // Before the push: after it, the request may be back any time.
    local.set_mark(slot, Mark::Away);
    push(&*local.shared, slot, passing, target);
}

/// Where a response goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WayBack {
    /// To the port that has this depth left on the path; `skipped` if somebody in between is gone.
    To { target: u32, depth: u32, skipped: bool },
    /// Nobody waits for it: the slot becomes free.
    Nowhere { origin: Holder },
}

impl WayBack {
    fn target(self) -> Option<u32> {
        match self {
            WayBack::To { target, .. } => Some(target),
            WayBack::Nowhere { .. } => None,
        }
    }
}

/// Pops the path down to somebody who will take the response.
pub(crate) fn way_back(shared: &Shared, slot: u32, state: State) -> std::result::Result<WayBack, ErrorKind> {
    let mut skipped = false;
    for depth in (0..state.depth).rev() {
        let entry = Holder::decode(shared.path(slot, depth).load(Ordering::Relaxed));
        let Some(entry) = entry.filter(|entry| entry.port < shared.geometry.ports()) else {
            shared.anomaly();
            return Err(ErrorKind::Corrupt);
        };
        shared.prefetch_inbox(entry.port);
        if shared.will_answer(entry) {
            return Ok(WayBack::To { target: entry.port, depth, skipped });
        }
        skipped = true;
    }
    let origin = shared.origin(slot).ok_or(ErrorKind::Corrupt)?;
    Ok(WayBack::Nowhere { origin })
}

/// Does what [`way_back`] found, with a request that `me` holds.
pub(crate) fn go_back(shared: &Shared, me: Holder, slot: u32, state: State, way: WayBack) {
    match way {
        WayBack::To { target, depth, skipped } => {
            if skipped {
                // What an interposer had to do to the reply was not done.
                shared.slot32(slot, offset_of!(Slot, status)).store(STATUS_UNAVAILABLE, Ordering::Relaxed);
            }
            push(shared, slot, state.passing(me.port, me.incarnation, depth, true), target);
        }
        WayBack::Nowhere { origin } => {
            let free = State::free(origin.port, origin.incarnation);
            shared.state(slot).store(free.encode(), Ordering::Release);
        }
    }
}

/// Answers a request that nobody serves any more. One that cannot be answered stays where it is, counted.
pub(crate) fn answer_for(shared: &Shared, me: Holder, slot: u32, state: State, status: u32) {
    let Ok(way) = way_back(shared, slot, state) else { return };
    shared.slot32(slot, offset_of!(Slot, status)).store(status, Ordering::Relaxed);
    shared.slot32(slot, offset_of!(Slot, result_bytes)).store(0, Ordering::Relaxed);
    shared.slot64(slot, offset_of!(Slot, serviced)).store(0, Ordering::Relaxed);
    go_back(shared, me, slot, state, way);
}
