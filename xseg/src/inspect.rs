//! Looking into a live segment without stopping it, and checking that its tables hold together.

use std::{collections::HashSet, fmt, mem::offset_of};

use crate::{
    abi::{INBOX_FIRST, INBOX_SLEEPING, SLAB_BYTES, Slot, TARGET_BYTES},
    bytes::Name,
    geometry::index,
    held::RequestId,
    inbox::Cells,
    port::PortNumber,
    process::{Census, Process},
    shared::Shared,
    slabs::{Kind, slots_of},
    state::{Arrival, Holder, Phase, State},
    sync::Ordering,
};

/// One port, as seen in passing.
#[derive(Clone, Copy, Debug)]
pub struct PortInfo {
    /// Its number.
    pub number: PortNumber,
    /// Whether it is static.
    pub is_static: bool,
    /// Process that owns it, if any.
    pub pid: Option<u32>,
    /// Whether that process lives.
    pub is_alive: bool,
    /// Counts its owners.
    pub incarnation: u32,
    /// Whether its owner sleeps on the inbox.
    pub is_sleeping: bool,
    /// Requests in its inbox.
    pub waiting: u32,
    /// Requests in its hands.
    pub held: u32,
    /// Slots it reserved.
    pub slots: u32,
    /// Bytes it reserved in the arena.
    pub arena_bytes: u64,
    /// Port that gets what is submitted to it.
    pub via: Option<PortNumber>,
}

/// One request that is not free, as seen in passing.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// Its slot.
    pub slot: u32,
    /// Its name for ever.
    pub id: RequestId,
    /// Whether it is held or passing.
    pub phase: Phase,
    /// Who holds or pushes it.
    pub port: PortNumber,
    /// Where it passes to.
    pub to: Option<PortNumber>,
    /// Whether it is on its way back.
    pub is_reply: bool,
    /// Ports it came through, oldest first.
    pub path: Vec<PortNumber>,
    /// Operation.
    pub op: u32,
    /// Flag bits.
    pub flags: u32,
    /// Name of what is operated on.
    pub target: Name,
    /// Where in the target.
    pub offset: u64,
    /// How many bytes.
    pub size: u64,
    /// Bytes in the buffer.
    pub buffer_bytes: u64,
    /// How often an owner died over it.
    pub attempts: u32,
    /// What it belongs to.
    pub flow: u64,
}

/// Something in the tables that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    place: Place,
    problem: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Port(u32),
    Slot(u32),
    TableSlab(u32),
    ArenaSlab(u32),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Port(port) => write!(f, "port {port}: {}", self.problem),
            Place::Slot(slot) => write!(f, "request slot {slot}: {}", self.problem),
            Place::TableSlab(slab) => write!(f, "request table slab {slab}: {}", self.problem),
            Place::ArenaSlab(slab) => write!(f, "arena slab {slab}: {}", self.problem),
        }
    }
}

fn state_of(shared: &Shared, slot: u32) -> Option<State> {
    State::decode(shared.state(slot).load(Ordering::Acquire))
}

/// The slots in the inbox of a port, newest first; stops after as many as there are.
fn chain(shared: &Shared, port: u32) -> (Vec<u32>, Option<&'static str>) {
    let mut slots = Vec::new();
    let mut seen = HashSet::new();
    let mut link = shared.inbox(port).load(Ordering::Acquire);
    while link >= INBOX_FIRST {
        let slot = link - INBOX_FIRST;
        if slot >= shared.slots() {
            return (slots, Some("its inbox leads out of the table"));
        }
        if !seen.insert(slot) {
            return (slots, Some("its inbox is a circle"));
        }
        slots.push(slot);
        link = shared.next(slot).load(Ordering::Relaxed);
    }
    (slots, None)
}

pub(crate) fn ports(shared: &Shared) -> Vec<PortInfo> {
    let mut census = Census::default();
    let mut held = vec![0u32; index(shared.geometry.ports())];
    for state in (0..shared.slots()).filter_map(|slot| state_of(shared, slot)) {
        if state.phase == Phase::Held && state.port < shared.geometry.ports() {
            held[index(state.port)] += 1;
        }
    }
    let infos = (0..shared.geometry.ports()).map(|port| {
        let owner = shared.owner(port).load(Ordering::Acquire);
        let slabs = |kind| u32::try_from(shared.slabs_of(kind, port).len()).unwrap_or(u32::MAX);
        let is_known = owner != 0 || shared.incarnation(port).load(Ordering::Relaxed) != 0;
        PortInfo {
            number: PortNumber(port),
            is_static: shared.is_static(port),
            pid: Process::from_word(owner).map(Process::pid),
            is_alive: census.is_alive(owner),
            incarnation: shared.incarnation(port).load(Ordering::Relaxed),
            is_sleeping: shared.inbox(port).load(Ordering::Relaxed) == INBOX_SLEEPING,
            waiting: u32::try_from(chain(shared, port).0.len()).unwrap_or(u32::MAX),
            held: held[index(port)],
            slots: if is_known { slabs(Kind::Table) * crate::abi::SLAB_REQUESTS } else { 0 },
            arena_bytes: if is_known { u64::from(slabs(Kind::Arena)) * SLAB_BYTES } else { 0 },
            via: shared.via(port).load(Ordering::Relaxed).checked_sub(1).map(PortNumber),
        }
    });
    infos
        .filter(|info| info.incarnation != 0 || info.pid.is_some() || info.waiting > 0 || info.via.is_some())
        .collect()
}

