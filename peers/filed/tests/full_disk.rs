//! A disk that is full, or can only be read.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use filed::{Config, Files, Io};
use store::{ErrorKind, ObjectName, Store, StoreOperation, WriteMode};

/// A small filesystem in memory that goes with its test.
struct SmallDisk {
    _directory: tempfile::TempDir,
    path: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

/// A process that another test starts has our open files for a moment, and a deleted one takes space until that is over.
static ALONE: Mutex<()> = Mutex::new(());

impl SmallDisk {
    /// None, said aloud, where mounting is not allowed.
    fn mount() -> Option<Self> {
        Self::mount_with("size=1m,nr_inodes=400")
    }

    fn mount_with(options: &str) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        if run("mount", &["-t", "tmpfs", "-o", options, "none"], &path) {
            return Some(Self { _directory: directory, path, _alone: alone });
        }
        eprintln!("skipped: needs the right to mount");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.path);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

#[test]
fn a_full_disk_is_no_space_and_what_was_answered_stays() {
    for io in [Io::Auto, Io::Threads] {
        let Some(disk) = SmallDisk::mount() else { return };
        let files = Files::open(&Config { io, ..Config::new(&disk.path) }, 8).unwrap();
        let block = vec![7; 128 << 10];
        let written =
            (0..20).take_while(|number| files.write(&name(&format!("o{number}")), 0, &block).is_ok()).count();
        assert!((4..8).contains(&written), "{written} blocks of 128 KiB fit into 1 MiB");
        let full =
            |result: Result<(), store::StoreError>| assert_eq!(result.unwrap_err().kind, ErrorKind::NoSpace);
        full(files.write(&name("more"), 0, &block));
        full(files.write_as(&name("o0"), 0, &block, WriteMode::Replace, true));
        full(files.write_as(&name("new"), 0, &block, WriteMode::Exclusive, true));
        full(files.copy(&name("o0"), &name("copy"), 128 << 10));
        for number in 0..written {
            assert_eq!(files.read(&name(&format!("o{number}")), 0, block.len()).unwrap(), block);
        }
        for absent in ["new", "copy"] {
            assert_eq!(files.size(&name(absent)).unwrap_err().kind, ErrorKind::NotFound);
        }
        files.delete(&name("o0")).unwrap();
        files.write(&name("o0"), 0, &block[..64 << 10]).unwrap();
        assert_eq!(
            std::fs::read_dir(disk.path.join("%temp")).unwrap().count(),
            0,
            "failures leave nothing behind"
        );
    }
}

#[test]
fn without_inodes_nothing_new_is_made_and_the_message_names_the_object() {
    let Some(disk) = SmallDisk::mount() else { return };
    let files = Files::open(&Config::new(&disk.path), 8).unwrap();
    let failed =
        (0..400).find_map(|number| files.write(&name(&format!("o{number}")), 0, b"x").err()).unwrap();
    assert_eq!(failed.kind, ErrorKind::NoSpace);
    assert!(failed.to_string().starts_with("cannot write object o"), "{failed}");
    assert!(!failed.to_string().contains(disk.path.to_str().unwrap()));
    assert_eq!(files.read(&name("o0"), 0, 1).unwrap(), b"x");
}

#[test]
fn what_it_takes_to_remove_an_object_is_done_on_a_full_disk_and_nothing_else() {
    // Once space is all gone, once inodes.
    for (options, bytes) in [("size=20m", 64 << 10), ("size=20m,nr_inodes=1800", 1)] {
        let Some(disk) = SmallDisk::mount_with(options) else { return };
        let files = Files::open(&Config::new(&disk.path), 8).unwrap();
        let put_by = || std::fs::read_dir(disk.path.join("%reserve")).unwrap().count();
        assert_eq!(put_by(), 16);
        let volume = name("volume");
        files.write(&volume, 0, b"map").unwrap();
        let filling = |bytes: usize, kind: &str| {
            let object = |number| name(&format!("{kind}{number}"));
            (0..3000).take_while(|number| files.write(&object(*number), 0, &vec![7; bytes]).is_ok()).count()
        };
        filling(bytes, "large");
        filling(1, "small");
        let refused =
            |result: Result<(), store::StoreError>| assert_eq!(result.unwrap_err().kind, ErrorKind::NoSpace);
        refused(files.acquire(&name("another"), "owner", false, false).map(drop));
        refused(files.write_as(&name("another"), 0, b"map", WriteMode::Replace, true));
        files.acquire(&volume, "owner", false, false).unwrap();
        files.write_as(&volume, 0, b"tombstone", WriteMode::Replace, true).unwrap();
        files.release(&volume, "owner", false).unwrap();
        assert!((1..16).contains(&put_by()), "{} left", put_by());
        for number in 0..1200 {
            let _is_there = files.delete(&name(&format!("large{number}")));
        }
        assert_eq!(put_by(), 16, "what was given up is put by again");
    }
}

#[test]
fn a_read_only_disk_is_read_and_says_so_when_written() {
    let Some(disk) = SmallDisk::mount() else { return };
    Files::open(&Config::new(&disk.path), 8).unwrap().write(&name("o"), 0, b"x").unwrap();
    if !run("mount", &["-o", "remount,ro"], &disk.path) {
        eprintln!("skipped: needs the right to mount");
        return;
    }
    let files = Files::open(&Config::new(&disk.path), 8).unwrap();
    assert_eq!(files.read(&name("o"), 0, 1).unwrap(), b"x");
    for result in [
        files.write(&name("o"), 0, b"y"),
        files.write(&name("new"), 0, b"y"),
        files.write_as(&name("o"), 0, b"y", WriteMode::Replace, true),
        files.delete(&name("o")),
        files.ask(&name("o"), StoreOperation::Truncate { size: 0, is_durable: false }).map(drop),
        files.acquire(&name("o"), "owner", false, false).map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind, ErrorKind::ReadOnly);
    }
}
