//! The connection to the kernel: replies and notices are written to it.

use std::{
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::wire::{Notice, OpenOut, OutHeader, WriteOut};

/// The descriptor of /dev/fuse that belongs to one mount.
pub(crate) struct Kernel(OwnedFd);

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Kernel {
    pub(crate) fn new(descriptor: OwnedFd) -> Kernel {
        Kernel(descriptor)
    }

    /// Answers a request, once.
    pub(crate) fn reply(&self, unique: u64, error: Option<Errno>, parts: &[&[u8]]) {
        let error = error.map_or(0, |error| -error.raw_os_error());
        match self.write(OutHeader { len: 0, error, unique }, parts) {
            // Whoever asked was interrupted, or the file system is being unmounted.
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(error) => tracing::error!(unique, %error, "cannot answer the kernel"),
        }
    }

    /// Tells the kernel something unasked.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn notify(&self, notice: Notice, body: &[u8]) -> Result<(), Errno> {
        let header = OutHeader { len: 0, error: notice as i32, unique: 0 };
        self.write(header, &[body])
    }

    fn write(&self, mut header: OutHeader, parts: &[&[u8]]) -> Result<(), Errno> {
        let length = size_of::<OutHeader>() + parts.iter().map(|part| part.len()).sum::<usize>();
        header.len = u32::try_from(length).map_err(|_| Errno::TOOBIG)?;
        let mut slices = vec![IoSlice::new(header.as_bytes())];
        slices.extend(parts.iter().map(|part| IoSlice::new(part)));
        // One write is one reply: the kernel takes all of it or nothing.
        rustix::io::writev(&self.0, &slices).map(drop)
    }
}

/// The right and duty to answer one request.
pub(crate) struct Reply {
    kernel: Arc<Kernel>,
    unique: u64,
}

impl Reply {
    pub(crate) fn new(kernel: &Arc<Kernel>, unique: u64) -> Reply {
        Reply { kernel: Arc::clone(kernel), unique }
    }

    /// The request's number: for ever its own, also when it is asked again.
    pub(crate) fn unique(&self) -> u64 {
        /// The kernel marks what it asks again.
        const RESENT: u64 = 1 << 63;
        self.unique & !RESENT
    }

    pub(crate) fn error(self, error: Errno) {
        self.kernel.reply(self.unique, Some(error), &[]);
    }

    pub(crate) fn ok(self) {
        self.kernel.reply(self.unique, None, &[]);
    }

    pub(crate) fn data(self, bytes: &[u8]) {
        self.kernel.reply(self.unique, None, &[bytes]);
    }

    pub(crate) fn value(self, value: &(impl IntoBytes + zerocopy::Immutable)) {
        self.data(value.as_bytes());
    }

    pub(crate) fn written(self, size: u32) {
        self.value(&WriteOut { size, padding: 0 });
    }

    pub(crate) fn opened(self, handle: u64, open_flags: u32) {
        self.value(&OpenOut { handle, open_flags, backing: 0 });
    }

    pub(crate) fn offset(self, offset: u64) {
        self.value(&offset);
    }
}
