//! One claim a test.

use protocol::{Entry, ErrorKind, Flags, Message, Op, Resize};

use super::world::World;

const BLOCK: u64 = 4096;

fn world() -> World {
    World::with_volume("volume1", 10 * BLOCK + 100, 4096)
}

fn pattern(seed: u8, size: u64) -> Vec<u8> {
    (0..size).map(|at| seed ^ u8::try_from(at % 251).unwrap()).collect()
}

fn kind(outcome: super::world::Outcome) -> ErrorKind {
    outcome.unwrap_err().kind
}

#[test]
fn what_was_never_written_reads_zeros_without_asking_the_store() {
    let mut world = world();
    assert_eq!(world.read("volume1", 3, 9 * BLOCK), Ok(vec![0; 9 * 4096]));
    assert_eq!(world.count(Op::Read), 0);
}

#[test]
fn a_write_across_blocks_is_read_back_whole_and_in_parts() {
    let mut world = world();
    let bytes = pattern(1, 3 * BLOCK);
    world.write("volume1", BLOCK - 7, &bytes).unwrap();
    assert_eq!(world.read("volume1", BLOCK - 7, 3 * BLOCK), Ok(bytes.clone()));
    assert_eq!(world.read("volume1", 2 * BLOCK, 10), Ok(bytes[4103..4113].to_vec()));
    assert_eq!(world.read("volume1", 0, 10), Ok(vec![0; 10]));
}

#[test]
fn a_mapped_block_costs_one_object_request_and_no_question_to_the_mapper() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, BLOCK)).unwrap();
    world.log.clear();
    world.write("volume1", 10, &pattern(2, 100)).unwrap();
    world.read("volume1", 5, 200).unwrap();
    assert_eq!(world.log, [Op::Write, Op::Read]);
}

#[test]
fn a_range_outside_is_refused_and_nothing_at_its_end_is_not() {
    let mut world = world();
    let size = 10 * BLOCK + 100;
    assert_eq!(kind(world.read("volume1", size - 1, 2)), ErrorKind::Invalid);
    assert_eq!(kind(world.write("volume1", u64::MAX - 1, &[1, 2, 3])), ErrorKind::Invalid);
    assert_eq!(
        kind(world.call(Op::Discard, "volume1", Flags::empty(), (0, size + 1), &[])),
        ErrorKind::Invalid
    );
    assert_eq!(world.read("volume1", size - 1, 1), Ok(vec![0]));
    assert_eq!(world.read("volume1", size + 9, 0), Ok(vec![]));
    assert_eq!(world.write("nothing", 1, &[]), Ok(vec![]));
}

#[test]
fn a_volume_that_is_not_there_is_not_found_but_its_flush_succeeds() {
    let mut world = world();
    for op in [Op::Read, Op::Discard, Op::Extents, Op::Info, Op::Open, Op::Close, Op::Delete] {
        let outcome = world.call(op, "nothing", Flags::empty(), (0, 1), &[]);
        assert_eq!(kind(outcome), ErrorKind::NotFound, "{}", op.name());
    }
    assert!(world.flush("nothing").is_ok());
}

#[test]
fn an_unknown_operation_is_unsupported() {
    let outcome = world().call(Op::Acquire, "volume1", Flags::empty(), (0, 0), &[]);
    assert_eq!(kind(outcome), ErrorKind::Unsupported);
}

#[test]
fn an_object_that_is_gone_is_corrupt_and_never_zeros() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, BLOCK)).unwrap();
    world.disk.objects.clear();
    let failure = world.read("volume1", 0, 10).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Corrupt);
    assert!(failure.message.contains("b.0000000000000001."), "{}", failure.message);
}

#[test]
fn one_failed_part_fails_the_whole_with_its_kind_and_message() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, 4 * BLOCK)).unwrap();
    for op in [Op::Read, Op::Write] {
        world.fault = Some((op, ErrorKind::Unavailable));
        let outcome = world.call(op, "volume1", Flags::empty(), (100, 3 * BLOCK), &pattern(2, 3 * BLOCK));
        let failure = outcome.unwrap_err();
        assert_eq!((failure.kind, failure.message.starts_with("played")), (ErrorKind::Unavailable, true));
    }
    world.fault = Some((Op::MapWrite, ErrorKind::NoSpace));
    assert_eq!(kind(world.write("volume1", 5 * BLOCK, &[1])), ErrorKind::NoSpace);
    assert!(world.write("volume1", 5 * BLOCK, &[1]).is_ok());
}

