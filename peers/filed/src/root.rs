//! The directory of a store: opens, creates and renames below it, and knows which names are durable.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

use crate::fault::{Fault, Result, if_found};
use crate::layout::TEMP_DIRECTORY;
use crate::lost::Lost;
use crate::nfs::is_on_nfs;
use crate::process::Identity;

/// A directory below which objects or locks are. All paths are relative to it.
pub(crate) struct Root {
    path: PathBuf,
    directory: OwnedFd,
    /// Directories whose own name is durable; at most `DURABLE_MAX`.
    durable: Mutex<HashSet<PathBuf>>,
    identity: Identity,
    /// Linux tells FUSE file systems nothing of a sync of the whole.
    hears_no_syncfs: bool,
    /// Whether it is on NFS, and others change it, too: files pass by the page cache, so that hosts see what others wrote, and nothing comes later.
    is_on_nfs: bool,
    counts: Counts,
    lost: Lost,
}

/// How often the system was asked to make something durable.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) files: AtomicU64,
    pub(crate) directories: AtomicU64,
    pub(crate) stores: AtomicU64,
}

/// Numbers the temporary files of this process, whichever directory they are in.
static NEXT_TEMP: AtomicU64 = AtomicU64::new(0);
/// The 65,792 directories of the two hashed levels, and as many of locks and long names.
const DURABLE_MAX: usize = 2 * 65_792;
/// What `statfs` calls a FUSE file system: linux/magic.h.
const FUSE_SUPER_MAGIC: rustix::fs::FsWord = 0x6573_5546;
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o770);
const FILE_MODE: Mode = Mode::from_raw_mode(0o660);

