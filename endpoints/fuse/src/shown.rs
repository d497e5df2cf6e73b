//! The volumes that are shown, by name and inode.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use client::DeviceInfo;
use protocol::Attached;

use crate::io::VolumeIo;

/// One volume as a file.
pub(crate) struct Shown {
    pub(crate) volume: String,
    pub(crate) inode: u64,
    pub(crate) info: DeviceInfo,
    /// As last heard; `vlmc resize` changes it.
    pub(crate) size_bytes: AtomicU64,
    pub(crate) io: VolumeIo,
    /// How often the file is open, our own loop device included.
    pub(crate) open_count: AtomicU32,
}

/// All of them. Clones are the same set.
#[derive(Clone, Default)]
pub(crate) struct ShownSet(Arc<Inner>);

struct Inner {
    by_name: RwLock<BTreeMap<String, Arc<Shown>>>,
    next_inode: AtomicU64,
}

/// The root directory's inode.
pub(crate) const ROOT_INODE: u64 = 1;

impl Default for Inner {
    fn default() -> Inner {
        Inner { by_name: RwLock::default(), next_inode: AtomicU64::new(ROOT_INODE + 1) }
    }
}

impl ShownSet {
    /// An inode that was never used: a file that is shown again is another file to the kernel.
    pub(crate) fn next_inode(&self) -> u64 {
        self.0.next_inode.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, shown: Arc<Shown>) {
        self.write().insert(shown.volume.clone(), shown);
    }

    pub(crate) fn remove(&self, volume: &str) -> Option<Arc<Shown>> {
        self.write().remove(volume)
    }

    pub(crate) fn by_name(&self, volume: &str) -> Option<Arc<Shown>> {
        self.read().get(volume).cloned()
    }

    pub(crate) fn by_inode(&self, inode: u64) -> Option<Arc<Shown>> {
        self.read().values().find(|shown| shown.inode == inode).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Shown>> {
        self.read().values().cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Shown>>> {
        self.0.by_name.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Shown>>> {
        self.0.by_name.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shown {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// As the control port tells of it.
    pub(crate) fn attached(&self, location: &str, user_count: u32) -> Attached {
        Attached {
            volume: self.volume.clone(),
            location: location.to_owned(),
            via: "fuse".to_owned(),
            is_read_only: self.info.is_read_only,
            user_count,
        }
    }
}
