//! The volumes that requests are about, and the maps that are open.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use peer::tasks::Gate;
use volume::ObjectName;

use crate::{
    session::Session,
    turn::{Turn, Turns},
};

/// One name that is in use.
pub(crate) struct Volume {
    pub(crate) name: ObjectName,
    pub(crate) turns: Turns,
    /// Lets one conversation at a time open the map.
    pub(crate) opening: Gate,
    session: RefCell<Option<Rc<Session>>>,
}

impl Volume {
    /// The open map, if there is one.
    pub(crate) fn session(&self) -> Option<Rc<Session>> {
        let mut session = self.session.borrow_mut();
        if session.as_ref().is_some_and(|session| session.is_over()) {
            *session = None;
        }
        session.clone()
    }

    pub(crate) fn keep(&self, session: &Rc<Session>) {
        *self.session.borrow_mut() = Some(Rc::clone(session));
    }

    /// Forgets the open map.
    pub(crate) fn forget(&self) {
        *self.session.borrow_mut() = None;
    }
}

/// All names in use. Bounded by the running requests and by the volumes that this node has locked or read.
pub(crate) struct Volumes {
    by_name: RefCell<BTreeMap<ObjectName, Rc<Volume>>>,
    node_limit: usize,
    clock: Cell<u64>,
}

/// What a node of a map takes in memory, in bytes, as `volume` says.
const NODE_BYTES: u64 = 16 << 10;

impl Volumes {
    pub(crate) fn new(cache_bytes: u64) -> Volumes {
        let node_limit = usize::try_from(cache_bytes / NODE_BYTES).unwrap_or(usize::MAX);
        Volumes { by_name: RefCell::default(), node_limit, clock: Cell::new(0) }
    }

    /// The volume of this name, whether it exists or not.
    pub(crate) fn get(&self, name: &ObjectName) -> Rc<Volume> {
        let mut by_name = self.by_name.borrow_mut();
        let volume = by_name.entry(name.clone()).or_insert_with(|| {
            Rc::new(Volume {
                name: name.clone(),
                turns: Turns::default(),
                opening: Gate::default(),
                session: RefCell::default(),
            })
        });
        Rc::clone(volume)
    }

    /// Exclusive turns on two volumes, always taken in the same order, so that nobody waits in a circle.
    pub(crate) async fn both(&self, one: &Volume, other: &Volume) -> (Turn, Turn) {
        let (first, second) = if one.name <= other.name { (one, other) } else { (other, one) };
        let first_turn = first.turns.exclusive().await;
        (first_turn, second.turns.exclusive().await)
    }

    /// The open maps.
    pub(crate) fn open(&self) -> Vec<Rc<Volume>> {
        let by_name = self.by_name.borrow();
        by_name.values().filter(|volume| volume.session().is_some()).map(Rc::clone).collect()
    }

    /// How many names are in use, how many maps are open, and how many of their nodes are in memory.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let by_name = self.by_name.borrow();
        let sessions = || by_name.values().filter_map(|volume| volume.session());
        let loaded = sessions().map(|session| session.map.borrow().loaded_nodes()).sum();
        (by_name.len(), sessions().count(), loaded)
    }

    /// How many volumes are locked for this node.
    pub(crate) fn lock_count(&self) -> usize {
        let by_name = self.by_name.borrow();
        by_name
            .values()
            .filter_map(|volume| volume.session())
            .filter(|session| session.fence().is_ok())
            .count()
    }

    /// Marks the volume as used, forgets it if nothing is left of it, and drops nodes beyond the limit: those of the volumes
    /// that were not used for longest.
    pub(crate) fn used(&self, volume: Rc<Volume>) {
        self.clock.set(self.clock.get() + 1);
        match volume.session() {
            Some(session) => session.used.set(self.clock.get()),
            None => self.drop_unused(volume),
        }
        self.evict();
    }

    fn drop_unused(&self, volume: Rc<Volume>) {
        /// This one, and the one in the table.
        const OURS: usize = 2;
        if Rc::strong_count(&volume) == OURS && volume.turns.is_idle() {
            self.by_name.borrow_mut().remove(&volume.name);
        }
    }

    fn evict(&self) {
        let by_name = self.by_name.borrow();
        let mut sessions: Vec<_> = by_name.values().filter_map(|volume| volume.session()).collect();
        let mut loaded: usize = sessions.iter().map(|session| session.map.borrow().loaded_nodes()).sum();
        if loaded <= self.node_limit {
            return;
        }
        sessions.sort_by_key(|session| session.used.get());
        for session in sessions {
            let mut map = session.map.borrow_mut();
            let before = map.loaded_nodes();
            let surplus = loaded.saturating_sub(self.node_limit);
            // A quarter more than needed, so that it need not be done again at once.
            map.evict(before.saturating_sub(surplus + surplus / 4));
            loaded -= before - map.loaded_nodes();
            if loaded <= self.node_limit {
                return;
            }
        }
    }
}
