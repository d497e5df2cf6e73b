//! Taking blocks out of the tree.

use std::ops::Range;

use super::{Body, Counts, Home, Reach, Slot, Tree, is_covered, key_of, positions};
use crate::entry::Entry;
use crate::name::BlockIndex;
use crate::node::{FANOUT, NodeKey};
use crate::released::{Ownership, Released};

impl Tree {
    /// Makes holes of all blocks in `range`; says whether any was not one.
    ///
    /// # Errors
    /// A node at the range's edge that must be loaded first. What lies wholly inside need not be.
    pub(crate) fn punch(
        &mut self,
        range: &Range<u64>,
        owned: &Ownership,
        released: &mut Released,
    ) -> Result<bool, NodeKey> {
        if let Some(&key) = self.wanted(range, Reach::Edges, 1).first() {
            return Err(key);
        }
        let Some(level) = self.height.checked_sub(1) else { return Ok(false) };
        let mut punch = Punch { range, owned, released, counts: &mut self.counts };
        Ok(punch.visit(&mut self.top, level, 0))
    }
}

struct Punch<'a> {
    range: &'a Range<u64>,
    owned: &'a Ownership,
    released: &'a mut Released,
    counts: &'a mut Counts,
}

impl Punch<'_> {
    fn visit(&mut self, slot: &mut Slot, level: u8, index: u64) -> bool {
        if is_covered(level, index, self.range) {
            return self.drop_all(slot, level, index);
        }
        let Some(node) = &mut slot.node else { return false };
        let mut changed = false;
        for at in positions(level, index, self.range) {
            let below = index * FANOUT as u64 + at as u64;
            changed |= match &mut node.body {
                Body::Inner(children) => self.visit(&mut children[at], level - 1, below),
                Body::Leaf(leaf) => {
                    let entry = leaf.get(at);
                    self.released.block(BlockIndex(below), &entry, self.owned);
                    let had = entry != Entry::Hole;
                    leaf.set(at, Entry::Hole);
                    had
                }
            };
        }
        if changed {
            slot.touch(level, self.counts);
        }
        changed
    }

    /// Forgets a whole subtree. Of what is not loaded only the topmost node's name is known; the rest is the collector's.
    fn drop_all(&mut self, slot: &mut Slot, level: u8, index: u64) -> bool {
        self.released.node(key_of(level, index, slot.home), self.owned);
        let mut changed = slot.home != Home::Absent;
        slot.home = Home::Absent;
        let Some(node) = slot.node.take() else { return changed };
        self.counts.loaded -= 1;
        match node.body {
            Body::Leaf(leaf) => {
                self.counts.dirty_leaves -= usize::from(node.dirty);
                for at in 0..FANOUT {
                    let block = BlockIndex(index * FANOUT as u64 + at as u64);
                    self.released.block(block, &leaf.get(at), self.owned);
                }
                changed |= !leaf.is_empty();
            }
            Body::Inner(mut children) => {
                for (at, child) in (0..).zip(children.iter_mut()) {
                    changed |= self.drop_all(child, level - 1, index * FANOUT as u64 + at);
                }
            }
        }
        changed
    }
}
