//! Small transfers that the page cache takes at once, without a way through the ring or a thread.

use std::io;
use std::time::{Duration, Instant};

use crate::handle::Handle;
use crate::operation::Operation;
use crate::ring::Direction;

/// Tries transfers at once, as long as that pays.
pub(crate) struct Inline {
    is_reading: bool,
    is_writing: bool,
    /// Slow writes since the last quick one.
    slow: u32,
    /// Writes to let pass before the next try.
    pause: u32,
}

/// Longest read that is tried, in bytes; copying more would hold up others.
const READ_MAX: usize = 128 << 10;
/// Longest write that is tried, in bytes.
const WRITE_MAX: usize = 1 << 20;
/// A piece of a write that takes longer was held up by the disk, as when too much is dirty, or by who took the processor.
const SLOW_WRITE: Duration = Duration::from_micros(500);
/// Slow writes double the writes that go another way after them, up to two to this power.
const MAX_BACKOFF: u32 = 7;

impl Inline {
    /// Direct transfers always wait for the disk, so there is nothing to try.
    pub(crate) fn new(passes_cache: bool) -> Self {
        Self { is_reading: !passes_cache, is_writing: !passes_cache, slow: 0, pause: 0 }
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
        let is_paused = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        self.is_writing && !is_paused && (1..=WRITE_MAX).contains(&len)
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
        self.slow = if is_slow { (self.slow + 1).min(MAX_BACKOFF) } else { 0 };
        self.pause = (1 << self.slow) - 1;
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_writes_in_a_row_double_the_pause_and_a_quick_one_ends_it() {
        let mut inline = Inline::new(false);
        let mut pause_after = |time| {
            inline.was_slow(time);
            inline.pause
        };
        let slow = SLOW_WRITE + Duration::from_nanos(1);
        assert_eq!([slow, slow, slow, SLOW_WRITE, slow].map(&mut pause_after), [1, 3, 7, 0, 1]);
        assert_eq!((0..100).map(|_| pause_after(slow)).last(), Some((1 << MAX_BACKOFF) - 1));
    }

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
