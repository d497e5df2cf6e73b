//! What each operation does when all goes well.

use protocol::{Entry, ErrorKind};

use super::rig::{BLOCK, Rig, kind};

#[test]
fn a_new_volume_is_all_holes_and_has_the_size_it_was_given() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 1000);
    let info = caller.client.info("volume").unwrap();
    assert_eq!((info.size_bytes, info.block_size, info.map_version), (1000 * u64::from(BLOCK), BLOCK, 3));
    let read = caller.map_read("volume", 0, 1000).unwrap();
    assert!(read.entries.iter().all(|entry| *entry == Entry::Hole));
    assert!(read.fence.is_some());
}

#[test]
fn an_unknown_volume_is_not_found() {
    let rig = Rig::new();
    let mut caller = rig.client();
    assert_eq!(kind(caller.client.info("nothing")), ErrorKind::NotFound);
    assert_eq!(kind(caller.map_read("nothing", 0, 1)), ErrorKind::NotFound);
    assert_eq!(kind(caller.map_write("nothing", 0, 1)), ErrorKind::NotFound);
    assert_eq!(kind(caller.client.open("nothing")), ErrorKind::NotFound);
    assert_eq!(kind(caller.client.close("nothing")), ErrorKind::NotFound);
    assert_eq!(kind(caller.client.remove("nothing")), ErrorKind::NotFound);
    assert_eq!(kind(caller.client.snapshot("nothing", "frozen")), ErrorKind::NotFound);
    assert_eq!(rig.world.lock_owner("nothing"), None);
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused() {
    let rig = Rig::new();
    let mut caller = rig.client();
    assert_eq!(kind(caller.client.create("volume", Some(0), None, None)), ErrorKind::Invalid);
    assert_eq!(kind(caller.client.create("five5", Some(1), None, None)), ErrorKind::Invalid);
    assert_eq!(kind(caller.client.create(&"a".repeat(83), Some(1), None, None)), ErrorKind::Invalid);
    caller.client.create(&"a".repeat(82), Some(1), None, None).unwrap();
    caller.create("volume", 10);
    assert_eq!(kind(caller.client.create("volume", Some(1), None, None)), ErrorKind::Exists);
    assert_eq!(kind(caller.map_read("volume", 10, 1)), ErrorKind::Invalid);
    assert_eq!(kind(caller.map_write("volume", 9, 2)), ErrorKind::Invalid);
}

#[test]
fn what_is_written_is_read_and_a_block_is_made_once() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.write("volume", 3, 7).unwrap();
    let again = caller.map_write("volume", 3, 1).unwrap();
    assert!(!again.has_changed);
    caller.write("volume", 3, 8).unwrap();
    assert_eq!(caller.read_all("volume", 5).unwrap(), [0, 0, 0, 8, 0]);
    assert_eq!(rig.world.block_names().len(), 1);
}

#[test]
fn many_blocks_are_made_with_one_request() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 1000);
    let made = caller.map_write("volume", 100, 64).unwrap();
    assert_eq!((made.first, made.entries.len(), made.has_changed), (100, 64, true));
    assert_eq!(rig.world.block_names().len(), 64);
}

#[test]
fn a_snapshot_keeps_its_bytes_and_a_clone_goes_its_own_way() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.write("volume", 1, 1).unwrap();
    caller.client.snapshot("volume", "first-snap").unwrap();
    caller.write("volume", 1, 2).unwrap();
    caller.write("volume", 2, 2).unwrap();
    caller.client.snapshot("volume", "second-snap").unwrap();
    caller.client.create("clone1", None, Some("first-snap"), None).unwrap();
    caller.write("clone1", 1, 3).unwrap();
    assert_eq!(caller.read_all("volume", 3).unwrap(), [0, 2, 2]);
    assert_eq!(caller.read_all("first-snap", 3).unwrap(), [0, 1, 0]);
    assert_eq!(caller.read_all("second-snap", 3).unwrap(), [0, 2, 2]);
    assert_eq!(caller.read_all("clone1", 3).unwrap(), [0, 3, 0]);
    assert_eq!(caller.names(), ["clone1", "first-snap", "second-snap", "volume"]);
    assert_eq!(kind(caller.map_write("first-snap", 0, 1)), ErrorKind::ReadOnly);
    assert_eq!(caller.map_read("first-snap", 0, 1).unwrap().fence, Some(0));
    assert_eq!(kind(caller.client.snapshot("volume", "first-snap")), ErrorKind::Exists);
}

