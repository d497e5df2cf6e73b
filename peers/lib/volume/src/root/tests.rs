use proptest::prelude::*;

use super::*;

const ROOT: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/root.bin");
const SNAPSHOT: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/snapshot.bin");
const TOMBSTONE: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/tombstone.bin");
const MOVED: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/moved.bin");
const RENAMED: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/renamed.bin");
const INNER: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/inner.bin");

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("a name")
}

fn counting(from: u8) -> RequestId {
    RequestId(std::array::from_fn(|at| from + u8::try_from(at).expect("32 bytes")))
}

fn golden() -> Root {
    let id = VolumeId(0x0123_4567_89ab_cdef);
    Root {
        id,
        size: (1 << 50) + 1,
        block_size: 4 << 20,
        state: RootState::Changing,
        generation: Generation(9),
        shared_before: Generation(8),
        checkpoint: Checkpoint(4),
        shared_checkpoint: Checkpoint(3),
        log_sequence: LogSequence(2),
        partial_since: Generation(0),
        height: 2,
        top: Some(NodeRef { owner: id, checkpoint: Checkpoint(4), checksum: crc32c::crc32c(INNER) }),
        last_request: counting(0),
        created_by: counting(32),
        created_unix_ms: 1_795_000_000_000,
        parent: Some(name("goldsnap1")),
        moved_to: Some(name("goldnext1")),
        moved_from: None,
        is_legacy: false,
    }
}

fn blank(id: u64) -> Root {
    let new = NewVolume {
        id: VolumeId(id),
        size: 1 << 20,
        created_by: RequestId([1; 32]),
        created_unix_ms: 1,
        replaces: None,
    };
    Root::blank(new, 1 << 16).expect("a volume")
}

#[test]
fn a_root_is_these_bytes() {
    assert!(golden().encode() == ROOT);
    assert_eq!(Root::decode(ROOT), Ok(golden()));
}

#[test]
fn a_snapshot_is_these_bytes() {
    let top = NodeRef { owner: VolumeId(5), checkpoint: Checkpoint(6), checksum: 7 };
    let volume = Root { state: RootState::Clean, height: 1, top: Some(top), moved_to: None, ..blank(5) };
    let snapshot = volume.snapshot(&name("goldvol1"), RequestId([1; 32]), 1).expect("all is shared");
    assert!(snapshot.encode() == SNAPSHOT);
    assert_eq!(Root::decode(SNAPSHOT), Ok(snapshot));
}

#[test]
fn a_renamed_volume_is_these_bytes() {
    let renamed = blank(5).renamed(&name("goldvol1"), RequestId([2; 32])).expect("there is room");
    assert!(renamed.encode() == RENAMED);
    assert_eq!(Root::decode(RENAMED), Ok(renamed));
}

#[test]
fn tombstones_are_these_bytes() {
    let volume = Root {
        generation: Generation(4),
        shared_before: Generation(3),
        checkpoint: Checkpoint(2),
        shared_checkpoint: Checkpoint(1),
        log_sequence: LogSequence(1),
        partial_since: Generation(0),
        ..blank(5)
    };
    assert!(volume.tombstone(RequestId([2; 32])).encode() == TOMBSTONE);
    assert!(volume.moved(&name("goldnext1"), RequestId([2; 32])).encode() == MOVED);
    assert_eq!(Root::decode(TOMBSTONE).map(|root| root.state), Ok(RootState::Deleted));
    assert_eq!(Root::decode(MOVED).map(|root| root.state), Ok(RootState::Moved));
}

#[test]
fn the_tombstone_of_a_session_that_ended_badly_lies_beyond_it() {
    let tombstone = golden().tombstone(RequestId::default());
    assert_eq!(tombstone.generation, Generation(9 + SESSION_SPAN));
    assert_eq!(tombstone.checkpoint, Checkpoint(4 + SESSION_SPAN));
    assert_eq!(tombstone.log_sequence, LogSequence(2 + SESSION_SPAN));
    let new = NewVolume {
        id: golden().id,
        size: 1,
        created_by: RequestId::default(),
        created_unix_ms: 2,
        replaces: Some(tombstone),
    };
    let again = Root::blank(new, 4096).expect("a volume");
    assert_eq!(again.generation, Generation(10 + SESSION_SPAN));
    assert_eq!(again.shared_before, again.generation);
    assert_eq!(again.shared_checkpoint, again.checkpoint);
}

#[test]
fn only_a_snapshot_is_cloned_and_only_to_its_size_or_more() {
    let new = |size| NewVolume {
        id: VolumeId(6),
        size,
        created_by: RequestId::default(),
        created_unix_ms: 2,
        replaces: None,
    };
    let volume = blank(5);
    let snapshot = volume.snapshot(&name("goldvol1"), RequestId::default(), 1).expect("all is shared");
    let parent = name("goldsnap1");
    assert!(volume.clone_as(new(1 << 20), &parent).is_err());
    assert!(snapshot.clone_as(new((1 << 20) - 1), &parent).is_err());
    let clone = snapshot.clone_as(new(1 << 21), &parent).expect("larger");
    assert_eq!((clone.block_size, clone.parent, clone.shared_before), (1 << 16, Some(parent), Generation(1)));
}

