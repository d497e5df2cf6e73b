//! What happens to a store's directory before it is served.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use store::{ErrorKind, Lister, NodeRecord};

use crate::config::{Config, Verify};
use crate::copy::{Copier, write_all};
use crate::error::Error;
use crate::fault::{Fault, Result, if_found};
use crate::fences::Fences;
use crate::handle::Opening;
use crate::layout::{MARKER, TEMP_DIRECTORY, directories, is_hash_level};
use crate::legacy_locks::LegacyLocks;
use crate::locks::Locks;
use crate::nodes::{Entry, Joined};
use crate::objects::Objects;
use crate::process::Identity;
use crate::reserve::Reserve;
use crate::root::Root;
use crate::scrub::Scrubber;

/// The marker of a store that may hold files of the original.
const WITH_LEGACY: &[u8] = b"archipelago file store, version 2\nfiles of the original: yes\n";
/// The marker of one that does not.
const WITHOUT_LEGACY: &[u8] = b"archipelago file store, version 2\nfiles of the original: no\n";
/// What every marker begins with.
const ANY_VERSION: &[u8] = b"archipelago file store, version ";
/// Age from which a temporary file is nobody's, if its process cannot be asked.
const TEMP_AGE_MAX: Duration = Duration::from_hours(24);

/// Opens the directories of the configuration, and removes what dead processes left in them.
pub(crate) fn prepare(
    config: &Config,
    claim: Option<u32>,
    node: Option<NodeRecord>,
) -> std::result::Result<Objects, Error> {
    let root = open_root("archip_dir", &config.archip_dir, config.shared)?;
    let lock_root = open_root("lock_dir", config.lock_directory(), config.shared)?;
    let has_legacy = has_legacy(&root).map_err(|fault| failed("archip_dir", &config.archip_dir, fault))?;
    if config.direct {
        probe_direct(&root)
            .map_err(|fault| failed("archip_dir with direct = true", &config.archip_dir, fault))?;
    }
    let entry = node.map_or_else(|| Ok(Entry::default()), |node| join(&lock_root, config, node))?;
    let verifies = config.verify == Verify::Read;
    let opening = Opening {
        is_direct: config.direct,
        has_legacy,
        is_shared: config.shared,
        is_on_nfs: root.is_on_nfs(),
        claim,
        verifies,
    };
    let reserve = put_by(config, &root)?;
    Ok(Objects {
        root,
        reserve,
        opening,
        locks: Locks::new(lock_root, legacy_locks(config, has_legacy)?),
        fences: Fences::new(config.shared, config.foreign_locks),
        entry,
        has_foreign_locks: config.foreign_locks,
        copier: Copier::default(),
        lister: Lister::default(),
        scrubber: Scrubber::new(Duration::from_secs(config.settle_s)),
        stop: AtomicBool::new(false),
    })
}

fn put_by(config: &Config, root: &Root) -> std::result::Result<Option<Reserve>, Error> {
    if !config.keeps_locks() {
        return Ok(None);
    }
    let reserve = Reserve::default();
    match reserve.fill(root) {
        // It is tried again when something was removed.
        Err(fault)
            if matches!(fault.kind(), ErrorKind::ReadOnly | ErrorKind::NoSpace | ErrorKind::Unsupported) => {}
        result => result.map_err(|fault| failed("archip_dir", &config.archip_dir, fault))?,
    }
    Ok(Some(reserve))
}

/// Enters this stack among the nodes; in a store that can only be read nobody takes a lock.
fn join(root: &Root, config: &Config, node: NodeRecord) -> std::result::Result<Entry, Error> {
    let name = node.name.clone();
    match Entry::join(root, node) {
        Ok(Joined::Here(entry)) => Ok(entry),
        Ok(Joined::Taken(holder)) => {
            let holder = holder.map_or_else(|| "another stack".to_owned(), |holder| holder.to_string());
            Err(Error::NodeTaken { name, holder })
        }
        Err(fault) if fault.kind() == ErrorKind::ReadOnly => Ok(Entry::default()),
        Err(fault) => Err(failed("lock_dir", config.lock_directory(), fault)),
    }
}

fn open_root(setting: &'static str, path: &Path, is_shared: bool) -> std::result::Result<Root, Error> {
    let opened = if is_shared { Root::open_shared(path) } else { Root::open(path) };
    let root = opened.map_err(|fault| failed(setting, path, fault))?;
    match root.create_directories(Path::new(TEMP_DIRECTORY)).and_then(|()| remove_old_temps(&root)) {
        // A store that can only be read can still be read.
        Err(fault) if fault.kind() == ErrorKind::ReadOnly => {}
        result => result.map_err(|fault| failed(setting, path, fault))?,
    }
    Ok(root)
}

