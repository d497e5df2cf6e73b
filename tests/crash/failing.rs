//! A disk that fails: the right one hears of it, nobody is told a falsehood, everything else goes on.

use std::time::Duration;

use filed::{Config, Files, Verify};
use protocol::ErrorKind;
use store::{ObjectName, Store, StoreError, StoreOperation, WriteMode};

use crate::{
    disk::Disk,
    model::{Asked, Event},
    node::Node,
};

const EIO: i32 = 5;

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

/// A store that keeps one file open, so that what it must remember cannot be remembered there.
fn open(disk: &Disk) -> Files {
    Files::open(&Config { fdcache: 1, ..Config::new(disk.path()) }, 8).unwrap()
}

fn sync(files: &Files, object: &str) -> Result<(), StoreError> {
    files.ask(&name(object), StoreOperation::Sync).map(drop)
}

fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert_eq!(result.unwrap_err().kind, ErrorKind::Unavailable);
}

#[test]
fn after_a_failed_sync_no_sync_is_a_success_until_the_object_is_new() {
    let Some(disk) = Disk::mount("after_a_failed_sync_no_sync_is_a_success_until_the_object_is_new") else {
        return;
    };
    let files = open(&disk);
    for object in ["lost", "other"] {
        files.write(&name(object), 0, b"bytes").unwrap();
    }
    // Once, as Linux does: the next sync would be a success, and the bytes are gone.
    disk.fails(Asked::Sync, "lost", EIO, 1);
    unavailable(sync(&files, "lost"));
    sync(&files, "other").unwrap();
    unavailable(sync(&files, "lost"));
    unavailable(files.ask(&name("any"), StoreOperation::Flush));
    files.write(&name("lost"), 0, b"again").unwrap();
    unavailable(sync(&files, "lost"));
    files.write_as(&name("lost"), 0, b"new", WriteMode::Replace, true).unwrap();
    sync(&files, "lost").unwrap();
    files.ask(&name("any"), StoreOperation::Flush).unwrap();
}

#[test]
fn a_durable_write_that_failed_counts_as_a_failed_sync() {
    let Some(disk) = Disk::mount_cached("a_durable_write_that_failed_counts_as_a_failed_sync") else {
        return;
    };
    let files = open(&disk);
    files.write(&name("o"), 0, b"bytes").unwrap();
    disk.fails(Asked::Sync, "o", EIO, 1);
    unavailable(files.write_as(&name("o"), 0, b"x", WriteMode::Update, true));
    unavailable(sync(&files, "o"));
    files.delete(&name("o")).unwrap();
    files.write_as(&name("o"), 0, b"x", WriteMode::Update, true).unwrap();
    sync(&files, "o").unwrap();
}

#[test]
fn a_sync_beside_another_one_does_not_answer_before_it() {
    let Some(disk) = Disk::mount("a_sync_beside_another_one_does_not_answer_before_it") else { return };
    let files = open(&disk);
    files.write(&name("o"), 0, b"bytes").unwrap();
    disk.is_slow(Asked::Sync, "o", Duration::from_millis(300), 1);
    std::thread::scope(|threads| {
        let first = threads.spawn(|| sync(&files, "o").unwrap());
        while disk.left() > 0 {
            std::thread::yield_now();
        }
        sync(&files, "o").unwrap();
        let is_synced = disk.model().events.iter().any(|event| matches!(event, Event::SyncedFile { .. }));
        assert!(is_synced, "answered while the first one was under way");
        first.join().unwrap();
    });
}

#[test]
fn reads_and_writes_that_fail_are_told_to_whoever_asked_and_nobody_else() {
    let test = "reads_and_writes_that_fail_are_told_to_whoever_asked_and_nobody_else";
    let Some(disk) = Disk::mount(test) else { return };
    let files = open(&disk);
    for object in ["bad", "good"] {
        files.write(&name(object), 0, &[7; 9000]).unwrap();
    }
    disk.fails(Asked::Read, "bad", EIO, u32::MAX);
    disk.fails(Asked::Write, "bad", EIO, u32::MAX);
    for _ in 0..3 {
        unavailable(files.read(&name("bad"), 0, 9000));
        unavailable(files.write(&name("bad"), 0, b"x"));
        unavailable(files.copy(&name("bad"), &name("copy"), 9000));
        unavailable(files.hash(&name("bad")));
        assert_eq!(files.read(&name("good"), 0, 9000).unwrap(), [7; 9000]);
        files.write(&name("good"), 5, b"\x07").unwrap();
    }
    disk.heals();
    assert_eq!(files.read(&name("bad"), 0, 9000).unwrap(), [7; 9000]);
    let names = disk.names();
    assert!(!names.iter().any(|name| name == "copy"), "{names:?}");
}

