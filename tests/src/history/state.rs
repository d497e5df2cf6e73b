//! A register and its volume's lock, and what one step may make of them.
//!
//! What is promised (docs/protocols.md, "Locks"; docs/formats.md, "Rules of a map"), and so what is asked here:
//!
//! - Only the owner of the lock writes. Whoever writes or opens while nobody is owner becomes it; it is owner until it closes or
//!   its lock is broken.
//! - The owner reads what was written last. Another host reads what is durable, or something newer.
//! - What was answered, but not flushed, may be gone once the lock was broken: for the former owner a broken lock is a loss of power. Then a
//!   flush of it fails. What was flushed, and what was closed upon, stays.
//! - So no write of a former owner has an effect while another is owner: neither one that was under way, nor one that comes later.

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
}

impl State {
    /// The states in which this operation may leave a volume that answers as it did; none if it would not.
    pub(super) fn after(&self, operation: &Operation) -> Vec<State> {
        let is_owner = self.owner == Some(operation.host);
        let is_allowed = is_owner || self.owner.is_none();
        match operation.action {
            Action::Write(_, value) if is_allowed => vec![self.written(operation.host, value)],
            Action::Open if is_allowed => vec![State { owner: Some(operation.host), ..self.clone() }],
            Action::Close if is_allowed => vec![State { owner: None, ..self.flushed() }],
            Action::Write(..) | Action::Open | Action::Close => Vec::new(),
            Action::Flush(_, value) if self.lost.contains(&value) => Vec::new(),
            Action::Flush(..) if is_owner => vec![self.flushed()],
            // It was durable already.
            Action::Flush(..) => vec![self.clone()],
            Action::Read(_, value) if self.may_show(value, is_owner) => vec![self.clone()],
            Action::Read(..) => Vec::new(),
            Action::Break => self.kept().map(|kept| self.broken(kept)).collect(),
        }
    }

    fn written(&self, owner: usize, value: Value) -> State {
        let mut next = State { owner: Some(owner), value, ..self.clone() };
        next.unflushed.push(value);
        next
    }

    fn flushed(&self) -> State {
        State { durable: self.value, unflushed: Vec::new(), ..self.clone() }
    }

    fn may_show(&self, value: Value, is_owner: bool) -> bool {
        if is_owner { value == self.value } else { self.kept().any(|kept| kept == value) }
    }

    /// What may be there if power is lost now.
    fn kept(&self) -> impl Iterator<Item = Value> {
        std::iter::once(self.durable).chain(self.unflushed.iter().copied())
    }

    fn broken(&self, kept: Value) -> State {
        let mut lost = self.lost.clone();
        lost.extend(self.unflushed.iter().filter(|value| **value != kept));
        State { owner: None, value: kept, durable: kept, unflushed: Vec::new(), lost }
    }
}
