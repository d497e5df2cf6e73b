//! The one place where bytes move between files and memory that is shared with other processes.
//!
//! The kernel reads and writes the memory of requests while they run, so everything unsafe of this crate is here:
//! [`Region`], the memory of one request, and [`Ring`], which moves regions through io_uring.
//! docs/decisions/0003-io-uring-in-filed.md says why.
#![expect(unsafe_code, reason = "docs/decisions/0003-io-uring-in-filed.md")]

mod buffer;
mod claim;
mod region;
mod sleep;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode, squeue, types};

pub(crate) use buffer::Buffer;
pub(crate) use claim::{claim, lock_against_writing, lock_for_writing};
pub use region::Region;
pub(crate) use sleep::{Bell, Futex};

/// Moves regions between memory and files, many at a time.
pub(crate) struct Ring {
    ring: IoUring,
    /// Transfers and the wait that the kernel has not ended yet.
    pending: u32,
    is_futex_armed: bool,
    can_wait_for_futex: bool,
}

/// One transfer to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer<'a> {
    /// Comes back with the result.
    pub(crate) token: u32,
    pub(crate) file: BorrowedFd<'a>,
    pub(crate) offset: u64,
    pub(crate) region: Region,
    pub(crate) direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write {
        /// Ends when the bytes are durable.
        is_durable: bool,
    },
}

/// Comes back when the futex was woken, or the wait for it was cancelled.
const FUTEX_TOKEN: u64 = u64::MAX;
/// A futex of 32 bits that other processes wake, as futex2(2) says it.
const FUTEX_FLAGS: u32 = 2;
/// Matches every waker.
const FUTEX_ANY: u64 = u32::MAX as u64;
/// Transfers that the kernel gets together. A device that gets many at once tends to end them at once, and has nothing to do until
/// their answers have brought new ones.
const GROUP: usize = 4;
/// The most bytes in one transfer; Linux moves no more at once.
const TRANSFER_MAX: usize = 0x7fff_f000;

impl Ring {
    /// A ring for so many transfers at a time. With `with_futex` it also sleeps on a futex, where the kernel can.
    pub(crate) fn new(entries: u32, with_futex: bool) -> io::Result<Self> {
        // Room for the wait on the futex and its cancellation.
        let entries = (entries + 2).next_power_of_two();
        let deferring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_coop_taskrun()
            .build(entries);
        let (ring, is_deferring) = match deferring {
            Ok(ring) if with_futex => (ring, true),
            // Work that is deferred to the next wait would never happen while we sleep elsewhere.
            Ok(_) | Err(_) => (IoUring::new(entries)?, false),
        };
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) || !probe.is_supported(opcode::Write::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let can_wait_for_futex = is_deferring && probe.is_supported(opcode::FutexWait::CODE);
        if is_deferring && !can_wait_for_futex {
            return Self::new(entries - 2, false);
        }
        Ok(Self { ring, pending: 0, is_futex_armed: false, can_wait_for_futex })
    }

    /// Whether `wait` may be called; else somebody else has to say when transfers ended: see `notify`.
    pub(crate) fn can_wait_for_futex(&self) -> bool {
        self.can_wait_for_futex
    }

    /// Has the kernel write to this eventfd whenever a transfer ends.
    pub(crate) fn notify(&self, event: &OwnedFd) -> io::Result<()> {
        self.ring.submitter().register_eventfd(event.as_raw_fd())
    }

    /// Starts a transfer at the next `submit` or `wait`. The caller keeps file and region until its token comes back.
    pub(crate) fn push(&mut self, transfer: Transfer<'_>) -> io::Result<()> {
        let Transfer { file, offset, region, .. } = transfer;
        let file = types::Fd(file.as_raw_fd());
        let len = u32::try_from(region.len().min(TRANSFER_MAX)).unwrap_or(u32::MAX);
        let entry = match transfer.direction {
            Direction::Read => opcode::Read::new(file, region.pointer(), len).offset(offset).build(),
            Direction::Write { is_durable } => opcode::Write::new(file, region.pointer(), len)
                .offset(offset)
                .rw_flags(if is_durable { libc::RWF_DSYNC } else { 0 })
                .build(),
        };
        self.push_entry(&entry.user_data(u64::from(transfer.token)))
    }

    fn push_entry(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the entry names a region or a futex that outlives it: the makers of both promised so, and drop()
            // waits for all that is pending.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                self.pending += 1;
                return Ok(());
            }
            self.submit()?;
        }
    }

    /// Gives the kernel what was pushed.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        let is_needed = !self.ring.submission().is_empty() || self.ring.submission().taskrun();
        if !is_needed {
            return Ok(());
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the kernel was not given all that was pushed.
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Gives the kernel what was pushed once that is a group.
    pub(crate) fn submit_group(&mut self) -> io::Result<()> {
        if self.ring.submission().len() < GROUP { Ok(()) } else { self.submit() }
    }

    /// Whether transfers were pushed that have not ended.
    pub(crate) fn has_transfers(&self) -> bool {
        self.pending > u32::from(self.is_futex_armed)
    }

    /// Whether `reap` has something to give, as far as can be seen without asking the kernel.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Calls `end` with token and result of each transfer that ended.
    pub(crate) fn reap(&mut self, mut end: impl FnMut(u32, io::Result<usize>)) {
        for ended in self.ring.completion() {
            self.pending -= 1;
            match u32::try_from(ended.user_data()) {
                Ok(token) => end(token, result_of(ended.result())),
                Err(_) if ended.user_data() == FUTEX_TOKEN => self.is_futex_armed = false,
                Err(_) => {}
            }
        }
    }

    /// Submits, and sleeps until a transfer ends, the futex is woken, or the time is over.
    pub(crate) fn wait(&mut self, futex: Futex, longest: Duration) -> io::Result<()> {
        if !self.is_futex_armed {
            let expected = u64::from(futex.expected());
            let entry = opcode::FutexWait::new(futex.pointer(), expected, FUTEX_ANY, FUTEX_FLAGS).build();
            self.push_entry(&entry.user_data(FUTEX_TOKEN))?;
            self.is_futex_armed = true;
        }
        let longest = types::Timespec::from(longest);
        let arguments = types::SubmitArgs::new().timespec(&longest);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ETIME) || is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn cancel_futex(&mut self) -> io::Result<()> {
        if self.is_futex_armed {
            let cancel = opcode::AsyncCancel::new(FUTEX_TOKEN).build();
            self.push_entry(&cancel.user_data(FUTEX_TOKEN - 1))?;
        }
        Ok(())
    }
}

/// The memory of requests must not be given back while the kernel may still write to it.
impl Drop for Ring {
    fn drop(&mut self) {
        let mut result = self.cancel_futex();
        while self.pending > 0 && result.is_ok() {
            result = match self.ring.submit_and_wait(1) {
                Err(error) if !is_passing(&error) => Err(error),
                Ok(_) | Err(_) => Ok(()),
            };
            self.reap(|_, _| {});
        }
    }
}

/// Without its ring a store cannot end what is under way; a new process can.
pub(crate) fn must_go_on(submitted: Option<io::Result<()>>) {
    if let Some(Err(error)) = submitted {
        panic!("the kernel refuses to run our ring any more: {error}");
    }
}

fn result_of(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Whether the same call may succeed the next time.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}
