//! Two nodes on one store.

use std::sync::mpsc;

use protocol::ErrorKind;
use tests::{TestStack, pattern};

const MIB: u64 = 1 << 20;

fn kind<T>(result: Result<T, protocol::Failure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.kind)
}

#[test]
fn case_22_another_nodes_volume_can_be_read_but_not_changed() {
    let (first, second) = TestStack::start_two();
    let (mut ours, mut theirs) = (first.client(), second.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    ours.write("volume1", 0, &pattern(1, 4096)).unwrap();
    ours.flush("volume1").unwrap();
    theirs.info("volume1").unwrap();
    let mut bytes = vec![0; 4096];
    theirs.read("volume1", 0, &mut bytes).unwrap();
    assert_eq!(bytes, pattern(1, 4096));
    assert_eq!(kind(theirs.snapshot("volume1", "snapshot1")), Some(ErrorKind::Busy));
    assert_eq!(kind(theirs.open("volume1")), Some(ErrorKind::Busy));
    assert_eq!(kind(theirs.remove("volume1")), Some(ErrorKind::Busy));
    assert_eq!(kind(theirs.rename("volume1", "newname")), Some(ErrorKind::Busy));
    assert_eq!(kind(theirs.resize("volume1", 32 * MIB, false)), Some(ErrorKind::Busy));
    assert!(theirs.create("volume1", Some(MIB), None, None).is_err());
    assert!(theirs.close("volume1").is_err());
}

#[test]
fn case_22_a_write_waits_until_the_owner_closes() {
    let (first, second) = TestStack::start_two();
    let (mut ours, mut theirs) = (first.client(), second.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    ours.write("volume1", 0, &pattern(1, 4096)).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            theirs.write("volume1", 0, &pattern(2, 4096)).unwrap();
            sender.send(()).unwrap();
        });
        assert!(
            receiver.recv_timeout(std::time::Duration::from_millis(300)).is_err(),
            "the write did not wait"
        );
        ours.close("volume1").unwrap();
        receiver.recv().unwrap();
    });
    assert_eq!(kind(ours.open("volume1")), Some(ErrorKind::Busy));
    let mut bytes = vec![0; 4096];
    ours.read("volume1", 0, &mut bytes).unwrap();
    assert_eq!(bytes, pattern(2, 4096));
}

#[test]
fn case_23_the_same_node_needs_no_force_after_a_kill_and_another_does() {
    let (mut first, second) = TestStack::start_two();
    first.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    first.client().open("volume1").unwrap();
    first.kill();
    first.run();
    first.client().open("volume1").unwrap();
    first.kill();
    let mut theirs = second.client();
    assert_eq!(kind(theirs.open("volume1")), Some(ErrorKind::Busy));
    theirs.unlock("volume1", true).unwrap();
    theirs.open("volume1").unwrap();
}

#[test]
fn case_24_whose_lock_was_broken_can_write_no_more() {
    let (first, second) = TestStack::start_two();
    let (mut ours, mut theirs) = (first.client(), second.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    ours.write("volume1", 0, &pattern(1, 4096)).unwrap();
    ours.flush("volume1").unwrap();
    theirs.unlock("volume1", true).unwrap();
    theirs.write("volume1", 0, &pattern(2, 4096)).unwrap();
    assert_eq!(kind(ours.write("volume1", 0, &pattern(3, 4096))), Some(ErrorKind::NotOwner));
    let mut bytes = vec![0; 4096];
    theirs.read("volume1", 0, &mut bytes).unwrap();
    assert_eq!(bytes, pattern(2, 4096));
}

#[test]
fn the_lock_command_keeps_others_out() {
    let (first, second) = TestStack::start_two();
    first.vlmc(&["create", "volume1", "--size", "16"]).done();
    first.vlmc(&["lock", "volume1"]).done();
    first.vlmc(&["lock", "volume1"]).done();
    second.vlmc(&["open", "volume1"]).refused();
    second.vlmc(&["unlock", "volume1"]).refused();
    second.vlmc(&["unlock", "-f", "volume1"]).done();
    second.vlmc(&["open", "volume1"]).done();
}

#[test]
fn two_stacks_on_one_machine_do_not_disturb_each_other() {
    let (first, second) = (TestStack::start(), TestStack::start());
    first.vlmc(&["create", "volume1", "--size", "16"]).done();
    second.vlmc(&["info", "volume1"]).refused();
    second.vlmc(&["create", "volume1", "--size", "32"]).done();
    drop(second);
    assert!(first.vlmc(&["info", "volume1"]).done().contains("16777216"));
}

#[test]
fn a_damaged_map_is_named_and_dropped_by_force_and_the_others_are_collected_then() {
    let stack = TestStack::start();
    for volume in ["volume1", "volume2"] {
        stack.vlmc(&["create", volume, "--size", "64"]).done();
        stack.client().write(volume, 0, &[7; 4096]).unwrap();
        stack.vlmc(&["close", volume]).done();
    }
    std::fs::write(file_named(&stack.path("maps"), "volume1"), b"this was a root").unwrap();
    for arguments in [&["info", "volume1"][..], &["remove", "volume1"]] {
        let told = stack.vlmc(arguments).refused();
        assert!(told.contains("object volume1 of the map store"), "{told}");
        assert!(told.contains("vlmc remove volume1 --force"), "{told}");
    }
    assert!(stack.archipelago(&["gc"]).refused().contains("volume1"));
    stack.vlmc(&["remove", "volume1", "--force"]).done();
    assert!(!stack.vlmc(&["list"]).done().contains("volume1"));
    let told = stack.archipelago(&["gc"]).done();
    assert!(told.contains("removed (4 MiB"), "{told}");
    let mut bytes = vec![0; 4096];
    stack.client().read("volume2", 0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 4096]);
    assert!(stack.vlmc(&["remove", "volume1", "--force"]).refused().contains("there is no volume"));
}

#[test]
fn a_damaged_lock_is_named_once_and_broken_by_force() {
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    stack.vlmc(&["lock", "volume1"]).done();
    let record = std::fs::read_dir(file_named(&stack.path("maps"), "%lvolume1")).unwrap();
    let newest = record.map(|entry| entry.unwrap().path()).max().unwrap();
    std::fs::write(newest, b"this was a lock").unwrap();
    for arguments in [&["locks"][..], &["list"]] {
        assert!(stack.vlmc(arguments).done().contains("a damaged record"));
    }
    let told = stack.vlmc(&["unlock", "volume1"]).refused();
    assert!(told.contains("record of its lock is damaged"), "{told}");
    stack.vlmc(&["unlock", "-f", "volume1"]).done();
    stack.vlmc(&["open", "volume1"]).done();
}

/// The file or directory of this name, somewhere below a folder.
fn file_named(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let found = tests::run(std::process::Command::new("find").arg(folder).args(["-name", name])).done();
    std::path::PathBuf::from(found.lines().next().unwrap())
}
