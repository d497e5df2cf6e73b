//! Too few slots, shared work, and a composer that dies.

use protocol::{Flags, Message, Op};

use super::world::World;

const BLOCK: u64 = 64;

/// The fewest slots a port can have, and room for one leaf.
fn tight() -> World {
    let mut world = World::new(16, 1);
    world.maps.create("volume1", 1200 * BLOCK, 64);
    world.maps.create("volume2", 1200 * BLOCK, 64);
    world
}

#[test]
fn a_request_with_more_parts_than_there_are_slots_is_served() {
    let mut world = tight();
    let bytes: Vec<u8> = (0..1200 * BLOCK).map(|at| u8::try_from(at % 253).unwrap()).collect();
    world.write("volume1", 0, &bytes).unwrap();
    assert_eq!(world.read("volume1", 0, 1200 * BLOCK), Ok(bytes));
}

#[test]
fn a_volume_with_much_to_do_does_not_starve_another() {
    let mut world = tight();
    for volume in ["volume1", "volume2"] {
        world.write(volume, 0, &[1; 100 * 64]).unwrap();
    }
    world.held_back.insert(Op::Read.number());
    let greedy: Vec<u64> =
        (0..20).map(|_| world.submit(Op::Read, "volume1", Flags::empty(), (0, 100 * BLOCK), &[])).collect();
    world.settle();
    let modest = world.submit(Op::Read, "volume2", Flags::empty(), (0, BLOCK), &[]);
    world.settle();
    world.held_back.clear();
    world.log.clear();
    // After a few rounds, not after the two thousand parts of the others.
    while world.outcome(modest).is_none() {
        world.turn();
        assert!(world.count(Op::Read) < 100);
    }
    world.settle();
    assert!(greedy.into_iter().all(|number| world.outcome(number).unwrap().is_ok()));
}

#[test]
fn readers_of_one_leaf_share_a_question_and_so_do_writers_of_one_block() {
    let mut world = World::with_volume("volume1", 100 * BLOCK, 64);
    world.read("volume1", 0, 1).unwrap();
    world.call(Op::Close, "volume1", Flags::empty(), (0, 0), &[]).unwrap();
    world.log.clear();
    world.held_back = [Op::MapRead.number(), Op::MapWrite.number()].into();
    let writers: Vec<u64> =
        (320..325).map(|at| world.submit(Op::Write, "volume1", Flags::empty(), (at, 1), b"w")).collect();
    world.settle();
    assert_eq!(world.log, [Op::MapRead]);
    world.held_back.clear();
    world.settle();
    assert!(writers.into_iter().all(|number| world.outcome(number).unwrap().is_ok()));
    assert_eq!(
        (world.count(Op::MapRead), world.count(Op::MapWrite)),
        (2, 1),
        "its shape, its leaf, its block"
    );
}

#[test]
fn a_run_of_blocks_is_made_writable_in_one_question() {
    let mut world = World::with_volume("volume1", 100 * BLOCK, 64);
    world.write("volume1", 10 * BLOCK, &[1; 64]).unwrap();
    world.log.clear();
    world.write("volume1", 0, &[2; 30 * 64]).unwrap();
    assert_eq!(world.count(Op::MapWrite), 2, "before and after the block that was writable");
    assert_eq!(world.count(Op::Write), 30);
}

#[test]
fn what_a_dead_composer_had_accepted_is_done_by_its_successor() {
    let mut world = World::with_volume("volume1", 100 * BLOCK, 64);
    world.write("volume1", 0, &[1; 640]).unwrap();
    world.held_back = [Op::Write.number(), Op::Read.number(), Op::MapWrite.number()].into();
    let write = world.submit(Op::Write, "volume1", Flags::empty(), (5 * BLOCK, 10 * BLOCK), &[7; 640]);
    let read = world.submit(Op::Read, "volume1", Flags::empty(), (0, BLOCK), &[]);
    let name = protocol::Snapshot { name: "after".into() }.encode();
    let snapshot = world.submit(Op::Snapshot, "volume1", Flags::empty(), (0, 0), &name);
    let late = world.submit(Op::Write, "volume1", Flags::empty(), (0, 1), b"x");
    world.settle();
    world.restart();
    world.settle();
    assert_eq!(world.outcome(read), Some(Ok(vec![1; 64])));
    assert!([write, snapshot, late].into_iter().all(|number| world.outcome(number).unwrap().is_ok()));
    assert_eq!(world.read("after", 5 * BLOCK, 640), Ok(vec![7; 640]));
    assert_eq!(world.read("after", 0, 1), Ok(vec![1]));
    assert_eq!(world.read("volume1", 0, 1), Ok(b"x".to_vec()));
}

#[test]
fn a_snapshot_that_was_with_the_mapper_when_the_composer_died_is_answered_once() {
    let mut world = World::with_volume("volume1", 100 * BLOCK, 64);
    world.write("volume1", 0, b"old").unwrap();
    world.held_back.insert(Op::Snapshot.number());
    let name = protocol::Snapshot { name: "kept".into() }.encode();
    let snapshot = world.submit(Op::Snapshot, "volume1", Flags::empty(), (0, 0), &name);
    world.settle();
    assert_eq!(world.count(Op::Snapshot), 1);
    world.restart();
    world.settle();
    assert!(world.outcome(snapshot).unwrap().is_ok());
    world.write("volume1", 0, b"new").unwrap();
    assert_eq!(world.read("kept", 0, 3), Ok(b"old".to_vec()));
}

#[test]
fn more_volumes_than_are_remembered_are_served() {
    let mut world = World::new(16, 1 << 20);
    for number in 0..4200 {
        let name = format!("volume{number}");
        world.maps.create(&name, BLOCK, 64);
        world.write(&name, 0, b"x").unwrap();
    }
    assert!(world.composer.volumes.len() <= 4096);
    assert_eq!(world.read("volume0", 0, 1), Ok(b"x".to_vec()));
}
