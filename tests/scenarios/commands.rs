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
        serde_json::from_str::<serde_json::Value>(&text)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"));
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

#[test]
fn case_29_a_stack_is_started_once_and_stopped_whole() {
    let stack = TestStack::prepared(&[], |configuration| configuration);
    assert_eq!(stack.archipelago(&["status"]).code(), Some(1));
    stack.archipelago(&["start"]).done();
    assert!(stack.archipelago(&["start"]).refused().contains("run"));
    stack.archipelago(&["status"]).done();
    stack.archipelago(&["status", "mapperd"]).done();
    stack.archipelago(&["restart", "mapperd"]).done();
    stack.archipelago(&["stop", "mapperd"]).done();
    assert_eq!(stack.archipelago(&["status"]).code(), Some(1));
    stack.archipelago(&["start", "mapperd"]).done();
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
    stack.vlmc(&["map", "volume1", "--via", "nbd"]).done();
    assert!(stack.archipelago(&["stop"]).refused().contains("volume1"));
    stack.archipelago(&["stop", "--force"]).done();
    assert_eq!(stack.archipelago(&["status"]).code(), Some(1));
}

#[test]
fn case_29_what_is_wrong_with_a_configuration_is_named_with_its_line() {
    let stack = TestStack::prepared(&[], |configuration| {
        let overlapping = configuration.replace("portno_start = 40", "portno_start = 10");
        overlapping.replace("portno_start = 12", "portno_start = 12\nlog_level = 9\ncolour = \"red\"")
    });
    let told = stack.archipelago(&["check"]);
    assert_eq!(told.code(), Some(1));
    let told = told.stdout() + &told.stderr();
    for wrong in ["colour", "log_level", "overlapping"] {
        assert!(told.contains(wrong), "{wrong} is not named: {told}");
    }
    assert!(told.contains("archipelago.toml:"), "{told}");
    stack.archipelago(&["start"]).refused();
}

#[test]
fn case_30_a_mapped_volume_is_neither_mapped_again_nor_removed_nor_renamed() {
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
    let uri = stack.vlmc(&["map", "volume1", "--via", "nbd"]).done();
    assert!(stack.vlmc(&["map", "volume1", "--via", "nbd"]).refused().contains(&uri));
    stack.vlmc(&["remove", "volume1"]).refused();
    stack.vlmc(&["rename", "volume1", "volume2"]).refused();
    assert!(stack.vlmc(&["showmapped"]).done().contains(&uri));
    stack.vlmc(&["unmap", &uri]).done();
    stack.vlmc(&["unmap", "volume1"]).refused();
    stack.vlmc(&["rename", "volume1", "volume2"]).done();
    stack.vlmc(&["remove", "volume2"]).done();
}

#[test]
fn what_is_mapped_is_mapped_again_after_a_restart() {
    let mut stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
    let uri = stack.vlmc(&["map", "volume1", "--via", "nbd"]).done();
    stack.stop();
    stack.run();
    assert!(stack.vlmc(&["showmapped"]).done().contains(&uri));
}

#[test]
fn a_route_through_another_port_is_put_in_and_taken_out() {
    let stack = TestStack::start();
    let xseg = |arguments: &[&str]| tests::run(&mut stack.command("xseg", arguments));
    let told = stack.stack();
    let (mapper, via) = (told.mapper.to_string(), told.blocker_maps.to_string());
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
    assert!(xseg(&["route", &mapper, "255"]).refused().contains("port 255"));
    xseg(&["route", &mapper, &via]).done();
    // A store does not forward: whoever asks the mapper now hears that.
    stack.vlmc(&["create", "volume2", "--size", "16"]).refused();
    xseg(&["route", &mapper, "--clear"]).done();
    stack.vlmc(&["create", "volume2", "--size", "16"]).done();
    xseg(&["verify"]).done();
}

#[test]
fn space_comes_back_after_a_collection() {
    let stack = TestStack::start();
    let empty = used_bytes(&stack.path("blocks"));
    let mut client = stack.client();
    client.create("volume1", Some(64 << 20), None, None).unwrap();
    client.write("volume1", 0, &tests::pattern(1, 32 << 20)).unwrap();
    client.flush("volume1").unwrap();
    client.snapshot("volume1", "snapshot1").unwrap();
    client.remove("volume1").unwrap();
    client.remove("snapshot1").unwrap();
    let before = used_bytes(&stack.path("blocks"));
    assert!(before >= 32 << 20, "{before} bytes");
    let would = stack.archipelago(&["gc", "--dry-run"]).done();
    assert_eq!(used_bytes(&stack.path("blocks")), before, "{would}");
    let told = stack.archipelago(&["gc"]).done();
    assert!(told.contains("free space: "), "{told}");
    let after = used_bytes(&stack.path("blocks"));
    assert!(after < empty + (1 << 20), "{before} bytes before, {after} after");
}

fn used_bytes(folder: &std::path::Path) -> u64 {
    let told =
        tests::run(std::process::Command::new("du").args(["--summarize", "--block-size=1"]).arg(folder))
            .done();
    told.split_whitespace().next().unwrap().parse().unwrap()
}