#[test]
fn a_snapshot_keeps_its_bytes_and_refuses_writes() {
    let mut world = world();
    let old = pattern(1, 2 * BLOCK);
    world.write("volume1", 0, &old).unwrap();
    world.snapshot("volume1", "before").unwrap();
    world.write("volume1", 100, &pattern(9, BLOCK)).unwrap();
    assert_eq!(world.read("before", 0, 2 * BLOCK), Ok(old.clone()));
    assert_eq!(world.read("volume1", 0, 100), Ok(old[..100].to_vec()));
    assert_eq!(kind(world.write("before", 0, &[1])), ErrorKind::ReadOnly);
    assert_eq!(kind(world.call(Op::Discard, "before", Flags::empty(), (0, 1), &[])), ErrorKind::ReadOnly);
}

#[test]
fn a_snapshot_waits_for_writes_before_it_and_holds_up_those_after_it() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, BLOCK)).unwrap();
    world.held_back.insert(Op::Write.number());
    let before = world.submit(Op::Write, "volume1", Flags::empty(), (0, 1), b"b");
    let snapshot = protocol::Snapshot { name: "between".into() }.encode();
    let barrier = world.submit(Op::Snapshot, "volume1", Flags::empty(), (0, 0), &snapshot);
    let after = world.submit(Op::Write, "volume1", Flags::empty(), (0, 1), b"a");
    world.settle();
    assert_eq!((world.count(Op::Snapshot), world.count(Op::Write)), (0, 2));
    world.held_back.clear();
    world.settle();
    for number in [before, barrier, after] {
        assert!(world.outcome(number).unwrap().is_ok());
    }
    assert_eq!(world.read("between", 0, 1), Ok(b"b".to_vec()));
    assert_eq!(world.read("volume1", 0, 1), Ok(b"a".to_vec()));
    assert_eq!(world.durable("between")[0], b'b', "a snapshot is whole after a loss of power");
}

#[test]
fn a_flush_waits_for_nothing_that_came_after_it_and_holds_nothing_up() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, BLOCK)).unwrap();
    world.flush("volume1").unwrap();
    world.write("volume1", 0, b"first").unwrap();
    world.held_back.insert(Op::Sync.number());
    let flush = world.submit(Op::Flush, "volume1", Flags::empty(), (0, 0), &[]);
    assert!(world.write("volume1", 0, b"later").is_ok());
    assert!(world.outcome(flush).is_none());
    world.held_back = [Op::Write.number()].into();
    let late = world.submit(Op::Write, "volume1", Flags::empty(), (0, 1), b"x");
    world.settle();
    assert!(world.outcome(flush).unwrap().is_ok());
    assert!(world.outcome(late).is_none());
}

#[test]
fn what_was_flushed_survives_a_loss_of_power() {
    let mut world = world();
    let bytes = pattern(1, 3 * BLOCK);
    world.write("volume1", 50, &bytes).unwrap();
    world.flush("volume1").unwrap();
    assert_eq!(world.durable("volume1")[50..50 + bytes.len()], bytes);
}

#[test]
fn a_durable_write_is_durable_with_its_map_when_it_is_answered() {
    let mut world = world();
    let bytes = pattern(1, 2 * BLOCK);
    world.call(Op::Write, "volume1", Flags::FUA, (9, 2 * BLOCK), &bytes).unwrap();
    assert_eq!(world.durable("volume1")[9..9 + bytes.len()], bytes);
    world.log.clear();
    world.call(Op::Write, "volume1", Flags::FUA, (9, 2 * BLOCK), &bytes).unwrap();
    assert_eq!(world.count(Op::Commit), 0, "the map did not change");
}

#[test]
fn a_write_with_a_flush_makes_earlier_ones_durable() {
    let mut world = world();
    world.write("volume1", 0, b"early").unwrap();
    world.call(Op::Write, "volume1", Flags::FLUSH, (0, 0), &[]).unwrap();
    assert_eq!(&world.durable("volume1")[..5], b"early");
}

