//! Which nodes use the locks of a directory: docs/formats.md#node-record
//!
//! Each has a file, and an exclusive `flock` on it as long as its store lives; so whether it does needs no clock, and the kernel
//! cleans up after the dead.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use peer::node::unix_ms;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use store::{LockWait, Node, NodeRecord};

use crate::copy::write_all;
use crate::fault::{Result, if_found};
use crate::layout::NODES_DIRECTORY;
use crate::root::{Birth, Root};
use crate::sums::read_whole;

/// This stack's entry, which it has as long as this lives; none in a store that keeps no locks for a stack.
#[derive(Debug, Default)]
pub(crate) struct Entry(Option<Mutex<(OwnedFd, NodeRecord)>>);

/// What came of the wish to be a node.
#[derive(Debug)]
pub(crate) enum Joined {
    Here(Entry),
    /// Another stack that lives is the node already; what it says of itself, if that can be read.
    Taken(Option<Box<NodeRecord>>),
}

/// How long the file may be held before somebody else is the node: who only looks lets go at once.
const GLANCE_MAX: Duration = Duration::from_secs(1);
/// How long a dying process of the same stack may hold it.
const PREDECESSOR_MAX: Duration = Duration::from_secs(10);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// A longer file is no record, in bytes.
const BYTES_MAX: u64 = 64 << 10;
/// How often a record is read that seems to be changed just then.
const READS_MAX: usize = 3;

impl Entry {
    /// Becomes the node that `own` names, unless another stack is it.
    pub(crate) fn join(root: &Root, own: NodeRecord) -> Result<Joined> {
        let path = path_of(&own.name);
        let begun = Instant::now();
        loop {
            let file = root.create_file(&path, OFlags::RDWR)?;
            if is_locked(&file, FlockOperation::NonBlockingLockExclusive)? {
                let holder = read(&file)?;
                let is_predecessor = holder.as_ref().is_some_and(|holder| holder.is_same(&own));
                if begun.elapsed() > if is_predecessor { PREDECESSOR_MAX } else { GLANCE_MAX } {
                    return Ok(Joined::Taken(holder.map(Box::new)));
                }
                std::thread::sleep(LOOK);
                continue;
            }
            // Whoever forgets an old node removes its file.
            if root.stat(&path)?.map(|found| found.st_ino) == Some(Birth::of(&file)?.0.inode) {
                write(&file, &own)?;
                return Ok(Joined::Here(Self(Some(Mutex::new((file, own))))));
            }
        }
    }

    /// Tells for which locks it waits now.
    pub(crate) fn waits(&self, waits: Vec<LockWait>) {
        self.change(|record| record.set_waits(waits));
    }

    /// It stops in order.
    pub(crate) fn leave(&self) {
        self.change(|record| {
            (record.is_running, record.since_unix_ms) = (false, unix_ms());
            record.waits.clear();
        });
    }

    /// Only people read it, so a change that cannot be written is no failure of anything.
    fn change(&self, change: impl FnOnce(&mut NodeRecord)) {
        let Some(entry) = &self.0 else { return };
        let (file, record) = &mut *entry.lock().unwrap_or_else(PoisonError::into_inner);
        change(record);
        if let Err(fault) = write(file, record) {
            tracing::debug!(?fault, "cannot tell the other nodes what this one does");
        }
    }

    /// All that are known, in order of their names. Forgets who died long ago.
    pub(crate) fn list(&self, root: &Root) -> Result<Vec<Node>> {
        let own = self.0.as_ref().map(|own| own.lock().unwrap_or_else(PoisonError::into_inner).1.clone());
        let mut nodes = Vec::new();
        for (name, _) in root.entries(Path::new(NODES_DIRECTORY))? {
            let path = Path::new(NODES_DIRECTORY).join(OsStr::from_bytes(&name));
            let Some(file) = if_found(root.open_file(&path, OFlags::RDONLY))? else { continue };
            let is_alive = is_locked(&file, FlockOperation::NonBlockingLockShared)?;
            let Some(record) = read(&file)? else { continue };
            // A look at who is dead has the lock itself.
            drop(file);
            if !is_alive && record.is_history(unix_ms()) {
                forget(root, &path)?;
                continue;
            }
            let is_here = own.as_ref().is_some_and(|own| own.is_same(&record));
            nodes.push(Node { record, is_alive, is_here });
        }
        nodes.sort_by_key(|node| (!node.is_alive, u64::MAX - node.record.since_unix_ms));
        nodes.truncate(NodeRecord::NODES_MAX);
        nodes.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        Ok(nodes)
    }
}

