//! What import and export share: where data is, requests under way, progress.

use std::time::{Duration, Instant};

use client::{Client, Completion, Completions, Device, Failure, Io, Sender, Stack};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::ErrorKind;
use serde::Serialize;
use xseg::{Held, Reserve};

/// Bytes that one request moves.
pub(super) const CHUNK_BYTES: u64 = 1 << 20;
/// Requests under way.
const DEPTH: u32 = 16;
/// How long the oldest of them may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A range of a volume that is all data or all hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Part {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// How long it is, in bytes.
    pub(super) size: u64,
    /// False for a hole.
    pub(super) is_data: bool,
}

/// The parts of a volume in order, neighbours of one kind joined.
pub(super) fn parts(client: &mut Client, volume: &str, size_bytes: u64) -> Result<Vec<Part>, Failure> {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < size_bytes {
        let before = offset;
        for extent in client.extents(volume, offset, size_bytes - offset)? {
            let size = extent.size_bytes.min(size_bytes - offset);
            join(&mut found, Part { offset, size, is_data: extent.is_data });
            offset += size;
        }
        if offset == before {
            return Err(Failure::new(
                ErrorKind::Corrupt,
                format!("no extents of {volume} from byte {offset} on"),
            ));
        }
    }
    Ok(found)
}

/// Adds a part that begins where the last one ends.
pub(super) fn join(parts: &mut Vec<Part>, next: Part) {
    match parts.last_mut() {
        Some(last) if last.is_data == next.is_data => last.size += next.size,
        _ if next.size > 0 => parts.push(next),
        _ => {}
    }
}

/// The chunks of a part, cut at multiples of [`CHUNK_BYTES`].
pub(super) fn chunks(part: Part) -> impl Iterator<Item = (u64, u64)> {
    let end = part.offset + part.size;
    let mut offset = part.offset;
    std::iter::from_fn(move || {
        let next = (offset / CHUNK_BYTES + 1).saturating_mul(CHUNK_BYTES).min(end);
        let chunk = (offset, next.checked_sub(offset).filter(|size| *size > 0)?);
        offset = next;
        Some(chunk)
    })
}

/// Requests under way on one volume.
pub(super) struct Pipeline {
    sender: Sender,
    completions: Completions,
    in_flight: u32,
}

impl Pipeline {
    /// A pipeline on a volume.
    pub(super) fn open(stack: &Stack, volume: &str, is_read_only: bool) -> Result<Pipeline, Failure> {
        let reserve = Reserve { requests: DEPTH, bytes: u64::from(DEPTH) * CHUNK_BYTES };
        let device = Device::open(stack, volume, is_read_only, reserve)?;
        let (sender, completions) = device.split();
        Ok(Pipeline { sender, completions, in_flight: 0 })
    }

    /// A buffer for the next request; `None` when the next completion has to be awaited first.
    pub(super) fn buffer(&mut self) -> Result<Option<Held>, Failure> {
        if self.in_flight >= DEPTH {
            return Ok(None);
        }
        let held = self.sender.try_buffer(CHUNK_BYTES)?;
        if held.is_none() && self.in_flight == 0 {
            return Err(Failure::new(ErrorKind::NoSpace, "the segment has no room for a request"));
        }
        Ok(held)
    }

    /// Sends a request.
    pub(super) fn submit(&mut self, held: Held, io: Io, token: u64) -> Result<(), Failure> {
        self.sender.submit(held, io, token)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Gives back a buffer that was not sent.
    pub(super) fn cancel(&mut self, held: Held) {
        self.sender.cancel(held);
    }

    /// The next request that came home; `None` when none is under way.
    pub(super) fn next(&mut self) -> Result<Option<Completion>, Failure> {
        if self.in_flight == 0 {
            return Ok(None);
        }
        let Some(completion) = self.completions.next(Some(Instant::now() + PATIENCE)) else {
            let message = format!("no answer within {} s", PATIENCE.as_secs());
            return Err(Failure::new(ErrorKind::Unavailable, message));
        };
        self.in_flight -= 1;
        Ok(Some(completion))
    }

    /// Gives back a request that came home.
    pub(super) fn done(&mut self, held: Held) {
        self.completions.done(held);
    }

    /// Waits for the next request without looking at its buffer.
    pub(super) fn settle(&mut self) -> Result<bool, Failure> {
        let Some(Completion { result, held, .. }) = self.next()? else { return Ok(false) };
        self.done(held);
        result.map(|()| true)
    }

    /// Waits for all requests, then makes what they wrote durable.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        while self.settle()? {}
        let held = self.sender.buffer(0)?;
        self.submit(held, Io::Flush, 0)?;
        self.settle().map(drop)
    }
}

/// A bar on standard error; nothing where that is no terminal, or when nobody wants it.
pub(super) fn progress(size_bytes: u64, is_quiet: bool) -> ProgressBar {
    if is_quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(size_bytes);
    let template = "{bar:32} {percent:>3}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn neighbours_of_one_kind_are_joined() {
        let mut found = Vec::new();
        for (offset, size, is_data) in [(0, 5, true), (5, 5, true), (10, 0, false), (10, 1, false)] {
            join(&mut found, Part { offset, size, is_data });
        }
        let expected =
            [Part { offset: 0, size: 10, is_data: true }, Part { offset: 10, size: 1, is_data: false }];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn chunks_cover_a_part_and_never_cross_a_boundary(offset in 0_u64..1 << 40, size in 0_u64..9 << 20) {
            let mut at = offset;
            for (start, length) in chunks(Part { offset, size, is_data: true }) {
                prop_assert_eq!(start, at);
                prop_assert_eq!(start / CHUNK_BYTES, (start + length - 1) / CHUNK_BYTES);
                at += length;
            }
            prop_assert_eq!(at, offset + size);
            prop_assert!(size == 0 || at > offset);
        }
    }
}
