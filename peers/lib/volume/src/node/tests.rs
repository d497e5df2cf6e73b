use proptest::prelude::*;

use super::*;

const LEAF: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/leaf.bin");
const INNER: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/inner.bin");
const VOLUME: VolumeId = VolumeId(0x0123_4567_89ab_cdef);

fn golden_leaf() -> Leaf {
    let greek = "τ".repeat(10);
    let mut leaf = Leaf::default();
    let named =
        |name, written_at, writable| Entry::Named { name, written_at: Generation(written_at), writable };
    // Overwritten names leave no trace in the object.
    leaf.set(1, named("overwritten", 1, true));
    leaf.set(0, named("goldvol1_0000000000000001_0000000000000600", 0, true));
    leaf.set(1, named(&greek, 7, false));
    leaf.set(2, Entry::Object { owner: VOLUME, written_at: Generation(5) });
    leaf.set(511, Entry::Object { owner: VolumeId(1), written_at: Generation(9) });
    leaf
}

fn golden_children() -> Box<[Option<NodeRef>]> {
    let mut children = vec![None; FANOUT];
    let checksum = crc32c::crc32c(LEAF);
    children[3] = Some(NodeRef { owner: VOLUME, checkpoint: Checkpoint(4), checksum });
    children[511] = Some(NodeRef { owner: VolumeId(2), checkpoint: Checkpoint(1), checksum: 0xdead_beef });
    children.into_boxed_slice()
}

fn key(level: u8, index: u64, bytes: &[u8]) -> NodeKey {
    let checksum = crc32c::crc32c(bytes);
    NodeKey { level, index, stored: Some(NodeRef { owner: VOLUME, checkpoint: Checkpoint(4), checksum }) }
}

#[test]
fn a_leaf_is_these_bytes() {
    let (bytes, checksum) = golden_leaf().encode(3);
    assert!(bytes == LEAF);
    assert_eq!(checksum, crc32c::crc32c(LEAF));
    let Ok(Node::Leaf(leaf)) = Node::decode(&key(0, 3, LEAF), LEAF) else { panic!("no leaf") };
    for at in 0..FANOUT {
        assert_eq!(leaf.get(at), golden_leaf().get(at));
    }
}

#[test]
fn an_inner_node_is_these_bytes() {
    let (bytes, checksum) = encode_inner(1, 0, golden_children().iter().copied());
    assert!(bytes == INNER);
    assert_eq!(checksum, crc32c::crc32c(INNER));
    assert_eq!(Node::decode(&key(1, 0, INNER), INNER), Ok(Node::Inner(golden_children())));
}

#[test]
fn a_node_is_known_by_its_place() {
    assert!(Node::decode(&key(0, 4, LEAF), LEAF).is_err());
    assert!(Node::decode(&key(1, 3, LEAF), LEAF).is_err());
    assert!(Node::decode(&key(2, 0, INNER), INNER).is_err());
    let other = NodeRef { owner: VOLUME, checkpoint: Checkpoint(4), checksum: 1 };
    let torn = Node::decode(&NodeKey { level: 0, index: 3, stored: Some(other) }, LEAF);
    assert!(torn.unwrap_err().to_string().starts_with("map node at byte 0: checksum"));
}

#[test]
fn the_fullest_leaf_is_no_longer_than_its_bound() {
    let name = "x".repeat(OBJECT_NAME_MAX);
    let mut leaf = Leaf::default();
    for at in 0..FANOUT {
        leaf.set(at, Entry::Named { name: &name, written_at: Generation(u64::MAX), writable: true });
    }
    let (bytes, _) = leaf.encode(0);
    assert_eq!(bytes.len(), NODE_BYTES_MAX);
    assert!(Node::decode(&key(0, 0, &bytes), &bytes).is_ok());
}

/// As if somebody who knows the checksums had written nonsense.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c::crc32c(&bytes[16..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn names_outside_of_the_tail_are_refused() {
    for (slot, offset) in [(0, u64::MAX), (0, 43), (1, 66), (1, 65)] {
        let mut bytes = LEAF.to_vec();
        let index = BlockIndex(3 * 512 + slot as u64);
        let entry = MapEntry::encode(Packed::named(offset, Generation(1), false), index);
        let at = ENTRIES_AT + slot * ENTRY_BYTES;
        bytes[at..at + ENTRY_BYTES].copy_from_slice(entry.as_bytes());
        let bytes = resealed(bytes);
        assert!(Node::decode(&key(0, 3, &bytes), &bytes).is_err(), "{offset}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_no_node(bytes in prop::collection::vec(any::<u8>(), 0..300), level in 0..8u8) {
        prop_assert!(Node::decode(&key(level, 0, &bytes), &bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_found_out(at in 0..LEAF.len(), flip in 1..=255u8, reseal: bool, inner: bool) {
        let (level, index, golden) = if inner { (1, 0, INNER) } else { (0, 3, LEAF) };
        let mut bytes = golden.to_vec();
        bytes[at] ^= flip;
        prop_assert!(Node::decode(&key(level, index, golden), &bytes).is_err());
        if reseal {
            let bytes = resealed(bytes);
            // Sums of children and letters of names may differ; nothing may panic.
            if let Ok(Node::Leaf(leaf)) = Node::decode(&key(level, index, &bytes), &bytes) {
                (0..FANOUT).for_each(|slot| drop(leaf.get(slot).object_name(BlockIndex(0))));
            }
        }
    }

    #[test]
    fn a_cut_node_is_found_out(length in 0..INNER.len(), inner: bool) {
        let (level, index, golden) = if inner { (1, 0, INNER) } else { (0, 3, LEAF) };
        let cut = &golden[..length.min(golden.len() - 1)];
        prop_assert!(Node::decode(&key(level, index, cut), cut).is_err());
    }
}
