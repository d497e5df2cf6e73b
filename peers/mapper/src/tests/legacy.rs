//! Volumes that the original wrote.

use protocol::{BlockList, ErrorKind, VolumeKind};

use super::{
    collecting::collect,
    rig::{BLOCK, Rig, kind},
};

const FLAG_READ_ONLY: u32 = 1;
const FLAG_DELETED: u32 = 2;
pub(super) const WRITABLE: u8 = 1;
pub(super) const OWNED: u8 = 2;
pub(super) const ZERO: u8 = 4;

/// A version 2 header, and its table.
pub(super) fn put_v2(rig: &Rig, name: &str, flags: u32, blocks: &[(u8, &str)]) {
    let size = u64::try_from(blocks.len()).unwrap() * u64::from(BLOCK);
    let mut header = b"AMF.".to_vec();
    header.extend(2_u32.to_be_bytes());
    header.extend(size.to_be_bytes());
    header.extend(BLOCK.to_be_bytes());
    header.extend(flags.to_be_bytes());
    header.extend(3_u64.to_be_bytes());
    rig.world.put_map(name, &header);
    let mut table = Vec::new();
    for (flags, block) in blocks {
        table.push(*flags);
        table.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        let mut field = block.as_bytes().to_vec();
        field.resize(123, 0);
        table.extend(field);
    }
    rig.world.put_map(&format!("{name}_{:016x}", 0), &table);
}

fn with_volume() -> Rig {
    let rig = Rig::new();
    let own = "legacy1_0000000000000003_0000000000000001";
    let shared = "legacy1_0000000000000001_0000000000000002";
    rig.world.put_block(own, &[1; BLOCK as usize]);
    rig.world.put_block(shared, &[2; BLOCK as usize]);
    rig.world.sync_block(own);
    rig.world.sync_block(shared);
    let zero = volume::ZERO_BLOCK;
    let writable = [(ZERO, zero), (WRITABLE | OWNED, own), (OWNED, shared), (ZERO, zero)];
    put_v2(&rig, "legacy1", 0, &writable);
    put_v2(&rig, "legacysnap", FLAG_READ_ONLY, &[(ZERO, zero), (ZERO, zero), (OWNED, shared)]);
    put_v2(&rig, "legacydead", FLAG_DELETED, &[(ZERO, zero)]);
    rig
}

#[test]
fn maps_of_the_original_are_read_in_place() {
    let rig = with_volume();
    let mut caller = rig.client();
    let maps = rig.world.map_names();
    assert_eq!(caller.read_all("legacy1", 4).unwrap(), [0, 1, 2, 0]);
    assert_eq!(caller.read_all("legacysnap", 3).unwrap(), [0, 0, 2]);
    let info = caller.client.info("legacy1").unwrap();
    assert_eq!((info.map_version, info.kind, info.generation), (2, VolumeKind::Volume, 3));
    assert_eq!(caller.client.info("legacysnap").unwrap().kind, VolumeKind::Snapshot);
    assert_eq!(kind(caller.client.info("legacydead")), ErrorKind::NotFound);
    assert_eq!(caller.names(), ["legacy1", "legacysnap"]);
    caller.client.close("legacy1").unwrap();
    assert_eq!(rig.world.map_names(), maps);
}

#[test]
fn the_first_write_upgrades_a_map_and_keeps_what_it_shares() {
    let mut rig = with_volume();
    let mut caller = rig.client();
    caller.write_durably("legacy1", 0, 5).unwrap();
    caller.write_durably("legacy1", 2, 6).unwrap();
    assert_eq!(caller.client.info("legacy1").unwrap().map_version, 3);
    // Its own block is written where it is.
    caller.write_durably("legacy1", 1, 7).unwrap();
    assert_eq!(rig.world.block("legacy1_0000000000000003_0000000000000001").unwrap()[0], 7);
    rig.lose_power();
    let mut caller = rig.client();
    assert_eq!(caller.read_all("legacy1", 4).unwrap(), [5, 7, 6, 0]);
    assert_eq!(caller.read_all("legacysnap", 3).unwrap(), [0, 0, 2]);
}

