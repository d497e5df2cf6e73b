use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Map, VolumeError, Wanted, Writability};

macro_rules! golden {
    ($($name:literal),* $(,)?) => {
        BTreeMap::from([$((
            $name.rsplit('/').next().expect("a name"),
            &include_bytes!(concat!("../../../../../tests/golden/archipelago/", $name))[..],
        )),*])
    };
}

/// Headers and tables as the original's mapper wrote them.
fn store() -> BTreeMap<&'static str, &'static [u8]> {
    golden![
        "v2/goldafter1",
        "v2/goldafter1_0000000000000000",
        "v2/goldbefore",
        "v2/goldclone1",
        "v2/goldclone1_0000000000000000",
        "v2/golddead1",
        "v2/goldempty",
        "v2/goldempty_0000000000000000",
        "v2/goldsnap1",
        "v2/goldsnap1_0000000000000000",
        "v2/goldsnap2",
        "v2/goldsnap2_0000000000000000",
        "v2/goldvol1",
        "v2/goldvol1_0000000000000000",
        "v1/goldhash1",
        "v0/goldimage",
    ]
}

fn fetch(wanted: &Wanted) -> Vec<u8> {
    let store = store();
    let mut bytes = Vec::new();
    for read in &wanted.reads {
        let object = store[read.name.as_str()];
        let length = usize::try_from(read.length.expect("a piece")).expect("small");
        let offset = usize::try_from(read.offset).expect("small").min(object.len());
        let mut piece = object[offset..].to_vec();
        piece.resize(length, 0);
        bytes.extend(piece);
    }
    bytes
}

fn legacy(name: &str, v0_size: Option<u64>) -> LegacyMap {
    let object = ObjectName::new(name).expect("a name");
    match Header::decode(&object, store()[name], v0_size).expect("a header") {
        Header::Legacy(map) => map,
        Header::Root(root) => panic!("{root:?}"),
    }
}

fn load_all(map: &mut Map) {
    let all = BlockIndex(0)..BlockIndex(map.block_count());
    loop {
        let wanted = map.wanted(&all);
        if wanted.is_empty() {
            return;
        }
        for wanted in wanted {
            map.load(&wanted.key, &fetch(&wanted)).expect("a table");
        }
    }
}

fn names(name: &str, v0_size: Option<u64>) -> Vec<(u64, String, bool)> {
    let mut map = Map::open_legacy(legacy(name, v0_size));
    load_all(&mut map);
    let all = BlockIndex(0)..BlockIndex(map.block_count());
    let entries = map.entries(all).map(|entry| entry.expect("loaded"));
    entries
        .filter_map(|(index, entry)| match entry {
            Entry::Named { name, writable, .. } => Some((index.0, name.to_owned(), writable)),
            Entry::Hole => None,
            Entry::Object { .. } => panic!("{entry:?}"),
        })
        .collect()
}

fn own(volume: &str, epoch: u64, index: u64, writable: bool) -> (u64, String, bool) {
    (index, format!("{volume}_{epoch:016x}_{index:016x}"), writable)
}

#[test]
fn headers_of_version_2_are_read() {
    let volume = legacy("goldvol1", None);
    assert_eq!(volume.version, LegacyVersion::V2);
    assert_eq!((volume.root.size, volume.root.block_size), (64 << 20, 4 << 20));
    assert_eq!((volume.root.generation, volume.root.state), (Generation(3), RootState::Clean));
    assert_eq!(legacy("goldsnap1", None).root.state, RootState::ReadOnly);
    assert_eq!(legacy("golddead1", None).root.state, RootState::Deleted);
    assert_eq!(legacy("goldbefore", None).root.state, RootState::Deleted);
}

#[test]
fn tables_of_version_2_are_read() {
    assert_eq!(
        names("goldvol1", None),
        [
            own("goldvol1", 2, 0, false),
            own("goldvol1", 1, 1, false),
            own("goldvol1", 3, 5, true),
            own("goldvol1", 2, 7, false),
            own("goldvol1", 1, 15, false)
        ]
    );
    assert_eq!(names("goldafter1", None), [own("goldbefore", 1, 1, true), own("goldafter1", 1, 2, true)]);
    assert_eq!(names("goldempty", None), []);
    assert_eq!(names("golddead1", None), []);
}

#[test]
fn a_map_of_version_1_is_read() {
    let text = |raw: &str| hash_text(&<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(raw)));
    assert_eq!(
        names("goldhash1", None),
        [
            (0, format!("archip_{}", text("private")), true),
            (1, text("shared"), false),
            (3, format!("archip_{ZERO_BLOCK}"), true),
            (4, text("last"), false)
        ]
    );
}

#[test]
fn a_map_of_version_0_is_read_only_if_its_size_is_told() {
    let text = |raw: &str| hash_text(&<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(raw)));
    let expected = [(0, text("first"), false), (2, text("third"), false)];
    assert_eq!(names("goldimage", Some(12 << 20)), expected);
    assert_eq!(names("goldimage", Some(40 << 20)), expected);
    let name = ObjectName::new("goldimage").expect("a name");
    assert!(Header::decode(&name, store()["goldimage"], None).is_err());
}

#[test]
fn what_was_writable_stays_so_until_the_first_snapshot() {
    let mut map = Map::open_legacy(legacy("goldvol1", None));
    load_all(&mut map);
    assert!(matches!(map.writability(BlockIndex(5)), Ok(Writability::Writable(_))));
    assert!(matches!(map.writability(BlockIndex(0)), Ok(Writability::Shared(_))));
    assert_eq!(map.writability(BlockIndex(2)), Ok(Writability::Hole));
}

