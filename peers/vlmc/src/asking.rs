//! What stops a volume, on a node that may not have its lock.
//!
//! Snapshot, close, delete and the like fail at once while another node has the lock, but they wait for what runs on the volume; and
//! a write waits for the lock. So while such a request waits on a volume that was not granted, the mapper is asked for the lock: if
//! another node has it, the request is answered, and nothing waits for it any more.

use protocol::{ErrorKind, Failure, Flags, Op};
use xseg::Held;

use crate::{composer::Composer, operation::Errand};

/// Whether this fails at once while another node has the lock.
fn fails_at_once(op: Op) -> bool {
    matches!(op, Op::Snapshot | Op::Resize | Op::Close | Op::Delete | Op::Rename | Op::Update)
}

impl Composer {
    /// A request began to wait until it may stop its volume.
    pub(crate) fn drains(&mut self, volume: u32, op: Op) {
        let Some(known) = self.volumes.get(volume) else { return };
        if known.grant.is_some() || !fails_at_once(op) {
            return;
        }
        // Without room for a question it waits as long as what runs.
        let Ok(mut question) = self.effects.allocate(0) else { return };
        question.set_op(Op::Open.number());
        question.set_flags(Flags::LOOK.bits());
        let named = question.set_target(&known.name).and_then(|()| question.set_argument(&[]));
        debug_assert!(named.is_ok(), "the name came in a request");
        let slot = question.slot();
        match self.effects.submit(question, self.mapper) {
            Ok(()) => {
                self.errands.put(slot, Errand::Asked { volume });
                self.sent += 1;
            }
            Err(refused) => self.effects.free(refused.into_parts().0),
        }
    }

    /// The mapper has said whether the lock is to be had.
    pub(crate) fn lock_told(&mut self, volume: u32, reply: Held, failure: Option<Failure>) {
        let held = failure.filter(|failure| failure.kind == ErrorKind::Busy);
        let known = self.volumes.get_mut(volume).filter(|known| *known.name == *reply.target().as_ref());
        let given_up = match (&held, known) {
            (Some(_), Some(known)) => known.flow.give_up(|barrier| op_of(barrier).is_some_and(fails_at_once)),
            _ => None,
        };
        self.effects.free(reply);
        let (Some(failure), Some((barrier, waiting))) = (held, given_up) else { return };
        // Who has not opened it cannot close it.
        let kind = if op_of(&barrier) == Some(Op::Close) { ErrorKind::NotOwner } else { failure.kind };
        self.effects.respond(barrier, Err(&Failure { kind, ..failure }));
        for request in waiting {
            if let Some(op) = op_of(&request) {
                self.admit(op, request);
            }
        }
    }
}

fn op_of(request: &Held) -> Option<Op> {
    Op::from_number(request.op())
}
