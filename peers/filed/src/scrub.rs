//! Compares what is at rest with its checksums, and makes those that are missing, a few objects a step.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use peer::node::unix_ms;
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use store::{Damage, ErrorKind, ObjectName, ScrubState};

use crate::copy::write_all;
use crate::fault::{Result, if_found};
use crate::handle::{Opening, is_settled, stored_sums};
use crate::layout::{is_front, is_hash_level, legacy_object_at, object_at, summed_object_at, sums_path};
use crate::ring::lock_against_writing;
use crate::root::Root;
use crate::scrub_state::Kept;
use crate::sums::{Bad, Sums};

/// Scrubs one store; steps follow each other.
#[derive(Debug)]
pub(crate) struct Scrubber {
    /// How long an object is left alone before it gets checksums.
    settling: Duration,
    turn: Mutex<()>,
}

/// How long a step goes on to a next object.
const STEP_TIME: Duration = Duration::from_millis(200);
/// How many directories the two hashed levels have.
const DIRECTORIES: u32 = ScrubState::DONE;

impl Scrubber {
    pub(crate) fn new(settling: Duration) -> Self {
        Self { settling, turn: Mutex::default() }
    }

    pub(crate) fn settling(&self) -> Duration {
        self.settling
    }

    /// Looks at objects until `max_bytes` are done, from where the last step ended. `is_again`: a step that was done but
    /// not heard of counts.
    pub(crate) fn step(
        &self,
        (root, opening): (&Root, Opening),
        (is_restart, is_again): (bool, bool),
        max_bytes: u64,
        stop: &AtomicBool,
    ) -> Result<ScrubState> {
        if opening.is_shared {
            // Another host may write without seeing that checksums were made.
            let why = "a directory that hosts share keeps no checksums";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why).into());
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = if is_restart { None } else { Kept::load(root)? };
        let kept = kept.filter(|kept| is_again || !kept.state.is_done());
        let kept = kept.unwrap_or_else(|| Kept::begin(unix_ms()));
        let mut step = Step { root, opening, settling: self.settling, stop, kept, left: max_bytes };
        step.run(Instant::now() + STEP_TIME)?;
        step.kept.save(root)?;
        Ok(step.kept.state)
    }
}

struct Step<'a> {
    root: &'a Root,
    opening: Opening,
    settling: Duration,
    stop: &'a AtomicBool,
    kept: Kept,
    /// Bytes to look at before the step ends.
    left: u64,
}

/// A file below a hashed directory, in the order of the scrub.
struct Found {
    key: u64,
    path: PathBuf,
    what: What,
}

enum What {
    Object(ObjectName),
    Sums(ObjectName),
}

