//! What the file store promises when a lock is broken whose owner is not dead, and what not: docs/operating.md, "Several hosts on one directory".

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use protocol::ErrorKind;
use tests::{Host, pattern, run};

use crate::folder::Folder;

const MIB: u64 = 1 << 20;
/// A write that takes the disk a while.
const LONG: usize = 4 << 20;
/// How long something is waited for that must not happen.
const GLANCE: Duration = Duration::from_millis(300);

fn kind<T>(result: Result<T, protocol::Failure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.kind)
}

fn read(host: &Host, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    host.client().read("volume1", offset, &mut bytes).unwrap();
    bytes
}

/// Whether a write is under way that must end before the lock changes.
fn is_writing(folder: &Path) -> bool {
    let records = run(Command::new("find").arg(folder).args(["-path", "*%lvolume1/*"])).done();
    let inode = std::fs::metadata(records.lines().max().unwrap()).unwrap().ino();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("FLOCK") && line.contains(&format!(":{inode} ")))
}

/// The owner writes one long piece after the other until it is refused; it stands still in one of them while `then` runs.
fn while_stopped_in_a_write(folder: &Folder, owner: &Host, then: impl FnOnce()) {
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let mut client = owner.client();
            let refused = (1..).find_map(|seed| client.write("volume1", 0, &pattern(seed, LONG)).err());
            refused.map(|failure| failure.kind)
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            owner.pause();
            if is_writing(&folder.maps()) {
                break;
            }
            owner.resume();
            assert!(Instant::now() < deadline, "it is never stopped in a write");
        }
        then();
        assert_eq!(writer.join().unwrap(), Some(ErrorKind::NotOwner));
    });
}

#[test]
fn a_lock_is_broken_when_what_its_owner_began_to_write_has_ended() {
    let Some(folder) = Folder::new("promises::a_lock_is_broken_when_what_its_owner_began_to_write_has_ended")
    else {
        return;
    };
    let [owner, other] = folder.hosts();
    owner.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    owner.client().open("volume1").unwrap();
    while_stopped_in_a_write(&folder, &owner, || {
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                other.client().unlock("volume1", true).unwrap();
                sender.send(()).unwrap();
            });
            assert!(receiver.recv_timeout(GLANCE).is_err(), "the break did not wait");
            owner.resume();
            receiver.recv().unwrap();
        });
        other.client().write("volume1", 0, &pattern(0, LONG)).unwrap();
        other.client().flush("volume1").unwrap();
    });
    assert!(read(&other, 0, LONG) == pattern(0, LONG), "the former owner wrote later");
}

#[test]
fn a_break_does_not_wait_for_ever_and_then_one_write_at_most_comes_late() {
    let Some(folder) =
        Folder::new("promises::a_break_does_not_wait_for_ever_and_then_one_write_at_most_comes_late")
    else {
        return;
    };
    let [owner, other] = folder.hosts();
    owner.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    owner.client().open("volume1").unwrap();
    let elsewhere = 8 * MIB;
    while_stopped_in_a_write(&folder, &owner, || {
        other.client().unlock("volume1", true).unwrap();
        other.client().write("volume1", elsewhere, &pattern(0, LONG)).unwrap();
        other.client().flush("volume1").unwrap();
        owner.resume();
    });
    assert!(read(&other, elsewhere, LONG) == pattern(0, LONG), "the map went back");
    other.client().write("volume1", 0, &pattern(0, LONG)).unwrap();
    assert!(read(&other, 0, LONG) == pattern(0, LONG), "the former owner still writes");
}

#[test]
fn who_does_not_know_that_its_lock_was_broken_changes_nothing_and_reads_the_present_when_it_has_it_again() {
    let test = "promises::who_does_not_know_that_its_lock_was_broken_changes_nothing_and_reads_the_present_when_it_has_it_again";
    let Some(folder) = Folder::new(test) else { return };
    let [former, owner] = folder.hosts();
    former.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    former.client().write("volume1", 0, &pattern(1, 4096)).unwrap();
    former.client().flush("volume1").unwrap();
    owner.client().unlock("volume1", true).unwrap();
    owner.client().open("volume1").unwrap();
    owner.client().snapshot("volume1", "snapshot1").unwrap();
    owner.client().write("volume1", 0, &pattern(2, 4096)).unwrap();
    owner.client().flush("volume1").unwrap();
    let seen = read(&former, 0, 4096);
    assert!(seen == pattern(1, 4096) || seen == pattern(2, 4096));
    assert_eq!(kind(former.client().write("volume1", 0, &pattern(3, 4096))), Some(ErrorKind::NotOwner));
    assert!(former.client().snapshot("volume1", "snapshot2").is_err());
    owner.client().close("volume1").unwrap();
    former.client().open("volume1").unwrap();
    assert_eq!(read(&former, 0, 4096), pattern(2, 4096));
}