#[test]
fn a_failed_flush_leaves_the_next_one_its_work() {
    let mut world = world();
    world.read("volume1", 0, 1).unwrap();
    world.flush("volume1").unwrap();
    world.write("volume1", 0, b"early").unwrap();
    world.fault = Some((Op::Sync, ErrorKind::Unavailable));
    assert_eq!(kind(world.flush("volume1")), ErrorKind::Unavailable);
    world.fault = Some((Op::Commit, ErrorKind::Unavailable));
    assert_eq!(kind(world.flush("volume1")), ErrorKind::Unavailable);
    world.flush("volume1").unwrap();
    assert_eq!(&world.durable("volume1")[..5], b"early");
    world.log.clear();
    world.flush("volume1").unwrap();
    assert_eq!(world.log, [], "nothing is left to be done");
}

#[test]
fn a_second_flush_is_not_answered_before_the_first_ones_work_is_done() {
    let mut world = world();
    world.read("volume1", 0, 1).unwrap();
    world.flush("volume1").unwrap();
    world.write("volume1", 0, b"early").unwrap();
    world.held_back.insert(Op::Sync.number());
    let first = world.submit(Op::Flush, "volume1", Flags::empty(), (0, 0), &[]);
    let second = world.submit(Op::Flush, "volume1", Flags::empty(), (0, 0), &[]);
    world.settle();
    assert!(world.outcome(first).is_none() && world.outcome(second).is_none());
}

#[test]
fn punched_blocks_read_zeros_and_their_neighbours_do_not() {
    for op in [Op::Discard, Op::WriteZeroes] {
        let mut world = world();
        let mut bytes = pattern(1, 6 * BLOCK);
        world.write("volume1", 0, &bytes).unwrap();
        world.call(op, "volume1", Flags::empty(), (100, 4 * BLOCK), &[]).unwrap();
        bytes[100..100 + 4 * 4096].fill(0);
        assert_eq!(world.read("volume1", 0, 6 * BLOCK), Ok(bytes));
        assert_eq!(world.count(Op::MapPunch), 1);
        assert_eq!(world.disk.objects.len(), 3);
        world.log.clear();
        world.call(op, "volume1", Flags::empty(), (BLOCK, BLOCK), &[]).unwrap();
        assert_eq!(world.log, [], "it is a hole already");
    }
}

#[test]
fn the_short_last_block_is_punched_too() {
    let mut world = world();
    world.write("volume1", 10 * BLOCK, &[1; 100]).unwrap();
    world.call(Op::Discard, "volume1", Flags::empty(), (10 * BLOCK, 100), &[]).unwrap();
    assert_eq!(world.read("volume1", 10 * BLOCK, 100), Ok(vec![0; 100]));
    assert!(world.disk.objects.is_empty());
}

#[test]
fn a_durable_discard_survives_a_loss_of_power() {
    let mut world = world();
    world.call(Op::Write, "volume1", Flags::FUA, (0, 4 * BLOCK), &pattern(1, 4 * BLOCK)).unwrap();
    world.call(Op::Discard, "volume1", Flags::FUA, (10, 2 * BLOCK), &[]).unwrap();
    assert_eq!(world.durable("volume1")[10..10 + 2 * 4096], vec![0; 2 * 4096]);
}

#[test]
fn fast_zeroes_of_part_of_a_shared_block_are_refused_before_it_is_copied() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, 2 * BLOCK)).unwrap();
    world.snapshot("volume1", "before").unwrap();
    let outcome = world.call(Op::WriteZeroes, "volume1", Flags::FAST, (10, 20), &[]);
    assert_eq!(kind(outcome), ErrorKind::Unsupported);
    world.call(Op::WriteZeroes, "volume1", Flags::FAST, (0, 2 * BLOCK), &[]).unwrap();
    assert_eq!(world.count(Op::MapWrite), 1);
}

#[test]
fn a_punch_waits_for_the_reads_of_what_it_deletes() {
    let mut world = world();
    let bytes = pattern(1, 2 * BLOCK);
    world.write("volume1", 0, &bytes).unwrap();
    world.held_back.insert(Op::Read.number());
    let read = world.submit(Op::Read, "volume1", Flags::empty(), (0, 2 * BLOCK), &[]);
    let discard = world.submit(Op::Discard, "volume1", Flags::empty(), (0, 2 * BLOCK), &[]);
    world.settle();
    assert_eq!(world.count(Op::MapPunch), 0);
    world.held_back.clear();
    world.settle();
    assert_eq!(world.outcome(read), Some(Ok(bytes)));
    assert!(world.outcome(discard).unwrap().is_ok());
}

