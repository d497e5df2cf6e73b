//! Commands as people type them.

use tests::TestStack;

#[test]
fn the_seeds_commands_work_with_their_own_syntax() {
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    stack.vlmc(&["snapshot", "volume1", "snapshot1"]).done();
    stack.vlmc(&["create", "clone01", "--snap", "snapshot1"]).done();
    stack.vlmc(&["create", "clone02", "--snap", "snapshot1", "--size", "128"]).done();
    let list = stack.vlmc(&["list"]).done();
    for name in ["volume1", "snapshot1", "clone01", "clone02"] {
        assert!(list.contains(name), "{list}");
    }
    assert!(stack.vlmc(&["info", "clone02"]).done().contains("134217728"));
    stack.vlmc(&["open", "volume1"]).done();
    stack.vlmc(&["close", "volume1"]).done();
    stack.vlmc(&["lock", "volume1"]).done();
    stack.vlmc(&["unlock", "volume1"]).done();
    stack.vlmc(&["remove", "clone01"]).done();
    assert!(!stack.vlmc(&["list"]).done().contains("clone01"));
}

#[test]
fn exit_statuses_tell_failed_from_misused() {
    let stack = TestStack::start();
    let told = stack.vlmc(&["info", "nobody1"]).refused();
    assert!(told.contains("nobody1"), "{told}");
    assert_eq!(stack.vlmc(&["info"]).code(), Some(2));
    assert_eq!(stack.vlmc(&["frobnicate"]).code(), Some(2));
    assert_eq!(stack.vlmc(&["create", "volume1"]).code(), Some(2));
}

#[test]
fn what_reads_speaks_json() {
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    for arguments in [&["list", "--json"][..], &["info", "volume1", "--json"], &["showmapped", "--json"]] {
        let text = stack.vlmc(arguments).done();
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"));
    }
    let status = stack.archipelago(&["status", "--json"]).done();
    serde_json::from_str::<serde_json::Value>(&status).unwrap();
}

#[test]
fn import_and_export_keep_every_byte_and_every_hole() {
    let stack = TestStack::start();
    let mut image = vec![0; 9 << 20];
    image[..70_000].copy_from_slice(&tests::pattern(1, 70_000));
    image[(8 << 20) + 5..][..70_000].copy_from_slice(&tests::pattern(2, 70_000));
    std::fs::write(stack.path("image"), &image).unwrap();
    let (image_path, copy) = (stack.path("image"), stack.path("copy"));
    stack.vlmc(&["import", image_path.to_str().unwrap(), "volume1"]).done();
    stack.vlmc(&["export", "volume1", copy.to_str().unwrap()]).done();
    assert!(std::fs::read(&copy).unwrap() == image);
    let allocated = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&copy).unwrap()) * 512;
    assert!(allocated <= 8 << 20, "{allocated} bytes are allocated");
}
