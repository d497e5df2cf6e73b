//! A register and its volume's lock, and what one step may make of them.
//!
//! What is promised (docs/protocols.md, "Locks"; docs/formats.md, "Rules of a map"), and so what is asked here:
//!
//! - Only the owner of the lock writes. Whoever writes or opens while nobody is owner becomes it; it is owner until it closes or
//!   its lock is broken.
//! - The owner reads what was written last. Another host reads what is durable, or something newer.
//! - What was answered, but not flushed, may be gone once the lock was broken: for the former owner a broken lock is a loss of power. Then a
//!   flush of it fails. What was flushed, and what was closed upon, stays.
//! - Where a host hears of a broken lock only when it wants to change something ([`News`]), a former owner may read what was there before,
//!   until it was owner again.
//! - So no write of a former owner has an effect while another is owner: neither one that was under way, nor one that comes later.

use super::{Action, News, Operation, Value};

/// A host among several.
fn bit(host: usize) -> u64 {
    1 << host
}

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
    /// Who is told of broken locks when.
    news: News,
    /// Who may have got the lock to read, a bit each: nobody saw who did.
    readers: u64,
    /// Who may not have heard that its lock was broken.
    unaware: u64,
}

impl State {
    /// A volume that nobody wrote to yet.
    pub(super) fn first(news: News) -> State {
        State { news, ..State::default() }
    }

    /// The states in which this operation may leave a volume that answers as it did; none if it would not.
    pub(super) fn after(&self, operation: &Operation) -> Vec<State> {
        let is_owner = self.owner == Some(operation.host);
        let is_allowed = is_owner || self.owner.is_none();
        match operation.action {
            Action::Write(_, value) if is_allowed => vec![self.written(operation.host, value)],
            Action::Open if is_allowed => vec![self.owned(operation.host)],
            Action::Close if is_allowed => vec![State { owner: None, readers: 0, ..self.flushed() }],
            Action::Write(..) | Action::Open | Action::Close => Vec::new(),
            Action::Flush(_, value) if self.lost.contains(&value) => Vec::new(),
            Action::Flush(..) if is_owner => vec![self.flushed()],
            // It was durable already.
            Action::Flush(..) => vec![self.clone()],
            Action::Read(_, value) if self.may_show(value, is_owner) => vec![self.read(operation.host)],
            Action::Read(..) if self.unaware & bit(operation.host) != 0 => vec![self.clone()],
            Action::Read(..) => Vec::new(),
            Action::Break => self.kept().map(|kept| self.broken(kept)).collect(),
        }
    }

    fn owned(&self, owner: usize) -> State {
        State { owner: Some(owner), readers: 0, unaware: self.unaware & !bit(owner), ..self.clone() }
    }

    /// Who reads while nobody is owner may become it.
    fn read(&self, host: usize) -> State {
        let has_got = self.news == News::Late && self.owner.is_none();
        State { readers: self.readers | if has_got { bit(host) } else { 0 }, ..self.clone() }
    }

    fn written(&self, owner: usize, value: Value) -> State {
        let mut next = State { value, ..self.owned(owner) };
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
        let owners = self.readers | self.owner.map_or(0, bit);
        let unaware = if self.news == News::Late { self.unaware | owners } else { 0 };
        let (value, durable, news) = (kept, kept, self.news);
        State { owner: None, value, durable, unflushed: Vec::new(), lost, news, readers: 0, unaware }
    }
}
