//! Stores of the original, served in place; and its confirmed faults, which must not come back.
//!
//! Most of those faults are claims of `store::conformance`: a deleted object that lives on in the cache, a copy of nothing
//! that succeeds, a copy that appends, a hash without a name or out of date, an owner that is a prefix of another.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use filed::{Config, Files};
use store::{ErrorKind, ObjectName, Store, StoreError, StoreOperation, WriteMode};

/// Where the original put these, by name.
const PLACES: [(&str, &str); 4] = [
    ("96/42/c5/goldvol1", "goldvol1"),
    ("7b/51/5b/goldvol1_0000000000000001_000000000000000f", "goldvol1_0000000000000001_000000000000000f"),
    ("e2/86/d1/goldvol1_0000000000000001_0000000000000000", "goldvol1_0000000000000001_0000000000000000"),
    (
        "e3/b0/c4/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
];

fn legacy_store() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (place, name) in PLACES {
        let path = directory.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    directory
}

fn open(directory: &Path) -> Files {
    Files::open(&Config::new(directory), 8).unwrap()
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.unwrap_err().kind
}

#[test]
fn objects_of_the_original_are_read_and_listed() {
    let directory = legacy_store();
    let files = open(directory.path());
    for (_, object) in PLACES {
        assert_eq!(files.read(&name(object), 0, object.len()).unwrap(), object.as_bytes());
        assert_eq!(files.size(&name(object)).unwrap(), object.len() as u64);
    }
    let mut expected = PLACES.map(|(_, object)| object.as_bytes().to_vec());
    expected.sort();
    assert_eq!(files.list(&name("any"), b"", b"", 1 << 16).unwrap().names, expected);
    assert!(files.status().unwrap().has_legacy);
}

#[test]
fn objects_of_the_original_are_written_in_place() {
    let directory = legacy_store();
    let (place, object) = PLACES[0];
    let inode = fs::metadata(directory.path().join(place)).unwrap().ino();
    open(directory.path()).write_as(&name(object), 0, b"G", WriteMode::Update, true).unwrap();
    assert_eq!(fs::read(directory.path().join(place)).unwrap(), b"Goldvol1");
    assert_eq!(fs::metadata(directory.path().join(place)).unwrap().ino(), inode);
}

#[test]
fn a_deleted_object_of_the_original_does_not_come_back() {
    let directory = legacy_store();
    let files = open(directory.path());
    for (_, object) in PLACES {
        files.delete(&name(object)).unwrap();
        assert_eq!(kind(files.size(&name(object))), ErrorKind::NotFound);
        files.write(&name(object), 0, b"x").unwrap();
        files.delete(&name(object)).unwrap();
        assert_eq!(kind(files.delete(&name(object))), ErrorKind::NotFound);
    }
}

#[test]
fn a_replaced_or_copied_object_of_the_original_is_there_once() {
    let directory = legacy_store();
    let files = open(directory.path());
    files.write_as(&name(PLACES[0].1), 0, b"new", WriteMode::Replace, true).unwrap();
    files.copy(&name(PLACES[2].1), &name(PLACES[1].1), 4).unwrap();
    assert!(!directory.path().join(PLACES[0].0).exists() && !directory.path().join(PLACES[1].0).exists());
    assert_eq!(files.read(&name(PLACES[0].1), 0, 4).unwrap(), b"new\0");
    assert_eq!(files.read(&name(PLACES[1].1), 0, 5).unwrap(), b"gold\0");
    let exclusive = files.write_as(&name(PLACES[2].1), 0, b"x", WriteMode::Exclusive, false);
    assert_eq!(kind(exclusive), ErrorKind::Exists);
}

#[test]
fn a_store_without_files_of_the_original_knows_it() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).write(&name("a"), 0, b"x").unwrap();
    let files = open(directory.path());
    assert!(!files.status().unwrap().has_legacy);
    // A damaged marker is no reason to lose sight of files: they are looked for anew.
    let place = directory.path().join(PLACES[0].0);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, "x").unwrap();
    fs::write(directory.path().join("%store"), "damaged").unwrap();
    assert!(open(directory.path()).status().unwrap().has_legacy);
}

#[test]
fn the_store_that_the_original_wrote_is_served() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/archipelago/store.tar.zst");
    let directory = tempfile::tempdir().unwrap();
    let unpacked =
        Command::new("tar").arg("--zstd").arg("-xf").arg(&archive).arg("-C").arg(directory.path()).status();
    if !archive.exists() || !unpacked.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs the golden store and a tar that knows zstd");
        return;
    }
    let config = Config {
        legacy_lock_dir: Some(directory.path().join("locks")),
        ..Config::new(directory.path().join("maps"))
    };
    let maps = Files::open(&config, 8).unwrap();
    assert_eq!(&maps.read(&name("goldvol1"), 0, 4).unwrap(), b"AMF.");
    assert_eq!(maps.list(&name("any"), b"goldsnap", b"", 1 << 16).unwrap().names.len(), 4);
    assert_eq!(maps.lock_info(&name("goldvol1")).unwrap().owner.as_deref(), Some("goldhost_1002"));
    assert_eq!(kind(maps.acquire(&name("goldvol1"), "other", false, false)), ErrorKind::Busy);
    maps.acquire(&name("goldvol1"), "goldhost_1002", false, false).unwrap();
    let blocks = open(&directory.path().join("blocks"));
    let page = blocks.list(&name("any"), b"", b"", 1 << 16).unwrap();
    assert_eq!(page.names.len(), 11);
    for block in page.names {
        assert!(blocks.size(&ObjectName::new(block).unwrap()).unwrap() > 0);
    }
}