#[test]
fn snapshots_and_clones_of_the_originals_volumes_go_their_own_ways() {
    let rig = with_volume();
    let mut caller = rig.client();
    caller.client.snapshot("legacy1", "snapshot").unwrap();
    caller.write("legacy1", 1, 9).unwrap();
    caller.client.create("cloned", None, Some("legacysnap"), None).unwrap();
    caller.write("cloned", 2, 8).unwrap();
    caller.client.snapshot("legacysnap", "of-snap").unwrap();
    assert_eq!(caller.read_all("legacy1", 4).unwrap(), [0, 9, 2, 0]);
    assert_eq!(caller.read_all("snapshot", 4).unwrap(), [0, 1, 2, 0]);
    assert_eq!(caller.read_all("cloned", 3).unwrap(), [0, 0, 8]);
    assert_eq!(caller.read_all("legacysnap", 3).unwrap(), [0, 0, 2]);
    assert_eq!(caller.read_all("of-snap", 3).unwrap(), [0, 0, 2]);
    caller.client.remove("legacysnap").unwrap();
    collect(&mut caller, false);
    assert_eq!(caller.read_all("cloned", 3).unwrap(), [0, 0, 8]);
    assert_eq!(caller.read_all("of-snap", 3).unwrap(), [0, 0, 2]);
}

#[test]
fn clones_of_an_image_of_blocks_outlive_it() {
    let rig = with_volume();
    let mut caller = rig.client();
    let block = protocol::BlockSource {
        name: b"legacy1_0000000000000001_0000000000000002".to_vec(),
        is_read_only: true,
    };
    let (block_size, size_bytes) = (BLOCK, 2 * u64::from(BLOCK));
    let list = BlockList { size_bytes, block_size, read_only: true, blocks: vec![block.clone(), block] };
    caller.client.create_from_blocks("image1", &list).unwrap();
    caller.client.create("cloned", None, Some("image1"), None).unwrap();
    caller.client.remove("image1").unwrap();
    collect(&mut caller, false);
    assert_eq!(caller.read_all("cloned", 2).unwrap(), [2, 2]);
}

#[test]
fn all_else_is_done_with_them_as_with_ours() {
    let rig = with_volume();
    let mut caller = rig.client();
    caller.client.rename("legacy1", "renamed").unwrap();
    assert_eq!(caller.read_all("renamed", 4).unwrap(), [0, 1, 2, 0]);
    caller.client.resize("renamed", 2 * u64::from(BLOCK), true).unwrap();
    assert_eq!(caller.read_all("renamed", 2).unwrap(), [0, 1]);
    caller.client.remove("legacysnap").unwrap();
    caller.client.remove("renamed").unwrap();
    caller.create("legacydead", 4);
    caller.write("legacydead", 0, 1).unwrap();
    assert_eq!(caller.names(), ["legacydead"]);
    caller.client.update("legacydead", None).unwrap();
}

#[test]
fn an_update_that_dies_leaves_the_old_map_or_the_new_one() {
    for after in 1..12 {
        let mut rig = with_volume();
        let mut caller = rig.client();
        rig.world.break_after(super::memory_store::Fault { after, is_done: after % 2 == 0 });
        drop(caller.client.update("legacy1", None));
        rig.lose_power();
        let mut caller = rig.client();
        assert_eq!(caller.read_all("legacy1", 4).unwrap(), [0, 1, 2, 0]);
        caller.client.update("legacy1", None).unwrap();
        assert_eq!(caller.client.info("legacy1").unwrap().map_version, 3);
    }
}

