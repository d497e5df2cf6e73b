//! Making durable what was acknowledged.

use protocol::Op;

use crate::{
    composer::Composer,
    dirty::Unsynced,
    object::Object,
    operation::{Errand, Flushing, Operation, Stage, Step},
    slab::Slab,
    volume::Volume,
};

impl Composer {
    /// The stage that makes durable what was acknowledged on the operation's volume so far. Newer requests go on meanwhile.
    pub(crate) fn flushing(volumes: &mut Slab<Volume>, operation: &Operation) -> Stage {
        let nothing = Flushing { number: u64::MAX, unsynced: Unsynced::Objects(Vec::new()), changes: None };
        let Some(volume) = volumes.get_mut(operation.volume) else { return Stage::Flushing(nothing) };
        if operation.changes_map() && volume.grant.is_none() {
            // What is about to be frozen may be another node's, whose lock was broken.
            volume.dirty.doubt();
        }
        let (number, unsynced) = volume.dirty.begin();
        // What the mapper does in snapshot and the like is durable with all that was before.
        let changes = volume.changes.pending().filter(|_| !operation.changes_map());
        Stage::Flushing(Flushing { number, unsynced, changes })
    }

    /// Objects first, all at a time; then the map that refers to them.
    pub(crate) fn flush_step(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let Stage::Flushing(flushing) = &operation.stage else { return Step::Wait };
        match (&flushing.unsynced, flushing.changes) {
            (Unsynced::Everything, _) => self.send_sync(key, None),
            (Unsynced::Objects(objects), changes) => match (objects.last().cloned(), changes) {
                (Some(object), _) => self.send_sync(key, Some(object)),
                (None, Some(_)) if operation.under_way > 0 => Step::Wait,
                (None, Some(made)) => self.send_commit(key, made),
                (None, None) => self.end_stage(key),
            },
        }
    }

    /// Syncs an object, or the whole store, and takes it off the list.
    fn send_sync(&mut self, key: u32, object: Option<Object>) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let Some(volume) = self.volumes.get(operation.volume) else { return Step::Wait };
        let mut part = match self.effects.allocate(0) {
            Ok(part) => part,
            Err(failure) => return self.unmade(key, failure),
        };
        let op = if object.is_some() { Op::Sync } else { Op::Flush };
        part.set_op(op.number());
        part.set_flags(0);
        let named = match &object {
            Some(object) => object.with_name(|name| part.set_target(name)),
            None => part.set_target(&volume.name),
        };
        let named = named.and_then(|()| part.set_argument(&[]));
        debug_assert!(named.is_ok(), "the name was used before");
        if let Some(Stage::Flushing(flushing)) = self.operations.get_mut(key).map(|it| &mut it.stage) {
            match &mut flushing.unsynced {
                Unsynced::Objects(objects) => drop(objects.pop()),
                everything => *everything = Unsynced::Objects(Vec::new()),
            }
        }
        self.send(key, part, self.blocker, Errand::Sync { operation: key })
    }

    fn send_commit(&mut self, key: u32, made: u64) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let Some(volume) = self.volumes.get(operation.volume) else { return Step::Wait };
        let mut part = match self.effects.allocate(0) {
            Ok(part) => part,
            Err(failure) => return self.unmade(key, failure),
        };
        part.set_op(Op::Commit.number());
        part.set_flags(0);
        let named = part.set_target(&volume.name).and_then(|()| part.set_argument(&[]));
        debug_assert!(named.is_ok(), "the name came in a request");
        match self.operations.get_mut(key).map(|operation| &mut operation.stage) {
            Some(Stage::Flushing(flushing)) => flushing.changes = None,
            Some(Stage::Committing { made }) => *made = None,
            _ => {}
        }
        self.send(key, part, self.mapper, Errand::Commit { operation: key, made })
    }

    /// Commits the map after a durable write that changed it.
    pub(crate) fn commit_step(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        match operation.stage {
            Stage::Committing { made: Some(made) } => self.send_commit(key, made),
            _ => self.end_stage(key),
        }
    }
}