#[test]
fn a_full_disk_leaves_no_object_that_was_never_written() {
    let Some(disk) = Disk::mount("a_full_disk_leaves_no_object_that_was_never_written") else { return };
    let files = open(&disk);
    files.write(&name("kept"), 0, b"kept").unwrap();
    disk.model().space = Some(0);
    for object in ["first", "second"] {
        for is_durable in [false, true] {
            let error =
                files.write_as(&name(object), 0, &[1; 5000], WriteMode::Update, is_durable).unwrap_err();
            assert_eq!(error.kind, ErrorKind::NoSpace);
        }
        assert_eq!(files.size(&name(object)).unwrap_err().kind, ErrorKind::NotFound);
    }
    assert_eq!(files.write(&name("kept"), 0, &[1; 5000]).unwrap_err().kind, ErrorKind::NoSpace);
    assert_eq!(files.read(&name("kept"), 0, 4).unwrap(), b"kept");
    disk.heals();
    files.write(&name("first"), 0, b"now").unwrap();
    sync(&files, "first").unwrap();
}

#[test]
fn a_slow_object_does_not_hold_up_others() {
    let Some(disk) = Disk::mount("a_slow_object_does_not_hold_up_others") else { return };
    // Fewer threads than syncs of the slow one.
    let files = Files::open(&Config { nr_threads: 2, ..Config::new(disk.path()) }, 16).unwrap();
    for object in ["slow", "quick"] {
        files.write(&name(object), 0, b"bytes").unwrap();
    }
    disk.is_slow(Asked::Sync, "slow", Duration::from_secs(60), 1);
    std::thread::scope(|threads| {
        let slow = threads.spawn(|| sync(&files, "slow").unwrap());
        while disk.left() > 0 {
            std::thread::yield_now();
        }
        let others: Vec<_> = (0..4).map(|_| threads.spawn(|| sync(&files, "slow").unwrap())).collect();
        for _ in 0..20 {
            files.write(&name("quick"), 0, b"again").unwrap();
            sync(&files, "quick").unwrap();
            files.read(&name("slow"), 0, 5).unwrap();
        }
        assert!(!slow.is_finished(), "twenty rounds of others took as long as the slow one");
        disk.heals();
        slow.join().unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn rot_is_found_by_a_scrub_and_by_a_verified_read() {
    let Some(disk) = Disk::mount("rot_is_found_by_a_scrub_and_by_a_verified_read") else { return };
    disk.directory("blocks");
    disk.directory("maps");
    let node = Node::start_with(disk.path(), |config| Config { verify: Verify::Read, ..config });
    let mut client = node.client();
    client.create("volume1", Some(1 << 20), None, Some(65_536)).unwrap();
    client.write("volume1", 0, &vec![7; 200_000]).unwrap();
    client.flush("volume1").unwrap();
    disk.ages();
    let mut scrub = |port| {
        let mut state = client.scrub(port, true, 1 << 20).unwrap();
        while state.progress < 65_536 {
            state = client.scrub(port, false, 1 << 20).unwrap();
        }
        state
    };
    let first = Node::STORES.map(&mut scrub);
    assert!(first.iter().all(|state| state.damaged == 0 && state.summed > 0), "{first:?}");
    assert_eq!(disk.rots("b.", 5000), 4);
    let second = Node::STORES.map(&mut scrub);
    assert_eq!([second[0].damaged, second[1].damaged], [4, 0]);
    assert!(second[0].damages.iter().all(|damage| damage.offset == 4096));
    let mut bytes = [0; 4096];
    client.read("volume1", 0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 4096]);
    assert_eq!(client.read("volume1", 4096, &mut bytes).unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn a_volume_whose_disk_failed_to_flush_never_says_that_it_is_durable() {
    let test = "a_volume_whose_disk_failed_to_flush_never_says_that_it_is_durable";
    let Some(disk) = Disk::mount(test) else { return };
    disk.directory("blocks");
    disk.directory("maps");
    let node = Node::start(disk.path());
    let mut client = node.client();
    for volume in ["volume1", "volume2"] {
        client.create(volume, Some(1 << 20), None, Some(65_536)).unwrap();
        // The first flush under a lock is one of the whole store, which could not be said to be durable below.
        client.read(volume, 0, &mut [0]).unwrap();
        client.flush(volume).unwrap();
    }
    client.write("volume1", 0, &[7; 4096]).unwrap();
    disk.fails(Asked::Sync, "b.", EIO, 1);
    for _ in 0..3 {
        assert_eq!(client.flush("volume1").unwrap_err().kind, ErrorKind::Unavailable);
    }
    client.write("volume2", 0, &[8; 4096]).unwrap();
    client.flush("volume2").unwrap();
    let mut bytes = [0; 4096];
    client.read("volume1", 0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 4096]);
}
