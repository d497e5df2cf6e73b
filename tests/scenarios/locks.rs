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
    let first = TestStack::start();
    let second = TestStack::start_beside(&first);
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
    let first = TestStack::start();
    let second = TestStack::start_beside(&first);
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
    let mut first = TestStack::start();
    let second = TestStack::start_beside(&first);
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
    let first = TestStack::start();
    let second = TestStack::start_beside(&first);
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
    let first = TestStack::start();
    let second = TestStack::start_beside(&first);
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
