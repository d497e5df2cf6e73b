//! A register and its volume's lock, and what one step may make of them.
//!
//! What is promised (docs/protocols.md, "Locks"; docs/formats.md, "Rules of a map"), and so what is asked here:
//!
//! - Only the owner of the lock writes. Whoever writes or opens while nobody is owner becomes it, and who reads may; it is owner until it
//!   closes or its lock is broken.
//! - The owner reads what was written last. Another host reads what is durable, or something newer.
//! - What was answered, but not flushed, may be gone once the lock was broken: for the former owner a broken lock is a loss of power. Then a
//!   flush of it fails. What was flushed, and what was closed upon, stays.
//! - A former owner that was not told goes on reading by what it knew of the volume, and may see what is old. It is told when it opens the
//!   volume.
//! - No write of a former owner has an effect while another is owner: neither one that was under way, nor one that comes later.

use std::collections::BTreeSet;

use super::{Action, Operation, Value};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct State {
    owner: Option<usize>,
    value: Value,
    /// What was written since the last flush.
    unflushed: Vec<Value>,
    /// What was there before that: it is durable.
    durable: Value,
    /// What was answered and is gone.
    lost: Vec<Value>,
    /// Former owners that may not know it.
    unaware: BTreeSet<usize>,
}

impl State {
    /// The states in which this operation may leave a volume that answers as it did; none if it would not.
    pub(super) fn after(&self, operation: &Operation) -> Vec<State> {
        let is_owner = self.owner == Some(operation.host);
        let is_allowed = is_owner || self.owner.is_none();
        match operation.action {
            Action::Write(_, value) if is_allowed => vec![self.written(operation.host, value)],
            Action::Open if is_allowed => {
                vec![State { owner: Some(operation.host), ..self.told(operation.host) }]
            }
            Action::Told => vec![self.told(operation.host)],
            Action::Close if is_allowed => vec![State { owner: None, ..self.flushed() }],
            Action::Write(..) | Action::Open | Action::Close => Vec::new(),
            Action::Flush(_, value) if self.lost.contains(&value) => Vec::new(),
            Action::Flush(..) if is_owner => vec![self.flushed()],
            // It was durable already.
            Action::Flush(..) => vec![self.clone()],
            Action::Read(..) if self.unaware.contains(&operation.host) => vec![self.clone()],
            Action::Read(_, value) if self.may_show(value, is_owner) => self.read(operation.host),
            Action::Read(..) => Vec::new(),
            Action::Break => self.kept().map(|kept| self.broken(kept)).collect(),
        }
    }

    fn written(&self, owner: usize, value: Value) -> State {
        let mut next = State { owner: Some(owner), value, ..self.told(owner) };
        next.unflushed.push(value);
        next
    }

    fn flushed(&self) -> State {
        State { durable: self.value, unflushed: Vec::new(), ..self.clone() }
    }

    /// Who reads what nobody has may get the lock by it.
    fn read(&self, host: usize) -> Vec<State> {
        let owned = State { owner: Some(host), ..self.told(host) };
        if self.owner.is_none() { vec![owned, self.clone()] } else { vec![self.clone()] }
    }

    fn may_show(&self, value: Value, is_owner: bool) -> bool {
        if is_owner { value == self.value } else { self.kept().any(|kept| kept == value) }
    }

    /// What may be there if power is lost now.
    fn kept(&self) -> impl Iterator<Item = Value> {
        std::iter::once(self.durable).chain(self.unflushed.iter().copied())
    }

    fn broken(&self, kept: Value) -> State {
        let (mut lost, mut unaware) = (self.lost.clone(), self.unaware.clone());
        lost.extend(self.unflushed.iter().filter(|value| **value != kept));
        unaware.extend(self.owner);
        State { owner: None, value: kept, durable: kept, unflushed: Vec::new(), lost, unaware }
    }

    fn told(&self, host: usize) -> State {
        let unaware = self.unaware.iter().copied().filter(|it| *it != host).collect();
        State { unaware, ..self.clone() }
    }
}
