//! Lock files of the original: `NAME_lock`, holding the owner's identity, in a flat directory or in the hashed tree.

use std::path::PathBuf;

use rustix::fs::OFlags;
use store::{LockState, ObjectName};

use crate::fault::{Result, if_found};
use crate::layout::legacy_paths;
use crate::root::Root;

/// Where the original's locks are.
pub(crate) enum LegacyLocks {
    /// It has none here.
    None,
    /// In one directory.
    Flat(Root),
    /// Among the objects.
    Hashed(Root),
}

/// How much of an identity is shown, in bytes; bytes that are no text take more to show.
const SHOWN_MAX: usize = 128;
/// Longest identity that is looked at, in bytes; the original's are at most 128.
const IDENTITY_MAX: usize = 4096;

impl LegacyLocks {
    /// The identity in the lock file; none if there is no such file.
    pub(crate) fn owner(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        let Some((root, path)) = self.place(name) else { return Ok(None) };
        let Some(file) = if_found(root.open_file(&path, OFlags::RDONLY | OFlags::NONBLOCK))? else {
            return Ok(None);
        };
        let mut identity = vec![0; IDENTITY_MAX];
        let count = rustix::io::pread(&file, &mut identity, 0)?;
        identity.truncate(count);
        Ok(Some(identity))
    }

    /// Whether there was such a lock.
    pub(crate) fn remove(&self, name: &ObjectName) -> Result<bool> {
        let Some((root, path)) = self.place(name) else { return Ok(false) };
        let was_there = root.unlink(&path)?;
        if was_there {
            root.sync_name(&path)?;
        }
        Ok(was_there)
    }

    /// What is known of such a lock.
    pub(crate) fn state(&self, name: &ObjectName) -> Result<Option<LockState>> {
        let Some(mut owner) = self.owner(name)? else { return Ok(None) };
        owner.truncate(SHOWN_MAX);
        Ok(Some(LockState {
            owner: Some(String::from_utf8_lossy(&owner).into_owned()),
            description: "lock file of the original".into(),
            number: 0,
            since_unix_ms: 0,
        }))
    }

    fn place(&self, name: &ObjectName) -> Option<(&Root, PathBuf)> {
        let file_name = ObjectName::new([name.as_bytes(), b"_lock"].concat()).ok()?;
        let hashed = legacy_paths(&file_name).into_iter().next()?;
        match self {
            Self::None => None,
            Self::Flat(root) => Some((root, PathBuf::from(hashed.file_name()?))),
            Self::Hashed(root) => Some((root, hashed)),
        }
    }
}
