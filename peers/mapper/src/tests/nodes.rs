//! Two nodes on one store.

use std::thread;

use protocol::{ErrorKind, Op};

use super::rig::{Rig, kind};

fn two_nodes() -> Rig {
    let mut rig = Rig::new();
    rig.start_node();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.write_durably("volume", 0, 1).unwrap();
    rig
}

#[test]
fn without_the_lock_reads_go_on_uncached_and_all_else_fails_at_once() {
    let rig = two_nodes();
    let mut other = rig.client_of(1);
    let read = other.map_read("volume", 0, 1).unwrap();
    assert_eq!(read.fence, None);
    assert_eq!(other.read("volume", 0).unwrap(), 1);
    assert_eq!(kind(other.client.open("volume")), ErrorKind::Busy);
    assert_eq!(kind(other.client.close("volume")), ErrorKind::NotOwner);
    assert_eq!(kind(other.client.snapshot("volume", "snapshot")), ErrorKind::Busy);
    assert_eq!(kind(other.client.remove("volume")), ErrorKind::Busy);
    assert_eq!(kind(other.client.rename("volume", "renamed")), ErrorKind::Busy);
    assert_eq!(kind(other.client.resize("volume", 1, true)), ErrorKind::Busy);
    assert_eq!(other.client.info("volume").unwrap().lock.unwrap().owner.as_deref(), Some("a"));
    assert_eq!(rig.world.lock_owner("snapshot"), None);
    assert_eq!(rig.client().read("volume", 0).unwrap(), 1);
}

#[test]
fn a_write_waits_until_the_volume_is_closed_elsewhere() {
    let rig = two_nodes();
    let mut other = rig.client_of(1);
    let writer = thread::spawn(move || other.write("volume", 0, 2));
    // The writer waits at the store.
    rig.world.until(|state| state.waits(Op::Acquire));
    assert_eq!(rig.client().read("volume", 0).unwrap(), 1);
    rig.client().client.close("volume").unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(rig.world.lock_owner("volume").as_deref(), Some("b"));
    assert_eq!(rig.client().read("volume", 0).unwrap(), 2);
}

#[test]
fn a_read_goes_on_while_a_write_of_the_same_node_waits() {
    let rig = two_nodes();
    let (mut writing, mut reading) = (rig.client_of(1), rig.client_of(1));
    let writer = thread::spawn(move || writing.write("volume", 0, 2));
    rig.world.until(|state| state.waits(Op::Acquire));
    assert_eq!(reading.read("volume", 0).unwrap(), 1);
    rig.client().client.close("volume").unwrap();
    writer.join().unwrap().unwrap();
}

#[test]
fn who_lost_the_lock_can_change_nothing_any_more() {
    let rig = two_nodes();
    let (mut first, mut second) = (rig.client(), rig.client_of(1));
    first.write("volume", 1, 1).unwrap();
    first.commit("volume").unwrap();
    second.client.unlock("volume", true).unwrap();
    second.write("volume", 0, 2).unwrap();
    assert_eq!(kind(first.map_write("volume", 5, 1)), ErrorKind::NotOwner);
    assert_eq!(second.read_all("volume", 6).unwrap(), [2, 1, 0, 0, 0, 0]);
    // What it had in memory is gone: it reads what the new owner wrote.
    assert_eq!(first.read("volume", 0).unwrap(), 2);
    assert_eq!(first.map_read("volume", 0, 1).unwrap().fence, None);
    second.client.close("volume").unwrap();
    first.write("volume", 5, 3).unwrap();
    assert_eq!(second.read_all("volume", 6).unwrap(), [2, 1, 0, 0, 0, 3]);
}

#[test]
fn what_another_owner_did_not_see_does_not_come_back() {
    for is_stopped in [false, true] {
        let mut rig = two_nodes();
        let (mut first, mut second) = (rig.client(), rig.client_of(1));
        first.write("volume", 1, 1).unwrap();
        second.client.unlock("volume", true).unwrap();
        second.client.open("volume").unwrap();
        assert_eq!(second.read_all("volume", 2).unwrap(), [1, 0]);
        second.client.close("volume").unwrap();
        if is_stopped {
            drop(first);
            rig.crash();
        }
        let mut first = rig.client();
        first.client.open("volume").unwrap();
        assert_eq!(first.read_all("volume", 2).unwrap(), [1, 0]);
        first.write("volume", 2, 2).unwrap();
        assert_eq!(first.read_all("volume", 3).unwrap(), [1, 0, 2]);
    }
}

#[test]
fn names_of_two_owners_never_meet() {
    let rig = two_nodes();
    let (mut first, mut second) = (rig.client(), rig.client_of(1));
    for round in 0..4 {
        first.client.unlock("volume", true).unwrap();
        // The first time after the break it learns that it lost the lock.
        drop(second.map_write("volume", 2 + 2 * round, 1));
        second.map_write("volume", 2 + 2 * round, 1).unwrap();
        second.client.unlock("volume", true).unwrap();
        drop(first.map_write("volume", 3 + 2 * round, 1));
        first.map_write("volume", 3 + 2 * round, 1).unwrap();
    }
    let blocks = rig.world.block_names();
    let copies: std::collections::BTreeSet<_> = blocks.iter().collect();
    assert_eq!(copies.len(), blocks.len());
}

#[test]
fn a_snapshot_is_read_by_all_and_seen_to_be_gone() {
    let rig = two_nodes();
    let (mut first, mut second) = (rig.client(), rig.client_of(1));
    first.client.snapshot("volume", "snapshot").unwrap();
    assert_eq!(first.map_read("snapshot", 0, 1).unwrap().fence, Some(0));
    assert_eq!(second.map_read("snapshot", 0, 1).unwrap().fence, Some(0));
    second.client.remove("snapshot").unwrap();
    second.create("snapshot", 10);
    assert_eq!(first.read("snapshot", 0).unwrap(), 0);
}

#[test]
fn a_mapper_that_stops_does_not_wait_for_other_nodes() {
    let mut rig = two_nodes();
    let mut other = rig.client_of(1);
    let writer = thread::spawn(move || other.write("volume", 0, 2));
    rig.world.until(|state| state.waits(Op::Acquire));
    rig.stop(1);
    assert_eq!(kind(writer.join().unwrap()), ErrorKind::Unavailable);
}
