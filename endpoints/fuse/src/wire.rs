//! The kernel's FUSE protocol as bytes (linux/fuse.h, 7.31 and later): what it asks becomes one enum, what we say becomes
//! bytes. No I/O, no panics.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The major version that we speak.
pub(crate) const MAJOR: u32 = 7;
/// The oldest minor version of the kernel's that does.
pub(crate) const MIN_MINOR: u32 = 31;
/// The minor version that we speak.
pub(crate) const MINOR: u32 = 40;
/// Bytes of a request beside the data of a write.
pub(crate) const HEADER_ROOM: usize = 4096;

/// What both sides can do; the upper half travels in a field of its own.
pub(crate) mod init {
    pub(crate) const ASYNC_READ: u64 = 1;
    pub(crate) const BIG_WRITES: u64 = 1 << 5;
    pub(crate) const ASYNC_DIO: u64 = 1 << 15;
    pub(crate) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(crate) const MAX_PAGES: u64 = 1 << 22;
    pub(crate) const EXT: u64 = 1 << 30;
    /// What was asked and not answered can be had again.
    pub(crate) const HAS_RESEND: u64 = 1 << 39;
}

/// How a file is opened.
pub(crate) mod open {
    pub(crate) const DIRECT_IO: u32 = 1;
    pub(crate) const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
}

/// What we may tell the kernel unasked.
#[derive(Clone, Copy)]
pub(crate) enum Notice {
    /// Forget a file's attributes.
    InvalidInode = 2,
    /// Ask again what was not answered.
    Resend = 7,
}

/// Which fields of [`SetAttrIn`] count.
pub(crate) const SETATTR_SIZE: u32 = 1 << 3;

/// Before every request.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct InHeader {
    pub(crate) len: u32,
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: u32,
    pub(crate) extensions: u16,
    pub(crate) padding: u16,
}

/// Before every reply and notice.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct OutHeader {
    pub(crate) len: u32,
    pub(crate) error: i32,
    pub(crate) unique: u64,
}

/// What the kernel can do.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct InitIn {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) max_readahead: u32,
    pub(crate) flags: u32,
    flags_high: u32,
}

impl InitIn {
    /// Both halves of its flags; an old kernel's upper half may be anything.
    pub(crate) fn all_flags(&self) -> u64 {
        let has_high = u64::from(self.flags) & init::EXT != 0;
        u64::from(self.flags) | if has_high { u64::from(self.flags_high) << 32 } else { 0 }
    }
}

/// What we can do.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct InitOut {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) max_readahead: u32,
    pub(crate) flags: u32,
    pub(crate) max_background: u16,
    pub(crate) congestion_threshold: u16,
    pub(crate) max_write: u32,
    pub(crate) time_granularity: u32,
    pub(crate) max_pages: u16,
    pub(crate) map_alignment: u16,
    pub(crate) flags_high: u32,
    pub(crate) unused: [u32; 7],
}

/// A file's attributes.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Attributes {
    pub(crate) node: u64,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    /// Accessed, modified, changed: in seconds.
    pub(crate) times: [u64; 3],
    /// Their nanoseconds.
    pub(crate) nanoseconds: [u32; 3],
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: u32,
    pub(crate) block_size: u32,
    pub(crate) flags: u32,
}

/// A name that was found.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct EntryOut {
    pub(crate) node: u64,
    pub(crate) generation: u64,
    pub(crate) entry_valid: u64,
    pub(crate) attributes_valid: u64,
    pub(crate) nanoseconds: [u32; 2],
    pub(crate) attributes: Attributes,
}

/// Attributes that were asked for.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct AttributesOut {
    pub(crate) valid: u64,
    pub(crate) nanoseconds: u32,
    pub(crate) padding: u32,
    pub(crate) attributes: Attributes,
}

/// Attributes that are to be set, as far as we look at them.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SetAttrIn {
    pub(crate) valid: u32,
    pub(crate) padding: u32,
    pub(crate) handle: u64,
    pub(crate) size: u64,
}

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct OpenIn {
    pub(crate) flags: u32,
    pub(crate) open_flags: u32,
}

/// How it was.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct OpenOut {
    pub(crate) handle: u64,
    pub(crate) open_flags: u32,
    pub(crate) backing: i32,
}

/// A handle that is given back.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ReleaseIn {
    pub(crate) handle: u64,
}

/// A range to read, or to write: then the data follows.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RangeIn {
    pub(crate) handle: u64,
    pub(crate) offset: u64,
    pub(crate) size: u32,
    pub(crate) io_flags: u32,
    pub(crate) lock_owner: u64,
    pub(crate) flags: u32,
    pub(crate) padding: u32,
}

/// How much was written.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct WriteOut {
    pub(crate) size: u32,
    pub(crate) padding: u32,
}

/// A range to allocate, zero or punch.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct FallocateIn {
    pub(crate) handle: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) mode: u32,
    pub(crate) padding: u32,
}

/// A search for data or a hole.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LseekIn {
    pub(crate) handle: u64,
    pub(crate) offset: u64,
    pub(crate) whence: u32,
    pub(crate) padding: u32,
}

/// What a file system tells of itself.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct StatFsOut {
    /// All, free, free for everybody.
    pub(crate) blocks: [u64; 3],
    pub(crate) files: u64,
    pub(crate) files_free: u64,
    pub(crate) block_size: u32,
    pub(crate) name_len: u32,
    pub(crate) fragment_size: u32,
    pub(crate) padding: [u32; 7],
}

