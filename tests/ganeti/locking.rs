//! Who has the lock after which script.

use tests::TestStack;

use crate::provider::{DISK, script};

/// Which node has the disk's lock.
fn owner(stack: &TestStack) -> Option<String> {
    let info: serde_json::Value =
        serde_json::from_str(&stack.vlmc(&["info", "--json", DISK]).done()).unwrap();
    info["lock"]["owner"].as_str().map(str::to_owned)
}

#[test]
fn open_takes_the_lock_and_close_gives_it_back_as_often_as_they_are_asked() {
    let stack = TestStack::start();
    script(&stack, "create", &[("VOL_SIZE", "8")]).done();
    script(&stack, "open", &[("VOL_OPEN_EXCLUSIVE", "False")]).done();
    assert_eq!(owner(&stack), None);
    for _ in 0..2 {
        script(&stack, "open", &[("VOL_OPEN_EXCLUSIVE", "True")]).done();
        assert_eq!(owner(&stack), Some(stack.stack().node));
    }
    for _ in 0..2 {
        script(&stack, "close", &[]).done();
        assert_eq!(owner(&stack), None);
    }
}

#[test]
fn a_disk_is_attached_where_an_instance_goes_while_it_is_open_where_it_comes_from() {
    let source = TestStack::start();
    let target = TestStack::start_beside(&source);
    let userspace = [("EXTP_ACCESS", "userspace")];
    script(&source, "create", &[("VOL_SIZE", "8")]).done();
    script(&source, "attach", &userspace).done();
    script(&source, "open", &[]).done();
    script(&target, "attach", &userspace).done();
    script(&target, "open", &[("VOL_OPEN_EXCLUSIVE", "False")]).done();
    assert!(script(&target, "open", &[]).refused().contains("is held by"));
    script(&target, "close", &[]).done();
    assert_eq!(owner(&target), Some(source.stack().node));
    script(&target, "attach", &userspace).done();
    script(&source, "close", &[]).done();
    script(&target, "open", &[]).done();
    assert_eq!(owner(&source), Some(target.stack().node));
    script(&target, "detach", &userspace).done();
    assert_eq!(owner(&source), None);
}
