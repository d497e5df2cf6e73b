//! The mapping itself: the only place with unsafe code, and the one checked way from an offset to bytes.
//!
//! Nobody forms a reference into shared bytes: control words are atomics, bulk bytes are copied by one raw copy behind
//! a checked range, or moved by the kernel straight in the arena.
#![expect(unsafe_code, reason = "shared memory is reached through raw pointers; each use is argued here")]

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr::NonNull,
};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::sync::{AtomicU32, AtomicU64};

/// A shared mapping of a whole segment. It stays where it is until it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is owned, does not move, and is only touched through atomics and raw copies.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out a reference to non-atomic bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a file.
    pub(crate) fn of_file(file: BorrowedFd<'_>, len: usize) -> io::Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0) }?;
        Mapping::of_pointer(base.cast(), len)
    }

    /// Maps fresh memory that this process and its children share.
    pub(crate) fn anonymous(len: usize) -> io::Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::SHARED) }?;
        Mapping::of_pointer(base.cast(), len)
    }

    fn of_pointer(base: *mut u8, len: usize) -> io::Result<Mapping> {
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { base, len })
    }

    /// The one checked function from an offset to an address.
    #[inline]
    fn at(&self, offset: usize, len: usize, align: usize) -> NonNull<u8> {
        let fits = offset.is_multiple_of(align) && len <= self.len && offset <= self.len - len;
        assert!(fits, "offsets are checked against the geometry before they are used");
        // SAFETY: offset + len is inside the mapping, as just asserted.
        unsafe { self.base.add(offset) }
    }

    /// The 32-bit control word at `offset`.
    #[inline]
    pub(crate) fn word32(&self, offset: usize) -> &AtomicU32 {
        let at = self.at(offset, 4, 4).cast();
        // SAFETY: in bounds and aligned; lives as long as `self`; everybody touches this word as an atomic.
        unsafe { at.as_ref() }
    }

    /// The 64-bit control word at `offset`.
    #[inline]
    pub(crate) fn word64(&self, offset: usize) -> &AtomicU64 {
        let at = self.at(offset, 8, 8).cast();
        // SAFETY: in bounds and aligned; lives as long as `self`; everybody touches this word as an atomic.
        unsafe { at.as_ref() }
    }

    /// Copies bytes out of the segment. Others may write at the same time: the bytes are then any mixture.
    #[inline]
    pub(crate) fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len(), 1);
        // SAFETY: the source range is inside the mapping, the target is a private slice; they cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) }
    }

    /// Copies bytes into the segment.
    #[inline]
    pub(crate) fn copy_in(&self, offset: usize, from: &[u8]) {
        let into = self.at(offset, from.len(), 1);
        // SAFETY: the target range is inside the mapping, the source is a private slice; they cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_ptr(), from.len()) }
    }

    /// Copies bytes from one place of the segment to another; the ranges may overlap.
    pub(crate) fn copy_within(&self, from: usize, to: usize, len: usize) {
        let (from, to) = (self.at(from, len, 1), self.at(to, len, 1));
        // SAFETY: both ranges are inside the mapping; `copy` allows overlap.
        unsafe { std::ptr::copy(from.as_ptr(), to.as_ptr(), len) }
    }

    /// Makes a range zeros.
    pub(crate) fn zero(&self, offset: usize, len: usize) {
        let at = self.at(offset, len, 1);
        // SAFETY: the range is inside the mapping.
        unsafe { std::ptr::write_bytes(at.as_ptr(), 0, len) }
    }

    /// Asks the processor to fetch the cache line at `offset`; a hint, without effect on what is read.
    #[inline]
    pub(crate) fn prefetch(&self, offset: usize) {
        let at = self.at(offset, 64, 1);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch of an address inside the mapping changes nothing that can be observed.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.as_ptr().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// As [`Mapping::prefetch`], for a line that is about to be written: it comes without its other holders.
    #[inline]
    pub(crate) fn prefetch_to_write(&self, offset: usize) {
        let at = self.at(offset, 64, 1);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch of an address inside the mapping changes nothing that can be observed.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(at.as_ptr().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Allocates the pages of a range now, so that a full `/dev/shm` is an error here and not a signal later.
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let len = range.end.saturating_sub(range.start);
        if len == 0 {
            return Ok(());
        }
        let at = self.at(range.start, len, 1);
        // SAFETY: the range is inside our mapping; populating does not change its bytes.
        let done = unsafe { rustix::mm::madvise(at.as_ptr().cast(), len, Advice::LinuxPopulateWrite) };
        match done {
            Err(rustix::io::Errno::INVAL) => Ok(()), // an older kernel: pages come when they are touched
            Err(rustix::io::Errno::FAULT) => Err(io::ErrorKind::StorageFull.into()),
            other => other.map_err(Into::into),
        }
    }

    /// One `read` from a descriptor straight into the segment.
    pub(crate) fn fill_from(&self, fd: impl AsFd, range: Range<usize>) -> io::Result<usize> {
        let at = self.at(range.start, range.len(), 1);
        // SAFETY: the kernel writes at most `len` bytes, all inside the mapping.
        let count = unsafe { libc::read(fd.as_fd().as_raw_fd(), at.as_ptr().cast(), range.len()) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// One `write` to a descriptor straight out of the segment.
    pub(crate) fn drain_to(&self, fd: impl AsFd, range: Range<usize>) -> io::Result<usize> {
        let at = self.at(range.start, range.len(), 1);
        // SAFETY: the kernel reads at most `len` bytes, all inside the mapping.
        let count = unsafe { libc::write(fd.as_fd().as_raw_fd(), at.as_ptr().cast(), range.len()) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// One `pread` from a file straight into the segment.
    pub(crate) fn pread_from(&self, fd: impl AsFd, range: Range<usize>, file_at: i64) -> io::Result<usize> {
        let at = self.at(range.start, range.len(), 1);
        // SAFETY: the kernel writes at most `len` bytes, all inside the mapping.
        let count = unsafe { libc::pread(fd.as_fd().as_raw_fd(), at.as_ptr().cast(), range.len(), file_at) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// One `pwrite` to a file straight out of the segment.
    pub(crate) fn pwrite_to(&self, fd: impl AsFd, range: Range<usize>, file_at: i64) -> io::Result<usize> {
        let at = self.at(range.start, range.len(), 1);
        // SAFETY: the kernel reads at most `len` bytes, all inside the mapping.
        let count = unsafe { libc::pwrite(fd.as_fd().as_raw_fd(), at.as_ptr().cast(), range.len(), file_at) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// The address of a range, for the kernel.
    pub(crate) fn raw(&self, range: Range<usize>) -> RawBuffer {
        RawBuffer { at: self.at(range.start, range.len(), 1), len: range.len() }
    }

    /// The address of a 32-bit word, for the kernel.
    pub(crate) fn raw_futex(&self, offset: usize) -> RawFutex {
        RawFutex { at: self.at(offset, 4, 4).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this length, and nothing borrows from it any more.
        let done = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(done.is_ok(), "the mapping was made by mmap");
    }
}

/// An address range inside the arena, to hand to the kernel (io_uring). Never to be made a reference of.
///
/// It is valid as long as the [`Held`](crate::Held) it came from: keep that until the kernel is done with it.
#[derive(Clone, Copy, Debug)]
pub struct RawBuffer {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: an address and a length; whoever uses them answers for it.
unsafe impl Send for RawBuffer {}

impl RawBuffer {
    /// The address of the first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    /// Bytes in the range.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the range has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The address of a port's inbox word, for `IORING_OP_FUTEX_WAIT` (32 bits, shared).
///
/// Wait for it to differ from [`RawFutex::SLEEPING`] after [`Port::arm`](crate::Port::arm) returned true.
#[derive(Clone, Copy, Debug)]
pub struct RawFutex {
    at: NonNull<u32>,
}

// SAFETY: an address; whoever uses it answers for it.
unsafe impl Send for RawFutex {}

impl RawFutex {
    /// What the word holds while the owner sleeps.
    pub const SLEEPING: u64 = 1;

    /// The address of the word.
    pub fn as_ptr(&self) -> *const u32 {
        self.at.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_in_comes_out() {
        let map = Mapping::anonymous(8192).unwrap();
        map.copy_in(4090, b"across a page");
        let mut out = [0; 13];
        map.copy_out(4090, &mut out);
        assert_eq!(&out, b"across a page");
        map.copy_within(4090, 100, 13);
        map.zero(4090, 13);
        map.copy_out(100, &mut out);
        assert_eq!(&out, b"across a page");
    }

    #[test]
    #[should_panic(expected = "checked against the geometry")]
    fn a_word_past_the_end_is_never_reached() {
        let map = Mapping::anonymous(4096).unwrap();
        map.word64(4096);
    }

    #[test]
    fn descriptors_fill_and_drain_the_segment() {
        let map = Mapping::anonymous(4096).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        map.copy_in(0, b"bytes");
        assert_eq!(map.drain_to(&writer, 0..5).unwrap(), 5);
        assert_eq!(map.fill_from(&reader, 100..200).unwrap(), 5);
        let mut out = [0; 5];
        map.copy_out(100, &mut out);
        assert_eq!(&out, b"bytes");
    }
}
