//! Turning what changed into node objects.

use super::{Body, Counts, Home, Slot, Tree, key_of};
use crate::name::{Checkpoint, ObjectName, VolumeId};
use crate::node::{self, FANOUT, NodeKey, NodeRef};
use crate::released::{Ownership, Released};

/// An object to write: once, and durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Its name, which no object has yet.
    pub name: ObjectName,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

impl Tree {
    /// Encodes every changed node, children first, and takes it for written.
    pub(crate) fn write(
        &mut self,
        id: VolumeId,
        checkpoint: Checkpoint,
        owned: &Ownership,
        released: &mut Released,
    ) -> (u8, Option<NodeRef>, Vec<Write>) {
        let mut writer =
            Writer { id, checkpoint, owned, released, counts: &mut self.counts, writes: Vec::new() };
        let top = match self.height.checked_sub(1) {
            Some(level) => writer.visit(&mut self.top, level, 0),
            None => None,
        };
        let writes = writer.writes;
        if top.is_none() {
            self.height = 0;
        }
        (self.height, top, writes)
    }

    /// Takes what the tables of the original said for changes of ours.
    ///
    /// # Errors
    /// A leaf that must be loaded first.
    pub(crate) fn adopt_legacy(&mut self) -> Result<(), NodeKey> {
        let all = 0..self.legacy_blocks;
        if let Some(&key) = self.wanted(&all, super::Reach::All, 1).first() {
            return Err(key);
        }
        if let Some(level) = self.height.checked_sub(1) {
            adopt(&mut self.top, level, &mut self.counts);
        }
        Ok(())
    }
}

fn adopt(slot: &mut Slot, level: u8, counts: &mut Counts) {
    if slot.home != Home::Legacy {
        return;
    }
    slot.home = Home::Absent;
    if let Body::Inner(children) = &mut slot.touch(level, counts).body {
        for child in children {
            adopt(child, level - 1, counts);
        }
    }
}

struct Writer<'a> {
    id: VolumeId,
    checkpoint: Checkpoint,
    owned: &'a Ownership,
    released: &'a mut Released,
    counts: &'a mut Counts,
    writes: Vec<Write>,
}

impl Writer<'_> {
    fn visit(&mut self, slot: &mut Slot, level: u8, index: u64) -> Option<NodeRef> {
        let stored = key_of(level, index, slot.home);
        let Some(node) = slot.node.as_mut().filter(|node| node.dirty) else { return stored.stored };
        let encoded = match &mut node.body {
            Body::Leaf(leaf) => (!leaf.is_empty()).then(|| leaf.encode(index)),
            Body::Inner(children) => self.inner(children, level, index),
        };
        self.released.node(stored, self.owned);
        self.counts.dirty_leaves -= usize::from(level == 0);
        let Some((bytes, checksum)) = encoded else {
            *slot = Slot::default();
            self.counts.loaded -= 1;
            return None;
        };
        node.dirty = false;
        let written = NodeRef { owner: self.id, checkpoint: self.checkpoint, checksum };
        slot.home = Home::Stored(written);
        self.writes.push(Write { name: ObjectName::node(self.id, self.checkpoint, level, index), bytes });
        Some(written)
    }

    fn inner(&mut self, children: &mut [Slot], level: u8, index: u64) -> Option<(Vec<u8>, u32)> {
        let mut refs = Vec::with_capacity(FANOUT);
        for (at, child) in (0..).zip(children.iter_mut()) {
            refs.push(self.visit(child, level - 1, index * FANOUT as u64 + at));
        }
        let is_empty = refs.iter().all(Option::is_none);
        (!is_empty).then(|| node::encode_inner(level, index, refs.into_iter()))
    }
}