impl Step<'_> {
    fn run(&mut self, until: Instant) -> Result<()> {
        let first = self.kept.state.progress;
        for upper in self.levels(Path::new(""), first >> 8)? {
            let least = if upper == first >> 8 { first & 0xff } else { 0 };
            for lower in self.levels(Path::new(&format!("{upper:02x}")), least)? {
                let directory = upper << 8 | lower;
                if directory != self.kept.state.progress {
                    (self.kept.state.progress, self.kept.leaf) = (directory, 0);
                }
                if !self.directory(&PathBuf::from(format!("{upper:02x}/{lower:02x}")), until)? {
                    return Ok(());
                }
                (self.kept.state.progress, self.kept.leaf) = (directory + 1, 0);
            }
        }
        self.kept.state.progress = DIRECTORIES;
        Ok(())
    }

    /// The hashed levels in a directory that are not done, in order.
    fn levels(&self, directory: &Path, least: u32) -> Result<Vec<u32>> {
        let names = self.root.entries(directory)?.into_iter().filter(|(name, _)| is_hash_level(name));
        let numbers = names.filter_map(|(name, _)| u32::from_str_radix(str::from_utf8(&name).ok()?, 16).ok());
        let mut levels: Vec<u32> = numbers.filter(|number| *number >= least).collect();
        levels.sort_unstable();
        Ok(levels)
    }

    /// Whether the directory was done before the step was over.
    fn directory(&mut self, directory: &Path, until: Instant) -> Result<bool> {
        let mut found = Vec::new();
        self.find(directory, &mut found)?;
        found.retain(|file| file.key > self.kept.leaf);
        found.sort_unstable_by_key(|file| file.key);
        for file in found {
            if self.left == 0 || Instant::now() > until {
                return Ok(false);
            }
            match file.what {
                What::Object(name) => self.object(&name, &file.path)?,
                What::Sums(name) => self.leftover(&name, &file.path)?,
            }
            self.kept.leaf = file.key;
        }
        Ok(true)
    }

    fn find(&self, directory: &Path, found: &mut Vec<Found>) -> Result<()> {
        for (name, _) in self.root.entries(directory)? {
            let path = directory.join(OsStr::from_bytes(&name));
            let has_legacy = self.opening.has_legacy;
            let object = object_at(&path).or_else(|| legacy_object_at(&path).filter(|_| has_legacy));
            let what = match object {
                Some(object) => What::Object(object),
                None => match summed_object_at(&path) {
                    Some(object) => What::Sums(object),
                    None if is_front(&name) || (has_legacy && is_hash_level(&name)) => {
                        self.find(&path, found)?;
                        continue;
                    }
                    None => continue,
                },
            };
            found.push(Found { key: key(&path), path, what });
        }
        Ok(())
    }

    /// Removes checksums that nobody's are: who deleted the object died before it deleted them.
    fn leftover(&self, name: &ObjectName, path: &Path) -> Result<()> {
        if self.opening.locate(self.root, name)?.is_none() {
            self.root.unlink(path)?;
        }
        Ok(())
    }

    fn object(&mut self, name: &ObjectName, path: &Path) -> Result<()> {
        if self.opening.locate(self.root, name)?.as_deref() != Some(path) {
            // Deleted meanwhile, or a file of the original that ours stands before.
            return Ok(());
        }
        let Some(file) = if_found(self.open(path))? else { return Ok(()) };
        let stat = rustix::fs::fstat(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let sums_path = sums_path(name);
        if let Some(sums) = stored_sums(self.root, &sums_path, &file)? {
            self.compare(name, &file, &sums_path, &sums)?;
        } else if is_settled(&stat, self.settling) {
            match self.sum(path, &file, &stat, &sums_path) {
                Ok(Ok(true)) => self.kept.state.summed += 1,
                Ok(Ok(false)) => self.kept.state.unsettled += 1,
                Ok(Err(bad)) => self.damaged(name, &[bad]),
                Err(fault) if matches!(fault.kind(), ErrorKind::NoSpace | ErrorKind::ReadOnly) => {
                    self.kept.state.unsettled += 1;
                }
                Err(fault) => return Err(fault),
            }
        } else {
            self.kept.state.unsettled += 1;
            self.kept.state.objects += 1;
            return Ok(());
        }
        self.kept.state.objects += 1;
        self.kept.state.bytes += size;
        self.left = self.left.saturating_sub(size.max(1));
        Ok(())
    }

    /// Past the page cache where that can be, so that the disk is read and what others use stays cached.
    fn open(&self, path: &Path) -> std::result::Result<OwnedFd, Errno> {
        let mut result = Err(Errno::INVAL);
        for flags in [OFlags::RDWR | OFlags::DIRECT, OFlags::RDWR, OFlags::RDONLY] {
            result = self.root.open_file(path, flags);
            if !matches!(result, Err(Errno::INVAL | Errno::ACCESS | Errno::PERM | Errno::ROFS)) {
                break;
            }
        }
        result
    }

    fn compare(&mut self, name: &ObjectName, file: &OwnedFd, sums_path: &Path, sums: &Sums) -> Result<()> {
        let mut bad = Vec::new();
        let mut count = 0;
        sums.compare(file, self.stop, |piece| {
            count += 1;
            if bad.len() < ScrubState::DAMAGES_MAX {
                bad.push(piece);
            }
        })?;
        if count == 0 {
            self.kept.state.verified += 1;
        } else if stored_sums(self.root, sums_path, file)?.as_ref() == Some(sums) {
            self.kept.state.damaged += count - bad.len() as u64;
            self.damaged(name, &bad);
        } else {
            // Whoever writes ends the checksums first: this was no damage.
            self.kept.state.unsettled += 1;
        }
        Ok(())
    }

    /// Gives the object checksums, unless somebody writes to it; or says what cannot be read.
    fn sum(
        &self,
        path: &Path,
        file: &OwnedFd,
        stat: &rustix::fs::Stat,
        sums_path: &Path,
    ) -> Result<std::result::Result<bool, Bad>> {
        // What a loss of power could take back must not be what the checksums are of.
        self.root.sync_file(file).inspect_err(|_| self.root.lost().add(path))?;
        self.root.lost().check(path)?;
        let sums = match Sums::of(file, self.stop)? {
            Ok(sums) => sums,
            Err(bad) => return Ok(Err(bad)),
        };
        let temp = self.root.temp()?;
        write_all(&temp.file, &sums.encode(), 0)?;
        // Pairs with Handle::claim: who writes from now on waits for this lock, and then finds these checksums.
        if !lock_against_writing(file.as_fd()) {
            return Ok(Ok(false));
        }
        let now = self.root.stat(path)?;
        let is_same = now.is_some_and(|now| {
            (now.st_ino, now.st_size, now.st_mtime, now.st_mtime_nsec)
                == (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
        });
        if is_same {
            temp.rename_to(sums_path)?;
        }
        Ok(Ok(is_same))
    }

    fn damaged(&mut self, name: &ObjectName, pieces: &[Bad]) {
        let state = &mut self.kept.state;
        state.damaged += pieces.len() as u64;
        for Bad { offset, size, is_unreadable } in pieces.iter().copied() {
            tracing::error!(object = %name, offset, size, is_unreadable, "damage found");
            if state.damages.len() < ScrubState::DAMAGES_MAX {
                let object = name.as_bytes().to_vec();
                state.damages.push(Damage { object, offset, size, is_unreadable });
            }
        }
    }
}

/// Where a file comes among those of its directory: an order that needs no room to keep. Never 0.
fn key(path: &Path) -> u64 {
    let hash = Sha256::digest(path.as_os_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash);
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1)
}

/// Ends the checksums that an object had before it is replaced or deleted.
pub(crate) fn forget_sums(root: &Root, name: &ObjectName) -> Result<()> {
    root.unlink(&sums_path(name)).map(drop)
}
