//! Map entries that the mapper granted, of all volumes, within one bound.

use std::collections::{HashMap, VecDeque};

use protocol::{Base, Entry};

use crate::object::Place;

/// How many blocks are kept and forgotten together.
pub(crate) const LEAF_BLOCKS: u64 = 512;

/// What a leaf costs without the names in it, in bytes.
const LEAF_BYTES: u64 = LEAF_BLOCKS * size_of::<Option<Entry>>() as u64 + 128;

/// A volume's number and a leaf's index in it.
type Key = (u32, u64);

/// Entries by volume and block. The leaf that was not used for longest is forgotten first, roughly.
#[derive(Debug)]
pub(crate) struct Cache {
    leaves: HashMap<Key, Leaf>,
    /// The next one to be looked at when room is needed stands in front.
    order: VecDeque<Key>,
    bytes: u64,
    most_bytes: u64,
}

#[derive(Debug)]
struct Leaf {
    entries: Box<[Option<Entry>]>,
    bytes: u64,
    was_used: bool,
}

impl Cache {
    /// An empty cache of at most `most_bytes`, but at least one leaf.
    pub(crate) fn new(most_bytes: u64) -> Cache {
        Cache { leaves: HashMap::new(), order: VecDeque::new(), bytes: 0, most_bytes }
    }

    /// Where a block is, if that is known.
    pub(crate) fn place(&mut self, volume: u32, block: u64) -> Option<Place> {
        let leaf = self.leaves.get_mut(&(volume, block / LEAF_BLOCKS))?;
        leaf.was_used = true;
        let entry = leaf.entries[position(block)].as_ref()?;
        Some(Place::of(entry, block))
    }

    /// Whether a block is known to be a hole.
    pub(crate) fn is_hole(&self, volume: u32, block: u64) -> bool {
        let leaf = self.leaves.get(&(volume, block / LEAF_BLOCKS));
        leaf.is_some_and(|leaf| leaf.entries[position(block)] == Some(Entry::Hole))
    }

    /// The first of the blocks up to `block`, in its leaf, of which nothing is known.
    pub(crate) fn first_unknown(&self, volume: u32, block: u64) -> u64 {
        let leaf = self.leaves.get(&(volume, block / LEAF_BLOCKS));
        let before = leaf.map_or(&[][..], |leaf| &leaf.entries[..position(block)]);
        let known = before.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        block - block % LEAF_BLOCKS + u64::try_from(known).unwrap_or(0)
    }

    /// Learns the entries of consecutive blocks.
    pub(crate) fn learn(&mut self, volume: u32, first: u64, entries: &[Entry]) {
        for (block, entry) in (first..).zip(entries) {
            let key = (volume, block / LEAF_BLOCKS);
            self.ensure(key);
            if let Some(leaf) = self.leaves.get_mut(&key) {
                let added = leaf.put(position(block), entry.clone());
                self.bytes = (self.bytes + added.1).saturating_sub(added.0);
            }
        }
    }

    fn ensure(&mut self, key: Key) {
        if self.leaves.contains_key(&key) {
            return;
        }
        while self.bytes + LEAF_BYTES > self.most_bytes && self.forget_one() {}
        self.bytes += LEAF_BYTES;
        self.order.push_back(key);
        self.leaves.insert(key, Leaf::new());
    }

    /// Forgets a leaf that was not used since it was last looked at. False if there is none at all.
    fn forget_one(&mut self) -> bool {
        while let Some(key) = self.order.pop_front() {
            match self.leaves.get_mut(&key) {
                Some(leaf) if leaf.was_used => {
                    leaf.was_used = false;
                    self.order.push_back(key);
                }
                Some(leaf) => {
                    self.bytes = self.bytes.saturating_sub(leaf.bytes);
                    self.leaves.remove(&key);
                    return true;
                }
                None => {}
            }
        }
        false
    }

