//! I/O of one shown volume: kernel requests in, replies out when the volume has answered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use client::{Completion, Completions, Device, Io, Listener, Sender};
use peer::Stop;
use protocol::{ErrorKind, Extent, Failure};
use rustix::io::Errno;
use xseg::Segment;

use crate::kernel::Reply;

/// Who waits for an I/O.
pub(crate) enum Waiting {
    /// A read of so many bytes.
    Read(Reply, u32),
    /// A write of so many bytes.
    Write(Reply, u32),
    /// Anything without a result.
    Done(Reply),
    /// A search for data or a hole from an offset.
    Seek(Reply, Seek),
    /// This role itself.
    Ours(mpsc::Sender<Result<(), Failure>>),
}

/// What a seek looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seek {
    pub(crate) offset: u64,
    pub(crate) wants_data: bool,
    pub(crate) size_bytes: u64,
}

/// One volume's way to its composer.
pub(crate) struct VolumeIo {
    shared: Arc<Shared>,
    answering: Option<JoinHandle<()>>,
    stop: Stop,
}

struct Shared {
    sender: Mutex<Sender>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    next_token: AtomicU64,
}

/// Answers the kernel.
struct Answering {
    shared: Arc<Shared>,
    bytes: Vec<u8>,
}

impl VolumeIo {
    pub(crate) fn start(device: Device, segment: &Segment) -> std::io::Result<VolumeIo> {
        let (sender, completions) = device.split();
        let shared = Arc::new(Shared {
            sender: Mutex::new(sender),
            waiting: Mutex::default(),
            next_token: AtomicU64::new(1),
        });
        let answering = Answering { shared: Arc::clone(&shared), bytes: Vec::new() };
        let (segment, stop) = (segment.clone(), Stop::new());
        let theirs = stop.clone();
        let listen = move || completions.listen(&segment, answering, &theirs);
        let answering = std::thread::Builder::new().name("fuse-replies".into()).spawn(listen)?;
        Ok(VolumeIo { shared, answering: Some(answering), stop })
    }

    /// Sends an I/O with `bytes` of room for data, filled from `data` if it is a write.
    pub(crate) fn submit(&self, io: Io, room: u64, data: &[u8], waiting: Waiting) {
        if let Err((waiting, failure)) = self.shared.submit(io, room, data, waiting) {
            answer(waiting, Err(&failure), &[], &[]);
        }
    }

    /// Makes everything answered so far durable, and waits for it.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        let (sender, receiver) = mpsc::channel();
        self.submit(Io::Flush, 0, &[], Waiting::Ours(sender));
        receiver
            .recv()
            .unwrap_or_else(|_| Err(Failure::new(ErrorKind::Unavailable, "the volume is being closed")))
    }
}

impl Drop for VolumeIo {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(answering) = self.answering.take() {
            // A thread that panicked has nothing left to say.
            let _panicked = answering.join();
        }
    }
}

impl Shared {
    fn submit(&self, io: Io, room: u64, data: &[u8], waiting: Waiting) -> Result<(), (Waiting, Failure)> {
        let mut sender = lock(&self.sender);
        let held = match sender.buffer(room) {
            Ok(held) => held,
            Err(failure) => return Err((waiting, failure)),
        };
        if let Err(error) = held_write(&held, data) {
            sender.cancel(held);
            return Err((waiting, error));
        }
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(token, waiting);
        let sent = sender.submit(held, io, token);
        drop(sender);
        sent.or_else(|failure| match lock(&self.waiting).remove(&token) {
            Some(waiting) => Err((waiting, failure)),
            None => Ok(()),
        })
    }
}

impl Listener for Answering {
    fn hear(&mut self, completion: &Completion) {
        let waiting = lock(&self.shared.waiting).remove(&completion.token);
        if let Some(waiting) = waiting {
            deliver(waiting, completion, &mut self.bytes);
        }
    }