/// Removes a file that nobody has; who opened it meanwhile sees that it is gone once it has the lock.
fn forget(root: &Root, path: &Path) -> Result<()> {
    let Some(file) = if_found(root.open_file(path, OFlags::RDWR))? else { return Ok(()) };
    if !is_locked(&file, FlockOperation::NonBlockingLockExclusive)? {
        root.unlink(path)?;
    }
    Ok(())
}

/// Whether somebody else has such a lock on the file; otherwise we have it now, until the file is closed.
fn is_locked(file: &impl AsFd, wanted: FlockOperation) -> Result<bool> {
    match rustix::fs::flock(file, wanted) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn path_of(name: &str) -> PathBuf {
    let hash = Sha256::digest(name.as_bytes());
    let mut file = String::new();
    for byte in &hash[..16] {
        write!(file, "{byte:02x}").expect("a string takes everything");
    }
    Path::new(NODES_DIRECTORY).join(file)
}

fn write(file: &OwnedFd, record: &NodeRecord) -> Result<()> {
    let text = serde_json::to_vec(record).unwrap_or_default();
    write_all(file, &text, 0)?;
    Ok(rustix::fs::ftruncate(file, text.len() as u64)?)
}

/// What a file says; none if it makes no sense.
fn read(file: &OwnedFd) -> Result<Option<NodeRecord>> {
    for attempt in 0..READS_MAX {
        if attempt > 0 {
            std::thread::sleep(LOOK);
        }
        let size = Birth::of(file)?.1.min(BYTES_MAX);
        let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
        read_whole(file, &mut text, 0)?;
        let record = serde_json::from_slice::<NodeRecord>(&text).ok();
        if let Some(record) = record.filter(NodeRecord::is_known) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, stack: u64) -> NodeRecord {
        NodeRecord::new(name, "host", "boot", stack, unix_ms())
    }

    fn joined(root: &Root, own: NodeRecord) -> Entry {
        match Entry::join(root, own).unwrap() {
            Joined::Here(entry) => entry,
            Joined::Taken(by) => panic!("taken by {by:?}"),
        }
    }

    #[test]
    fn a_name_has_one_living_stack_and_is_free_when_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let first = joined(&root, record("n1", 1));
        let Joined::Taken(Some(holder)) = Entry::join(&root, record("n1", 2)).unwrap() else {
            panic!("two stacks are one node")
        };
        assert_eq!(holder.stack, 1);
        let _other = joined(&root, record("n2", 2));
        // As a kill does: nothing is said.
        drop(first);
        let listed = Entry::default().list(&root).unwrap();
        let seen: Vec<_> = listed.iter().map(|node| (node.record.name.as_str(), node.is_alive)).collect();
        assert_eq!(seen, [("n1", false), ("n2", true)]);
        let again = joined(&root, record("n1", 2));
        assert!(
            again
                .list(&root)
                .unwrap()
                .iter()
                .all(|node| node.is_alive && node.is_here == (node.record.name == "n1"))
        );
    }

    #[test]
    fn what_a_node_waits_for_is_seen_by_others_until_it_leaves() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let entry = joined(&root, record("n1", 1));
        let waits = vec![LockWait { lock: "disk-1".to_owned(), since_unix_ms: 5 }];
        entry.waits(waits.clone());
        assert_eq!(Entry::default().list(&root).unwrap()[0].record.waits, waits);
        entry.leave();
        let left = &Entry::default().list(&root).unwrap()[0].record;
        assert!(!left.is_running && left.waits.is_empty());
    }

    #[test]
    fn noise_is_no_node_and_who_died_long_ago_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        drop(joined(&root, NodeRecord { since_unix_ms: 1, ..record("old", 1) }));
        std::fs::write(directory.path().join(NODES_DIRECTORY).join("noise"), b"{\"name\": 5}").unwrap();
        assert_eq!(Entry::default().list(&root).unwrap(), []);
        assert!(root.stat(&path_of("old")).unwrap().is_none());
    }
}
