//! The disk as a test has it: a folder, and what goes wrong there.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{BackgroundSession, FopenFlags, MountOption};

use crate::{
    model::{Asked, Content, Event, Model, Note, Rule, Wrong},
    mounted::Mounted,
};

/// A mounted disk; gone when dropped.
pub(crate) struct Disk {
    model: Arc<Mutex<Model>>,
    session: Option<BackgroundSession>,
    folder: tempfile::TempDir,
}

impl Disk {
    /// A disk without a cache of the kernel's above it: what is read is what the disk gives. None, said aloud, where FUSE
    /// cannot be used.
    pub(crate) fn mount(test: &str) -> Option<Disk> {
        Disk::mount_as(test, FopenFlags::FOPEN_DIRECT_IO)
    }

    /// One with a cache, through which writes go at once: without it Linux does not tell of durable writes (`RWF_DSYNC`).
    pub(crate) fn mount_cached(test: &str) -> Option<Disk> {
        Disk::mount_as(test, FopenFlags::empty())
    }

    fn mount_as(test: &str, how: FopenFlags) -> Option<Disk> {
        let model = Arc::new(Mutex::new(Model::new()));
        let folder = tempfile::Builder::new().prefix("archipelago-disk-").tempdir().unwrap();
        let mut options = fuser::Config::default();
        options.mount_options = vec![MountOption::FSName("archipelago-test".into()), MountOption::NoAtime];
        // Threads, so that an answer that is slow holds up nobody else.
        options.n_threads = Some(4);
        options.clone_fd = true;
        match fuser::spawn_mount(Mounted { model: Arc::clone(&model), how }, folder.path(), &options) {
            Ok(session) => Some(Disk { model, session: Some(session), folder }),
            Err(error) => {
                tests::skip(test, &format!("cannot mount a file system of our own: {error}"));
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A new directory on it.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on so many answers to this, about files whose name holds `name`, are errors.
    pub(crate) fn fails(&self, asked: Asked, name: &str, error: i32, times: u32) {
        self.model().rules.push(Rule { asked, name: name.to_owned(), fault: Wrong::Error(error), times });
    }

    /// As `fails`; the right answers come late.
    pub(crate) fn is_slow(&self, asked: Asked, name: &str, pause: Duration, times: u32) {
        self.model().rules.push(Rule { asked, name: name.to_owned(), fault: Wrong::Slow(pause), times });
    }

    /// Nothing fails any more, and what is slow ends.
    pub(crate) fn heals(&self) {
        self.model().rules.clear();
        self.model().space = None;
    }

    /// How many answers the last rule has left.
    pub(crate) fn left(&self) -> u32 {
        self.model().rules.last().map_or(0, |rule| rule.times)
    }

    /// Changes a byte of each file whose name begins so, as a disk does: nobody is told.
    pub(crate) fn rots(&self, beginning: &str, at: usize) -> usize {
        let mut model = self.model();
        let is_meant = |name: &[u8]| name.starts_with(beginning.as_bytes());
        let files = model.nodes.values_mut().filter(|node| node.links > 0 && is_meant(&node.name));
        let mut count = 0;
        for node in files {
            if let Content::File(bytes) = &mut node.content
                && let Some(byte) = bytes.get_mut(at)
            {
                *byte = !*byte;
                count += 1;
            }
        }
        count
    }

    /// Makes everything look as if it had been written an hour ago.
    pub(crate) fn ages(&self) {
        let hour = Duration::from_secs(3600);
        self.model().nodes.values_mut().for_each(|node| node.modified = SystemTime::now() - hour);
    }

    /// Notes something among what happens to the disk.
    pub(crate) fn note(&self, note: Note) {
        self.model().events.push(Event::Noted(note));
    }

    /// Names that are on the disk now.
    pub(crate) fn names(&self) -> Vec<String> {
        let model = self.model();
        let there = model.nodes.values().filter(|node| node.links > 0 && node.bytes().is_some());
        there.map(|node| String::from_utf8_lossy(&node.name).into_owned()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Who still uses it keeps it until they end.
            let _unmounted = session.umount_and_join();
        }
    }
}
