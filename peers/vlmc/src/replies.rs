//! What a reply means: for the operation it is a part of, and for what is known of its volume.

use peer::failure_of;
use protocol::{ErrorKind, Failure, Fresh, Message};
use xseg::Held;

use crate::{
    composer::Composer,
    operation::{Claim, Errand, Operation, Stage, Wait},
    volume::Volume,
};

/// How often the lock's number may change under one operation.
const RETAKES_MAX: u32 = 3;

impl Composer {
    /// Something that we sent or passed on came back.
    pub(crate) fn replied(&mut self, reply: Held) {
        let failure = failure_of(&reply);
        let errand = self.errands.take(reply.slot());
        match errand {
            Some(Errand::Passed { operation }) => self.passed(operation, reply, failure),
            Some(Errand::PassedBy) => self.effects.respond(reply, failure.as_ref().map_or(Ok(()), Err)),
            Some(Errand::Map { volume, number }) => {
                self.sent -= 1;
                self.map_replied(volume, number, reply);
            }
            Some(Errand::Settled { volume, made }) => {
                self.sent -= 1;
                self.effects.free(reply);
                self.settled(volume, made, failure);
            }
            Some(Errand::Asked { volume }) => {
                self.sent -= 1;
                self.lock_told(volume, reply, failure);
            }
            Some(Errand::Survey { block }) => {
                self.sent -= 1;
                self.surveyed(block, reply);
            }
            Some(Errand::FillRead { block }) => {
                self.sent -= 1;
                self.fill_read(block, reply);
            }
            Some(Errand::FillWrite { block }) => {
                self.sent -= 1;
                self.fill_written(block, reply);
            }
            Some(Errand::Punch { operation, first, end }) => {
                self.sent -= 1;
                let fresh = Fresh::decode(reply.argument().as_ref()).ok();
                self.effects.free(reply);
                self.punched(operation, first, end, fresh, failure.is_none());
                if let Some(failure) = failure {
                    let failure = self.explain(operation, failure);
                    self.fail(operation, failure);
                }
                self.came_home(operation);
            }
            Some(part) => {
                self.sent -= 1;
                let fence = reply.fence();
                self.effects.free(reply);
                self.part_replied(part, fence, failure);
            }
            None => self.stray(reply, failure),
        }
        self.feed();
    }

    /// A reply that a predecessor on this port would have known.
    fn stray(&mut self, reply: Held, failure: Option<Failure>) {
        if reply.is_home() {
            self.effects.free(reply);
            return;
        }
        if let Some(volume) = self.by_name.get(reply.target().as_ref()).copied() {
            self.forget_map(volume);
        }
        self.effects.adopt();
        self.effects.respond(reply, failure.as_ref().map_or(Ok(()), Err));
    }

    fn passed(&mut self, key: u32, reply: Held, failure: Option<Failure>) {
        let Some(operation) = self.operations.get_mut(key) else { return self.stray(reply, failure) };
        operation.request = Some(reply);
        operation.under_way -= 1;
        operation.failure = failure;
        self.advance(key);
    }

    fn part_replied(&mut self, part: Errand, fence: u64, failure: Option<Failure>) {
        let is_change = matches!(part, Errand::Change { .. });
        let (key, failure) = self.account(part, failure);
        if let Some(failure) = failure {
            let failure = self.explain(key, failure);
            if !(is_change && failure.kind == ErrorKind::NotOwner && self.retake(key, fence)) {
                self.fail(key, failure);
            }
        }
        self.came_home(key);
    }

    /// One part or answer of an operation is back.
    pub(crate) fn came_home(&mut self, key: u32) {
        let Some(operation) = self.operations.get_mut(key) else { return };
        operation.under_way -= 1;
        if operation.wait == Wait::Parts && operation.under_way == 0 {
            operation.wait = Wait::Nothing;
            operation.once = None;
            operation.stage = Stage::Moving { at: 0 };
        }
        self.advance(key);
    }

    /// A mapper that is stopped in order gives its locks back, and its successor takes them anew: then a change was refused
    /// though nobody else has touched the volume. It is sent again, unless that turns out to be otherwise.
    pub(crate) fn retake(&mut self, key: u32, fence: u64) -> bool {
        let Some(operation) = self.operations.get_mut(key) else { return false };
        if operation.wait == Wait::Parts {
            return true;
        }
        let times = operation.refused.map_or(1, |(_, times)| times + 1);
        let is_worth_it = times <= RETAKES_MAX;
        if is_worth_it {
            operation.refused = Some((fence, times));
            operation.wait = Wait::Parts;
        }
        is_worth_it
    }