#[test]
fn extents_tell_data_from_holes() {
    let mut world = world();
    world.write("volume1", 2 * BLOCK, &[1]).unwrap();
    world.write("volume1", 3 * BLOCK, &[1]).unwrap();
    let found: Vec<_> =
        world.extents("volume1", 10, 9 * BLOCK).iter().map(|it| (it.size_bytes, it.is_data)).collect();
    assert_eq!(found, [(2 * BLOCK - 10, false), (2 * BLOCK, true), (5 * BLOCK + 10, false)]);
    assert!(world.extents("volume1", 10, 0).is_empty());
}

#[test]
fn extents_of_a_large_volume_take_a_few_questions_and_one_answer() {
    let size = 40_000 * BLOCK;
    let mut world = World::with_volume("volume1", size, 4096);
    world.write("volume1", 39_000 * BLOCK, &[1]).unwrap();
    let before = world.count(Op::MapRead);
    let found: Vec<_> =
        world.extents("volume1", 0, size).iter().map(|it| (it.size_bytes, it.is_data)).collect();
    assert_eq!(found, [(39_000 * BLOCK, false), (BLOCK, true), (999 * BLOCK, false)]);
    assert!(world.count(Op::MapRead) - before <= 3);
}

#[test]
fn a_volume_of_another_node_is_read_without_keeping_anything() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, BLOCK)).unwrap();
    world.snapshot("volume1", "before").unwrap();
    world.maps.is_foreign = true;
    assert_eq!(world.read("volume1", 0, BLOCK), Ok(pattern(1, BLOCK)));
    world.maps.map("volume1").entries[0] = Entry::Hole;
    assert_eq!(world.read("volume1", 0, BLOCK), Ok(vec![0; 4096]), "the other node changed it");
    assert!(world.composer.volumes.iter().all(|(_, volume)| volume.grant.is_none()));
}

#[test]
fn what_stops_a_volume_of_another_node_fails_though_a_write_waits_for_it() {
    let mut world = world();
    world.maps.is_foreign = true;
    world.held_back.insert(Op::MapWrite.number());
    let waiting = world.submit(Op::Write, "volume1", Flags::empty(), (0, 4), b"ours");
    for (op, expected) in [
        (Op::Snapshot, ErrorKind::Busy),
        (Op::Delete, ErrorKind::Busy),
        (Op::Resize, ErrorKind::Busy),
        (Op::Close, ErrorKind::NotOwner),
    ] {
        world.fault = Some((Op::Open, ErrorKind::Busy));
        assert_eq!(kind(world.call(op, "volume1", Flags::empty(), (0, 0), &[])), expected, "{}", op.name());
        assert_eq!(world.read("volume1", 0, 4), Ok(vec![0; 4]));
    }
    assert_eq!(world.outcome(waiting), None);
    world.held_back.clear();
    world.settle();
    assert!(world.outcome(waiting).unwrap().is_ok());
}

#[test]
fn zeroing_what_another_node_says_is_a_hole_waits_for_the_lock() {
    for op in [Op::Discard, Op::WriteZeroes] {
        let mut world = world();
        world.maps.is_foreign = true;
        world.held_back.insert(Op::MapWrite.number());
        let zeroed = world.submit(op, "volume1", Flags::FUA, (0, 4), &[]);
        world.settle();
        assert_eq!(world.outcome(zeroed), None, "{}", op.name());
        world.maps.is_foreign = false;
        world.held_back.clear();
        world.settle();
        assert!(world.outcome(zeroed).unwrap().is_ok(), "{}", op.name());
    }
}

#[test]
fn what_stops_a_volume_waits_for_a_write_that_gets_the_lock() {
    let mut world = world();
    world.held_back.insert(Op::MapWrite.number());
    let write = world.submit(Op::Write, "volume1", Flags::empty(), (0, 4), b"ours");
    let argument = protocol::Snapshot { name: "before".to_owned() }.encode();
    let snapshot = world.submit(Op::Snapshot, "volume1", Flags::empty(), (0, 0), &argument);
    world.settle();
    assert_eq!((world.outcome(snapshot), world.count(Op::Open)), (None, 1));
    world.held_back.clear();
    world.settle();
    assert!(world.outcome(write).unwrap().is_ok() && world.outcome(snapshot).unwrap().is_ok());
    assert_eq!(world.read("before", 0, 4), Ok(b"ours".to_vec()));
}

