//! The stack as a person uses it, with blocks, maps or both in RADOS.

use protocol::ErrorKind;
use tests::{
    Ceph, TestStack, pattern,
    place::{Place, started},
};

use crate::shared;

const MIB: u64 = 1 << 20;
const LENGTH: usize = 5 << 20;

/// Create, write, snapshot, clone, read, remove, collect.
pub(crate) fn tell_the_story(stack: &TestStack) {
    let mut client = stack.client();
    client.create("volume1", Some(64 * MIB), None, None).unwrap();
    client.write("volume1", 3 * MIB, &pattern(1, LENGTH)).unwrap();
    client.snapshot("volume1", "snapshot1").unwrap();
    client.write("volume1", 3 * MIB + 5, &pattern(2, LENGTH)).unwrap();
    client.create("volume2", None, Some("snapshot1"), None).unwrap();
    client.write("volume2", 40 * MIB, &pattern(3, LENGTH)).unwrap();
    assert_read(&mut client, "snapshot1", 3 * MIB, &pattern(1, LENGTH));
    assert_read(&mut client, "volume1", 3 * MIB + 5, &pattern(2, LENGTH));
    assert_read(&mut client, "volume2", 3 * MIB, &pattern(1, LENGTH));
    assert_read(&mut client, "volume2", 40 * MIB, &pattern(3, LENGTH));
    let names: Vec<String> = client.list().unwrap().into_iter().map(|volume| volume.name).collect();
    assert_eq!(names, ["snapshot1", "volume1", "volume2"]);
    for name in ["volume1", "snapshot1"] {
        client.close(name).ok();
        client.remove(name).unwrap();
    }
    stack.archipelago(&["gc"]).done();
    assert_read(&mut client, "volume2", 3 * MIB, &pattern(1, LENGTH));
    assert_read(&mut client, "volume2", 40 * MIB, &pattern(3, LENGTH));
    assert_eq!(client.info("volume1").unwrap_err().kind, ErrorKind::NotFound);
    client.close("volume2").ok();
    client.remove("volume2").unwrap();
    stack.archipelago(&["gc"]).done();
}

fn assert_read(client: &mut client::Client, volume: &str, offset: u64, expected: &[u8]) {
    let mut bytes = vec![0xaa; expected.len()];
    client.read(volume, offset, &mut bytes).unwrap();
    assert!(bytes == expected, "{volume} at {offset}");
}

fn blocks_left(ceph: &Ceph, pool: &str, namespace: &str) -> Vec<String> {
    let listed = ceph.rados(&["-p", pool, "-N", namespace, "ls"]).done();
    listed.lines().filter(|name| name.starts_with("b.")).map(str::to_owned).collect()
}

#[test]
fn blocks_and_maps_lie_in_pools_and_namespaces_of_their_own() {
    let Some(ceph) = shared("stacks::blocks_and_maps_lie_in_pools_and_namespaces_of_their_own") else {
        return;
    };
    let stack = started(&ceph, Place::Pool("blocks", "of-stack"), Place::Pool("maps", "maps-of-stack"));
    tell_the_story(&stack);
    assert_eq!(blocks_left(&ceph, "blocks", "of-stack"), [""; 0]);
}

#[test]
fn blocks_and_maps_share_a_pool() {
    let Some(ceph) = shared("stacks::blocks_and_maps_share_a_pool") else { return };
    tell_the_story(&started(&ceph, Place::Pool("blocks", "one"), Place::Pool("blocks", "two")));
}

#[test]
fn blocks_lie_in_rados_and_maps_in_files() {
    let Some(ceph) = shared("stacks::blocks_lie_in_rados_and_maps_in_files") else { return };
    tell_the_story(&started(&ceph, Place::Pool("blocks", "mixed"), Place::Files));
    assert_eq!(blocks_left(&ceph, "blocks", "mixed"), [""; 0]);
}

#[test]
fn maps_lie_in_rados_and_blocks_in_files() {
    let Some(ceph) = shared("stacks::maps_lie_in_rados_and_blocks_in_files") else { return };
    tell_the_story(&started(&ceph, Place::Files, Place::Pool("maps", "mixed")));
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let Some(ceph) = shared("stacks::what_was_written_is_there_after_a_restart") else { return };
    let mut stack = started(&ceph, Place::Pool("blocks", "again"), Place::Pool("maps", "again"));
    let mut client = stack.client();
    client.create("volume1", Some(64 * MIB), None, None).unwrap();
    client.write("volume1", 7, &pattern(1, LENGTH)).unwrap();
    drop(client);
    stack.kill();
    stack.run();
    assert_read(&mut stack.client(), "volume1", 7, &pattern(1, LENGTH));
}
