//! The file system: one directory, a file for each shown volume.

use std::{
    ffi::OsStr,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use client::Io;
use protocol::Flags;
use rustix::io::Errno;

use crate::{
    io::{Seek, Waiting},
    kernel::Reply,
    shown::{ROOT_INODE, Shown, ShownSet},
    wire::{
        self, Asked, Attributes, AttributesOut, EntryOut, FallocateIn, InHeader, InitIn, InitOut, LseekIn,
        OpenIn, RangeIn, SETATTR_SIZE, SetAttrIn, StatFsOut, init, open,
    },
};

/// The largest request taken from the kernel, in bytes.
pub(crate) const MAX_IO_BYTES: u32 = 1 << 20;
/// How many pages that is.
const MAX_IO_PAGES: u16 = 256;
/// How many requests the kernel may have waiting in the background.
const MAX_BACKGROUND: u16 = 512;
/// How long the kernel may believe what it was told of a file.
const BELIEF: Duration = Duration::from_secs(1);
/// What is said of a file that is not shown any more: the kernel looks its name up again, which may be shown anew.
const GONE: Errno = Errno::STALE;
/// How far ahead one seek looks for data or a hole, in bytes: what is farther counts as data.
const SEEK_REACH: u64 = 64 << 30;
/// Room for what a seek finds, in bytes.
const EXTENTS_BYTES: u64 = 64 << 10;

/// What is answered from, by all threads that serve the kernel.
pub(crate) struct VolumeFiles {
    pub(crate) shown: ShownSet,
    pub(crate) since: SystemTime,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether the kernel asks again what a dead predecessor did not answer.
    pub(crate) has_resend: AtomicBool,
    /// Hears once that the kernel and we have agreed.
    pub(crate) agreed: mpsc::SyncSender<()>,
}

impl VolumeFiles {
    /// Serves one request.
    pub(crate) fn serve(&self, reply: Reply, header: &InHeader, asked: Asked<'_>) {
        let node = header.node;
        match asked {
            Asked::Forget => {}
            Asked::Nothing => reply.ok(),
            Asked::Unknown => reply.error(Errno::NOSYS),
            Asked::Init(wish) => self.agree(reply, &wish),
            Asked::Lookup(name) => self.lookup(reply, node, name),
            Asked::GetAttr => self.attributes_of(reply, node),
            Asked::SetAttr(wish) => self.set_attributes(reply, node, &wish),
            Asked::Open(wish) => self.open(reply, node, &wish),
            Asked::OpenDir => reply.opened(0, 0),
            Asked::ReadDir(range) => self.read_directory(reply, node, &range),
            Asked::StatFs => self.tell_of_itself(reply),
            Asked::Read(range) => self.with(node, reply, |shown, reply| read(shown, reply, &range)),
            Asked::Write(range, data) => {
                self.with(node, reply, |shown, reply| write(shown, reply, &range, data));
            }
            Asked::Release(wish) => {
                self.shown.closed(node, wish.handle);
                reply.ok();
            }
            Asked::Fsync => self.with(node, reply, |shown, reply| {
                shown.io.submit(Io::Flush, 0, &[], Waiting::Done(reply));
            }),
            Asked::Fallocate(wish) => self.with(node, reply, |shown, reply| allocate(shown, reply, &wish)),
            Asked::Lseek(wish) => self.with(node, reply, |shown, reply| seek(shown, reply, &wish)),
        }
    }

    fn with(&self, node: u64, reply: Reply, serve: impl FnOnce(&Shown, Reply)) {
        match self.shown.by_inode(node) {
            Some(shown) => serve(&shown, reply),
            None => reply.error(GONE),
        }
    }

    fn agree(&self, reply: Reply, wish: &InitIn) {
        if wish.major != wire::MAJOR || wish.minor < wire::MIN_MINOR {
            tracing::error!(wish.major, wish.minor, "this kernel's FUSE is too old");
            return reply.error(Errno::PROTO);
        }
        let ours = init::ASYNC_READ
            | init::BIG_WRITES
            | init::ASYNC_DIO
            | init::PARALLEL_DIROPS
            | init::MAX_PAGES
            | init::EXT
            | init::HAS_RESEND;
        let agreed = ours & wish.all_flags();
        let (low, high) = halves(agreed);
        reply.value(&InitOut {
            major: wire::MAJOR,
            minor: wire::MINOR,
            max_readahead: wish.max_readahead,
            flags: low,
            flags_high: high,
            max_background: MAX_BACKGROUND,
            congestion_threshold: MAX_BACKGROUND / 4 * 3,
            max_write: MAX_IO_BYTES,
            time_granularity: 1,
            max_pages: MAX_IO_PAGES,
            ..InitOut::default()
        });
        self.has_resend.store(agreed & init::HAS_RESEND != 0, Ordering::Release);
        // Nobody waits for a second agreement.
        let _unheard = self.agreed.try_send(());
    }

    fn lookup(&self, reply: Reply, parent: u64, name: &OsStr) {
        let shown = name.to_str().filter(|_| parent == ROOT_INODE).and_then(|name| self.shown.by_name(name));
        match shown {
            Some(shown) => reply.value(&EntryOut {
                node: shown.inode,
                generation: 0,
                entry_valid: BELIEF.as_secs(),
                attributes_valid: BELIEF.as_secs(),
                nanoseconds: [0; 2],
                attributes: self.file(&shown),
            }),
            None => reply.error(Errno::NOENT),
        }
    }

    fn attributes_of(&self, reply: Reply, node: u64) {
        if node == ROOT_INODE {
            return reply.value(&told(self.attributes(ROOT_INODE, 0, 0o040_755)));
        }
        self.with(node, reply, |shown, reply| reply.value(&told(self.file(shown))));
    }

    fn set_attributes(&self, reply: Reply, node: u64, wish: &SetAttrIn) {
        self.with(node, reply, |shown, reply| {
            let is_resize = wish.valid & SETATTR_SIZE != 0 && wish.size != shown.size_bytes();
            // A volume keeps its size: `vlmc resize` changes it.
            if is_resize { reply.error(Errno::PERM) } else { reply.value(&told(self.file(shown))) }
        });
    }

    fn open(&self, reply: Reply, node: u64, wish: &OpenIn) {
        let wants_write = wish.flags & libc::O_ACCMODE.cast_unsigned() != 0;
        match self.shown.by_inode(node) {
            Some(shown) if shown.info.is_read_only && wants_write => reply.error(Errno::ROFS),
            Some(_) => {
                // The number of the request: asked again after a death, it is the same handle.
                let handle = reply.unique();
                self.shown.opened(node, handle);
                reply.opened(handle, open::DIRECT_IO | open::PARALLEL_DIRECT_WRITES);
            }
            None => reply.error(GONE),
        }
    }

    fn read_directory(&self, reply: Reply, node: u64, range: &RangeIn) {
        if node != ROOT_INODE {
            return reply.error(Errno::NOTDIR);
        }
        let mut entries = vec![(ROOT_INODE, false, ".".to_owned()), (ROOT_INODE, false, "..".to_owned())];
        entries.extend(self.shown.all().iter().map(|shown| (shown.inode, true, shown.volume.clone())));
        let from = usize::try_from(range.offset).unwrap_or(usize::MAX);
        let room = range.size.min(MAX_IO_BYTES) as usize;
        let mut list = Vec::new();
        for (position, (inode, is_file, name)) in (1_u64..).zip(entries).skip(from) {
            if !wire::add_entry(&mut list, room, inode, position, is_file, &name) {
                break;
            }
        }
        reply.data(&list);
    }

    fn tell_of_itself(&self, reply: Reply) {
        let files = u64::try_from(self.shown.all().len()).unwrap_or(u64::MAX);
        let told =
            StatFsOut { files, block_size: 4096, name_len: 255, fragment_size: 4096, ..StatFsOut::default() };
        reply.value(&told);
    }

    fn file(&self, shown: &Shown) -> Attributes {
        let permissions = if shown.info.is_read_only { 0o440 } else { 0o660 };
        self.attributes(shown.inode, shown.size_bytes(), 0o100_000 | permissions)
    }

    fn attributes(&self, node: u64, size: u64, mode: u32) -> Attributes {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Attributes {
            node,
            size,
            blocks: size.div_ceil(512),
            times: [since.as_secs(); 3],
            nanoseconds: [since.subsec_nanos(); 3],
            mode,
            links: 1,
            uid: self.uid,
            gid: self.gid,
            block_size: 4096,
            ..Attributes::default()
        }
    }
}

fn halves(flags: u64) -> (u32, u32) {
    let low = u32::try_from(flags & u64::from(u32::MAX)).unwrap_or(0);
    (low, u32::try_from(flags >> 32).unwrap_or(0))
}

fn told(attributes: Attributes) -> AttributesOut {
    AttributesOut { valid: BELIEF.as_secs(), nanoseconds: 0, padding: 0, attributes }
}

/// `size` cut at the end of the volume, or an error beyond it.
fn within(shown: &Shown, offset: u64, size: u64) -> Result<u64, Errno> {
    let left = shown.size_bytes().checked_sub(offset).ok_or(Errno::FBIG)?;
    if left == 0 && size > 0 { Err(Errno::NOSPC) } else { Ok(size.min(left)) }
}

fn read(shown: &Shown, reply: Reply, range: &RangeIn) {
    let left = shown.size_bytes().saturating_sub(range.offset);
    let size = range.size.min(MAX_IO_BYTES).min(u32::try_from(left).unwrap_or(u32::MAX));
    if size == 0 {
        return reply.data(&[]);
    }
    let length = u64::from(size);
    let io = Io::Read { offset: range.offset, size: length };
    shown.io.submit(io, length, &[], Waiting::Read(reply, size));
}

fn write(shown: &Shown, reply: Reply, range: &RangeIn, data: &[u8]) {
    let size = match within(shown, range.offset, range.size.into()) {
        Ok(size) => size,
        Err(error) => return reply.error(error),
    };
    let fits = usize::try_from(size).unwrap_or(0);
    let written = u32::try_from(size).unwrap_or(0);
    let is_synchronous = range.flags & (libc::O_SYNC | libc::O_DSYNC).cast_unsigned() != 0;
    let flags = if is_synchronous { Flags::FUA } else { Flags::empty() };
    let io = Io::Write { offset: range.offset, size, flags };
    shown.io.submit(io, size, &data[..fits], Waiting::Write(reply, written));
}

fn allocate(shown: &Shown, reply: Reply, wish: &FallocateIn) {
    let offset = wish.offset;
    let size = match within(shown, offset, wish.length) {
        Ok(size) => size,
        Err(error) => return reply.error(error),
    };
    let (flags, mode) = (Flags::empty(), wish.mode.cast_signed());
    let io = if mode & libc::FALLOC_FL_PUNCH_HOLE != 0 {
        Io::WriteZeroes { offset, size, flags: Flags::MAY_TRIM }
    } else if mode & libc::FALLOC_FL_ZERO_RANGE != 0 {
        Io::WriteZeroes { offset, size, flags }
    } else if mode & !libc::FALLOC_FL_KEEP_SIZE == 0 {
        // Space is found when it is written; a promise about it is not ours to make.
        return reply.ok();
    } else {
        return reply.error(Errno::OPNOTSUPP);
    };
    shown.io.submit(io, 0, &[], Waiting::Done(reply));
}

fn seek(shown: &Shown, reply: Reply, wish: &LseekIn) {
    let (offset, size_bytes) = (wish.offset, shown.size_bytes());
    let wants_data = match wish.whence.cast_signed() {
        libc::SEEK_DATA => true,
        libc::SEEK_HOLE => false,
        _ => return reply.error(Errno::INVAL),
    };
    if offset >= size_bytes {
        return reply.error(Errno::NXIO);
    }
    let size = (size_bytes - offset).min(SEEK_REACH);
    let seek = Seek { offset, wants_data, size_bytes };
    shown.io.submit(Io::Extents { offset, size }, EXTENTS_BYTES, &[], Waiting::Seek(reply, seek));
}