#[test]
fn a_lost_lock_fails_the_write_and_the_next_one_asks_again() {
    let mut world = world();
    world.write("volume1", 0, b"ours").unwrap();
    world.maps.map("volume1").fence += 3;
    let failure = world.write("volume1", 0, b"late").unwrap_err();
    assert_eq!(failure.kind, ErrorKind::NotOwner);
    assert!(failure.message.starts_with("another node took volume volume1"), "{}", failure.message);
    assert_eq!(world.read("volume1", 0, 4), Ok(b"ours".to_vec()));
    assert!(world.write("volume1", 0, b"anew").is_ok());
}

#[test]
fn a_lock_that_our_own_mapper_gave_back_and_took_again_is_no_failure() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, 4 * BLOCK)).unwrap();
    world.maps.map("volume1").fence += 2;
    let bytes = pattern(7, 3 * BLOCK);
    world.write("volume1", 100, &bytes).unwrap();
    assert_eq!(world.read("volume1", 100, 3 * BLOCK), Ok(bytes));
    world.maps.map("volume1").fence += 2;
    world.call(Op::WriteZeroes, "volume1", Flags::empty(), (5, 10), &[]).unwrap();
    assert_eq!(world.read("volume1", 5, 10), Ok(vec![0; 10]));
}

#[test]
fn a_store_that_refuses_for_ever_is_not_asked_for_ever() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, BLOCK)).unwrap();
    world.log.clear();
    world.maps.is_revoked = true;
    assert_eq!(kind(world.write("volume1", 0, b"late")), ErrorKind::NotOwner);
    assert_eq!(world.count(Op::Write), 4);
}

#[test]
fn what_cannot_have_changes_is_flushed_and_what_was_taken_from_us_is_not() {
    let mut world = world();
    world.write("volume1", 0, b"ours").unwrap();
    world.snapshot("volume1", "before").unwrap();
    world.maps.create("volume2", BLOCK, 4096);
    world.write("volume1", 0, b"more").unwrap();
    world.maps.is_foreign = true;
    assert!(world.flush("before").is_ok());
    assert!(world.flush("volume2").is_ok());
    assert_eq!(kind(world.flush("volume1")), ErrorKind::NotOwner);
}

#[test]
fn a_resize_is_seen_at_once() {
    let mut world = world();
    world.write("volume1", 0, &pattern(1, 2 * BLOCK)).unwrap();
    let argument = Resize { size_bytes: BLOCK, may_shrink: true }.encode();
    world.call(Op::Resize, "volume1", Flags::empty(), (0, 0), &argument).unwrap();
    assert_eq!(kind(world.read("volume1", BLOCK, 1)), ErrorKind::Invalid);
    let argument = Resize { size_bytes: 20 * BLOCK, may_shrink: false }.encode();
    world.call(Op::Resize, "volume1", Flags::empty(), (0, 0), &argument).unwrap();
    assert_eq!(world.read("volume1", BLOCK, 2 * BLOCK), Ok(vec![0; 2 * 4096]));
}

#[test]
fn a_closed_volume_leaves_nothing_behind() {
    let mut world = world();
    world.write("volume1", 0, b"data").unwrap();
    world.call(Op::Close, "volume1", Flags::empty(), (0, 0), &[]).unwrap();
    assert_eq!(&world.durable("volume1")[..0], b"");
    assert_eq!(world.count(Op::Flush) + world.count(Op::Sync), 1);
    assert_eq!((world.composer.volumes.len(), world.composer.cache.bytes()), (0, 0));
}

#[test]
fn a_mapper_that_answers_nonsense_is_corrupt_and_not_trusted() {
    let mut world = world();
    world.maps.map("volume1").shape.block_size = 0;
    assert_eq!(kind(world.read("volume1", 0, 1)), ErrorKind::Corrupt);
    world.maps.map("volume1").shape.block_size = 4096;
    world.maps.map("volume1").entries[0] = Entry::Named { name: vec![b'x'; 300], is_writable: true };
    assert_eq!(kind(world.read("volume1", 0, 1)), ErrorKind::Corrupt);
}