pub(crate) fn requests(shared: &Shared) -> Vec<RequestInfo> {
    (0..shared.slots()).filter_map(|slot| request(shared, slot)).collect()
}

fn request(shared: &Shared, slot: u32) -> Option<RequestInfo> {
    let state = state_of(shared, slot).filter(|state| state.phase != Phase::Free)?;
    let word32 = |field| shared.slot32(slot, field).load(Ordering::Relaxed);
    let word64 = |field| shared.slot64(slot, field).load(Ordering::Relaxed);
    let entry = |at| Holder::decode(shared.path(slot, at).load(Ordering::Relaxed));
    let target_bytes = index(word32(offset_of!(Slot, target_bytes))).min(TARGET_BYTES);
    Some(RequestInfo {
        slot,
        id: RequestId {
            segment: shared.segment_id,
            port: shared.origin(slot).map_or(state.port, |origin| origin.port),
            incarnation: word32(offset_of!(Slot, incarnation)),
            serial: word64(offset_of!(Slot, serial)),
        },
        phase: state.phase,
        port: PortNumber(state.port),
        to: (state.phase == Phase::Passing).then(|| PortNumber(word32(offset_of!(Slot, to)))),
        is_reply: state.reply,
        path: (0..state.depth).filter_map(entry).map(|holder| PortNumber(holder.port)).collect(),
        op: word32(offset_of!(Slot, op)),
        flags: word32(offset_of!(Slot, flags)),
        target: Name::filled(target_bytes, |bytes| shared.read_target(slot, bytes)),
        offset: word64(offset_of!(Slot, offset)),
        size: word64(offset_of!(Slot, size)),
        buffer_bytes: word64(offset_of!(Slot, buffer_bytes)),
        attempts: Arrival(word64(offset_of!(Slot, arrival))).attempts(),
        flow: word64(offset_of!(Slot, flow)),
    })
}

pub(crate) fn verify(shared: &Shared) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |place, problem| findings.push(Finding { place, problem });
    let mut inboxes: HashSet<u32> = HashSet::new();
    for port in 0..shared.geometry.ports() {
        verify_port(shared, port, &mut inboxes, &mut found);
    }
    for slot in 0..shared.slots() {
        if let Some(problem) = slot_problem(shared, slot) {
            found(Place::Slot(slot), problem);
        }
    }
    let is_port =
        |word| word == 0 || Holder::decode(word).is_some_and(|it| it.port < shared.geometry.ports());
    for slab in 0..shared.slab_count(Kind::Table) {
        let owner = shared.table_slab(slab).load(Ordering::Acquire);
        if !is_port(owner) {
            found(Place::TableSlab(slab), "its owner is no port");
        }
        let is_used = |slot| state_of(shared, slot).is_some_and(|state| state.phase != Phase::Free);
        if owner == 0 && slots_of(slab).any(is_used) {
            found(Place::TableSlab(slab), "nobody owns it, but it is used");
        }
    }
    for slab in 0..shared.slab_count(Kind::Arena) {
        if !is_port(shared.arena_slab(slab).load(Ordering::Acquire)) {
            found(Place::ArenaSlab(slab), "its owner is no port");
        }
    }
    findings
}

fn verify_port(
    shared: &Shared,
    port: u32,
    inboxes: &mut HashSet<u32>,
    found: &mut impl FnMut(Place, &'static str),
) {
    let (slots, problem) = chain(shared, port);
    if let Some(problem) = problem {
        found(Place::Port(port), problem);
    }
    for slot in slots {
        if !inboxes.insert(slot) {
            found(Place::Slot(slot), "it is in two inboxes");
        }
        let belongs = state_of(shared, slot).is_some_and(|state| match state.phase {
            Phase::Passing => shared.to(slot).load(Ordering::Relaxed) == port,
            Phase::Held => state.port == port,
            Phase::Free => false,
        });
        if !belongs {
            found(Place::Slot(slot), "it is in an inbox where it does not belong");
        }
    }
    if shared.via(port).load(Ordering::Relaxed) > shared.geometry.ports() {
        found(Place::Port(port), "its route leads to no port");
    }
}

fn slot_problem(shared: &Shared, slot: u32) -> Option<&'static str> {
    let Some(state) = state_of(shared, slot) else { return Some("its state is no state") };
    if state.phase == Phase::Free {
        return None;
    }
    let ports = shared.geometry.ports();
    let word64 = |field| shared.slot64(slot, field).load(Ordering::Relaxed);
    let end = word64(offset_of!(Slot, buffer_at)).checked_add(word64(offset_of!(Slot, buffer_bytes)));
    if state.port >= ports {
        Some("its holder is no port")
    } else if state.phase == Phase::Passing && shared.to(slot).load(Ordering::Relaxed) >= ports {
        Some("it passes to no port")
    } else if end.is_none_or(|end| end > shared.geometry.arena_bytes()) {
        Some("its buffer is not in the arena")
    } else if (0..state.depth).any(|at| {
        let entry = Holder::decode(shared.path(slot, at).load(Ordering::Relaxed));
        entry.is_none_or(|entry| entry.port >= ports)
    }) {
        Some("its path leads through no port")
    } else {
        None
    }
}