/// A store whose locks of the original are in a directory of their own.
fn with_legacy_lock(owner: &str) -> (tempfile::TempDir, Files, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (objects, locks) = (directory.path().join("maps"), directory.path().join("locks"));
    fs::create_dir(&objects).unwrap();
    fs::create_dir(&locks).unwrap();
    let lock = locks.join("volume_lock");
    fs::write(&lock, owner).unwrap();
    let config = Config { legacy_lock_dir: Some(locks), ..Config::new(objects) };
    (directory, Files::open(&config, 8).unwrap(), lock)
}

#[test]
fn a_lock_file_of_the_original_is_honoured_and_compared_whole() {
    let (_directory, files, lock) = with_legacy_lock("vm_10020");
    for other in ["vm_1002", "vm_100200", "other"] {
        assert_eq!(kind(files.acquire(&name("volume"), other, false, false)), ErrorKind::Busy);
        assert_eq!(kind(files.release(&name("volume"), other, false)), ErrorKind::NotOwner);
    }
    files.release(&name("volume"), "vm_10020", false).unwrap();
    assert!(!lock.exists());
    files.acquire(&name("volume"), "other", false, false).unwrap();
}

#[test]
fn force_removes_a_lock_file_of_the_original() {
    let (_directory, files, lock) = with_legacy_lock("dead_host");
    files.acquire(&name("volume"), "mine", false, true).unwrap();
    assert!(!lock.exists());
    let (_directory, files, lock) = with_legacy_lock("dead_host");
    files.release(&name("volume"), "mine", true).unwrap();
    assert!(!lock.exists());
    assert_eq!(files.lock_info(&name("volume")).unwrap().owner, None);
}

#[test]
fn a_waiting_acquire_gets_a_lock_that_the_original_releases() {
    let (_directory, files, lock) = with_legacy_lock("other_host");
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| files.acquire(&name("volume"), "mine", true, false));
        fs::remove_file(&lock).unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    let inside = outside.path().join("a/b/store");
    fs::create_dir_all(&inside).unwrap();
    let files = open(&inside);
    for hostile in
        ["../../../../outside01", "../outside", "/outside", "..", "%2e%2e/outside", "a/../../../../outside"]
    {
        files.write(&name(hostile), 0, b"x").unwrap();
        assert_eq!(kind(files.copy(&name("../../a"), &name(hostile), 1)), ErrorKind::NotFound);
        files.acquire(&name(hostile), "owner", false, false).unwrap();
    }
    let found = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(
        [found(outside.path()), found(&outside.path().join("a")), found(&outside.path().join("a/b"))],
        [1; 3]
    );
}

#[test]
fn a_link_in_the_store_is_not_followed() {
    let (store, outside) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let files = open(store.path());
    files.write(&name("object"), 0, b"x").unwrap();
    let place = walk(store.path()).into_iter().find(|path| path.ends_with("object")).unwrap();
    files.delete(&name("object")).unwrap();
    std::os::unix::fs::symlink(outside.path(), place).unwrap();
    files.write(&name("object"), 0, b"harm").unwrap_err();
    assert_eq!(fs::read(outside.path()).unwrap(), b"");
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn temporary_files_of_dead_processes_are_removed_and_no_others() {
    let store = tempfile::tempdir().unwrap();
    drop(open(store.path()));
    let temp = store.path().join("%temp");
    let own = {
        let files = open(store.path());
        files.write_as(&name("o"), 0, b"x", WriteMode::Replace, true).unwrap();
        fs::read_dir(&temp).unwrap().count()
    };
    assert_eq!(own, 0, "nothing stays of what succeeded");
    let elsewhere = temp.join("0123456789abcdef-1-1-0");
    fs::write(&elsewhere, "of a process of another host").unwrap();
    drop(open(store.path()));
    assert!(elsewhere.exists());
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    fs::File::options().write(true).open(&elsewhere).unwrap().set_modified(old).unwrap();
    drop(open(store.path()));
    assert!(!elsewhere.exists());
}

#[test]
fn an_object_that_is_a_directory_on_disk_is_an_error_not_a_panic() {
    let store = tempfile::tempdir().unwrap();
    let files = open(store.path());
    files.write(&name("object"), 0, b"x").unwrap();
    let place = walk(store.path()).into_iter().find(|path| path.ends_with("object")).unwrap();
    files.delete(&name("object")).unwrap();
    fs::create_dir(place).unwrap();
    files.read(&name("object"), 0, 1).unwrap_err();
    files.ask(&name("object"), StoreOperation::Truncate { size: 1, is_durable: false }).unwrap_err();
    assert_eq!(kind(files.delete(&name("object"))), ErrorKind::NotFound);
}