#[test]
fn snapshots_of_snapshots_and_clones_larger_than_theirs() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.write("volume", 9, 9).unwrap();
    caller.client.snapshot("volume", "snapshot").unwrap();
    caller.client.snapshot("snapshot", "of-snapshot").unwrap();
    caller.client.remove("snapshot").unwrap();
    let size = 5000 * u64::from(BLOCK);
    caller.client.create("larger", Some(size), Some("of-snapshot"), None).unwrap();
    assert_eq!(caller.client.info("larger").unwrap().size_bytes, size);
    assert_eq!(caller.read("larger", 9).unwrap(), 9);
    caller.write("larger", 4999, 4).unwrap();
    assert_eq!(caller.read("larger", 4999).unwrap(), 4);
    let small = caller.client.create("smaller", Some(2), Some("of-snapshot"), None);
    assert_eq!(kind(small), ErrorKind::Invalid);
    assert_eq!(kind(caller.client.create("of-volume", None, Some("volume"), None)), ErrorKind::Invalid);
    assert_eq!(kind(caller.client.create("of-nothing", None, Some("nothing"), None)), ErrorKind::NotFound);
}

#[test]
fn open_and_close_take_and_give_back_the_lock() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    assert_eq!(rig.world.lock_owner("volume"), None);
    assert_eq!(kind(caller.client.close("volume")), ErrorKind::NotOwner);
    caller.client.open("volume").unwrap();
    caller.client.open("volume").unwrap();
    assert_eq!(rig.world.lock_owner("volume").as_deref(), Some("a"));
    caller.client.close("volume").unwrap();
    assert_eq!(rig.world.lock_owner("volume"), None);
    assert_eq!(kind(caller.client.close("volume")), ErrorKind::NotOwner);
}

#[test]
fn a_read_takes_the_lock_and_keeps_it_and_a_snapshot_leaves_it_as_it_was() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.client.snapshot("volume", "snap-one").unwrap();
    assert_eq!(rig.world.lock_owner("volume"), None);
    caller.map_read("volume", 0, 1).unwrap();
    assert_eq!(rig.world.lock_owner("volume").as_deref(), Some("a"));
    caller.client.snapshot("volume", "snap-two").unwrap();
    assert_eq!(rig.world.lock_owner("volume").as_deref(), Some("a"));
}

#[test]
fn a_deleted_name_can_be_used_again_and_its_objects_go() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 2000);
    for index in [0, 5, 600, 1999] {
        caller.write("volume", index, 1).unwrap();
    }
    let before = rig.world.block_names();
    caller.client.remove("volume").unwrap();
    assert_eq!(kind(caller.client.remove("volume")), ErrorKind::NotFound);
    assert_eq!(kind(caller.map_write("volume", 0, 1)), ErrorKind::NotFound);
    assert!(caller.names().is_empty());
    caller.create("volume", 2000);
    assert_eq!(caller.read("volume", 5).unwrap(), 0);
    caller.write("volume", 5, 2).unwrap();
    rig.world.until(|state| before.iter().all(|name| !state.has_block(name)));
    let after = rig.world.block_names();
    assert_eq!(after.len(), 1);
    assert!(after.iter().all(|name| !before.contains(name)));
}