fn failed(setting: &'static str, path: &Path, fault: Fault) -> Error {
    let source = match fault {
        Fault::System(error) => error,
        Fault::Kind(_) | Fault::Damaged(..) => std::io::ErrorKind::InvalidData.into(),
    };
    Error::Directory { setting, path: path.to_owned(), source }
}

/// Where the original kept the locks of this store.
fn legacy_locks(config: &Config, has_legacy: bool) -> std::result::Result<LegacyLocks, Error> {
    if let Some(path) = &config.legacy_lock_dir {
        let root = Root::open(path).map_err(|fault| failed("legacy_lock_dir", path, fault))?;
        return Ok(LegacyLocks::Flat(root));
    }
    if has_legacy && config.lock_directory() == config.archip_dir {
        return Ok(LegacyLocks::Hashed(open_root("archip_dir", &config.archip_dir, config.shared)?));
    }
    Ok(LegacyLocks::None)
}

fn probe_direct(root: &Root) -> Result<()> {
    let path = PathBuf::from(TEMP_DIRECTORY).join(format!("{}-direct", root.identity()));
    let opened = root.create_file(&path, OFlags::RDWR | OFlags::DIRECT);
    root.unlink(&path)?;
    opened.map(drop)
}

/// Whether the store may hold files of the original. Looked for once, then told by the marker.
fn has_legacy(root: &Root) -> Result<bool> {
    if let Some(file) = if_found(root.open_file(Path::new(MARKER), OFlags::RDONLY))? {
        let mut text = vec![0; WITH_LEGACY.len() + 1];
        let count = rustix::io::pread(&file, &mut text, 0)?;
        match &text[..count] {
            WITH_LEGACY => return Ok(true),
            WITHOUT_LEGACY => return Ok(false),
            other if other.starts_with(ANY_VERSION) => {
                return Err(std::io::Error::other("it is a file store of another version than 2").into());
            }
            // Half written or not ours: look again.
            _ => {}
        }
    }
    let has_legacy = has_third_level(root, Path::new(""), 0)?;
    match make_directories(root)
        .and_then(|()| write_marker(root, if has_legacy { WITH_LEGACY } else { WITHOUT_LEGACY }))
    {
        Err(fault) if fault.kind() == ErrorKind::ReadOnly => {}
        result => result?,
    }
    Ok(has_legacy)
}

/// Makes them once, so that the first write to an object need not. It still can, where there is no room for all now.
fn make_directories(root: &Root) -> Result<()> {
    match directories().try_for_each(|directory| root.create_directories(&directory)) {
        Err(fault) if fault.kind() == ErrorKind::NoSpace => Ok(()),
        result => result,
    }
}

fn write_marker(root: &Root, text: &[u8]) -> Result<()> {
    let temp = root.temp()?;
    write_all(&temp.file, text, 0)?;
    root.sync_file(&temp.file)?;
    temp.rename_to(Path::new(MARKER))?;
    root.sync_name(Path::new(MARKER))
}

/// Whether there is a directory three hashed levels deep: we make two, the original made three.
fn has_third_level(root: &Root, directory: &Path, depth: usize) -> Result<bool> {
    for (name, _) in root.entries(directory)? {
        let path = directory.join(OsStr::from_bytes(&name));
        if is_hash_level(&name) && (depth == 2 || has_third_level(root, &path, depth + 1)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_old_temps(root: &Root) -> Result<()> {
    for (name, _) in root.entries(Path::new(TEMP_DIRECTORY))? {
        let path = Path::new(TEMP_DIRECTORY).join(OsStr::from_bytes(&name));
        let owner = str::from_utf8(&name).ok().and_then(Identity::parse);
        if owner.is_some_and(|owner| owner.is_dead()) || is_old(root, &path)? {
            tracing::info!(file = %path.display(), "removing what a dead process left");
            root.unlink(&path)?;
        }
    }
    Ok(())
}

fn is_old(root: &Root, path: &Path) -> Result<bool> {
    let Some(stat) = root.stat(path)? else { return Ok(false) };
    let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    Ok(SystemTime::now().duration_since(changed).is_ok_and(|age| age > TEMP_AGE_MAX))
}
