//! Snapshots: of volumes, of snapshots, under writes.

use protocol::{ErrorKind, VolumeKind};
use tests::{TestStack, pattern};

const MIB: u64 = 1 << 20;

fn first_bytes(client: &mut client::Client, volume: &str) -> Vec<u8> {
    let mut bytes = vec![0xaa; 4096];
    client.read(volume, 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn case_7_each_snapshot_shows_its_own_time() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    for time in 1..=3 {
        client.write("volume1", 0, &pattern(time, 4096)).unwrap();
        client.snapshot("volume1", &format!("time-{time}-")).unwrap();
    }
    client.write("volume1", 0, &pattern(4, 4096)).unwrap();
    for time in 1..=3 {
        assert_eq!(first_bytes(&mut client, &format!("time-{time}-")), pattern(time, 4096), "time {time}");
    }
    assert_eq!(first_bytes(&mut client, "volume1"), pattern(4, 4096));
    assert_eq!(client.snapshot("volume1", "time-1-").unwrap_err().kind, ErrorKind::Exists);
    assert_eq!(client.write("time-1-", 0, &[0; 512]).unwrap_err().kind, ErrorKind::ReadOnly);
    assert_eq!(client.info("time-1-").unwrap().kind, VolumeKind::Snapshot);
}

#[test]
fn a_snapshot_of_a_snapshot_is_the_same_bytes() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    client.write("volume1", 0, &pattern(1, 4096)).unwrap();
    client.snapshot("volume1", "snapshot1").unwrap();
    client.snapshot("snapshot1", "snapshot2").unwrap();
    client.remove("snapshot1").unwrap();
    client.write("volume1", 0, &pattern(2, 4096)).unwrap();
    assert_eq!(first_bytes(&mut client, "snapshot2"), pattern(1, 4096));
}

#[test]
fn the_name_of_a_removed_snapshot_can_be_used_again() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    client.snapshot("volume1", "snapshot1").unwrap();
    client.remove("snapshot1").unwrap();
    client.write("volume1", 0, &pattern(2, 4096)).unwrap();
    client.snapshot("volume1", "snapshot1").unwrap();
    assert_eq!(first_bytes(&mut client, "snapshot1"), pattern(2, 4096));
}

#[test]
fn a_snapshot_of_an_unknown_volume_is_refused() {
    let stack = TestStack::start();
    assert_eq!(stack.client().snapshot("nobody1", "snapshot1").unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn the_hash_of_a_snapshot_tells_its_content() {
    let stack = TestStack::start();
    let mut client = stack.client();
    for name in ["volume1", "volume2"] {
        client.create(name, Some(16 * MIB), None, None).unwrap();
        client.write(name, 5 * MIB, &pattern(1, 100_000)).unwrap();
        client.snapshot(name, &format!("{name}-then")).unwrap();
    }
    let first = client.hash("volume1-then").unwrap();
    assert_eq!(first, client.hash("volume2-then").unwrap());
    client.write("volume2", 0, &[1]).unwrap();
    client.snapshot("volume2", "volume2-later").unwrap();
    assert_ne!(first, client.hash("volume2-later").unwrap());
}

#[test]
fn compare_names_what_differs() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(64 * MIB), None, None).unwrap();
    client.write("volume1", 0, &pattern(1, 4096)).unwrap();
    client.snapshot("volume1", "before").unwrap();
    client.write("volume1", 20 * MIB, &[1]).unwrap();
    client.snapshot("volume1", "after1").unwrap();
    let found = client.compare("after1", "before", 0).unwrap();
    assert_eq!((found.ranges, found.resume), (vec![(20 * MIB, 4 * MIB)], None));
    let same = client.compare("before", "before", 0).unwrap();
    assert!(same.ranges.is_empty());
}
