//! What is made durable, and when: counted where the system is asked for it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use filed::{Config, Files, Io};
use store::{ObjectName, Store, StoreOperation, WriteMode};

/// Syncs of files, of directories, of the whole store.
type Syncs = (u64, u64, u64);

struct Counted {
    files: Files,
    _directory: tempfile::TempDir,
}

impl Counted {
    fn open(io: Io) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::open(&Config { io, ..Config::new(directory.path()) }, 8).unwrap();
        Self { files, _directory: directory }
    }

    /// The syncs that `work` caused.
    fn of(&self, work: impl FnOnce(&Files)) -> Syncs {
        let before = self.files.status().unwrap();
        work(&self.files);
        let after = self.files.status().unwrap();
        (
            after.file_syncs - before.file_syncs,
            after.directory_syncs - before.directory_syncs,
            after.store_syncs - before.store_syncs,
        )
    }
}

fn name() -> ObjectName {
    ObjectName::new("object").unwrap()
}

fn write(files: &Files, is_durable: bool) {
    files.write_as(&name(), 0, b"bytes", WriteMode::Update, is_durable).unwrap();
}

fn ask(files: &Files, operation: StoreOperation) {
    files.ask(&name(), operation).unwrap();
}

#[test]
fn a_plain_write_makes_nothing_durable_and_sync_makes_bytes_and_all_levels_of_the_name() {
    let counted = Counted::open(Io::Auto);
    assert_eq!(counted.of(|files| write(files, false)), (0, 0, 0));
    assert_eq!(counted.of(|files| ask(files, StoreOperation::Sync)), (1, 3, 0));
}

#[test]
fn sync_of_what_is_durable_asks_for_nothing() {
    let counted = Counted::open(Io::Auto);
    write(&counted.files, false);
    ask(&counted.files, StoreOperation::Sync);
    assert_eq!(counted.of(|files| ask(files, StoreOperation::Sync)), (0, 0, 0));
    assert_eq!(counted.of(|files| write(files, false)), (0, 0, 0));
    assert_eq!(counted.of(|files| ask(files, StoreOperation::Sync)), (1, 0, 0));
}

#[test]
fn the_first_durable_write_makes_the_name_durable_and_later_ones_need_not() {
    for io in [Io::Auto, Io::Threads] {
        let counted = Counted::open(io);
        assert_eq!(counted.of(|files| write(files, true)).1, 3);
        assert_eq!(counted.of(|files| write(files, true)).1, 0);
    }
}

#[test]
fn an_empty_durable_write_makes_the_new_name_durable() {
    let counted = Counted::open(Io::Auto);
    let syncs = counted.of(|files| files.write_as(&name(), 0, b"", WriteMode::Update, true).unwrap());
    assert_eq!(syncs, (1, 3, 0));
}

#[test]
fn a_replacement_is_durable_before_and_after_it_has_its_name() {
    let counted = Counted::open(Io::Auto);
    let replace = |files: &Files| files.write_as(&name(), 0, b"new", WriteMode::Replace, false).unwrap();
    assert_eq!(counted.of(replace), (1, 3, 0));
    assert_eq!(counted.of(replace), (1, 1, 0));
}

#[test]
fn a_durable_exclusive_write_syncs_bytes_and_name() {
    let counted = Counted::open(Io::Auto);
    let syncs = counted.of(|files| files.write_as(&name(), 0, b"new", WriteMode::Exclusive, true).unwrap());
    assert_eq!(syncs, (1, 3, 0));
}

#[test]
fn a_copy_is_durable_only_if_asked() {
    let counted = Counted::open(Io::Auto);
    let source = ObjectName::new("source").unwrap();
    counted.files.write(&source, 0, b"bytes").unwrap();
    let copy = |is_durable| StoreOperation::Copy { source: Box::new(source.clone()), size: 5, is_durable };
    assert_eq!(counted.of(|files| ask(files, copy(false))), (0, 0, 0));
    assert_eq!(counted.of(|files| ask(files, copy(true))), (1, 3, 0));
}

#[test]
fn a_delete_is_durable_if_asked_or_flushed() {
    let counted = Counted::open(Io::Auto);
    write(&counted.files, true);
    assert_eq!(counted.of(|files| ask(files, StoreOperation::Delete { is_durable: false })), (0, 0, 0));
    assert_eq!(counted.of(|files| ask(files, StoreOperation::Flush)).2, 1);
    write(&counted.files, true);
    assert_eq!(counted.of(|files| ask(files, StoreOperation::Delete { is_durable: true })), (0, 1, 0));
}

#[test]
fn durable_discards_zeroes_and_truncates_sync() {
    let counted = Counted::open(Io::Auto);
    write(&counted.files, true);
    let discard = |is_durable| StoreOperation::Discard { offset: 0, size: 2, is_durable };
    let zeroes =
        StoreOperation::WriteZeroes { offset: 0, size: 2, may_trim: false, is_fast: false, is_durable: true };
    assert_eq!(counted.of(|files| ask(files, discard(false))), (0, 0, 0));
    for operation in [discard(true), zeroes, StoreOperation::Truncate { size: 9, is_durable: true }] {
        assert_eq!(counted.of(|files| ask(files, operation.clone())), (1, 0, 0), "{operation:?}");
    }
}