#[test]
fn version_1_maps_are_read_and_upgraded() {
    let rig = Rig::new();
    let block = 4_u64 << 20;
    let mut map = 1_u32.to_le_bytes().to_vec();
    map.extend((2 * block).to_le_bytes());
    let hash = [0xab; 32];
    let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    map.push(0);
    map.extend(hash);
    map.push(1);
    map.extend(hash);
    rig.world.put_map("version1", &map);
    rig.world.put_block(&text, &[3; 16]);
    rig.world.put_block(&format!("archip_{text}"), &[4; 16]);
    let mut caller = rig.client();
    assert_eq!(caller.read_all("version1", 2).unwrap(), [3, 4]);
    assert_eq!(caller.client.info("version1").unwrap().map_version, 1);
    caller.client.update("version1", None).unwrap();
    assert_eq!(caller.read_all("version1", 2).unwrap(), [3, 4]);
    assert_eq!(caller.client.info("version1").unwrap().map_version, 3);
}

#[test]
fn what_is_no_map_is_listed_with_the_reason_and_harms_nobody() {
    let rig = Rig::new();
    rig.world.put_map("garbage", b"this is no map at all");
    let mut caller = rig.client();
    caller.create("volume", 4);
    let listed = caller.client.list().unwrap();
    assert!(listed[0].info.as_ref().unwrap_err().contains("magic"));
    assert!(listed[1].info.is_ok());
    assert_eq!(kind(caller.map_read("garbage", 0, 1)), ErrorKind::Corrupt);
    assert_eq!(kind(caller.client.remove("garbage")), ErrorKind::Corrupt);
    assert_eq!(kind(caller.client.create("garbage", Some(1), None, None)), ErrorKind::Corrupt);
}

#[test]
fn tables_and_blocks_go_with_the_volumes_that_used_them() {
    let rig = with_volume();
    let mut caller = rig.client();
    let table = |name: &str| format!("{name}_{:016x}", 0);
    assert_eq!(super::collecting::collect(&mut caller, false), 1);
    assert!(!rig.world.map_names().contains(&table("legacydead")));
    caller.client.update("legacysnap", None).unwrap();
    assert_eq!(super::collecting::collect(&mut caller, false), 1);
    assert!(rig.world.map_names().contains(&table("legacy1")));
    assert_eq!(caller.read_all("legacysnap", 3).unwrap(), [0, 0, 2]);
    caller.client.remove("legacy1").unwrap();
    rig.world.until(|state| !state.has_block("legacy1_0000000000000003_0000000000000001"));
    super::collecting::collect(&mut caller, false);
    assert!(!rig.world.map_names().contains(&table("legacy1")));
    // The snapshot still uses it.
    assert_eq!(rig.world.block_names(), ["legacy1_0000000000000001_0000000000000002"]);
}

/// Two blocks with content, a hole between them, in a map that has nothing but hashes.
fn put_v0(rig: &Rig) {
    let mut map = Vec::new();
    for hash in [[0xab; 32], ZERO_HASH, [0xcd; 32]] {
        map.extend(hash);
        let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        rig.world.put_block(&text, &[hash[0]; 16]);
    }
    rig.world.put_map("version0", &map);
}

/// SHA-256 of nothing.
const ZERO_HASH: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

#[test]
fn version_0_maps_are_upgraded_by_who_knows_their_size() {
    let rig = Rig::new();
    put_v0(&rig);
    let mut caller = rig.client();
    let size = 3 * (4_u64 << 20);
    assert_eq!(kind(caller.client.update("version0", None)), ErrorKind::Corrupt);
    assert_eq!(kind(caller.client.update("version0", Some(0))), ErrorKind::Corrupt);
    caller.client.update("version0", Some(size)).unwrap();
    let info = caller.client.info("version0").unwrap();
    assert_eq!((info.map_version, info.kind, info.size_bytes), (3, VolumeKind::Snapshot, size));
    assert_eq!(caller.read_all("version0", 3).unwrap(), [0xab, 0, 0xcd]);
    // Told again, or of another: nothing changes.
    caller.client.update("version0", Some(2 * size)).unwrap();
    assert_eq!(caller.client.info("version0").unwrap().size_bytes, size);
    caller.client.create("cloned", None, Some("version0"), None).unwrap();
    caller.write("cloned", 0, 1).unwrap();
    assert_eq!(caller.read_all("cloned", 3).unwrap(), [1, 0, 0xcd]);
    assert_eq!(caller.read_all("version0", 3).unwrap(), [0xab, 0, 0xcd]);
}