#[test]
fn punched_blocks_are_holes_and_their_names_are_not_used_again() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.write("volume", 2, 1).unwrap();
    let before = rig.world.block_names();
    caller.punch("volume", 0, 10).unwrap();
    assert_eq!(caller.read("volume", 2).unwrap(), 0);
    caller.write("volume", 2, 2).unwrap();
    assert_eq!(caller.read("volume", 2).unwrap(), 2);
    caller.client.close("volume").unwrap();
    rig.world.until(|state| !state.has_block(&before[0]));
    assert_eq!(caller.read("volume", 2).unwrap(), 2);
}

#[test]
fn renamed_volumes_are_found_under_the_new_name_alone() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.create("another", 10);
    caller.write("volume", 1, 1).unwrap();
    assert_eq!(kind(caller.client.rename("nothing", "renamed")), ErrorKind::NotFound);
    assert_eq!(kind(caller.client.rename("volume", "another")), ErrorKind::Exists);
    caller.client.rename("volume", "renamed").unwrap();
    assert_eq!(caller.names(), ["another", "renamed"]);
    assert_eq!(caller.read("renamed", 1).unwrap(), 1);
    assert_eq!(kind(caller.client.info("volume")), ErrorKind::NotFound);
    caller.create("volume", 10);
    assert_eq!(caller.read("volume", 1).unwrap(), 0);
    caller.write("volume", 1, 2).unwrap();
    caller.write("renamed", 1, 3).unwrap();
    caller.client.snapshot("renamed", "its-snap").unwrap();
    caller.client.rename("its-snap", "moved-snap").unwrap();
    assert_eq!(caller.read_all("moved-snap", 2).unwrap(), [0, 3]);
    assert_eq!(caller.read_all("volume", 2).unwrap(), [0, 2]);
    assert_eq!(rig.world.lock_owner("renamed").as_deref(), Some("a"));
}

#[test]
fn what_a_shrink_cuts_off_never_comes_back() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    for index in 0..10 {
        caller.write("volume", index, 1).unwrap();
    }
    let half = 4 * u64::from(BLOCK) + 100;
    assert_eq!(kind(caller.client.resize("volume", half, false)), ErrorKind::Invalid);
    caller.client.resize("volume", half, true).unwrap();
    assert_eq!(caller.client.info("volume").unwrap().size_bytes, half);
    caller.client.resize("volume", 10 * u64::from(BLOCK), false).unwrap();
    assert_eq!(caller.read_all("volume", 10).unwrap(), [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
    let last = caller.map_read("volume", 4, 1).unwrap();
    let bytes = rig.world.block(&super::rig::object_of(&last.entries[0], 4).unwrap()).unwrap();
    assert!(bytes[..100].iter().all(|byte| *byte == 1));
    assert!(bytes[100..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_shrunk_volume_leaves_its_snapshot_alone() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.write("volume", 4, 1).unwrap();
    caller.client.snapshot("volume", "snapshot").unwrap();
    caller.client.resize("volume", 4 * u64::from(BLOCK) + 1, true).unwrap();
    caller.client.resize("volume", 20 * u64::from(BLOCK), true).unwrap();
    let at_end = |caller: &mut super::rig::Caller, name: &str| {
        let entries = caller.map_read(name, 4, 1).unwrap();
        let object = super::rig::object_of(&entries.entries[0], 4).unwrap();
        caller.world.block(&object).unwrap()[1]
    };
    assert_eq!(at_end(&mut caller, "snapshot"), 1);
    assert_eq!(at_end(&mut caller, "volume"), 0);
}

#[test]
fn a_huge_volume_opens_and_is_written_at_its_end() {
    let rig = Rig::new();
    let mut caller = rig.client();
    let size = 1 << 50;
    caller.client.create("petabyte", Some(size), None, None).unwrap();
    let last = size / (4 << 20) - 1;
    let made = caller.map_write("petabyte", last, 1).unwrap();
    assert!(made.has_changed);
    caller.client.snapshot("petabyte", "its-snap").unwrap();
    assert!(matches!(caller.map_read("its-snap", last, 1).unwrap().entries[0], Entry::Object { .. }));
    caller.client.close("petabyte").unwrap();
    assert!(rig.world.map_names().len() < 20);
}