/// What the kernel asks for.
#[derive(Debug)]
pub(crate) enum Asked<'b> {
    Init(InitIn),
    Lookup(&'b OsStr),
    /// Wants no reply.
    Forget,
    GetAttr,
    SetAttr(SetAttrIn),
    Open(OpenIn),
    Read(RangeIn),
    Write(RangeIn, &'b [u8]),
    StatFs,
    Release(ReleaseIn),
    Fsync,
    /// A file or directory is closed, a directory opened or synced: nothing is to be done.
    Nothing,
    OpenDir,
    ReadDir(RangeIn),
    Fallocate(FallocateIn),
    Lseek(LseekIn),
    Unknown,
}

/// One request from the kernel's bytes; nothing if they make no sense.
pub(crate) fn decode(bytes: &[u8]) -> Option<(InHeader, Asked<'_>)> {
    let (header, body) = InHeader::read_from_prefix(bytes).ok()?;
    if usize::try_from(header.len).ok()? != bytes.len() {
        return None;
    }
    let asked = match header.opcode {
        1 => Asked::Lookup(OsStr::from_bytes(body.strip_suffix(b"\0")?)),
        2 | 42 => Asked::Forget,
        3 => Asked::GetAttr,
        4 => Asked::SetAttr(read(body)?),
        14 => Asked::Open(read(body)?),
        15 => Asked::Read(read(body)?),
        16 => {
            let (range, data) = RangeIn::read_from_prefix(body).ok()?;
            Asked::Write(range, data.get(..usize::try_from(range.size).ok()?)?)
        }
        17 => Asked::StatFs,
        18 => Asked::Release(read(body)?),
        20 => Asked::Fsync,
        25 | 29 | 30 | 38 => Asked::Nothing,
        // Before 7.36 it was shorter.
        26 => Asked::Init(read(&[body, &[0; 4]].concat())?),
        27 => Asked::OpenDir,
        28 => Asked::ReadDir(read(body)?),
        43 => Asked::Fallocate(read(body)?),
        46 => Asked::Lseek(read(body)?),
        _ => Asked::Unknown,
    };
    Some((header, asked))
}

fn read<T: FromBytes>(body: &[u8]) -> Option<T> {
    T::read_from_prefix(body).ok().map(|(value, _)| value)
}

/// One line of a directory; false if it does not fit any more.
pub(crate) fn add_entry(
    list: &mut Vec<u8>,
    room: usize,
    node: u64,
    position: u64,
    is_file: bool,
    name: &str,
) -> bool {
    #[derive(IntoBytes, Immutable)]
    #[repr(C)]
    struct Entry {
        node: u64,
        position: u64,
        name_len: u32,
        kind: u32,
    }
    let Ok(name_len) = u32::try_from(name.len()) else { return false };
    // The kinds of readdir(3), in words of 8 bytes.
    let entry = Entry { node, position, name_len, kind: if is_file { 8 } else { 4 } };
    let length = size_of::<Entry>() + name.len().next_multiple_of(8);
    if list.len() + length > room {
        return false;
    }
    let end = list.len() + length;
    list.extend_from_slice(entry.as_bytes());
    list.extend_from_slice(name.as_bytes());
    list.resize(end, 0);
    true
}

const _: () = assert!(size_of::<InHeader>() == 40 && size_of::<OutHeader>() == 16);
const _: () = assert!(size_of::<InitOut>() == 64 && size_of::<Attributes>() == 88);
const _: () = assert!(size_of::<EntryOut>() == 128 && size_of::<AttributesOut>() == 104);
const _: () = assert!(size_of::<RangeIn>() == 40 && size_of::<StatFsOut>() == 80);

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(size_of::<InHeader>() + body.len()).unwrap();
        let header =
            InHeader { len, opcode, unique: 7, node: 2, uid: 0, gid: 0, pid: 1, extensions: 0, padding: 0 };
        [header.as_bytes(), body].concat()
    }

    #[test]
    fn a_write_is_its_range_and_its_data() {
        let mut body = vec![0; 40];
        body[16] = 3;
        body.extend_from_slice(b"abc");
        let bytes = request(16, &body);
        let Some((header, Asked::Write(range, data))) = decode(&bytes) else { panic!("no write") };
        assert_eq!((header.unique, range.size, data), (7, 3, b"abc".as_slice()));
    }

    #[test]
    fn what_is_cut_short_makes_no_sense() {
        let mut body = vec![0; 40];
        body[16] = 4;
        body.extend_from_slice(b"abc");
        assert!(decode(&request(16, &body)).is_none());
        let whole = request(1, b"name\0");
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_none(), "{length} bytes");
        }
        assert!(decode(&request(1, b"no end")).is_none());
        assert!(matches!(decode(&request(9999, b"")), Some((_, Asked::Unknown))));
    }

    #[test]
    fn entries_are_padded_and_stop_where_the_room_ends() {
        let mut list = Vec::new();
        assert!(add_entry(&mut list, 64, 2, 1, true, "volume1"));
        assert_eq!(list.len(), 32);
        assert!(!add_entry(&mut list, 64, 3, 2, true, "a-name-of-9"));
        assert_eq!(list.len(), 32);
    }
}
