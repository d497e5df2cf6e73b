//! The kinds of objects that a collection goes over, and their names as numbers.

use volume::{BlockIndex, Checkpoint, Generation, LogSequence, ObjectName, ParsedName, VolumeId};

use crate::{marks::Key, store_calls::Place};

/// The kinds of objects, in the order in which they are gone over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Block,
    Log,
    Node,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Block, Kind::Log, Kind::Node];

    pub(crate) fn prefix(self) -> &'static [u8] {
        match self {
            Kind::Block => b"b.",
            Kind::Log => b"l.",
            Kind::Node => b"n.",
        }
    }

    pub(crate) fn place(self) -> Place {
        match self {
            Kind::Block => Place::Blocks,
            Kind::Log | Kind::Node => Place::Maps,
        }
    }

    pub(crate) fn next(self) -> Option<Kind> {
        let at = Kind::ALL.iter().position(|kind| *kind == self)?;
        Kind::ALL.get(at + 1).copied()
    }
}

/// A node's place has fewer bits: there are less than 2^56 blocks.
const LEVEL_SHIFT: u32 = 56;

/// The name of a block, log or node as numbers.
pub(crate) fn key_of(name: &ParsedName) -> Option<Key> {
    match *name {
        ParsedName::Block { owner, written_at, index } => Some([owner.0, written_at.0, index.0]),
        ParsedName::Node { owner, checkpoint, level, index } => {
            Some([owner.0, checkpoint.0, u64::from(level) << LEVEL_SHIFT | index])
        }
        ParsedName::Log { owner, sequence } => Some([owner.0, sequence.0, 0]),
        ParsedName::Id(_)
        | ParsedName::LegacyBlock { .. }
        | ParsedName::LegacyTable { .. }
        | ParsedName::Other => None,
    }
}

/// The name that such numbers stand for.
pub(crate) fn name_of(kind: Kind, key: Key) -> ObjectName {
    let [owner, at, place] = key;
    match kind {
        Kind::Block => ObjectName::block(VolumeId(owner), Generation(at), BlockIndex(place)),
        Kind::Log => ObjectName::log(VolumeId(owner), LogSequence(at)),
        Kind::Node => {
            let [level, ..] = place.to_be_bytes();
            let index = place & ((1 << LEVEL_SHIFT) - 1);
            ObjectName::node(VolumeId(owner), Checkpoint(at), level, index)
        }
    }
}

/// Where to go on after a page that ends in `last`: past all nodes, or all logs, of the same volume.
pub(crate) fn after_page(last: &[u8]) -> Vec<u8> {
    let parsed = std::str::from_utf8(last).map_or(ParsedName::Other, ParsedName::parse);
    match parsed {
        ParsedName::Node { .. } | ParsedName::Log { .. } | ParsedName::Block { .. } => {
            // The kind, a dot, and the id: names of this volume's objects go on with another dot.
            const ID_END: usize = 18;
            let mut after = last[..ID_END.min(last.len())].to_vec();
            after.extend_from_slice(b".\xff");
            after
        }
        ParsedName::Id(_)
        | ParsedName::LegacyBlock { .. }
        | ParsedName::LegacyTable { .. }
        | ParsedName::Other => last.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_names_do_and_lead_back_to_them() {
        let (id, at) = (VolumeId(7), Checkpoint(3));
        let names = [
            ObjectName::node(id, at, 0, 5),
            ObjectName::node(id, at, 1, 0),
            ObjectName::node(id, Checkpoint(4), 0, 0),
        ];
        let keys = names.each_ref().map(|name| key_of(&ParsedName::parse(name.as_str())).unwrap());
        assert!(names.is_sorted() && keys.is_sorted());
        assert_eq!(keys.map(|key| name_of(Kind::Node, key)), names);
        let block = ObjectName::block(id, Generation(u64::MAX), BlockIndex(9));
        let key = key_of(&ParsedName::parse(block.as_str())).unwrap();
        assert_eq!(name_of(Kind::Block, key), block);
        assert_eq!(key_of(&ParsedName::parse("volume")), None);
    }

    #[test]
    fn a_page_goes_on_after_all_nodes_of_a_volume() {
        let node = |id| ObjectName::node(VolumeId(id), Checkpoint(u64::MAX), 7, u64::MAX);
        let after = after_page(ObjectName::node(VolumeId(5), Checkpoint(1), 0, 0).as_bytes());
        assert!(after.as_slice() > node(5).as_bytes());
        assert!(after.as_slice() < node(6).as_bytes());
        assert_eq!(after_page(b"volume"), b"volume");
    }
}
