//! Memory that a request's bytes come from or go to.

use std::cell::UnsafeCell;
use std::ptr;

use libc::c_char;

/// A range of memory that may be shared with other processes, so nobody ever forms a reference to it.
///
/// Whoever makes one keeps the memory until the operation that has it is finished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    pointer: *mut u8,
    len: usize,
}

// SAFETY: a region is an address and a length; whoever made it keeps the memory, which any thread may access.
unsafe impl Send for Region {}

impl Region {
    /// No memory.
    pub(crate) const EMPTY: Self = Self { pointer: ptr::null_mut(), len: 0 };

    /// Memory of a request. Whoever has the request keeps it until whoever has the region is finished.
    pub(crate) fn of_request(buffer: xseg::RawBuffer) -> Self {
        Self { pointer: buffer.as_ptr(), len: buffer.len() }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    pub(super) fn pointer(self) -> *mut c_char {
        self.pointer.cast()
    }

    /// Fills it with zeros from byte `start` on.
    pub(crate) fn fill_zero_from(self, start: usize) {
        let start = start.min(self.len);
        if start < self.len {
            let rest = self.pointer.wrapping_add(start);
            // SAFETY: the bytes from `start` to the end are inside the region, which its maker keeps mapped.
            unsafe { ptr::write_bytes(rest, 0, self.len - start) };
        }
    }

    /// Its bytes, copied.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        if self.len > 0 {
            // SAFETY: the region is mapped for `len` bytes, and `bytes` is new memory of as many.
            unsafe { ptr::copy_nonoverlapping(self.pointer, bytes.as_mut_ptr(), self.len) };
        }
        bytes
    }
}

/// Memory of this process, for those who call without a segment.
pub(crate) struct Buffer(Box<[UnsafeCell<u8>]>);

// SAFETY: bytes behind a pointer; who accesses them when is the business of those who were given the region.
unsafe impl Send for Buffer {}

impl Buffer {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| UnsafeCell::new(*byte)).collect())
    }

    /// Its memory. Keep the buffer until whoever has the region is finished.
    pub(crate) fn region(&self) -> Region {
        Region { pointer: UnsafeCell::raw_get(self.0.as_ptr()), len: self.0.len() }
    }
}
