//! The volumes that are shown, by name and inode.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use client::{DeviceInfo, keeping::Keeper};
use protocol::Attached;
use serde::{Deserialize, Serialize};

use crate::io::VolumeIo;

/// One volume as a file.
pub(crate) struct Shown {
    pub(crate) volume: String,
    pub(crate) inode: u64,
    pub(crate) info: DeviceInfo,
    /// As last heard; `vlmc resize` changes it.
    pub(crate) size_bytes: AtomicU64,
    pub(crate) io: VolumeIo,
    /// The file's open handles, that of our own loop device included.
    pub(crate) handles: Mutex<BTreeSet<u64>>,
}

/// All of them. Clones are the same set.
#[derive(Clone)]
pub(crate) struct ShownSet(Arc<Inner>);

struct Inner {
    by_name: RwLock<BTreeMap<String, Arc<Shown>>>,
    next_inode: AtomicU64,
    keeper: Keeper,
    /// One at a time: an older note must not take the place of a newer one.
    noting: Mutex<()>,
}

/// What the kernel knows of the files: the next incarnation of this role must know it as well.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) next_inode: u64,
    pub(crate) files: Vec<NotedFile>,
}

/// One file in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedFile {
    pub(crate) volume: String,
    pub(crate) inode: u64,
    pub(crate) is_read_only: bool,
    pub(crate) handles: BTreeSet<u64>,
}

/// The root directory's inode.
pub(crate) const ROOT_INODE: u64 = 1;
/// What the mount's descriptor is called where it is kept.
pub(crate) const KEPT: &str = "mount";

impl ShownSet {
    /// No volumes yet. No inode below `next_inode` will be used.
    pub(crate) fn new(keeper: Keeper, next_inode: u64) -> ShownSet {
        let next_inode = AtomicU64::new(next_inode.max(ROOT_INODE + 1));
        ShownSet(Arc::new(Inner { by_name: RwLock::default(), next_inode, keeper, noting: Mutex::default() }))
    }

    /// An inode that was never used: a file that is shown again is another file to the kernel.
    pub(crate) fn next_inode(&self) -> u64 {
        self.0.next_inode.fetch_add(1, Ordering::Relaxed)
    }

    /// What is shown again after a death is noted already.
    pub(crate) fn insert_noted(&self, shown: Arc<Shown>) {
        self.write().insert(shown.volume.clone(), shown);
    }

    pub(crate) fn insert(&self, shown: Arc<Shown>) {
        self.insert_noted(shown);
        self.note();
    }

    pub(crate) fn remove(&self, volume: &str) {
        self.write().remove(volume);
        self.note();
    }

    /// A handle of a file was given out.
    pub(crate) fn opened(&self, inode: u64, handle: u64) {
        if let Some(shown) = self.by_inode(inode) {
            shown.handles().insert(handle);
            self.note();
        }
    }

    /// A handle was given back.
    pub(crate) fn closed(&self, inode: u64, handle: u64) {
        if let Some(shown) = self.by_inode(inode) {
            shown.handles().remove(&handle);
            self.note();
        }
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

    /// As text, for the next incarnation.
    pub(crate) fn told(&self) -> String {
        let file = |shown: &Arc<Shown>| NotedFile {
            volume: shown.volume.clone(),
            inode: shown.inode,
            is_read_only: shown.info.is_read_only,
            handles: shown.handles().clone(),
        };
        let files = self.all().iter().map(file).collect();
        let note = Note { next_inode: self.0.next_inode.load(Ordering::Relaxed), files };
        serde_json::to_string(&note).expect("names and numbers always encode")
    }

    fn note(&self) {
        let _turn = self.0.noting.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.keeper.note(KEPT, self.told());
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Shown>>> {
        self.0.by_name.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Shown>>> {
        self.0.by_name.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// How often the file is open.
    pub(crate) fn open_count(&self) -> u32 {
        u32::try_from(self.handles().len()).unwrap_or(u32::MAX)
    }

    fn handles(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
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
