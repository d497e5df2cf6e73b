//! Requests beside each other, and what is kept in memory.

use std::thread;

use protocol::{BlockList, BlockSource, Entry, ErrorKind, Op};
use sha2::{Digest, Sha256};

use super::rig::{BLOCK, Rig, kind};

fn source(name: &str, is_read_only: bool) -> BlockSource {
    BlockSource { name: name.as_bytes().to_vec(), is_read_only }
}

#[test]
fn two_writers_of_one_block_wait_for_one_copy() {
    let rig = Rig::new();
    rig.client().create("volume", 100);
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let mut caller = rig.client();
            thread::spawn(move || {
                (0..100).map(|at| caller.map_write("volume", at, 1).unwrap().entries[0].clone()).collect()
            })
        })
        .collect();
    let found: Vec<Vec<Entry>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    assert!(found.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(rig.world.block_names().len(), 100);
}

#[test]
fn many_clients_write_snapshot_and_punch_and_each_finds_its_own() {
    let mut rig = Rig::new();
    rig.client().create("volume", 4000);
    let clients: Vec<_> = (0..6_u8)
        .map(|number| {
            let mut caller = rig.client();
            thread::spawn(move || {
                let first = u64::from(number) * 600;
                for round in 1..=20_u8 {
                    for at in 0..5 {
                        caller.write("volume", first + at * 100, round).unwrap();
                    }
                    match round % 5 {
                        0 => caller.client.snapshot("volume", &format!("snap-{number}-{round}")).unwrap(),
                        1 => caller.punch("volume", first + 400, 1).unwrap(),
                        2 => caller.commit("volume").unwrap(),
                        _ => {}
                    }
                    assert_eq!(caller.read("volume", first).unwrap(), round);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    rig.crash();
    let mut caller = rig.client();
    for number in 0..6 {
        for at in 0..5 {
            assert_eq!(caller.read("volume", number * 600 + at * 100).unwrap(), 20);
        }
        let of_five = caller.read(&format!("snap-{number}-5"), number * 600).unwrap();
        assert_eq!(of_five, 5);
    }
}

#[test]
fn memory_for_maps_is_bounded_and_evicted_maps_are_read_again() {
    let mut rig = Rig::new();
    rig.stop(0);
    rig.cache_bytes = 1 << 20;
    rig.start(0);
    let mut caller = rig.client();
    let loaded = |caller: &mut super::rig::Caller| {
        let details = caller.client.ping(super::rig::FIRST).unwrap().details;
        (details["open_maps"].as_u64().unwrap(), details["loaded_nodes"].as_u64().unwrap())
    };
    for volume in ["volume1", "volume2", "volume3"] {
        caller.create(volume, 512 * 60);
        for leaf in 0..60 {
            caller.write(volume, leaf * 512, 1).unwrap();
        }
        caller.client.close(volume).unwrap();
    }
    for volume in ["volume1", "volume2", "volume3", "volume1"] {
        for leaf in 0..60 {
            assert_eq!(caller.read(volume, leaf * 512).unwrap(), 1);
        }
        assert!(loaded(&mut caller).1 <= 64);
    }
    assert_eq!(loaded(&mut caller).0, 3);
    for volume in ["volume1", "volume2", "volume3"] {
        caller.client.snapshot(volume, &format!("{volume}-snap")).unwrap();
        caller.client.close(volume).unwrap();
    }
    assert_eq!(loaded(&mut caller), (0, 0));
    assert_eq!(caller.client.ping(super::rig::FIRST).unwrap().details["names_in_use"], 0);
}

#[test]
fn a_volume_made_of_blocks_shares_those_it_may_not_write() {
    let rig = Rig::new();
    let mut caller = rig.client();
    let shared = "ab".repeat(32);
    rig.world.put_block(&shared, &[1; BLOCK as usize]);
    rig.world.put_block("own-block", &[2; BLOCK as usize]);
    let blocks = vec![source(&shared, true), source("own-block", false), source("", true)];
    let size_bytes = 3 * u64::from(BLOCK) - 1;
    let list = BlockList { size_bytes, block_size: BLOCK, read_only: false, blocks };
    caller.client.create_from_blocks("volume", &list).unwrap();
    assert_eq!(caller.read_all("volume", 3).unwrap(), [1, 2, 0]);
    assert_eq!(kind(caller.client.create_from_blocks("volume", &list)), ErrorKind::Exists);
    for index in 0..3 {
        caller.write("volume", index, 9).unwrap();
    }
    assert_eq!(rig.world.block(&shared).unwrap()[0], 1);
    assert_eq!(rig.world.block("own-block").unwrap()[0], 9);
    let frozen = BlockList { read_only: true, ..list.clone() };
    caller.client.create_from_blocks("frozen", &frozen).unwrap();
    assert_eq!(kind(caller.map_write("frozen", 0, 1)), ErrorKind::ReadOnly);
    caller.client.create("cloned", None, Some("frozen"), None).unwrap();
    caller.write("cloned", 1, 7).unwrap();
    assert_eq!(caller.read_all("frozen", 3).unwrap(), [1, 9, 0]);
    let short = BlockList { blocks: list.blocks[..2].to_vec(), ..list };
    assert_eq!(kind(caller.client.create_from_blocks("shorter", &short)), ErrorKind::Invalid);
}

#[test]
fn the_hash_of_a_snapshot_is_the_merkle_root_of_its_blocks() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 2);
    caller.write("volume", 1, 3).unwrap();
    assert_eq!(kind(caller.client.hash("volume")), ErrorKind::Invalid);
    caller.client.snapshot("volume", "snapshot").unwrap();
    let pair = [Sha256::digest([]), Sha256::digest([3; BLOCK as usize])].concat();
    let expected: [u8; 32] = Sha256::digest(pair).into();
    assert_eq!(caller.client.hash("snapshot").unwrap(), expected);
    caller.write("volume", 1, 4).unwrap();
    assert_eq!(caller.client.hash("snapshot").unwrap(), expected);
}

#[test]
fn a_comparison_tells_the_blocks_that_differ_in_pieces() {
    let rig = Rig::new();
    let mut caller = rig.client();
    let block = u64::from(BLOCK);
    caller.create("volume", 5000);
    caller.write("volume", 3, 1).unwrap();
    caller.client.snapshot("volume", "snapshot").unwrap();
    assert_eq!(caller.client.compare("volume", "snapshot", 0).unwrap().ranges, []);
    for index in [3, 4, 4999] {
        caller.write("volume", index, 2).unwrap();
    }
    let found = caller.client.compare("volume", "snapshot", 0).unwrap();
    assert_eq!(found.ranges, [(3 * block, 2 * block), (4999 * block, block)]);
    assert_eq!(found.resume, None);
    let later = caller.client.compare("volume", "snapshot", 4 * block + 5).unwrap();
    assert_eq!(later.ranges, [(4 * block + 5, block - 5), (4999 * block, block)]);
    caller.client.create("other-size", Some(1 << 20), None, Some(2 * BLOCK)).unwrap();
    assert_eq!(kind(caller.client.compare("volume", "other-size", 0)), ErrorKind::Invalid);
}

#[test]
fn a_block_that_cannot_be_made_fails_its_writer_alone() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 10);
    caller.write("volume", 0, 1).unwrap();
    rig.world.refuse(Op::Truncate, ErrorKind::NoSpace);
    assert_eq!(kind(caller.map_write("volume", 1, 1)), ErrorKind::NoSpace);
    assert_eq!(caller.read_all("volume", 2).unwrap(), [1, 0]);
    rig.world.allow();
    caller.write("volume", 1, 2).unwrap();
    assert_eq!(caller.read_all("volume", 2).unwrap(), [1, 2]);
}

#[test]
fn a_log_that_cannot_be_written_ends_the_session_and_nothing_answered_is_lost() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 100);
    for index in 0..10 {
        caller.write("volume", index, 1).unwrap();
    }
    rig.world.refuse(Op::Write, ErrorKind::NoSpace);
    assert_eq!(kind(caller.map_write("volume", 50, 1)), ErrorKind::NoSpace);
    assert_eq!(caller.read_all("volume", 10).unwrap(), [1; 10]);
    assert_eq!(kind(caller.client.close("volume")), ErrorKind::NoSpace);
    rig.world.allow();
    for index in 5..15 {
        caller.write("volume", index, 2).unwrap();
    }
    caller.client.close("volume").unwrap();
    assert_eq!(caller.read("volume", 4).unwrap(), 1);
    assert_eq!(caller.read("volume", 14).unwrap(), 2);
    assert_eq!(rig.world.lock_owner("volume").as_deref(), Some("a"));
}

#[test]
fn a_commit_of_more_blocks_than_are_remembered_makes_all_of_them_durable() {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 400);
    caller.client.snapshot("volume", "snapshot").unwrap();
    for first in [0, 64, 128, 192] {
        caller.map_write("volume", first, 64).unwrap();
    }
    caller.commit("volume").unwrap();
    rig.lose_power();
    let read = rig.client().map_read("volume", 0, 256).unwrap();
    assert!(read.entries.iter().all(|entry| matches!(entry, Entry::Object { .. })));
    assert!(rig.client().read_all("volume", 256).is_ok());
}

#[test]
fn an_answer_has_as_many_entries_as_there_is_room_for() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.client.create("volume", Some(1 << 40), None, Some(BLOCK)).unwrap();
    let read = caller.map_read("volume", 1000, 1 << 20).unwrap();
    assert_eq!(read.first, 1000);
    assert!(!read.entries.is_empty() && read.entries.len() < 1 << 20);
}
