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
    /// Writes to let pass before the next try.
    pause: u32,
}

/// Longest read that is tried, in bytes; copying more would hold up others.
const READ_MAX: usize = 128 << 10;
/// Longest write that is tried, in bytes.
const WRITE_MAX: usize = 64 << 10;
/// A write that takes longer was held up by the disk, as when too much is dirty.
const SLOW_WRITE: Duration = Duration::from_micros(500);
/// Writes that go another way after a slow one.
const PAUSE_WRITES: u32 = 128;

impl Inline {
    /// Direct transfers always wait for the disk, so there is nothing to try.
    pub(crate) fn new(is_direct: bool) -> Self {
        Self { is_reading: !is_direct, is_writing: !is_direct, pause: 0 }
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

    /// Filesystems do not tell beforehand whether a write will wait, so one that did sends the next ones another way.
    fn write<T>(&mut self, operation: &mut Operation<T>, open: &Handle) -> bool {
        let Some((offset, _)) = operation.transfer() else { return false };
        if open.require_writable().is_err() {
            return false;
        }
        let start = Instant::now();
        // A failure is seen again, and dealt with, where the rest is moved.
        let count = operation.region.write_to(open.file(), offset, false).unwrap_or(0);
        operation.done += count;
        if start.elapsed() > SLOW_WRITE {
            self.pause = PAUSE_WRITES;
        }
        if count > 0 {
            open.mark_dirty();
        }
        count == operation.region.len()
    }
}
