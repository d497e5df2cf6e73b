//! Memory of this process that an engine may use as a region.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::Region;

/// Zeroed memory, aligned for direct I/O. Nobody forms a reference to it while it lives.
pub(crate) struct Buffer {
    pointer: NonNull<u8>,
    len: usize,
}

/// The strictest alignment that direct I/O asks for, in bytes.
const ALIGNMENT: usize = 4096;

// SAFETY: the buffer owns its memory, and its methods only copy.
unsafe impl Send for Buffer {}

impl Buffer {
    pub(crate) fn zeroed(len: usize) -> Self {
        let layout = layout(len);
        // SAFETY: the layout's size is never 0.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(pointer) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self { pointer, len }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let buffer = Self::zeroed(bytes.len());
        buffer.region().fill_from(bytes);
        buffer
    }

    /// The memory. The caller keeps the buffer until the request that gets the region is finished.
    pub(crate) fn region(&self) -> Region {
        // SAFETY: the memory is the buffer's own, which outlives the request as the caller promised.
        unsafe { Region::new(self.pointer.as_ptr(), self.len) }
    }

    pub(crate) fn copy_to(&self, bytes: &mut [u8]) {
        self.region().copy_to(bytes);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated by zeroed() with this layout, and given back once.
        unsafe { dealloc(self.pointer.as_ptr(), layout(self.len)) };
    }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len.max(1), ALIGNMENT).expect("a length that memory can have")
}
