//! Checksums of what is at rest: when there are any, what they find, and what a write does to them first.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use filed::{Config, Files, Io, Verify};
use store::{ErrorKind, ObjectName, ScrubState, Store, StoreOperation, StoreReply, WriteMode};

const SIZE: usize = 3 * 4096 + 100;

struct Bench {
    directory: tempfile::TempDir,
    config: Config,
    files: Files,
}

impl Bench {
    fn open(io: Io, verify: Verify) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { io, verify, ..Config::new(directory.path()) };
        let files = Files::open(&config, 8).unwrap();
        Bench { directory, config, files }
    }

    /// An object that was written long ago.
    fn settled(&self, text: &str) -> ObjectName {
        let object = name(text);
        self.files.write(&object, 0, &[7; SIZE]).unwrap();
        self.settle(&object);
        object
    }

    fn settle(&self, object: &ObjectName) {
        let hour = Duration::from_secs(3600);
        let file = File::options().write(true).open(self.path(object)).unwrap();
        file.set_modified(SystemTime::now() - hour).unwrap();
    }

    fn path(&self, object: &ObjectName) -> PathBuf {
        find(self.directory.path(), &object.to_string()).unwrap()
    }

    fn sums(&self, object: &ObjectName) -> Option<PathBuf> {
        find(self.directory.path(), &format!("%s{object}"))
    }

    fn scrub(&self) -> ScrubState {
        let mut state = step(&self.files, true);
        while !state.is_done() {
            state = step(&self.files, false);
        }
        state
    }

    /// Changes a byte as a failing disk would.
    fn rot(&self, object: &ObjectName, at: u64) {
        let file = File::options().write(true).read(true).open(self.path(object)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }
}

fn step(files: &Files, is_restart: bool) -> ScrubState {
    let operation = StoreOperation::Scrub { is_restart, max_bytes: 10_000 };
    let StoreReply::Scrubbed(state) = files.ask(&name("any"), operation).unwrap() else { panic!() };
    *state
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found = entries.filter_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.file_name().is_some_and(|file| file == name).then_some(path),
    });
    found.next()
}

fn counts(state: &ScrubState) -> (u64, u64, u64, u64) {
    (state.summed, state.verified, state.unsettled, state.damaged)
}

#[test]
fn what_rests_gets_sums_and_agrees_with_them_the_next_time() {
    let bench = Bench::open(Io::Auto, Verify::Scrub);
    let object = bench.settled("o");
    bench.files.write(&name("fresh"), 0, b"x").unwrap();
    assert_eq!(counts(&bench.scrub()), (1, 0, 1, 0));
    assert!(bench.sums(&object).is_some() && bench.sums(&name("fresh")).is_none());
    let state = bench.scrub();
    assert_eq!((counts(&state), state.objects, state.bytes), ((0, 1, 1, 0), 2, SIZE as u64));
}

#[test]
fn rot_is_found_with_object_and_place_and_the_rest_goes_on() {
    let bench = Bench::open(Io::Auto, Verify::Scrub);
    let (first, second) = (bench.settled("first"), bench.settled("second"));
    bench.scrub();
    bench.rot(&first, 5000);
    bench.rot(&first, SIZE as u64 - 1);
    let state = bench.scrub();
    assert_eq!(counts(&state), (0, 1, 0, 2));
    let found: Vec<_> = state.damages.iter().map(|it| (it.object.as_slice(), it.offset, it.size)).collect();
    assert_eq!(found, [(b"first".as_slice(), 4096, 4096), (b"first", 12_288, 100)]);
    assert_eq!(bench.files.read(&second, 0, SIZE).unwrap(), [7; SIZE]);
}

#[test]
fn every_kind_of_change_removes_the_sums_and_the_next_scrub_finds_no_damage() {
    type Change = fn(&Files, &ObjectName);
    let changes: [(&str, Change); 8] = [
        ("write", |files, object| files.write(object, 5000, b"x").unwrap()),
        ("durable", |files, object| files.write_as(object, 0, b"x", WriteMode::Update, true).unwrap()),
        ("replace", |files, object| files.write_as(object, 0, b"x", WriteMode::Replace, true).unwrap()),
        ("truncate", |files, object| {
            files.ask(object, StoreOperation::Truncate { size: 5, is_durable: false }).map(drop).unwrap();
        }),
        ("discard", |files, object| {
            let operation = StoreOperation::Discard { offset: 0, size: 4096, is_durable: false };
            files.ask(object, operation).map(drop).unwrap();
        }),
        ("zeroes", |files, object| {
            let operation = StoreOperation::WriteZeroes {
                offset: 0,
                size: 9,
                may_trim: false,
                is_fast: false,
                is_durable: false,
            };
            files.ask(object, operation).map(drop).unwrap();
        }),
        ("copy", |files, object| {
            files.write(&name("source"), 0, b"source").unwrap();
            files.copy(&name("source"), object, 6).unwrap();
        }),
        ("delete", |files, object| files.delete(object).unwrap()),
    ];
    for io in [Io::Auto, Io::Threads] {
        for (what, change) in changes {
            let bench = Bench::open(io, Verify::Scrub);
            let object = bench.settled("o");
            bench.scrub();
            assert!(bench.sums(&object).is_some());
            // Read first: then the file is open already when it is changed.
            bench.files.read(&object, 0, 10).unwrap();
            change(&bench.files, &object);
            assert!(bench.sums(&object).is_none(), "{what}");
            assert_eq!(bench.scrub().damaged, 0, "{what}");
        }
    }
}

