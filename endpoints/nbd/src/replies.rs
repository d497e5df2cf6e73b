//! Completions of the stack become replies to the client.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use client::{Completion, Completions};
use protocol::{ErrorKind, Failure};
use xseg::Held;

use crate::{
    lock,
    pending::Pending,
    stream::Stream,
    wire::{Command, CommandFlags, Errno, Extent, Request, Style},
};

/// Up to which size data that were read are gathered with other replies and sent together, in bytes.
const GATHER_MAX: usize = 32 << 10;
/// When gathered replies are sent though more may be ready, in bytes.
const BATCH: usize = 256 << 10;
/// How many extents a block status reply has at most.
const EXTENTS_MAX: usize = 1 << 16;

/// What the threads of one session share.
pub(crate) struct Shared {
    pub(crate) stream: Stream,
    pub(crate) style: Style,
    pub(crate) pending: Mutex<Pending>,
    /// Held by the thread whose reply is on its way, so that replies do not mix.
    sending: Mutex<()>,
    /// The client is gone: replies are dropped.
    is_broken: AtomicBool,
    /// The session is gone: nobody waits for anything any more.
    is_over: AtomicBool,
}

impl Shared {
    pub(crate) fn new(stream: Stream, style: Style) -> Shared {
        Shared {
            stream,
            style,
            pending: Mutex::default(),
            sending: Mutex::default(),
            is_broken: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Ends the connection, and with it the relief's work.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _turn = lock(&self.sending);
        self.stream.close();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sends whole replies and empties `replies`.
    pub(crate) fn send(&self, replies: &mut Vec<u8>) {
        let _turn = lock(&self.sending);
        self.send_in_turn(replies);
    }

    fn send_in_turn(&self, replies: &mut Vec<u8>) {
        self.attempt(|| self.stream.send(replies));
        replies.clear();
    }

    /// Sends, unless the client is gone; if it turns out to be, the session is woken to end.
    fn attempt(&self, send: impl FnOnce() -> io::Result<()>) {
        if !self.is_broken.load(Ordering::Relaxed) && send().is_err() {
            self.is_broken.store(true, Ordering::Relaxed);
            self.stream.socket().shut_down();
        }
    }
}

/// The NBD error that a failure of the stack is to a client that asked for `command`.
pub(crate) fn errno_of(kind: ErrorKind, command: Command) -> Errno {
    match kind {
        ErrorKind::NoSpace => Errno::NoSpace,
        ErrorKind::ReadOnly => Errno::NotPermitted,
        ErrorKind::Unsupported => Errno::NotSupported,
        // A range outside a volume that has just been made smaller.
        ErrorKind::Invalid if matches!(command, Command::Write | Command::WriteZeroes) => Errno::NoSpace,
        ErrorKind::Invalid => Errno::Invalid,
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Busy
        | ErrorKind::NotOwner
        | ErrorKind::Corrupt
        | ErrorKind::Unavailable => Errno::InputOutput,
    }
}

/// Hears completions and answers them.
pub(crate) struct Replier {
    completions: Completions,
    out: Vec<u8>,
}

impl Replier {
    pub(crate) fn new(completions: Completions) -> Replier {
        Replier { completions, out: Vec::with_capacity(BATCH + 2 * GATHER_MAX) }
    }

    /// Waits for a completion; answers it and whatever else is ready. False if none came before the deadline.
    pub(crate) fn answer(&mut self, shared: &Shared, deadline: Instant) -> bool {
        let Some(first) = self.completions.next(Some(deadline)) else { return false };
        let _turn = lock(&shared.sending);
        let mut next = Some(first);
        while let Some(completion) = next {
            self.reply(shared, completion);
            next = if self.out.len() < BATCH { self.completions.try_next() } else { None };
        }
        shared.send_in_turn(&mut self.out);
        true
    }

    fn reply(&mut self, shared: &Shared, completion: Completion) {
        let Completion { token, result, held } = completion;
        let request = lock(&shared.pending).get(token);
        if let Some(request) = request {
            let outcome = result.and_then(|()| match request.command {
                Command::Read => self.data(shared, &request, &held),
                Command::BlockStatus => self.block_status(shared.style, &request, &held),
                _ => {
                    shared.style.done(&mut self.out, &request);
                    Ok(())
                }
            });
            if let Err(failure) = outcome {
                tracing::debug!(command = ?request.command, offset = request.offset, %failure, "request failed");
                let errno = errno_of(failure.kind, request.command);
                shared.style.error(&mut self.out, &request, errno, &failure.message);
            }
        }
        self.completions.done(held);
        lock(&shared.pending).remove(token);
    }

    /// Adds or sends what was read.
    fn data(&mut self, shared: &Shared, request: &Request, held: &Held) -> Result<(), Failure> {
        let length = usize::try_from(request.length).expect("payloads are bounded");
        if held.buffer_bytes() < request.length {
            return Err(lost_buffer(&"it became shorter"));
        }
        let before = self.out.len();
        shared.style.data_header(&mut self.out, request, length);
        if length <= GATHER_MAX {
            let copied = self.copy(held, 0, length);
            return copied.inspect_err(|_| self.out.truncate(before));
        }
        match shared.stream.plain() {
            Some(socket) => {
                shared.send_in_turn(&mut self.out);
                shared.attempt(|| drain(held, request.length, socket));
                Ok(())
            }
            None => self.copy_in_steps(shared, held, length),
        }
    }

    fn copy(&mut self, held: &Held, from: usize, length: usize) -> Result<(), Failure> {
        let start = self.out.len();
        self.out.resize(start + length, 0);
        held.read(as_u64(from), &mut self.out[start..]).map_err(|error| lost_buffer(&error))
    }

    /// Sends what must be encrypted first. A failure after the header ends the connection: the client expects data.
    fn copy_in_steps(&mut self, shared: &Shared, held: &Held, length: usize) -> Result<(), Failure> {
        for from in (0..length).step_by(GATHER_MAX) {
            if let Err(failure) = self.copy(held, from, GATHER_MAX.min(length - from)) {
                shared.attempt(|| Err(io::Error::other(failure)));
            }
            if self.out.len() >= BATCH {
                shared.send_in_turn(&mut self.out);
            }
        }
        Ok(())
    }

    fn block_status(&mut self, style: Style, request: &Request, held: &Held) -> Result<(), Failure> {
        let most = if request.flags.contains(CommandFlags::REQ_ONE) { 1 } else { EXTENTS_MAX };
        let extents = clip(&Completions::extents(held)?, request.length, most);
        if extents.is_empty() {
            return Err(Failure::new(ErrorKind::Corrupt, "the composer named no extent"));
        }
        style.block_status(&mut self.out, request, &extents);
        Ok(())
    }
}

/// The first extents of those found, joined where alike, none beyond `length` bytes.
fn clip(found: &[protocol::Extent], length: u64, most: usize) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut left = length;
    for one in found {
        let size = one.size_bytes.min(left);
        left -= size;
        let is_full = extents.len() == most;
        match extents.last_mut() {
            _ if size == 0 => {}
            Some(last) if last.is_data == one.is_data => last.length += size,
            _ if is_full => break,
            _ => extents.push(Extent { length: size, is_data: one.is_data }),
        }
    }
    extents
}

fn drain(held: &Held, length: u64, socket: &crate::stream::Socket) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        match held.drain_to(socket, at..length) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => at += as_u64(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lost_buffer(reason: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorKind::Unavailable, format!("the reply's buffer can't be read: {reason}"))
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(size_bytes: u64, is_data: bool) -> protocol::Extent {
        protocol::Extent { size_bytes, is_data }
    }

    #[test]
    fn extents_are_joined_and_end_with_the_request() {
        let found = [extent(10, true), extent(0, false), extent(5, true), extent(1 << 40, false)];
        let wanted = [Extent { length: 15, is_data: true }, Extent { length: 85, is_data: false }];
        assert_eq!(clip(&found, 100, 9), wanted);
        assert_eq!(clip(&found, 100, 1), wanted[..1]);
        assert_eq!(clip(&found, 12, 9), [Extent { length: 12, is_data: true }]);
        assert_eq!(clip(&[], 12, 9), []);
    }

    #[test]
    fn a_write_outside_the_volume_is_no_space_and_a_read_is_invalid() {
        assert_eq!(errno_of(ErrorKind::Invalid, Command::Write), Errno::NoSpace);
        assert_eq!(errno_of(ErrorKind::Invalid, Command::Read), Errno::Invalid);
    }
}