/// A volume and a snapshot as the original named them until version 0.4.
fn with_former_names() -> Rig {
    let rig = Rig::new();
    let own = "archip_former1_0000000000000003_0000000000000001";
    rig.world.put_block(own, &[1; BLOCK as usize]);
    rig.world.sync_block(own);
    let zero = volume::ZERO_BLOCK;
    put_v2(&rig, "archip_former1", 0, &[(ZERO, zero), (WRITABLE | OWNED, own)]);
    put_v2(&rig, "archip_frozen", FLAG_READ_ONLY, &[(ZERO, zero), (OWNED, own)]);
    rig
}

#[test]
fn what_lies_under_a_former_name_is_served_and_listed_under_the_proper_one() {
    let rig = with_former_names();
    put_v2(&rig, "between", FLAG_READ_ONLY, &[(ZERO, volume::ZERO_BLOCK)]);
    let mut caller = rig.client();
    assert_eq!(caller.read_all("former1", 2).unwrap(), [0, 1]);
    assert_eq!(caller.read_all("frozen", 2).unwrap(), [0, 1]);
    assert_eq!(caller.client.info("former1").unwrap().name, "former1");
    assert_eq!(kind(caller.client.info("archip_former1")), ErrorKind::NotFound);
    assert_eq!(caller.names(), ["between", "former1", "frozen"]);
    assert_eq!(kind(caller.client.create("former1", Some(1), None, None)), ErrorKind::Exists);
}

#[test]
fn the_first_write_gives_a_volume_its_proper_name() {
    let mut rig = with_former_names();
    let mut caller = rig.client();
    caller.write_durably("former1", 0, 5).unwrap();
    rig.world.until(|state| !state.has_map("archip_former1"));
    assert!(rig.world.map_names().contains(&"former1".to_owned()));
    rig.lose_power();
    let mut caller = rig.client();
    assert_eq!(caller.read_all("former1", 2).unwrap(), [5, 1]);
    assert_eq!(caller.names(), ["former1", "frozen"]);
    super::collecting::collect(&mut caller, false);
    assert!(!rig.world.map_names().contains(&format!("archip_former1_{:016x}", 0)));
    assert_eq!(caller.read_all("frozen", 2).unwrap(), [0, 1]);
    caller.client.remove("frozen").unwrap();
    caller.client.rename("former1", "renamed").unwrap();
    assert_eq!(caller.names(), ["renamed"]);
    assert_eq!(caller.read_all("renamed", 2).unwrap(), [5, 1]);
}

#[test]
fn an_upgrade_to_the_proper_name_that_dies_leaves_one_volume() {
    for after in 1..12 {
        let mut rig = with_former_names();
        let mut caller = rig.client();
        rig.world.break_after(super::memory_store::Fault { after, is_done: after % 2 == 0 });
        drop(caller.client.update("former1", None));
        rig.lose_power();
        let mut caller = rig.client();
        assert_eq!(caller.read_all("former1", 2).unwrap(), [0, 1]);
        caller.client.update("former1", None).unwrap();
        assert_eq!(caller.client.info("former1").unwrap().map_version, 3);
        assert_eq!(caller.names(), ["former1", "frozen"]);
    }
}

#[test]
fn the_hash_of_a_vast_snapshot_counts_its_holes_together() {
    let rig = Rig::new();
    let mut caller = rig.client();
    let pebibyte = 1_u64 << 50;
    caller.client.create("vast01", Some(pebibyte), None, Some(4 << 20)).unwrap();
    caller.client.snapshot("vast01", "vast-empty").unwrap();
    let mut merkle = volume::Merkle::new();
    merkle.add_holes(pebibyte / (4 << 20));
    let first = caller.map_read("vast01", 0, 1).unwrap();
    assert_eq!(first.holes_after, pebibyte / (4 << 20) - 1);
    assert_eq!(caller.client.hash("vast-empty").unwrap(), merkle.finish());
}