#[test]
fn an_unshared_tree_is_not_frozen() {
    assert!(golden().snapshot(&name("goldvol1"), RequestId::default(), 1).is_err());
    let gone = blank(5).tombstone(RequestId::default());
    assert!(gone.snapshot(&name("goldvol1"), RequestId::default(), 1).is_err());
}

#[test]
fn a_volume_owns_what_no_snapshot_sees() {
    let (root, parse) = (golden(), |name: ObjectName| ParsedName::parse(name.as_str()));
    let block = |at| parse(ObjectName::block(root.id, Generation(at), crate::BlockIndex(1)));
    assert!(root.owns(&block(8)) && !root.owns(&block(7)));
    let node = |at| parse(ObjectName::node(root.id, Checkpoint(at), 0, 1));
    assert!(root.owns(&node(4)) && !root.owns(&node(3)));
    assert!(root.owns(&parse(ObjectName::log(root.id, LogSequence(1)))));
    assert!(!root.owns(&parse(ObjectName::block(VolumeId(1), Generation(9), crate::BlockIndex(1)))));
}

#[test]
fn a_name_that_a_root_has_no_room_for_is_refused() {
    let long = name(&"x".repeat(255));
    assert!(blank(5).rename_intent(&long, RequestId::default()).is_err());
    assert!(blank(5).renamed(&long, RequestId::default()).is_err());
    assert!(blank(5).snapshot(&long, RequestId::default(), 1).is_err());
}

#[test]
fn a_volume_is_renamed_only_when_nobody_changes_it() {
    assert!(golden().rename_intent(&name("goldnext1"), RequestId::default()).is_err());
    let intent = blank(5).rename_intent(&name("goldnext1"), RequestId::default()).expect("clean");
    assert!(intent.state.is_live());
    let renamed = intent.renamed(&name("goldvol1"), RequestId::default()).expect("there is room");
    assert_eq!((renamed.generation, &renamed.moved_to), (Generation(2), &None));
    assert_eq!(renamed.moved_from, Some(name("goldvol1")));
}

#[test]
fn a_volume_went_on_under_another_name_only_later() {
    let (old, new, cause) = (name("goldvol1"), name("goldnext1"), RequestId::default());
    let volume = blank(5);
    let renamed = volume.renamed(&old, cause).expect("there is room");
    assert!(volume.went_on_as(&renamed) && volume.went_on_as(&renamed.tombstone(cause)));
    // It comes back: what it left here is not what it is to become.
    let left = volume.moved(&new, cause);
    assert!(!renamed.went_on_as(&left));
    assert!(!volume.went_on_as(&blank(6).renamed(&old, cause).expect("there is room")));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for size in [0, SIZE_MAX + 1, u64::MAX] {
        assert!(check_size(size).is_err(), "{size}");
    }
    for block_size in [0, 128, 255, 257, 1 << 31] {
        assert!(check_block_size(block_size).is_err(), "{block_size}");
    }
    assert!(check_size(SIZE_MAX).is_ok() && check_block_size(256).is_ok());
}

#[test]
fn bytes_behind_a_root_must_be_zeros() {
    let mut longer = ROOT.to_vec();
    longer.resize(4096, 0);
    assert!(Root::decode(&longer).is_ok());
    longer[4000] = 1;
    assert_eq!(Root::decode(&longer).unwrap_err().to_string(), "map root at byte 4000: reserved byte is 0x1");
}

/// As if somebody who knows the checksum had written nonsense.
fn resealed(bytes: &mut [u8]) -> &[u8] {
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn fields_that_no_writer_writes_are_named() {
    let cases = [
        (36, 0x10, "flags"),
        (36, 3, "flags"),
        (32, 1, "block size"),
        (31, 0xff, "size"),
        (47, 0xff, "generation"),
        (48, 0xff, "shared before"),
        (64, 0xff, "shared checkpoint"),
        (100, 8, "height"),
        (177, 0xff, "name of the parent"),
        (431, 1, "name of the parent"),
        (434, 0xff, "name moved to"),
        (690, 0xff, "name moved from"),
        (1023, 1, "reserved"),
    ];
    for (at, value, field) in cases {
        let mut bytes = ROOT.to_vec();
        bytes[at] = value;
        let message = Root::decode(resealed(&mut bytes)).unwrap_err().to_string();
        assert!(message.contains(field), "{at}: {message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_is_found_out(at in 0..ROOT.len(), flip in 1..=255u8) {
        let mut bytes = ROOT.to_vec();
        bytes[at] ^= flip;
        prop_assert!(Root::decode(&bytes).is_err());
        // With the right checksum it may pass, but then it says the same again.
        if let Ok(root) = Root::decode(resealed(&mut bytes)) {
            prop_assert_eq!(Root::decode(&root.encode()), Ok(root));
        }
    }

    #[test]
    fn noise_is_no_root(bytes in prop::collection::vec(any::<u8>(), 0..1100)) {
        prop_assert!(Root::decode(&bytes).is_err());
    }
}
