//! The threads that take requests from the kernel.

use std::{
    io,
    os::fd::AsFd,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::io::Errno;

use crate::{
    filesystem::{MAX_IO_BYTES, VolumeFiles},
    kernel::{Kernel, Reply},
    wire::{self, HEADER_ROOM},
};

/// Starts threads that serve the kernel's requests until the file system is unmounted.
pub(crate) fn start(
    kernel: &Arc<Kernel>,
    files: &Arc<VolumeFiles>,
    count: usize,
) -> io::Result<Vec<JoinHandle<()>>> {
    let one = |_| {
        let (kernel, files) = (Arc::clone(kernel), Arc::clone(files));
        thread::Builder::new().name("fuse-kernel".into()).spawn(move || serve(&kernel, &files))
    };
    (0..count).map(one).collect()
}

fn serve(kernel: &Arc<Kernel>, files: &VolumeFiles) {
    // Touched before the kernel writes to it: a page that it had to get first, in a process that is just being killed, fails
    // the request with an I/O error instead of leaving it to the next incarnation.
    let mut buffer = vec![1; MAX_IO_BYTES as usize + HEADER_ROOM];
    loop {
        match rustix::io::read(kernel.as_fd(), &mut buffer[..]) {
            Ok(length) => match wire::decode(&buffer[..length]) {
                Some((header, asked)) => files.serve(Reply::new(kernel, header.unique), &header, asked),
                None => tracing::error!(length, "the kernel's request makes no sense"),
            },
            // Interrupted, or the request was withdrawn before it was read.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::NODEV) => return,
            Err(error) => return tracing::error!(%error, "cannot read from the kernel"),
        }
    }
}
