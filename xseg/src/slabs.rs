//! Slabs: how a port comes by slots and buffer space, and how they are given back.

use std::ops::Range;

use crate::{
    abi::{SLAB_BYTES, SLAB_REQUESTS},
    geometry::to_usize,
    inbox::Cells,
    kill::step,
    pool::Ranges,
    shared::Shared,
    state::{Holder, Phase, State},
    sync::{AtomicU64, Ordering},
};

/// Which of the two tables of slabs.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Slabs of the request table.
    Table,
    /// Slabs of the arena.
    Arena,
}

impl Shared {
    pub(crate) fn slab_count(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Table => self.geometry.table_slabs(),
            Kind::Arena => self.geometry.arena_slabs(),
        }
    }

    pub(crate) fn slab(&self, kind: Kind, slab: u32) -> &AtomicU64 {
        match kind {
            Kind::Table => self.table_slab(slab),
            Kind::Arena => self.arena_slab(slab),
        }
    }

    fn slab_owner(&self, kind: Kind, slab: u32) -> Option<Holder> {
        Holder::decode(self.slab(kind, slab).load(Ordering::Acquire))
    }

    /// Slabs of a port, whichever of its owners claimed them.
    pub(crate) fn slabs_of(&self, kind: Kind, port: u32) -> Vec<u32> {
        let is_own = |&slab: &u32| self.slab_owner(kind, slab).is_some_and(|owner| owner.port == port);
        (0..self.slab_count(kind)).filter(is_own).collect()
    }
}

/// Claims up to `count` free slabs, in runs as long as there are. Those claimed, possibly fewer.
pub(crate) fn claim(shared: &Shared, kind: Kind, me: Holder, count: u32) -> Vec<u32> {
    let mut claimed: Vec<u32> = Vec::new();
    let mut length = count;
    while length > 0 {
        let missing = count - u32::try_from(claimed.len()).expect("no more than were asked for");
        length = length.min(missing);
        match free_run(shared, kind, length) {
            Some(run) => claimed.extend(claim_run(shared, kind, me, run)),
            None => length /= 2,
        }
    }
    claimed
}

/// The first run of `length` free slabs.
fn free_run(shared: &Shared, kind: Kind, length: u32) -> Option<Range<u32>> {
    let mut start = 0;
    for slab in 0..shared.slab_count(kind) {
        if shared.slab(kind, slab).load(Ordering::Relaxed) != 0 {
            start = slab + 1;
        } else if slab + 1 - start == length {
            return Some(start..slab + 1);
        }
    }
    None
}

/// Claims the slabs of a run until somebody else was faster.
fn claim_run(shared: &Shared, kind: Kind, me: Holder, run: Range<u32>) -> Vec<u32> {
    let try_one = |&slab: &u32| {
        step("claim: slab");
        let word = shared.slab(kind, slab);
        word.compare_exchange(0, me.encode(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    run.take_while(try_one).collect()
}

/// Makes the slots of a freshly claimed slab free, and ours.
pub(crate) fn clear_slots(shared: &Shared, me: Holder, slab: u32) -> Range<u32> {
    let slots = slots_of(slab);
    for slot in slots.clone() {
        shared.state(slot).store(State::free(me.port, me.incarnation).encode(), Ordering::Release);
    }
    slots
}

/// The slots in a slab.
pub(crate) fn slots_of(slab: u32) -> Range<u32> {
    slab * SLAB_REQUESTS..(slab + 1) * SLAB_REQUESTS
}

/// The slabs as ranges of the arena, in bytes.
pub(crate) fn ranges_of(slabs: &[u32]) -> Ranges {
    let mut ranges = Ranges::default();
    for &slab in slabs {
        let start = u64::from(slab) * SLAB_BYTES;
        ranges.add(start..start + SLAB_BYTES);
    }
    ranges
}

/// Makes sure that the memory of claimed arena slabs exists.
pub(crate) fn populate(shared: &Shared, slabs: &[u32]) -> std::io::Result<()> {
    for run in slabs.chunk_by(|one, next| one + 1 == *next) {
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else { continue };
        let start = shared.plan.arena + to_usize(u64::from(first) * SLAB_BYTES);
        let end = shared.plan.arena + to_usize((u64::from(last) + 1) * SLAB_BYTES);
        shared.map.populate(start..end)?;
    }
    Ok(())
}

/// Gives back the slabs of owners for whom `is_over` holds, once all requests in them are free. How many.
pub(crate) fn give_back(shared: &Shared, mut is_over: impl FnMut(Holder) -> bool) -> u32 {
    let mut given = 0;
    let mut is_used = std::collections::HashSet::new();
    // Owners of a static port inherit each other's slabs: a request's buffer may lie in a slab of another incarnation.
    let family = |owner: Holder| {
        if shared.is_static(owner.port) { (owner.port, 0) } else { (owner.port, owner.incarnation) }
    };
    for slab in 0..shared.slab_count(Kind::Table) {
        let Some(owner) = shared.slab_owner(Kind::Table, slab) else { continue };
        let is_free = |slot| {
            let state = State::decode(shared.state(slot).load(Ordering::Acquire));
            state.is_some_and(|state| state.phase == Phase::Free)
        };
        if is_over(owner) && slots_of(slab).all(is_free) {
            given += release(shared.table_slab(slab), owner);
        } else {
            is_used.insert(family(owner));
        }
    }
    // Buffers last: they are in use as long as any request of the same owner is.
    for slab in 0..shared.slab_count(Kind::Arena) {
        if let Some(owner) = shared.slab_owner(Kind::Arena, slab)
            && !is_used.contains(&family(owner))
            && is_over(owner)
        {
            given += release(shared.arena_slab(slab), owner);
        }
    }
    given
}

fn release(word: &AtomicU64, owner: Holder) -> u32 {
    step("slab: given back");
    u32::from(word.compare_exchange(owner.encode(), 0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
}