/// A file that has no name of an object yet; removed unless it was given one.
pub(crate) struct Temp<'a> {
    root: &'a Root,
    pub(crate) file: OwnedFd,
    path: PathBuf,
    is_renamed: bool,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let hears_no_syncfs = rustix::fs::fstatfs(&directory)?.f_type == FUSE_SUPER_MAGIC;
        let root = Self {
            path: path.to_owned(),
            directory,
            durable: Mutex::default(),
            identity: Identity::own(),
            hears_no_syncfs,
            is_on_nfs: false,
            counts: Counts::default(),
            lost: Lost::default(),
        };
        Ok(root)
    }

    /// One that other hosts change, too.
    pub(crate) fn open_shared(path: &Path) -> Result<Self> {
        Ok(Self { is_on_nfs: is_on_nfs(path)?, ..Self::open(path)? })
    }

    /// Whether it is on NFS, and others change it, too.
    pub(crate) fn is_on_nfs(&self) -> bool {
        self.is_on_nfs
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// The path that anybody in this process finds `path` at.
    pub(crate) fn full_path(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Opens what is there. Never follows a link, so nobody can lead us out of the directory by a name.
    pub(crate) fn open_file(&self, path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let is_file = !flags.contains(OFlags::DIRECTORY);
        let direct = if self.is_on_nfs && is_file { OFlags::DIRECT } else { OFlags::empty() };
        let flags = flags | direct | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.directory, path, flags, FILE_MODE)
    }

    pub(crate) fn open_directory(&self, path: &Path) -> std::result::Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.open_file(path, OFlags::DIRECTORY | OFlags::RDONLY)
    }

    /// Opens or creates, with the directories that are missing.
    pub(crate) fn create_file(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        self.with_directories(path, || self.open_file(path, flags | OFlags::CREATE))
    }

    /// Does `change`, which puts something at `path`, once more if directories were missing.
    fn with_directories<T>(
        &self,
        path: &Path,
        change: impl Fn() -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        match change() {
            Err(Errno::NOENT) => {
                self.create_directories(path.parent().unwrap_or(Path::new("")))?;
                Ok(change()?)
            }
            result => Ok(result?),
        }
    }

    pub(crate) fn create_directories(&self, directory: &Path) -> Result<()> {
        let mut levels: Vec<&Path> =
            directory.ancestors().filter(|level| !level.as_os_str().is_empty()).collect();
        levels.reverse();
        for level in levels {
            match rustix::fs::mkdirat(&self.directory, level, DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        if_found(rustix::fs::statat(&self.directory, path, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// As `stat`, but asks the server of a network filesystem.
    pub(crate) fn inode_at_server(&self, path: &Path) -> Result<Option<u64>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        let wanted = StatxFlags::INO | StatxFlags::NLINK;
        let found = if_found(rustix::fs::statx(&self.directory, path, flags, wanted))?;
        Ok(found.filter(|found| found.stx_nlink > 0).map(|found| found.stx_ino))
    }

    pub(crate) fn is_regular(&self, path: &Path) -> Result<bool> {
        Ok(self
            .stat(path)?
            .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile))
    }

    /// Whether there was such a file.
    pub(crate) fn unlink(&self, path: &Path) -> Result<bool> {
        Ok(if_found(rustix::fs::unlinkat(&self.directory, path, AtFlags::empty()))?.is_some())
    }

    /// The names in a directory; none if there is no such directory.
    pub(crate) fn entries(&self, directory: &Path) -> Result<Vec<(Vec<u8>, FileType)>> {
        let Some(opened) = if_found(self.open_directory(directory))? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::new(opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                entries.push((name.to_vec(), entry.file_type()));
            }
        }
        Ok(entries)
    }

    /// A new file below the directory of temporary files, open for reading and writing.
    pub(crate) fn temp(&self) -> Result<Temp<'_>> {
        let serial = NEXT_TEMP.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(TEMP_DIRECTORY).join(format!("{}-{serial}", self.identity));
        let file = self.create_file(&path, OFlags::RDWR | OFlags::EXCL)?;
        Ok(Temp { root: self, file, path, is_renamed: false })
    }

    /// A new file without a name, open for reading and writing; gone when it is closed before it was given one.
    pub(crate) fn unnamed(&self, directory: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        self.open_file(directory, flags | OFlags::TMPFILE | OFlags::RDWR)
    }

    /// Gives such a file a name that nothing has.
    pub(crate) fn give_name(&self, file: &OwnedFd, path: &Path) -> std::result::Result<(), Errno> {
        match rustix::fs::linkat(file, "", &self.directory, path, AtFlags::EMPTY_PATH) {
            // To whom the kernel does not allow that, it allows this.
            Err(Errno::NOENT) => {
                let proc = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, proc, &self.directory, path, AtFlags::SYMLINK_FOLLOW)
            }
            result => result,
        }
    }

    pub(crate) fn sync_file(&self, file: &OwnedFd) -> Result<()> {
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        Ok(rustix::fs::fdatasync(file)?)
    }

    /// Everything that was written below this directory.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.lost.check_all()?;
        self.counts.stores.fetch_add(1, Ordering::Relaxed);
        let synced = if self.hears_no_syncfs {
            self.sync_below(Path::new(""))
        } else {
            rustix::fs::syncfs(&self.directory).map_err(Fault::from)
        };
        synced.inspect_err(|_| self.lost.add_all())
    }

    /// Each file and directory by itself; what goes meanwhile is nobody's any more.
    fn sync_below(&self, directory: &Path) -> Result<()> {
        for (name, found) in self.entries(directory)? {
            let path = directory.join(OsStr::from_bytes(&name));
            match found {
                FileType::Directory => self.sync_below(&path)?,
                FileType::RegularFile | FileType::Unknown => {
                    if let Some(file) = if_found(self.open_file(&path, OFlags::RDONLY))? {
                        self.sync_file(&file)?;
                    }
                }
                _ => {}
            }
        }
        match if_found(self.open_directory(directory))? {
            Some(opened) => Ok(rustix::fs::fsync(&opened)?),
            None => Ok(()),
        }
    }

    /// As `sync_name`; if that fails, the object there counts as lost.
    pub(crate) fn sync_object_name(&self, path: &Path) -> Result<()> {
        self.sync_name(path).inspect_err(|_| self.lost.add(path))
    }

    /// Makes the name `path`, or its absence, durable: its directory, and each level above that is not known to be.
    pub(crate) fn sync_name(&self, path: &Path) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        self.sync_directory(parent)?;
        for level in parent.ancestors().filter(|level| !level.as_os_str().is_empty()) {
            if self.known_durable().contains(level) {
                continue;
            }
            self.sync_directory(level.parent().unwrap_or(Path::new("")))?;
            let mut known = self.known_durable();
            if known.len() < DURABLE_MAX {
                known.insert(level.to_owned());
            }
        }
        Ok(())
    }

    pub(crate) fn sync_directory(&self, directory: &Path) -> Result<()> {
        let opened = self.open_directory(directory)?;
        self.counts.directories.fetch_add(1, Ordering::Relaxed);
        Ok(rustix::fs::fsync(&opened)?)
    }

    fn known_durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Temp<'_> {
    /// Puts the file at `path`, instead of what is there.
    pub(crate) fn rename_to(mut self, path: &Path) -> Result<()> {
        let directory = &self.root.directory;
        self.root.with_directories(path, || rustix::fs::renameat(directory, &self.path, directory, path))?;
        self.is_renamed = true;
        Ok(())
    }

    /// Puts the file at `path` if nothing is there; false if something is.
    pub(crate) fn link_to(&self, path: &Path) -> Result<bool> {
        let directory = &self.root.directory;
        let link = || match rustix::fs::linkat(directory, &self.path, directory, path, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // A server whose answer was lost says so of its own work; two names show that the link was made.
            Err(Errno::EXIST) => Ok(rustix::fs::fstat(&self.file)?.st_nlink == 2),
            Err(errno) => Err(errno),
        };
        self.root.with_directories(path, link)
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.is_renamed {
            // What stays is removed at some later start.
            let _is_gone = self.root.unlink(&self.path);
        }
    }
}

/// Which file this is, never to be confused with a later one of the same name, as far as the filesystem tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) inode: u64,
    /// Nanoseconds since 1970; 0 where the filesystem does not know.
    pub(crate) born_ns: u64,
}

impl Birth {
    /// That of an open file, and its size in bytes.
    pub(crate) fn of(file: &impl AsFd) -> Result<(Self, u64)> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::SIZE;
        let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted)?;
        let is_known = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let seconds = u64::try_from(found.stx_btime.tv_sec).unwrap_or(0);
        let born_ns = seconds.saturating_mul(1_000_000_000) + u64::from(found.stx_btime.tv_nsec);
        Ok((Self { inode: found.stx_ino, born_ns: if is_known { born_ns } else { 0 } }, found.stx_size))
    }
}

/// What a filesystem has left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
    free_files: u64,
    /// 0 where files are not counted.
    total_files: u64,
}

/// With less than this, in bytes and in files, nothing is taken that nobody asked for.
const PLENTY: (u64, u64) = (16 << 20, 1024);

impl Space {
    pub(crate) fn of(root: &Root) -> Result<Self> {
        let found = rustix::fs::fstatvfs(&root.directory)?;
        Ok(Self {
            free_bytes: found.f_bavail * found.f_frsize,
            total_bytes: found.f_blocks * found.f_frsize,
            free_files: found.f_favail,
            total_files: found.f_files,
        })
    }

    pub(crate) fn is_plenty(self) -> bool {
        self.free_bytes >= PLENTY.0 && (self.free_files >= PLENTY.1 || self.total_files == 0)
    }
}