    /// Whether somebody else has had the lock since an operation was refused with it. Every grant and every release adds
    /// one to its number.
    pub(crate) fn was_taken(&self, operation: &Operation) -> Option<Failure> {
        let (fence, _) = operation.refused?;
        let volume = self.volumes.get(operation.volume)?;
        let is_ours = volume.grant.as_ref().is_some_and(|grant| grant.fence <= fence.saturating_add(2));
        let message = format!("another node took volume {} since", volume.display());
        (!is_ours).then(|| Failure::new(ErrorKind::NotOwner, message))
    }

    /// If another node took the volume, what we know of it is worth nothing any more.
    pub(crate) fn explain(&mut self, key: u32, failure: Failure) -> Failure {
        let volume = self.operations.get(key).map(|operation| operation.volume);
        match volume {
            Some(volume) if failure.kind == ErrorKind::NotOwner => {
                self.forget_map(volume);
                let name = self.volumes.get(volume).map(Volume::display).unwrap_or_default();
                Failure::new(failure.kind, format!("another node took volume {name}: {}", failure.message))
            }
            _ => failure,
        }
    }

    /// Gives a stage's operation its errand's slot back; what it means for the volume.
    fn account(&mut self, part: Errand, failure: Option<Failure>) -> (u32, Option<Failure>) {
        let is_done = failure.is_none();
        let is_missing = failure.as_ref().is_some_and(|failure| failure.kind == ErrorKind::NotFound);
        match part {
            Errand::Read { operation, object } if is_missing => {
                let message = format!("object {} is in the map but not in the store", object.display());
                (operation, Some(Failure::new(ErrorKind::Corrupt, message)))
            }
            Errand::Read { operation, .. } => (operation, failure),
            Errand::Change { operation, object, is_durable, claim } => {
                if let Some(Claim { block, pieces }) = claim {
                    self.unclaim(block, &pieces, is_done);
                }
                // One that failed may have been done, and a snapshot may see it.
                if !is_done || !is_durable {
                    self.with_volume_of(operation, |volume| volume.dirty.add(object));
                }
                (operation, failure)
            }
            // What is gone was punched, or never acknowledged; the same for a volume.
            Errand::Sync { operation } => (operation, failure.filter(|_| !is_missing)),
            Errand::Commit { operation, made } => (operation, self.committed(operation, made, failure)),
            Errand::Passed { operation } => (operation, failure),
            // These belong to no operation and are dealt with before.
            Errand::PassedBy
            | Errand::Punch { .. }
            | Errand::Settled { .. }
            | Errand::Asked { .. }
            | Errand::Survey { .. }
            | Errand::FillRead { .. }
            | Errand::FillWrite { .. }
            | Errand::Map { .. } => (u32::MAX, failure),
        }
    }

    /// What is left of a commit's failure when there was nothing to be committed.
    fn committed(&mut self, key: u32, made: u64, failure: Option<Failure>) -> Option<Failure> {
        let volume = self.operations.get(key).map(|operation| operation.volume);
        let volume = volume.and_then(|volume| self.volumes.get_mut(volume))?;
        let kind = failure.as_ref().map(|failure| failure.kind);
        match kind {
            // A snapshot, or a volume that is not there, has no changes.
            None | Some(ErrorKind::NotFound | ErrorKind::ReadOnly) => {
                volume.changes.committed(made);
                None
            }
            // Neither has one that another node uses; unless it took it from us.
            Some(ErrorKind::Busy) if volume.changes.is_as_after_start() => None,
            Some(ErrorKind::Busy) => failure.map(|failure| Failure { kind: ErrorKind::NotOwner, ..failure }),
            Some(_) => failure,
        }
    }

    fn with_volume_of(&mut self, operation: u32, change: impl FnOnce(&mut Volume)) {
        let volume = self.operations.get(operation).map(|operation| operation.volume);
        if let Some(volume) = volume.and_then(|volume| self.volumes.get_mut(volume)) {
            change(volume);
        }
    }
}
