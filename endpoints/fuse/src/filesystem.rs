//! The file system: one directory, a file for each shown volume.

use std::{
    ffi::OsStr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use client::Io;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use protocol::Flags;

use crate::{
    io::{Seek, Waiting},
    shown::{ROOT_INODE, Shown, ShownSet},
};

/// The largest request taken from the kernel, in bytes.
pub(crate) const MAX_IO_BYTES: u32 = 1 << 20;
/// How many requests the kernel may have waiting in the background.
const MAX_BACKGROUND: u16 = 512;
/// How long the kernel may believe what it was told of a file.
const BELIEF: Duration = Duration::from_secs(1);
/// How far ahead one seek looks for data or a hole, in bytes: what is farther counts as data.
const SEEK_REACH: u64 = 64 << 30;
/// Room for what a seek finds, in bytes.
const EXTENTS_BYTES: u64 = 64 << 10;

pub(crate) struct VolumeFiles {
    pub(crate) shown: ShownSet,
    pub(crate) since: SystemTime,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl VolumeFiles {
    fn root(&self) -> FileAttr {
        self.attributes(ROOT_INODE, 0, FileType::Directory, 0o755)
    }

    fn file(&self, shown: &Shown) -> FileAttr {
        let permissions = if shown.info.is_read_only { 0o440 } else { 0o660 };
        self.attributes(shown.inode, shown.size_bytes(), FileType::RegularFile, permissions)
    }

    fn attributes(&self, inode: u64, size: u64, kind: FileType, perm: u16) -> FileAttr {
        FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: self.since,
            kind,
            perm,
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn opened(&self, inode: INodeNo) -> Result<Arc<Shown>, Errno> {
        self.shown.by_inode(inode.0).ok_or(Errno::ENOENT)
    }
}

/// `size` cut at the end of the volume, or an error beyond it.
fn within(shown: &Shown, offset: u64, size: u64) -> Result<u64, Errno> {
    let left = shown.size_bytes().checked_sub(offset).ok_or(Errno::EFBIG)?;
    if left == 0 && size > 0 { Err(Errno::ENOSPC) } else { Ok(size.min(left)) }
}

impl Filesystem for VolumeFiles {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Smaller is what an old kernel allows; then requests are smaller.
        let _write = config.set_max_write(MAX_IO_BYTES);
        let _background = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let shown =
            name.to_str().filter(|_| parent.0 == ROOT_INODE).and_then(|name| self.shown.by_name(name));
        match shown {
            Some(shown) => reply.entry(&BELIEF, &self.file(&shown), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.opened(inode) {
            _ if inode.0 == ROOT_INODE => reply.attr(&BELIEF, &self.root()),
            Ok(shown) => reply.attr(&BELIEF, &self.file(&shown)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.opened(inode) {
            // A volume keeps its size: `vlmc resize` changes it.
            Ok(shown) if size.is_some_and(|size| size != shown.size_bytes()) => reply.error(Errno::EPERM),
            Ok(shown) => reply.attr(&BELIEF, &self.file(&shown)),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.opened(inode) {
            Ok(shown) if shown.info.is_read_only && flags.acc_mode() != OpenAccMode::O_RDONLY => {
                reply.error(Errno::EROFS);
            }
            Ok(shown) => {
                shown.open_count.fetch_add(1, Ordering::Relaxed);
                let how = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
                reply.opened(FileHandle(shown.inode), how);
            }
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if let Ok(shown) = self.opened(inode) {
            shown.open_count.fetch_sub(1, Ordering::Relaxed);
        }
        reply.ok();
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let shown = match self.opened(inode) {
            Ok(shown) => shown,
            Err(error) => return reply.error(error),
        };
        let left = shown.size_bytes().saturating_sub(offset);
        let size = size.min(u32::try_from(left).unwrap_or(u32::MAX));
        if size == 0 {
            return reply.data(&[]);
        }
        let length = u64::from(size);
        shown.io.submit(Io::Read { offset, size: length }, length, &[], Waiting::Read(reply, size));
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let (shown, size) = match self
            .opened(inode)
            .and_then(|shown| within(&shown, offset, length).map(|size| (shown, size)))
        {
            Ok(found) => found,
            Err(error) => return reply.error(error),
        };
        let fits = usize::try_from(size).unwrap_or(0);
        let written = u32::try_from(size).unwrap_or(0);
        let is_synchronous = flags.0 & (libc::O_SYNC | libc::O_DSYNC) != 0;
        let flags = if is_synchronous { Flags::FUA } else { Flags::empty() };
        shown.io.submit(
            Io::Write { offset, size, flags },
            size,
            &data[..fits],
            Waiting::Write(reply, written),
        );
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Closing a file promises nothing; fsync does.
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        match self.opened(inode) {
            Ok(shown) => shown.io.submit(Io::Flush, 0, &[], Waiting::Done(reply)),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (shown, size) = match self
            .opened(inode)
            .and_then(|shown| within(&shown, offset, length).map(|size| (shown, size)))
        {
            Ok(found) => found,
            Err(error) => return reply.error(error),
        };
        let flags = Flags::empty();
        let io = if mode & libc::FALLOC_FL_PUNCH_HOLE != 0 {
            Io::WriteZeroes { offset, size, flags: Flags::MAY_TRIM }
        } else if mode & libc::FALLOC_FL_ZERO_RANGE != 0 {
            Io::WriteZeroes { offset, size, flags }
        } else if mode & !libc::FALLOC_FL_KEEP_SIZE == 0 {
            // Space is found when it is written; a promise about it is not ours to make.
            return reply.ok();
        } else {
            return reply.error(Errno::EOPNOTSUPP);
        };
        shown.io.submit(io, 0, &[], Waiting::Done(reply));
    }

    fn lseek(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let shown = match self.opened(inode) {
            Ok(shown) => shown,
            Err(error) => return reply.error(error),
        };
        let size_bytes = shown.size_bytes();
        let wants_data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return reply.error(Errno::EINVAL),
        };
        match u64::try_from(offset) {
            Ok(offset) if offset < size_bytes => {
                let size = (size_bytes - offset).min(SEEK_REACH);
                let seek = Seek { offset, wants_data, size_bytes };
                shown.io.submit(Io::Extents { offset, size }, EXTENTS_BYTES, &[], Waiting::Seek(reply, seek));
            }
            _ => reply.error(Errno::ENXIO),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if inode.0 != ROOT_INODE {
            return reply.error(Errno::ENOTDIR);
        }
        let mut entries = vec![
            (ROOT_INODE, FileType::Directory, ".".to_owned()),
            (ROOT_INODE, FileType::Directory, "..".to_owned()),
        ];
        entries.extend(
            self.shown.all().iter().map(|shown| (shown.inode, FileType::RegularFile, shown.volume.clone())),
        );
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (position, (inode, kind, name)) in (1_u64..).zip(entries).skip(from) {
            if reply.add(INodeNo(inode), position, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        let files = u64::try_from(self.shown.all().len()).unwrap_or(u64::MAX);
        reply.statfs(0, 0, 0, files, 0, 4096, 255, 4096);
    }
}
