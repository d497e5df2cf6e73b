//! The disk as the kernel has it.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::model::{Asked, Content, Event, Model, Wrong};

pub(crate) struct Mounted {
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) how: FopenFlags,
}

/// The kernel asks again each time: a test may change what is there.
const BELIEF: Duration = Duration::ZERO;
/// How often a slow disk looks whether it has healed.
const PAUSE: Duration = Duration::from_millis(1);

impl Mounted {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, or fails, as the rules say.
    fn suffer(&self, asked: Asked, inode: INodeNo) -> Result<(), Errno> {
        let trouble = self.model().trouble(asked, inode.0);
        match trouble {
            Some(Wrong::Error(number)) => Err(Errno::from_i32(number)),
            Some(Wrong::Slow(pause)) => {
                let end = Instant::now() + pause;
                while Instant::now() < end && !self.model().rules.is_empty() {
                    std::thread::sleep(PAUSE);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn attributes(model: &Model, inode: u64) -> Result<FileAttr, Errno> {
    let node = model.nodes.get(&inode).ok_or(Errno::ENOENT)?;
    let size = node.bytes().map_or(0, |bytes| bytes.len() as u64);
    Ok(FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind: if node.bytes().is_some() { FileType::RegularFile } else { FileType::Directory },
        perm: if node.bytes().is_some() { 0o660 } else { 0o770 },
        nlink: node.links,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attributes) => reply.entry(&BELIEF, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let model = self.model();
        let found = model.child(parent.0, name.as_bytes()).ok_or(Errno::ENOENT);
        entry(reply, found.and_then(|inode| attributes(&model, inode)));
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.model(), inode.0) {
            Ok(attributes) => reply.attr(&BELIEF, &attributes),
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
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut model = self.model();
        if let Some(size) = size {
            model.resize(inode.0, usize::try_from(size).unwrap_or(usize::MAX));
        }
        if let (Some(TimeOrNow::SpecificTime(time)), Some(node)) = (mtime, model.nodes.get_mut(&inode.0)) {
            node.modified = time;
        }
        match attributes(&model, inode.0) {
            Ok(attributes) => reply.attr(&BELIEF, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let mut model = self.model();
        if model.child(parent.0, name.as_bytes()).is_some() {
            return reply.error(Errno::EEXIST);
        }
        let inode = model.make(true);
        model.name(parent.0, name.as_bytes(), Some(inode));
        entry(reply, attributes(&model, inode));
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        const EXCLUSIVE: i32 = 0o200;
        let mut model = self.model();
        let inode = match model.child(parent.0, name.as_bytes()) {
            Some(_) if flags & EXCLUSIVE != 0 => return reply.error(Errno::EEXIST),
            Some(inode) => inode,
            None => {
                let inode = model.make(false);
                model.name(parent.0, name.as_bytes(), Some(inode));
                inode
            }
        };
        match attributes(&model, inode) {
            Ok(attributes) => reply.created(&BELIEF, &attributes, Generation(0), FileHandle(0), self.how),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), self.how);
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
        if let Err(error) = self.suffer(Asked::Read, inode) {
            return reply.error(error);
        }
        let model = self.model();
        let Some(bytes) = model.nodes.get(&inode.0).and_then(|node| node.bytes()) else {
            return reply.error(Errno::EISDIR);
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(size as usize).min(bytes.len());
        reply.data(&bytes[from..to]);
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if let Err(error) = self.suffer(Asked::Write, inode) {
            return reply.error(error);
        }
        match self.model().write(inode.0, usize::try_from(offset).unwrap_or(usize::MAX), data) {
            true => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            false => reply.error(Errno::ENOSPC),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let result = self.suffer(Asked::Sync, inode);
        if result.is_ok() {
            self.model().events.push(Event::SyncedFile { inode: inode.0 });
        }
        empty(reply, result);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let result = self.suffer(Asked::Sync, inode);
        if result.is_ok() {
            self.model().events.push(Event::SyncedDirectory { inode: inode.0 });
        }
        empty(reply, result);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut model = self.model();
        if model.child(parent.0, name.as_bytes()).is_none() {
            return reply.error(Errno::ENOENT);
        }
        model.name(parent.0, name.as_bytes(), None);
        reply.ok();
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut model = self.model();
        let Some(inode) = model.child(parent.0, name.as_bytes()) else {
            return reply.error(Errno::ENOENT);
        };
        model.name(new_parent.0, new_name.as_bytes(), Some(inode));
        model.name(parent.0, name.as_bytes(), None);
        reply.ok();
    }

    fn link(
        &self,
        _request: &Request,
        inode: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let mut model = self.model();
        if model.child(new_parent.0, new_name.as_bytes()).is_some() {
            return reply.error(Errno::EEXIST);
        }
        model.name(new_parent.0, new_name.as_bytes(), Some(inode.0));
        entry(reply, attributes(&model, inode.0));
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let model = self.model();
        let Some(Content::Directory(entries)) = model.nodes.get(&inode.0).map(|node| &node.content) else {
            return reply.error(Errno::ENOTDIR);
        };
        let after = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, child)) in entries.iter().enumerate().skip(after) {
            let is_file = model.nodes.get(child).is_some_and(|node| node.bytes().is_some());
            let kind = if is_file { FileType::RegularFile } else { FileType::Directory };
            if reply.add(INodeNo(*child), index as u64 + 1, kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
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
        const PUNCH_AND_KEEP: i32 = 3;
        let mut model = self.model();
        let size = model.nodes.get(&inode.0).and_then(|node| node.bytes()).map_or(0, Vec::len);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        match mode {
            PUNCH_AND_KEEP if from < size => {
                model.write(inode.0, from, &vec![0; to.min(size) - from]);
            }
            PUNCH_AND_KEEP => {}
            0 if to > size => model.resize(inode.0, to),
            0 => {}
            _ => return reply.error(Errno::EOPNOTSUPP),
        }
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        const MANY: u64 = 1 << 20;
        reply.statfs(MANY, MANY, MANY, MANY, MANY, 4096, 255, 4096);
    }
}