#[test]
fn nothing_begins_with_a_map_that_is_not_upgraded() {
    let root = legacy("goldsnap1", None).root;
    let new = crate::NewVolume {
        id: VolumeId(9),
        size: root.size,
        created_by: RequestId::default(),
        created_unix_ms: 1,
        replaces: None,
    };
    let parent = ObjectName::new("goldsnap1").expect("a name");
    assert!(matches!(root.clone_as(new, &parent), Err(VolumeError::State { action: "clone", .. })));
    let mut map = Map::open_legacy(legacy("goldvol1", None));
    assert!(map.begin(crate::BootId([0; 16]), RequestId::default()).is_err());
}

#[test]
fn an_upgraded_map_says_what_the_tables_said() {
    let mut map = Map::open_legacy(legacy("goldvol1", None));
    assert!(matches!(map.upgrade(VolumeId(9), RequestId::default()), Err(VolumeError::NotLoaded(_))));
    load_all(&mut map);
    map.upgrade(VolumeId(9), RequestId::default()).expect("loaded");
    let plan = map.checkpoint(crate::Purpose::Close, RequestId::default()).expect("built");
    map.done();
    let root = Root::decode(&plan.root).expect("a root of ours");
    assert_eq!((root.id, root.generation, root.state), (VolumeId(9), Generation(3), RootState::Clean));
    let mut again = Map::open(root);
    for wanted in again.wanted(&(BlockIndex(0)..BlockIndex(16))) {
        let written = plan.writes.iter().find(|write| write.name == wanted.reads[0].name);
        again.load(&wanted.key, &written.expect("a node").bytes).expect("whole");
    }
    for at in 0..16 {
        assert_eq!(again.entry(BlockIndex(at)), map.entry(BlockIndex(at)));
    }
}

#[test]
fn a_leaf_of_small_blocks_lies_in_many_tables() {
    let mut map = legacy("goldvol1", None);
    map.root.block_size = 4096;
    // 32 entries a table, 16384 blocks.
    let reads = map.reads(1);
    assert_eq!(reads.len(), 16);
    assert_eq!(reads[0].name.as_str(), "goldvol1_0000000000000010");
    assert!(reads.iter().all(|read| (read.offset, read.length) == (0, Some(4096))));
}

#[test]
fn the_next_data_of_a_map_is_asked_of_the_right_leaf() {
    let mut map = legacy("goldvol1", None);
    map.root.size = 3 * 512 * u64::from(map.root.block_size);
    for (from, leaf) in [(0, 0), (600, 1), (1024, 2)] {
        let mut map = Map::open_legacy(map.clone());
        match map.next_data(BlockIndex(from)) {
            Err(VolumeError::NotLoaded(key)) => assert_eq!((key.level, key.index), (0, leaf)),
            other => panic!("{other:?}"),
        }
        let wanted = map.wanted(&(BlockIndex(from)..BlockIndex(from + 1)));
        assert_eq!(wanted.iter().map(|wanted| wanted.key.index).collect::<Vec<_>>(), [leaf]);
        assert_eq!(wanted[0].reads[0].offset, leaf * 512 * 128);
    }
}

#[test]
fn headers_that_nobody_wrote_are_refused() {
    let name = ObjectName::new("goldvol1").expect("a name");
    for (at, value) in [(7, 4), (16, 1), (23, 4), (8, 0xff), (24, 0xff), (0, 0)] {
        let mut bytes = store()["goldvol1"].to_vec();
        bytes[at] = value;
        assert!(Header::decode(&name, &bytes, None).is_err(), "{at}");
    }
    assert!(Header::decode(&name, &[], Some(1)).is_err());
}

#[test]
fn a_cut_off_table_is_lost_blocks_not_holes() {
    let map = legacy("goldvol1", None);
    assert!(map.decode_leaf(0, &[0; 2048]).is_err());
    assert!(map.decode_leaf(0, &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_breaks_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..1100), version in 0..4u8, v0_size in any::<Option<u64>>()
    ) {
        let name = ObjectName::new("noise1").expect("a name");
        let mut bytes = bytes;
        match version {
            1 if bytes.len() >= 4 => bytes[..4].copy_from_slice(&1u32.to_le_bytes()),
            2 | 3 if bytes.len() >= 8 => {
                bytes[..8].copy_from_slice(b"AMF.\0\0\0\x02");
                bytes[7] = version;
            }
            _ => {}
        }
        if let Ok(Header::Legacy(map)) = Header::decode(&name, &bytes, v0_size) {
            let last = map.leaf_count() - 1;
            for leaf in [0, last, u64::MAX] {
                let length: u64 = map.reads(leaf).iter().filter_map(|read| read.length).sum();
                let mut table = bytes.clone();
                table.resize(usize::try_from(length).expect("a leaf is small"), 0);
                drop(map.decode_leaf(leaf, &table));
            }
        }
    }

    #[test]
    fn noise_in_a_table_is_refused_or_read(at in 0..2048usize, flip in 1..=255u8) {
        let mut table = store()["goldvol1_0000000000000000"].to_vec();
        table[at] ^= flip;
        drop(legacy("goldvol1", None).decode_leaf(0, &table));
    }
}
