//! The threads that take requests from the kernel.

use std::{
    convert::Infallible,
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use rustix::io::Errno;

use crate::{
    filesystem::{MAX_IO_BYTES, VolumeFiles},
    kernel::{Kernel, Reply},
    wire::{self, HEADER_ROOM},
};

/// The threads, by what each of them has the other end of.
#[derive(Default)]
pub(crate) struct Threads(Option<Receiver<Infallible>>);

impl Threads {
    /// Waits until all of them have ended; false if that takes longer than `patience`. The kernel lets them go when nobody has
    /// the file system mounted any more, in any mount namespace.
    pub(crate) fn have_ended(&self, patience: Duration) -> bool {
        let waited = self.0.as_ref().map(|ends| ends.recv_timeout(patience));
        !matches!(waited, Some(Err(RecvTimeoutError::Timeout)))
    }
}

/// Starts threads that serve the kernel's requests until the file system is unmounted.
pub(crate) fn start(kernel: &Arc<Kernel>, files: &Arc<VolumeFiles>, count: usize) -> io::Result<Threads> {
    let (end, ends) = mpsc::channel::<Infallible>();
    for _ in 0..count {
        let (kernel, files, end) = (Arc::clone(kernel), Arc::clone(files), end.clone());
        let work = move || {
            serve(&kernel, &files);
            drop(end);
        };
        thread::Builder::new().name("fuse-kernel".into()).spawn(work)?;
    }
    Ok(Threads(Some(ends)))
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
