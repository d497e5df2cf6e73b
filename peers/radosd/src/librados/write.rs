//! A compound change of one object: all of it or nothing.

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

use super::functions::{Functions, Handle, Operation, Text};
use super::region::Region;

/// The parts of a change, in order. It is used up when it is done: the library empties what it was given.
pub(crate) struct WriteOp {
    functions: Arc<Functions>,
    raw: Handle,
}

impl WriteOp {
    pub(super) fn new(functions: &Arc<Functions>) -> Self {
        // SAFETY: makes a new operation, which is released when this is dropped.
        let raw = unsafe { (functions.create_write_op)() };
        Self { functions: functions.clone(), raw }
    }

    /// Creates the object; an exclusive one must not be there.
    pub(crate) fn create(self, is_exclusive: bool) -> Self {
        // SAFETY: an operation that was not done yet. No category.
        unsafe { (self.functions.write_op_create)(self.raw, i32::from(is_exclusive), ptr::null()) };
        self
    }

    /// The object must be there.
    pub(crate) fn assert_exists(self) -> Self {
        // SAFETY: an operation that was not done yet.
        unsafe { (self.functions.write_op_assert_exists)(self.raw) };
        self
    }

    /// The object must not have changed since it had this version.
    pub(crate) fn assert_version(self, version: u64) -> Self {
        // SAFETY: an operation that was not done yet.
        unsafe { (self.functions.write_op_assert_version)(self.raw, version) };
        self
    }

    /// Writes a range. The library copies the bytes here.
    pub(crate) fn write(self, region: Region, offset: u64) -> Self {
        // SAFETY: the maker of the region keeps its memory mapped.
        unsafe { (self.functions.write_op_write)(self.raw, region.pointer(), region.len(), offset) };
        self
    }

    /// The object becomes exactly these bytes, which the library copies here.
    pub(crate) fn write_full(self, region: Region) -> Self {
        // SAFETY: the maker of the region keeps its memory mapped.
        unsafe { (self.functions.write_op_write_full)(self.raw, region.pointer(), region.len()) };
        self
    }

    /// Cuts or grows the object.
    pub(crate) fn truncate(self, size: u64) -> Self {
        // SAFETY: an operation that was not done yet.
        unsafe { (self.functions.write_op_truncate)(self.raw, size) };
        self
    }

    /// Gives a range back. One that goes up to the object's end cuts it; one behind the end is nothing.
    pub(crate) fn zero(self, offset: u64, size: u64) -> Self {
        // SAFETY: an operation that was not done yet.
        unsafe { (self.functions.write_op_zero)(self.raw, offset, size) };
        self
    }

    /// The object becomes a copy of another one, made by the cluster.
    pub(super) fn copy_from(self, source: &CStr, io_context: Handle) -> Self {
        let name =
            Text { bytes: source.as_ptr(), len: source.count_bytes(), capacity: [source.count_bytes(), 0] };
        let operation = Operation { virtual_table: ptr::null(), operation: self.raw, unused: ptr::null() };
        // SAFETY: the function reads the three objects, laid out as librados.hpp has them, and keeps none of them: decision 0016.
        unsafe {
            (self.functions.copy_from)(&raw const operation, &raw const name, &raw const io_context, 0, 0);
        }
        self
    }

    pub(super) fn raw(&self) -> Handle {
        self.raw
    }
}

impl Drop for WriteOp {
    fn drop(&mut self) {
        // SAFETY: made in new(), and dropped once; the library keeps what it needs of an operation under way.
        unsafe { (self.functions.release_write_op)(self.raw) };
    }
}
