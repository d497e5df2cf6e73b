//! Small transfers that the page cache takes at once, without a way through the ring or a thread.

use std::io;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::handle::Handle;
use crate::operation::Operation;
use crate::ring::Direction;

/// Tries transfers at once, as long as that pays.
pub(crate) struct Inline {
    is_reading: bool,
    is_writing: bool,
    /// Slow writes let others pass by.
    writes: Backoff,
}

/// Longest read that is tried, in bytes; copying more would hold up others.
const READ_MAX: usize = 128 << 10;
/// Longest write that is tried, in bytes.
const WRITE_MAX: usize = 1 << 20;
/// A piece of a write that takes longer was held up by the disk, as when too much is dirty, or by who took the processor.
const SLOW_WRITE: Duration = Duration::from_micros(500);

impl Inline {
    /// Direct transfers always wait for the disk, so there is nothing to try.
    pub(crate) fn new(passes_cache: bool) -> Self {
        Self { is_reading: !passes_cache, is_writing: !passes_cache, writes: Backoff::default() }
    }

    /// Moves what can be moved at once; whether that was all.
    pub(crate) fn run<T>(
        &mut self,
        operation: &mut Operation<T>,
        open: &Handle,
        direction: Direction,
    ) -> bool {
        match direction {
            Direction::Read if self.is_reading && operation.region.len() <= READ_MAX => {
                self.read(operation, open)
            }
            Direction::Write { is_durable: false } if self.may_write(operation.region.len()) => {
                self.write(operation, open)
            }
            Direction::Read | Direction::Write { .. } => false,
        }
    }

    fn may_write(&mut self, len: usize) -> bool {
        self.writes.may_try() && self.is_writing && (1..=WRITE_MAX).contains(&len)
    }

    /// Never waits: what the cache does not have is left.
    fn read<T>(&mut self, operation: &mut Operation<T>, open: &Handle) -> bool {
        while let Some((offset, _)) = operation.transfer() {
            let rest = operation.region.skip(operation.done);
            if rest.is_empty() {
                return true;
            }
            match rest.read_from(open.file(), offset, true) {
                Ok(0) => {
                    rest.fill_zero();
                    return true;
                }
                Ok(count) => operation.done += count,
                Err(error) => {
                    self.is_reading = error.kind() != io::ErrorKind::Unsupported;
                    return false;
                }
            }
        }
        false
    }

    /// Filesystems do not tell beforehand whether a write will wait, so one that did sends its rest, and the next ones, another way.
    fn write<T>(&mut self, operation: &mut Operation<T>, open: &Handle) -> bool {
        if open.require_writable().is_err() {
            return false;
        }
        while let Some((offset, direction)) = operation.transfer() {
            let piece = open.piece(operation.region.skip(operation.done), direction);
            let start = Instant::now();
            // A failure is seen again, and dealt with, where the rest is moved.
            let count = piece.write_to(open.file(), offset, false).unwrap_or(0);
            operation.done += count;
            if count > 0 {
                open.mark_dirty();
            }
            let is_done = operation.done == operation.region.len();
            if count == 0 || self.was_slow(start.elapsed()) || is_done {
                return is_done;
            }
        }
        false
    }

    fn was_slow(&mut self, time: Duration) -> bool {
        let is_slow = time > SLOW_WRITE;
        self.writes.note(!is_slow);
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_pass_by_while_one_was_slow() {
        let mut inline = Inline::new(false);
        inline.was_slow(2 * SLOW_WRITE);
        assert_eq!(
            [4096, 4096, WRITE_MAX, WRITE_MAX + 1].map(|len| inline.may_write(len)),
            [false, true, true, false]
        );
    }
}