#[test]
fn an_object_of_another_time_does_not_inherit_sums() {
    let bench = Bench::open(Io::Auto, Verify::Read);
    let object = bench.settled("o");
    bench.scrub();
    let sums = std::fs::read(bench.sums(&object).unwrap()).unwrap();
    let path = bench.path(&object).with_file_name("%so");
    bench.files.delete(&object).unwrap();
    bench.files.write_as(&object, 0, &[8; SIZE], WriteMode::Exclusive, false).unwrap();
    // As if who deleted it had died before it deleted these.
    std::fs::write(path, sums).unwrap();
    let files = Files::open(&bench.config, 8).unwrap();
    assert_eq!(files.read(&object, 0, SIZE).unwrap(), [8; SIZE]);
    assert_eq!(bench.scrub().damaged, 0);
}

#[test]
fn a_read_that_is_verified_never_gives_what_was_not_written_and_others_go_on() {
    for (io, direct) in [(Io::Auto, false), (Io::Auto, true), (Io::Threads, false)] {
        let bench = Bench::open(io, Verify::Read);
        let (object, other) = (bench.settled("o"), bench.settled("other"));
        bench.scrub();
        bench.rot(&object, 5000);
        let files = Files::open(&Config { direct, ..bench.config.clone() }, 8).unwrap();
        for (offset, len) in [(4096, 4096), (5000, 1), (0, SIZE), (8191, 2), (0, 1 << 20)] {
            let error = files.read(&object, offset, len).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt);
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert_eq!(cause, "4096 bytes at 4096 differ from their checksum");
            assert!(error.to_string().contains("object o"));
        }
        assert_eq!(files.hash(&object).unwrap_err().kind, ErrorKind::Corrupt);
        assert_eq!(files.copy(&object, &name("copy"), 10).unwrap_err().kind, ErrorKind::Corrupt);
        for (offset, len) in [(0, 4096), (1, 4095), (8192, 4096), (8200, 100), (12_000, 9000)] {
            let expected: Vec<u8> = (offset..offset + len).map(|at| if at < SIZE { 7 } else { 0 }).collect();
            assert_eq!(files.read(&object, offset as u64, len).unwrap(), expected, "{len} at {offset}");
            assert_eq!(files.read(&other, offset as u64, len).unwrap(), expected);
        }
        files.write(&object, 4096, &[9; 4096]).unwrap();
        assert_eq!(files.read(&object, 4000, 4096).unwrap()[96..], [9; 4000]);
    }
}

#[test]
fn another_way_to_the_store_that_writes_keeps_sums_away() {
    let bench = Bench::open(Io::Auto, Verify::Scrub);
    let object = bench.settled("o");
    let other = Files::open(&bench.config, 8).unwrap();
    other.write(&object, 0, b"1").unwrap();
    bench.settle(&object);
    assert_eq!(counts(&bench.scrub()), (0, 0, 1, 0));
    drop(other);
    assert_eq!(counts(&bench.scrub()), (1, 0, 0, 0));
    let other = Files::open(&bench.config, 8).unwrap();
    other.write(&object, 0, b"2").unwrap();
    assert_eq!(counts(&bench.scrub()), (0, 0, 1, 0));
}

#[test]
fn a_scrub_goes_on_where_the_last_one_ended_and_keeps_what_it_found() {
    let bench = Bench::open(Io::Auto, Verify::Scrub);
    let objects: Vec<_> = (0..20).map(|number| bench.settled(&format!("object{number}"))).collect();
    bench.scrub();
    objects.iter().for_each(|object| bench.rot(object, 0));
    let before = step(&bench.files, true);
    assert!(before.damaged > 0 && !before.is_done());
    drop(bench.files);
    let files = Files::open(&bench.config, 8).unwrap();
    let mut state = before.clone();
    while !state.is_done() {
        state = step(&files, false);
        assert_eq!(state.begun_unix_ms, before.begun_unix_ms);
    }
    assert_eq!((state.objects, state.damaged, state.damages.len()), (20, 20, 20));
    // What is done is not gone on with.
    assert!(!step(&files, false).is_done());
}

#[test]
fn sums_without_an_object_are_removed() {
    let bench = Bench::open(Io::Auto, Verify::Scrub);
    let object = bench.settled("o");
    bench.scrub();
    std::fs::remove_file(bench.path(&object)).unwrap();
    bench.scrub();
    assert!(bench.sums(&object).is_none());
}

#[test]
fn writers_beside_a_scrub_never_look_like_damage() {
    let bench = Bench::open(Io::Auto, Verify::Read);
    let object = bench.settled("o");
    std::thread::scope(|threads| {
        let writing = threads.spawn(|| {
            for round in 0..200_u8 {
                bench.files.write(&object, 0, &[round; SIZE]).unwrap();
                bench.settle(&object);
                assert_eq!(bench.files.read(&object, 0, SIZE).unwrap(), [round; SIZE]);
            }
        });
        while !writing.is_finished() {
            assert_eq!(bench.scrub().damaged, 0);
            drop(bench.files.read(&object, 0, SIZE).unwrap());
        }
    });
}

#[test]
fn a_store_that_other_hosts_change_makes_no_sums() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files::open(&Config { shared: true, ..Config::new(directory.path()) }, 8).unwrap();
    let operation = StoreOperation::Scrub { is_restart: true, max_bytes: 1 };
    assert_eq!(files.ask(&name("any"), operation).unwrap_err().kind, ErrorKind::Unsupported);
}
