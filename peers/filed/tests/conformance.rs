//! Every claim of `store::conformance`, on disk and in memory, through io_uring and threads, with and without page cache.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use filed::{Config, Files, Io};
use store::conformance::run;

/// Fewer than the claims ask for at a time, so that every bound is met.
const NR_OPS: usize = 4;

fn holds_on(directory: &Path, io: Io, direct: bool) {
    let config = Config { io, direct, fdcache: 3, nr_threads: 3, ..Config::new(directory) };
    run(|| Files::open(&config, NR_OPS).unwrap());
}

fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn has_uring() -> bool {
    let directory = on_disk();
    let config = Config { io: Io::Uring, ..Config::new(directory.path()) };
    let is_there = Files::open(&config, NR_OPS).is_ok();
    if !is_there {
        eprintln!("skipped: the kernel refuses io_uring");
    }
    is_there
}

#[test]
fn every_claim_holds_on_disk_through_uring() {
    if has_uring() {
        holds_on(on_disk().path(), Io::Uring, false);
    }
}

#[test]
fn every_claim_holds_on_disk_through_threads() {
    holds_on(on_disk().path(), Io::Threads, false);
}

#[test]
fn every_claim_holds_on_disk_through_uring_past_the_page_cache() {
    if has_uring() {
        holds_on(on_disk().path(), Io::Uring, true);
    }
}

#[test]
fn every_claim_holds_on_disk_through_threads_past_the_page_cache() {
    holds_on(on_disk().path(), Io::Threads, true);
}

#[test]
fn every_claim_holds_in_memory_through_uring() {
    if has_uring() {
        holds_on(in_memory().path(), Io::Uring, false);
    }
}

#[test]
fn every_claim_holds_in_memory_through_threads() {
    holds_on(in_memory().path(), Io::Threads, false);
}

#[test]
fn every_claim_holds_on_a_shared_filesystem_with_locks_apart() {
    let (objects, locks) = (on_disk(), on_disk());
    let lock_dir = Some(locks.path().to_owned());
    let config = Config { shared: true, lock_dir, ..Config::new(objects.path()) };
    run(|| Files::open(&config, NR_OPS).unwrap());
}
