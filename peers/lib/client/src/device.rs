//! Many requests under way on one volume.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use peer::failure_of;
use protocol::{ErrorKind, Failure, Flags, Message, Op, VolumeInfo, VolumeKind};
use xseg::{Held, PortNumber, Received, Receiver, Reserve, Sleeper, Submitter, Waker};

use crate::{Client, Stack};

/// What is to be done with a range of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Fill the request's buffer.
    Read {
        /// Where, in bytes.
        offset: u64,
        /// How much; at most the buffer.
        size: u64,
    },
    /// Write the request's buffer.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// How much; at most the buffer.
        size: u64,
        /// `FUA` or nothing.
        flags: Flags,
    },
    /// Make what was answered so far durable.
    Flush,
    /// Give a range back.
    Discard {
        /// Where, in bytes.
        offset: u64,
        /// How much.
        size: u64,
        /// `FUA` or nothing.
        flags: Flags,
    },
    /// Make a range read zeros.
    WriteZeroes {
        /// Where, in bytes.
        offset: u64,
        /// How much.
        size: u64,
        /// `FUA`, `FAST`, `MAY_TRIM`.
        flags: Flags,
    },
    /// Which parts of a range are data; the answer is `protocol::Extents` in the buffer.
    Extents {
        /// Where, in bytes.
        offset: u64,
        /// How much.
        size: u64,
    },
}

/// A volume ready for I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Block size in bytes.
    pub block_size: u32,
    /// Whether writes are refused.
    pub is_read_only: bool,
}

/// A volume, before its two halves are taken.
pub struct Device {
    sender: Sender,
    completions: Completions,
    info: DeviceInfo,
}

/// The half that asks.
pub struct Sender {
    submitter: Submitter,
    volume: Vec<u8>,
    to: PortNumber,
    freed: Arc<Freed>,
}

/// The half that hears what became of it.
pub struct Completions {
    receiver: Receiver,
    freed: Arc<Freed>,
}

/// Lets the half that asks wait for the half that gives back.
#[derive(Default)]
struct Freed {
    is_awaited: AtomicBool,
    lock: Mutex<()>,
    signal: Condvar,
}

/// How long one wait lasts at most: a signal that came a moment too early costs no more than this.
const WAIT_SLICE: Duration = Duration::from_millis(5);

impl Freed {
    fn wait(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken, timed out or poisoned: the caller looks again in any case.
        let _looked_again = self.signal.wait_timeout(guard, WAIT_SLICE);
    }

    fn tell(&self) {
        if self.is_awaited.swap(false, Ordering::Relaxed) {
            self.signal.notify_one();
        }
    }
}

/// What became of one request.
pub struct Completion {
    /// The number that came with the request.
    pub token: u64,
    /// Whether it was done.
    pub result: Result<(), Failure>,
    /// The request, with its buffer; give it back with [`Completions::done`].
    pub held: Held,
}

/// How long [`Sender::buffer`] waits for requests to come home before it gives up.
const PATIENCE: Duration = Duration::from_secs(120);

impl Device {
    /// Joins the segment for I/O on `volume`. `reserve` bounds what may be under way: that many requests, with that many bytes of
    /// buffers in all, of which one request may use everything.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` if the segment has no room.
    pub fn open(
        stack: &Stack,
        volume: &str,
        is_read_only: bool,
        reserve: Reserve,
    ) -> Result<Device, Failure> {
        let info = Client::connect(stack)?.info(volume)?;
        let port = stack.segment.bind_dynamic(reserve).map_err(|error| {
            Failure::new(ErrorKind::Unavailable, format!("cannot join the segment for {volume}: {error}"))
        })?;
        let (submitter, receiver) = port.split();
        let to = stack.vlmc_port(volume);
        let freed = Arc::<Freed>::default();
        let sender = Sender { submitter, volume: volume.as_bytes().to_vec(), to, freed: Arc::clone(&freed) };
        let completions = Completions { receiver, freed };
        Ok(Device { sender, completions, info: DeviceInfo::of(&info, is_read_only) })
    }

    /// What the volume is.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// The two halves, for one thread or two.
    #[must_use]
    pub fn split(self) -> (Sender, Completions) {
        (self.sender, self.completions)
    }
}

impl DeviceInfo {
    fn of(info: &VolumeInfo, is_read_only: bool) -> DeviceInfo {
        DeviceInfo {
            size_bytes: info.size_bytes,
            block_size: info.block_size,
            is_read_only: is_read_only || info.kind == VolumeKind::Snapshot,
        }
    }
}