    fn is_idle(&self) -> bool {
        lock(&self.shared.waiting).is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn held_write(held: &xseg::Held, data: &[u8]) -> Result<(), Failure> {
    held.write(0, data)
        .map_err(|error| Failure::new(ErrorKind::Invalid, format!("the data does not fit: {error}")))
}

fn deliver(waiting: Waiting, completion: &Completion, bytes: &mut Vec<u8>) {
    let mut result = completion.result.clone();
    let mut extents = Vec::new();
    match &waiting {
        Waiting::Read(_, size) if result.is_ok() => {
            bytes.resize(usize::try_from(*size).unwrap_or(0), 0);
            result = completion
                .held
                .read(0, bytes)
                .map_err(|error| Failure::new(ErrorKind::Corrupt, error.to_string()));
        }
        Waiting::Seek(..) if result.is_ok() => match Completions::extents(&completion.held) {
            Ok(found) => extents = found,
            Err(failure) => result = Err(failure),
        },
        _ => {}
    }
    answer(waiting, result.as_ref().copied(), bytes, &extents);
}

fn answer(waiting: Waiting, result: Result<(), &Failure>, bytes: &[u8], extents: &[Extent]) {
    if let Err(failure) = result {
        tracing::warn!(%failure, "an I/O failed");
    }
    match (waiting, result) {
        (Waiting::Read(reply, _), Ok(())) => reply.data(bytes),
        (Waiting::Read(reply, _), Err(failure)) => reply.error(errno(failure)),
        (Waiting::Write(reply, size), Ok(())) => reply.written(size),
        (Waiting::Write(reply, _), Err(failure)) => reply.error(errno(failure)),
        (Waiting::Done(reply), Ok(())) => reply.ok(),
        (Waiting::Done(reply), Err(failure)) => reply.error(errno(failure)),
        (Waiting::Seek(reply, seek), Ok(())) => match found(seek, extents) {
            Some(offset) => reply.offset(offset),
            None => reply.error(Errno::NXIO),
        },
        (Waiting::Seek(reply, _), Err(failure)) => reply.error(errno(failure)),
        (Waiting::Ours(sender), result) => {
            // Whoever waited may have given up.
            let _gone = sender.send(result.map_err(Failure::clone));
        }
    }
}

/// Where the first data or hole is; the end of the file counts as a hole.
fn found(seek: Seek, extents: &[Extent]) -> Option<u64> {
    let mut at = seek.offset;
    for extent in extents {
        if extent.is_data == seek.wants_data {
            return Some(at);
        }
        at = at.saturating_add(extent.size_bytes);
    }
    // What was not looked at may be data: reading it is right either way.
    (!seek.wants_data || at < seek.size_bytes).then_some(at.min(seek.size_bytes))
}

/// What a failure is called by the kernel.
pub(crate) fn errno(failure: &Failure) -> Errno {
    match failure.kind {
        ErrorKind::NotFound => Errno::NOENT,
        ErrorKind::Exists => Errno::EXIST,
        ErrorKind::Busy => Errno::BUSY,
        ErrorKind::NoSpace => Errno::NOSPC,
        ErrorKind::Unsupported => Errno::OPNOTSUPP,
        ErrorKind::Invalid => Errno::INVAL,
        ErrorKind::ReadOnly => Errno::ROFS,
        ErrorKind::NotOwner | ErrorKind::Corrupt | ErrorKind::Unavailable => Errno::IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Vec<Extent> {
        vec![
            Extent { size_bytes: 4096, is_data: true },
            Extent { size_bytes: 8192, is_data: false },
            Extent { size_bytes: 4096, is_data: true },
        ]
    }

    #[test]
    fn a_seek_finds_data_and_holes() {
        let seek = |wants_data| Seek { offset: 100, wants_data, size_bytes: 100 + 16384 };
        assert_eq!(found(seek(true), &extents()), Some(100));
        assert_eq!(found(seek(false), &extents()), Some(4196));
    }

    #[test]
    fn the_end_of_the_file_is_a_hole() {
        let only_data = [Extent { size_bytes: 4096, is_data: true }];
        assert_eq!(found(Seek { offset: 0, wants_data: false, size_bytes: 4096 }, &only_data), Some(4096));
        let only_hole = [Extent { size_bytes: 4096, is_data: false }];
        assert_eq!(found(Seek { offset: 0, wants_data: true, size_bytes: 4096 }, &only_hole), None);
    }

    #[test]
    fn what_was_not_looked_at_counts_as_data() {
        let only_hole = [Extent { size_bytes: 4096, is_data: false }];
        assert_eq!(found(Seek { offset: 0, wants_data: true, size_bytes: 8192 }, &only_hole), Some(4096));
    }
}
