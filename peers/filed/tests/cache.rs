//! The bounded cache of open files.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;

use filed::{Config, Files};
use store::{ErrorKind, ObjectName, Store, WriteMode};

fn name(number: usize) -> ObjectName {
    ObjectName::new(format!("object {number}")).unwrap()
}

fn open(directory: &tempfile::TempDir, fdcache: usize) -> Files {
    Files::open(&Config { fdcache, ..Config::new(directory.path()) }, 8).unwrap()
}

#[test]
fn no_more_files_stay_open_than_the_setting_says() {
    let directory = tempfile::tempdir().unwrap();
    let files = open(&directory, 3);
    for number in 0..50 {
        files.write(&name(number), 0, b"x").unwrap();
        assert!(files.status().unwrap().open_files <= 3);
    }
    for number in 0..50 {
        assert_eq!(files.read(&name(number), 0, 1).unwrap(), b"x");
    }
    assert_eq!(files.status().unwrap().open_files, 3);
}

#[test]
fn deleted_replaced_and_copied_objects_leave_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let files = open(&directory, 100);
    for number in 0..4 {
        files.write(&name(number), 0, b"x").unwrap();
    }
    files.delete(&name(0)).unwrap();
    assert_eq!(files.status().unwrap().open_files, 3);
    files.write_as(&name(1), 0, b"y", WriteMode::Replace, false).unwrap();
    assert_eq!(files.status().unwrap().open_files, 2);
    files.copy(&name(3), &name(2), 1).unwrap();
    assert_eq!(files.status().unwrap().open_files, 1);
}

#[test]
fn a_file_that_went_behind_our_back_is_noticed_before_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let files = open(&directory, 100);
    files.write(&name(0), 0, b"old").unwrap();
    let path = directory.path().join(place_of(&directory));
    fs::remove_file(&path).unwrap();
    assert_eq!(files.read(&name(0), 0, 3).unwrap_err().kind, ErrorKind::NotFound);
    files.write(&name(0), 0, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let replacement = directory.path().join("replacement");
    fs::write(&replacement, "another").unwrap();
    fs::rename(replacement, &path).unwrap();
    assert_eq!(files.read(&name(0), 0, 7).unwrap(), b"another");
}

/// The one object's file, relative to the store.
fn place_of(directory: &tempfile::TempDir) -> std::path::PathBuf {
    let below = |path: std::path::PathBuf| {
        fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path())
    };
    let levels = below(directory.path().to_owned()).flat_map(below);
    levels.flat_map(below).find(|path| path.is_file()).unwrap()
}
