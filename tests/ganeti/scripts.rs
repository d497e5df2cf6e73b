//! What each script does with what Ganeti tells it.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    process::Command,
};

use tests::{TestStack, run, skip, tool};

use crate::provider::{DISK, extension, folder, has_devices, script};

#[test]
fn ganeti_finds_every_file_that_it_looks_for() {
    for action in
        ["create", "attach", "detach", "remove", "grow", "setinfo", "verify", "snapshot", "open", "close"]
    {
        let mode = fs::metadata(folder().join(action)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{action} is a program");
    }
    let parameters = fs::read_to_string(folder().join("parameters.list")).unwrap();
    let names: Vec<_> = parameters.lines().map(|line| line.split_once('\t').unwrap().0).collect();
    assert_eq!(names, ["origin", "origin_size", "snapshot", "snapshot_size", "config"]);
}

#[test]
fn scripts_are_as_shellcheck_wants_them() {
    let Some(shellcheck) = tool("shellcheck") else {
        return skip("scripts_are_as_shellcheck_wants_them", "missing tool: shellcheck");
    };
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ganeti");
    let folders = [folder(), extension().join("hooks/instance-migrate-pre.d"), tests];
    let files =
        folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    let is_script = |file: &std::path::PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        text.starts_with("#!/bin/sh") || text.starts_with("# shellcheck shell=sh")
    };
    let scripts: Vec<_> = files.filter(is_script).collect();
    assert_eq!(scripts.len(), 16);
    run(Command::new(shellcheck).args(["-x", "-P", "SCRIPTDIR"]).args(scripts)).done();
}

#[test]
fn a_disk_is_made_used_and_removed_and_asking_twice_does_no_harm() {
    if !has_devices("a_disk_is_made_used_and_removed_and_asking_twice_does_no_harm") {
        return;
    }
    let stack = TestStack::start();
    script(&stack, "create", &[("VOL_SIZE", "32")]).done();
    let device = script(&stack, "attach", &[]).done();
    assert!(fs::metadata(&device).unwrap().file_type().is_block_device());
    assert_eq!(script(&stack, "attach", &[]).done(), device);
    script(&stack, "setinfo", &[("VOL_METADATA", "originstname+instance1")]).done();
    script(&stack, "grow", &[("VOL_SIZE", "32"), ("VOL_NEW_SIZE", "48")]).done();
    assert_eq!(run(Command::new("blockdev").args(["--getsize64", &device])).done(), (48 << 20).to_string());
    assert!(script(&stack, "remove", &[]).refused().contains("mapped"));
    script(&stack, "detach", &[]).done();
    script(&stack, "detach", &[]).done();
    script(&stack, "remove", &[]).done();
    script(&stack, "remove", &[]).done();
    assert!(script(&stack, "attach", &[]).refused().contains("there is no volume"));
}

#[test]
fn a_disk_begins_as_the_snapshot_of_another() {
    let stack = TestStack::start();
    script(&stack, "create", &[("VOL_SIZE", "32")]).done();
    let snapshot = [("VOL_SNAPSHOT_NAME", "golden"), ("VOL_SNAPSHOT_SIZE", "32")];
    script(&stack, "snapshot", &snapshot).done();
    let ways = [
        [("EXTP_ORIGIN", "golden"), ("EXTP_ORIGIN_SIZE", "-1")],
        [("EXTP_ORIGIN", "golden"), ("EXTP_ORIGIN_SIZE", "33554432")],
        [("EXTP_SNAPSHOT", "golden"), ("EXTP_SNAPSHOT_SIZE", "")],
    ];
    for (index, way) in ways.iter().enumerate() {
        let name = format!("clone-{index}");
        script(&stack, "verify", way).done();
        script(&stack, "create", &[&way[..], &[("VOL_NAME", &name), ("VOL_SIZE", "40")]].concat()).done();
        assert!(stack.vlmc(&["info", &name]).done().contains("parent      golden"));
    }
}

#[test]
fn what_cannot_be_done_is_told() {
    let stack = TestStack::start();
    script(&stack, "create", &[("VOL_SIZE", "32")]).done();
    assert!(script(&stack, "create", &[("VOL_SIZE", "32")]).refused().contains("exists"));
    let from_nothing = [("VOL_NAME", "another"), ("VOL_SIZE", "32"), ("EXTP_ORIGIN", "nothing")];
    assert!(script(&stack, "create", &from_nothing).refused().contains("there is no volume nothing"));
    assert!(script(&stack, "verify", &from_nothing).refused().contains("there is no volume nothing"));
    let smaller = [("VOL_SIZE", "32"), ("VOL_NEW_SIZE", "16")];
    assert!(script(&stack, "grow", &smaller).refused().contains("resize"));
    let nowhere = [("EXTP_CONFIG", "/nowhere/archipelago.toml")];
    assert!(script(&stack, "attach", &nowhere).refused().contains("/nowhere/archipelago.toml"));
    let relative = [("EXTP_CONFIG", "archipelago.toml")];
    assert!(script(&stack, "remove", &relative).refused().contains("no absolute path"));
    assert!(script(&stack, "create", &[]).stderr().contains("VOL_SIZE"));
    assert_eq!(stack.vlmc(&["list", "--json"]).done().matches("\"name\"").count(), 1);
}

#[test]
fn userspace_access_gets_an_address_for_qemu_beside_the_device() {
    let stack = TestStack::start();
    script(&stack, "create", &[("VOL_SIZE", "32")]).done();
    let said = script(&stack, "attach", &[("EXTP_ACCESS", "userspace")]).done();
    let (device, address) = said.split_once('\n').unwrap();
    let socket = stack.path("run/nbd.sock");
    let uri = format!("nbd+unix:///{DISK}?socket={}", socket.display());
    assert_eq!(address, format!("kvm:{uri},file.reconnect-delay=60"));
    assert!(device.is_empty() || fs::metadata(device).unwrap().file_type().is_block_device(), "{device}");
    assert_eq!(script(&stack, "attach", &[("EXTP_ACCESS", "userspace")]).done(), said);
    script(&stack, "detach", &[("EXTP_ACCESS", "userspace")]).done();
    assert_eq!(stack.vlmc(&["showmapped", "--json"]).done(), "[]");
}