impl Sender {
    /// A request with a buffer of `bytes` (0 for none), to be filled and submitted.
    ///
    /// # Errors
    /// `Unavailable` if no request came home for a long time; `Invalid` if `bytes` is more than the device was opened for.
    pub fn buffer(&mut self, bytes: u64) -> Result<Held, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(held) = self.try_buffer(bytes)? {
                return Ok(held);
            }
            if Instant::now() >= deadline {
                let message =
                    format!("no request of {} came home in time", String::from_utf8_lossy(&self.volume));
                return Err(Failure::new(ErrorKind::Unavailable, message));
            }
            self.freed.wait();
        }
    }

    /// As [`Sender::buffer`], without waiting: nothing when all requests are under way.
    ///
    /// # Errors
    /// `Invalid` if `bytes` is more than the device was opened for.
    pub fn try_buffer(&mut self, bytes: u64) -> Result<Option<Held>, Failure> {
        match self.submitter.allocate(bytes) {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.kind() == xseg::ErrorKind::NoSpace => Ok(None),
            Err(error) => Err(Failure::new(ErrorKind::Invalid, error.to_string())),
        }
    }

    /// Sends a request; `token` comes back with its completion.
    ///
    /// # Errors
    /// `Unavailable` if the composer's port is gone; `Invalid` if the range is larger than the buffer.
    pub fn submit(&mut self, mut held: Held, io: Io, token: u64) -> Result<(), Failure> {
        fill(&mut held, io);
        held.set_flow(token);
        let named = held.set_target(&self.volume);
        debug_assert!(named.is_ok(), "a volume that was opened has a name that fits");
        self.submitter.submit(held, self.to).map_err(|refused| {
            let (held, error) = refused.into_parts();
            self.submitter.free(held);
            Failure::new(ErrorKind::Unavailable, format!("cannot send to vlmc: {error}"))
        })
    }

    /// Gives back a request that was not sent.
    pub fn cancel(&mut self, held: Held) {
        self.submitter.free(held);
    }
}

fn fill(held: &mut Held, io: Io) {
    let (op, offset, size, flags) = match io {
        Io::Read { offset, size } => (Op::Read, offset, size, Flags::empty()),
        Io::Write { offset, size, flags } => (Op::Write, offset, size, flags),
        Io::Flush => (Op::Flush, 0, 0, Flags::empty()),
        Io::Discard { offset, size, flags } => (Op::Discard, offset, size, flags),
        Io::WriteZeroes { offset, size, flags } => (Op::WriteZeroes, offset, size, flags),
        Io::Extents { offset, size } => (Op::Extents, offset, size, Flags::empty()),
    };
    held.set_op(op.number());
    held.set_offset(offset);
    held.set_size(size);
    held.set_flags(flags.bits());
}

impl Completions {
    /// The next completion, or nothing when the deadline has passed.
    pub fn next(&mut self, deadline: Option<Instant>) -> Option<Completion> {
        loop {
            let completion = self.try_next();
            if completion.is_some() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return completion;
            }
            self.receiver.wait(deadline);
        }
    }

    /// A completion that is there already.
    pub fn try_next(&mut self) -> Option<Completion> {
        loop {
            match self.receiver.receive()? {
                Received::Reply(held) => {
                    let result = failure_of(&held).map_or(Ok(()), Err);
                    return Some(Completion { token: held.flow(), result, held });
                }
                // Nobody asks a device; whoever did is answered when this port is given up.
                Received::Request(stray) => drop(stray),
            }
        }
    }

    /// What [`Io::Extents`] found.
    ///
    /// # Errors
    /// `Corrupt` if the reply makes no sense.
    pub fn extents(held: &Held) -> Result<Vec<protocol::Extent>, Failure> {
        let mut bytes = vec![0; usize::try_from(held.serviced().min(held.buffer_bytes())).unwrap_or(0)];
        let garbled =
            |error: String| Failure::new(ErrorKind::Corrupt, format!("extents make no sense: {error}"));
        held.read(0, &mut bytes).map_err(|error| garbled(error.to_string()))?;
        protocol::Extents::decode(&bytes)
            .map(|found| found.extents)
            .map_err(|error| garbled(error.to_string()))
    }

    /// Gives a request back.
    pub fn done(&mut self, held: Held) {
        self.receiver.free(held);
        self.freed.tell();
    }

    pub(crate) fn waker(&self) -> Waker {
        self.receiver.waker()
    }

    pub(crate) fn number(&self) -> PortNumber {
        self.receiver.number()
    }

    pub(crate) fn sleeper(&self) -> Sleeper {
        self.receiver.sleeper()
    }

    pub(crate) fn arm(&mut self) -> bool {
        self.receiver.arm()
    }

    pub(crate) fn disarm(&mut self) {
        // Whatever the waker was called for is found by looking.
        let _is_woken = self.receiver.disarm();
    }
}