    /// These blocks became holes.
    pub(crate) fn punch(&mut self, volume: u32, first: u64, end: u64) {
        for ((owner, index), leaf) in &mut self.leaves {
            let start = index * LEAF_BLOCKS;
            let blocks = first.max(start)..end.min(start + LEAF_BLOCKS);
            if *owner == volume {
                for block in blocks {
                    let (removed, added) = leaf.put(position(block), Entry::Hole);
                    self.bytes = (self.bytes + added).saturating_sub(removed);
                }
            }
        }
    }

    /// Forgets all of a volume.
    pub(crate) fn forget(&mut self, volume: u32) {
        self.order.retain(|(owner, _)| *owner != volume);
        let Cache { leaves, bytes, .. } = self;
        leaves.retain(|(owner, _), leaf| {
            let is_kept = *owner != volume;
            *bytes -= if is_kept { 0 } else { leaf.bytes.min(*bytes) };
            is_kept
        });
    }

    /// Leaves of a volume, for people.
    pub(crate) fn leaf_count(&self, volume: u32) -> usize {
        self.leaves.keys().filter(|(owner, _)| *owner == volume).count()
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Leaf {
    fn new() -> Leaf {
        let entries = (0..LEAF_BLOCKS).map(|_| None).collect();
        Leaf { entries, bytes: LEAF_BYTES, was_used: false }
    }

    /// Bytes of names that went and came.
    fn put(&mut self, at: usize, entry: Entry) -> (u64, u64) {
        let added = name_bytes(Some(&entry));
        let removed = name_bytes(self.entries[at].replace(entry).as_ref());
        self.bytes = self.bytes + added - removed;
        (removed, added)
    }
}

fn name_bytes(entry: Option<&Entry>) -> u64 {
    match entry {
        Some(Entry::Named { name, .. }) => u64::try_from(name.capacity()).unwrap_or(0),
        Some(Entry::Partial { base, .. }) => {
            let name = if let Base::Named { name } = &**base { name.capacity() } else { 0 };
            u64::try_from(size_of::<Base>() + name).unwrap_or(0)
        }
        Some(Entry::Hole | Entry::Object { .. }) | None => 0,
    }
}

fn position(block: u64) -> usize {
    usize::try_from(block % LEAF_BLOCKS).expect("less than a leaf")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(written_at: u64) -> Entry {
        Entry::Object { owner: 1, written_at, is_writable: true }
    }

    #[test]
    fn what_was_learnt_is_found_and_the_rest_is_not() {
        let mut cache = Cache::new(1 << 20);
        cache.learn(1, 511, &[object(1), Entry::Hole]);
        assert!(matches!(cache.place(1, 511), Some(Place::At { is_writable: true, .. })));
        assert_eq!(cache.place(1, 512), Some(Place::Hole));
        assert_eq!((cache.place(1, 510), cache.place(2, 511)), (None, None));
    }

    #[test]
    fn what_is_missing_begins_after_what_is_known() {
        let mut cache = Cache::new(1 << 20);
        assert_eq!(cache.first_unknown(1, 700), 512);
        cache.learn(1, 512, &[Entry::Hole, Entry::Hole]);
        assert_eq!((cache.first_unknown(1, 700), cache.first_unknown(1, 514)), (514, 514));
    }

    #[test]
    fn it_never_grows_beyond_its_bound_and_keeps_what_is_used() {
        let mut cache = Cache::new(4 * LEAF_BYTES);
        for leaf in 0..100 {
            cache.learn(1, leaf * LEAF_BLOCKS, &[object(leaf)]);
            assert!(cache.bytes() <= 4 * LEAF_BYTES);
            assert!(cache.place(1, 0).is_some(), "leaf 0 was used just now");
        }
        cache.forget(1);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn names_count_and_are_given_back() {
        let mut cache = Cache::new(1 << 20);
        cache.learn(1, 0, &[Entry::Named { name: vec![b'n'; 200], is_writable: false }]);
        assert_eq!(cache.bytes(), LEAF_BYTES + 200);
        cache.punch(1, 0, 1);
        assert!(cache.is_hole(1, 0));
        assert_eq!(cache.bytes(), LEAF_BYTES);
    }
}
