//! What a client sends during transmission: many small requests at once, large payloads straight into the segment.

use std::{io, time::Duration};

use xseg::{Held, Spin};

use crate::{
    Error,
    stream::Stream,
    wire::{Request, Style},
};

/// How much is received at once into our own memory, in bytes: some sixty requests with 4 KiB each.
const BUFFER: usize = 256 << 10;
/// How long a client that was answered may take to ask again, for the wait to be spent awake: as long as it takes to wake
/// that client and, otherwise, this thread.
const NEXT_REQUEST: Duration = Duration::from_micros(50);
/// From how many missing bytes on a payload is received straight into the segment.
const DIRECT_MIN: u64 = 32 << 10;

/// Received and not yet looked at.
pub(crate) struct Inbound {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last receive took all there was, so that another one now would find nothing.
    is_drained: bool,
    spin: Spin,
}

impl Inbound {
    pub(crate) fn new() -> Inbound {
        Inbound {
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            is_drained: false,
            spin: Spin::of(NEXT_REQUEST),
        }
    }

    /// The next request, if its bytes are here.
    pub(crate) fn request(&mut self, style: Style) -> Result<Option<Request>, Error> {
        let length = style.request_len();
        let Some(header) = self.buffer[self.start..self.end].get(..length) else { return Ok(None) };
        let request = Request::decode(style, header)?;
        self.start += length;
        Ok(Some(request))
    }

    /// Waits for more bytes; false at the end of the stream.
    pub(crate) fn receive(&mut self, stream: &Stream) -> Result<bool, Error> {
        self.make_room();
        let room = &mut self.buffer[self.end..];
        let mut early = Ok(None);
        self.spin.run(|| {
            early = stream.receive_now(room);
            !matches!(early, Ok(None))
        });
        let count = match early? {
            Some(count) => count,
            None => stream.receive(room)?,
        };
        self.received(count)
    }

    /// Takes the bytes that are there, if any; false at the end of the stream.
    pub(crate) fn receive_now(&mut self, stream: &Stream) -> Result<bool, Error> {
        if self.is_drained {
            return Ok(true);
        }
        self.make_room();
        match stream.receive_now(&mut self.buffer[self.end..])? {
            Some(count) => self.received(count),
            None => {
                self.is_drained = true;
                Ok(true)
            }
        }
    }

    /// Whether nothing more was there when it was last looked.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Time has passed: more may have come.
    pub(crate) fn expect_more(&mut self) {
        self.is_drained = false;
    }

    fn received(&mut self, count: usize) -> Result<bool, Error> {
        self.end += count;
        self.is_drained = self.end < self.buffer.len();
        if count == 0 && self.start != self.end {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(count != 0)
    }

    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
    }

    /// Whether the next `length` bytes are here.
    pub(crate) fn holds(&self, length: u64) -> bool {
        usize::try_from(length).is_ok_and(|length| length <= self.end - self.start)
    }

    /// Puts a payload into a request's buffer.
    pub(crate) fn payload(&mut self, stream: &Stream, held: &Held, length: u64) -> Result<(), Error> {
        let mut at = 0;
        while at < length {
            let ready = self.take(length - at);
            if !ready.is_empty() {
                held.write(at, ready).map_err(io::Error::other)?;
                at += as_u64(ready.len());
            } else if let Some(socket) = stream.plain().filter(|_| length - at >= DIRECT_MIN) {
                at += as_u64(some(held.fill_from(socket, at..length))?);
            } else {
                self.refill(stream)?;
            }
        }
        Ok(())
    }

    /// Drops the payload of a request that is refused.
    pub(crate) fn skip(&mut self, stream: &Stream, length: u64) -> Result<(), Error> {
        let mut left = length;
        while left > 0 {
            match self.take(left).len() {
                0 => self.refill(stream)?,
                count => left -= as_u64(count),
            }
        }
        Ok(())
    }

    fn refill(&mut self, stream: &Stream) -> Result<(), Error> {
        if self.receive(stream)? { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }

    /// The bytes that are here, at most `most`.
    fn take(&mut self, most: u64) -> &[u8] {
        let here = self.end - self.start;
        let count = usize::try_from(most).map_or(here, |most| most.min(here));
        self.start += count;
        &self.buffer[self.start - count..self.start]
    }
}

/// At least one byte was read, or none because of a signal.
fn some(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        read => read,
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
