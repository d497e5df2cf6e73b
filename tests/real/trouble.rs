//! Full disks, read-only directories, devices in use.

use std::process::Command;

use protocol::ErrorKind;
use tests::{TestStack, is_root, pattern, skip};

const MIB: u64 = 1 << 20;

/// A small file system of one's own; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size_mib: u32) -> SmallDisk {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={size_mib}M");
        let mounted =
            tests::run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()));
        mounted.done();
        SmallDisk(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_acknowledged_is_lost() {
    let test = "a_full_disk_is_an_error_and_nothing_acknowledged_is_lost";
    if !is_root() {
        return skip(test, "a small file system needs root");
    }
    let disk = SmallDisk::new(32);
    let blocks = disk.0.path().join("blocks");
    std::fs::create_dir(&blocks).unwrap();
    let maps = tempfile::tempdir().unwrap();
    let arguments = ["--blocks", blocks.to_str().unwrap(), "--maps", maps.path().to_str().unwrap()];
    let stack = TestStack::start_with(&arguments, |configuration| configuration);
    let mut client = stack.client();
    client.create("volume1", Some(256 * MIB), None, None).unwrap();
    let mut written = 0;
    let failure = loop {
        match client.write("volume1", written * MIB, &pattern(u32::try_from(written).unwrap(), 1 << 20)) {
            Ok(()) => written += 1,
            Err(failure) => break failure,
        }
        assert!(written < 64, "a disk of 32 MiB took {written} MiB");
    };
    assert_eq!(failure.kind, ErrorKind::NoSpace, "{failure}");
    for index in 0..written {
        let mut bytes = vec![0; 1 << 20];
        client.read("volume1", index * MIB, &mut bytes).unwrap();
        assert!(bytes == pattern(u32::try_from(index).unwrap(), 1 << 20), "MiB {index}");
    }
    drop(client);
    drop(stack);
}

#[test]
fn a_device_in_use_is_not_unmapped() {
    if !is_root() {
        return skip("a_device_in_use_is_not_unmapped", "mounting needs root");
    }
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    let device = stack.vlmc(&["map", "volume1", "--via", "fuse"]).done();
    assert!(stack.vlmc(&["map", "volume1", "--via", "fuse"]).refused().contains(&device));
    tests::run(Command::new("mkfs.ext4").args(["-q", "-F", &device])).done();
    let folder = stack.path("mounted");
    std::fs::create_dir(&folder).unwrap();
    tests::run(Command::new("mount").arg(&device).arg(&folder)).done();
    assert!(stack.vlmc(&["unmap", &device]).refused().contains("in use"));
    assert!(stack.vlmc(&["remove", "volume1"]).refused().contains("map"));
    tests::run(Command::new("umount").arg(&folder)).done();
    stack.vlmc(&["unmap", &device]).done();
    assert_eq!(stack.vlmc(&["showmapped", "--json"]).done().trim(), "[]");
}

#[test]
fn a_read_only_directory_is_named_before_anything_starts() {
    let test = "a_read_only_directory_is_named_before_anything_starts";
    if !is_root() {
        return skip(test, "a small file system needs root");
    }
    let disk = SmallDisk::new(64);
    let (blocks, maps) = (disk.0.path().join("blocks"), disk.0.path().join("maps"));
    std::fs::create_dir(&blocks).unwrap();
    std::fs::create_dir(&maps).unwrap();
    let arguments = ["--blocks", blocks.to_str().unwrap(), "--maps", maps.to_str().unwrap()];
    let mut stack = TestStack::start_with(&arguments, |configuration| configuration);
    stack.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    stack.client().write("volume1", 0, &pattern(1, 4096)).unwrap();
    stack.stop();
    tests::run(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path())).done();
    let told = stack.archipelago(&["start"]).refused();
    assert!(told.contains("blockerb.archip_dir") && told.contains("Read-only"), "{told}");
    tests::run(Command::new("mount").args(["-o", "remount,rw"]).arg(disk.0.path())).done();
    stack.run();
    let mut bytes = vec![0; 4096];
    stack.client().read("volume1", 0, &mut bytes).unwrap();
    assert_eq!(bytes, pattern(1, 4096));
    stack.stop();
}
