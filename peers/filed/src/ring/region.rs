//! A range of memory that a request's bytes come from or go to.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::{io, ptr};

/// A range of memory that may be shared with other processes, so nobody ever forms a reference to it.
///
/// Whoever makes one promises that the memory stays mapped until the request it belongs to is finished.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    pointer: *mut u8,
    len: usize,
}

// SAFETY: a region is an address and a length; that the memory may be accessed from any thread is promised in new().
unsafe impl Send for Region {}

/// The most bytes that one system call moves; Linux moves no more at once.
const CALL_MAX: usize = 0x7fff_f000;

impl Region {
    /// No memory.
    pub const EMPTY: Self = Self { pointer: ptr::null_mut(), len: 0 };

    /// The `len` bytes at `pointer`.
    ///
    /// # Safety
    /// Until the request that gets this region is finished, the memory must be mapped for reading and writing (reading
    /// only, if no request writes to it), may be accessed from any thread, and no Rust reference to it may be used.
    #[must_use]
    pub unsafe fn new(pointer: *mut u8, len: usize) -> Self {
        Self { pointer, len }
    }

    /// Memory of a request. Whoever has the request keeps it until whoever has the region is finished.
    pub(crate) fn of_request(buffer: xseg::RawBuffer) -> Self {
        Self { pointer: buffer.as_ptr(), len: buffer.len() }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(crate) fn pointer(self) -> *mut u8 {
        self.pointer
    }

    /// The region without its first `count` bytes.
    pub(crate) fn skip(self, count: usize) -> Self {
        let count = count.min(self.len);
        Self { pointer: self.pointer.wrapping_add(count), len: self.len - count }
    }

    /// Its first `count` bytes, or all if they are fewer.
    pub(crate) fn first(self, count: usize) -> Self {
        Self { len: self.len.min(count), ..self }
    }

    pub(crate) fn is_aligned_to(self, alignment: usize) -> bool {
        self.pointer.addr().is_multiple_of(alignment) && self.len.is_multiple_of(alignment)
    }

    pub(crate) fn fill_zero(self) {
        if self.len > 0 {
            // SAFETY: new() was promised that these bytes may be written.
            unsafe { ptr::write_bytes(self.pointer, 0, self.len) };
        }
    }

    /// Copies `bytes` to the front of the region; what does not fit is left out.
    pub(crate) fn fill_from(self, bytes: &[u8]) {
        let count = bytes.len().min(self.len);
        if count > 0 {
            // SAFETY: new() was promised that these bytes may be written and that no reference, so not `bytes`, overlaps.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.pointer, count) };
        }
    }

    /// Copies the front of the region to `bytes`; returns how many bytes that were.
    pub(crate) fn copy_to(self, bytes: &mut [u8]) -> usize {
        let count = bytes.len().min(self.len);
        if count > 0 {
            // SAFETY: new() was promised that these bytes may be read and that no reference, so not `bytes`, overlaps.
            unsafe { ptr::copy_nonoverlapping(self.pointer, bytes.as_mut_ptr(), count) };
        }
        count
    }

    /// Reads from a file into the region; returns how many bytes came. With `is_immediate` never waits for the disk.
    pub(crate) fn read_from(
        self,
        file: BorrowedFd<'_>,
        offset: u64,
        is_immediate: bool,
    ) -> io::Result<usize> {
        let parts = self.parts();
        let flags = if is_immediate { libc::RWF_NOWAIT } else { 0 };
        // SAFETY: the one part is the region, which new() was promised may be written.
        let count =
            unsafe { libc::preadv2(file.as_raw_fd(), &raw const parts, 1, file_offset(offset)?, flags) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Writes the region to a file; returns how many bytes went. With `is_durable` they are durable.
    pub(crate) fn write_to(self, file: BorrowedFd<'_>, offset: u64, is_durable: bool) -> io::Result<usize> {
        let parts = self.parts();
        let flags = if is_durable { libc::RWF_DSYNC } else { 0 };
        // SAFETY: the one part is the region, which new() was promised may be read.
        let count =
            unsafe { libc::pwritev2(file.as_raw_fd(), &raw const parts, 1, file_offset(offset)?, flags) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn parts(self) -> libc::iovec {
        libc::iovec { iov_base: self.pointer.cast(), iov_len: self.len.min(CALL_MAX) }
    }
}

fn file_offset(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
