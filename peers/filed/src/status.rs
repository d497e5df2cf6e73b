//! What a store tells of itself.

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::objects::Objects;
use crate::root::Space;

/// The state of a store, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Files kept open.
    pub open_files: usize,
    /// Requests that wait for a lock.
    pub lock_waiters: usize,
    /// Whether reads and writes go through io_uring.
    pub is_uring: bool,
    /// Whether the page cache is passed by.
    pub is_direct: bool,
    /// Whether files of the original are looked for.
    pub has_legacy: bool,
    /// How often a file's bytes were made durable, beside durable writes.
    pub file_syncs: u64,
    /// How often a directory was.
    pub directory_syncs: u64,
    /// How often the whole filesystem was.
    pub store_syncs: u64,
    /// Free space in bytes, if known.
    pub free_bytes: Option<u64>,
    /// Size of the filesystem in bytes, if known.
    pub total_bytes: Option<u64>,
}

impl Status {
    pub(crate) fn of(objects: &Objects, open_files: usize, lock_waiters: usize, is_uring: bool) -> Self {
        let counts = objects.root.counts();
        let space = Space::of(&objects.root).ok();
        Self {
            open_files,
            lock_waiters,
            is_uring,
            is_direct: objects.opening.is_direct,
            has_legacy: objects.opening.has_legacy,
            file_syncs: counts.files.load(Ordering::Relaxed),
            directory_syncs: counts.directories.load(Ordering::Relaxed),
            store_syncs: counts.stores.load(Ordering::Relaxed),
            free_bytes: space.map(|space| space.free_bytes),
            total_bytes: space.map(|space| space.total_bytes),
        }
    }
}
