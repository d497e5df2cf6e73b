//! What was acknowledged and is not known to be durable.

use crate::object::Object;

/// How many objects of a volume are remembered one by one; with more, a flush flushes the whole store.
const OBJECTS_MAX: usize = 64;

/// Objects that a flush must make durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    /// These.
    Objects(Vec<Object>),
    /// Too many, or nobody knows which: all that the store was given.
    Everything,
}

/// The unsynced objects of a volume.
///
/// A flush takes what was acknowledged before it; a second one that comes while it runs takes the same again, since it may
/// not be answered earlier. What a flush could not make durable comes back.
#[derive(Debug)]
pub(crate) struct Dirty {
    now: Unsynced,
    under_way: Vec<(u64, Unsynced)>,
    next: u64,
    /// The number of the lock under which all this was learned.
    fence: Option<u64>,
}

impl Default for Dirty {
    /// After a start nobody knows what the predecessor acknowledged.
    fn default() -> Dirty {
        Dirty { now: Unsynced::Everything, under_way: Vec::new(), next: 0, fence: None }
    }
}

impl Dirty {
    /// A change to this object is about to be acknowledged.
    pub(crate) fn add(&mut self, object: Object) {
        self.now.add(object);
    }

    /// The volume is used under this lock: whoever had it before may not have flushed what it wrote. A number grows by one
    /// with every grant and every release, so one that is little higher is of a lock that we gave back and took again.
    pub(crate) fn learn_lock(&mut self, fence: u64) {
        let is_ours = |before: u64| (before..=before.saturating_add(2)).contains(&fence);
        if !self.fence.replace(fence).is_some_and(is_ours) {
            self.doubt();
        }
    }

    /// Somebody else may have written.
    pub(crate) fn doubt(&mut self) {
        self.now = Unsynced::Everything;
    }

    /// A flush begins: its number, and what it must make durable.
    pub(crate) fn begin(&mut self) -> (u64, Unsynced) {
        let number = self.next;
        self.next += 1;
        self.under_way.push((number, std::mem::replace(&mut self.now, Unsynced::NONE)));
        let mut all = Unsynced::NONE;
        for (_, taken) in &self.under_way {
            all.merge(taken.clone());
        }
        (number, all)
    }

    /// A flush ended.
    pub(crate) fn end(&mut self, number: u64, is_done: bool) {
        let Some(position) = self.under_way.iter().position(|(other, _)| *other == number) else { return };
        let (_, taken) = self.under_way.remove(position);
        if !is_done {
            self.now.merge(taken);
        }
    }

    /// Whether a flush would find nothing but what it would find after a start.
    pub(crate) fn is_as_after_start(&self) -> bool {
        self.now == Unsynced::Everything && self.under_way.is_empty()
    }
}

impl Unsynced {
    const NONE: Unsynced = Unsynced::Objects(Vec::new());

    fn add(&mut self, object: Object) {
        match self {
            // The newest first: a volume mostly writes where it just wrote.
            Unsynced::Objects(objects) if objects.iter().rev().any(|other| *other == object) => {}
            Unsynced::Objects(objects) if objects.len() < OBJECTS_MAX => objects.push(object),
            unsynced => *unsynced = Unsynced::Everything,
        }
    }

    fn merge(&mut self, other: Unsynced) {
        match other {
            Unsynced::Objects(objects) => objects.into_iter().for_each(|object| self.add(object)),
            Unsynced::Everything => *self = Unsynced::Everything,
        }
    }
}

/// What changed in a volume's map, and how much of it is durable.
#[derive(Debug)]
pub(crate) struct Changes {
    made: u64,
    durable: u64,
}

impl Default for Changes {
    /// After a start: the predecessor may have left something.
    fn default() -> Changes {
        Changes { made: 1, durable: 0 }
    }
}

impl Changes {
    /// The map changed.
    pub(crate) fn add(&mut self) {
        self.made += 1;
    }

    /// What a commit sent now makes durable, if there is anything.
    pub(crate) fn pending(&self) -> Option<u64> {
        (self.durable < self.made).then_some(self.made)
    }

    /// How many changes there were.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Whether so many changes are durable.
    pub(crate) fn has_durable(&self, changes: u64) -> bool {
        self.durable >= changes
    }

    /// Whether nothing changed since the start.
    pub(crate) fn is_as_after_start(&self) -> bool {
        self.made == 1
    }

    /// A commit that was sent when there were `made` changes is answered.
    pub(crate) fn committed(&mut self, made: u64) {
        self.durable = self.durable.max(made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(index: u64) -> Object {
        Object::Ours { owner: 1, written_at: 1, index }
    }

    fn clean() -> Dirty {
        let mut dirty = Dirty::default();
        let (number, _) = dirty.begin();
        dirty.end(number, true);
        dirty
    }

    #[test]
    fn the_first_flush_after_a_start_takes_everything() {
        assert_eq!(Dirty::default().begin().1, Unsynced::Everything);
    }

    #[test]
    fn a_flush_under_another_lock_takes_everything_again() {
        let mut dirty = clean();
        dirty.learn_lock(5);
        assert_eq!(dirty.begin().1, Unsynced::Everything);
        dirty.end(1, true);
        dirty.learn_lock(7);
        assert_eq!(dirty.begin().1, Unsynced::NONE);
        dirty.learn_lock(10);
        assert_eq!(dirty.begin().1, Unsynced::Everything);
    }

    #[test]
    fn a_second_flush_takes_again_what_the_first_has_not_finished() {
        let mut dirty = clean();
        dirty.add(object(1));
        let (first, _) = dirty.begin();
        dirty.add(object(2));
        assert_eq!(dirty.begin().1, Unsynced::Objects(vec![object(1), object(2)]));
        dirty.end(first, true);
        assert_eq!(dirty.begin().1, Unsynced::Objects(vec![object(2)]));
    }

    #[test]
    fn what_a_flush_failed_to_sync_stays_dirty() {
        let mut dirty = clean();
        dirty.add(object(1));
        let (first, _) = dirty.begin();
        dirty.end(first, false);
        assert_eq!(dirty.begin().1, Unsynced::Objects(vec![object(1)]));
    }

    #[test]
    fn more_objects_than_are_remembered_are_everything() {
        let mut dirty = clean();
        (0..64).for_each(|index| dirty.add(object(index)));
        dirty.add(object(63));
        assert!(matches!(&dirty.now, Unsynced::Objects(objects) if objects.len() == 64));
        dirty.add(object(64));
        assert_eq!(dirty.begin().1, Unsynced::Everything);
    }

    #[test]
    fn a_commit_covers_what_was_changed_before_it_was_sent() {
        let mut changes = Changes::default();
        let sent = changes.pending().unwrap();
        changes.add();
        changes.committed(sent);
        let again = changes.pending().unwrap();
        changes.committed(again);
        assert_eq!(changes.pending(), None);
    }
}
