//! Copies the front of one file into another, sharing blocks and keeping holes where the filesystem can.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use store::ErrorKind;

use crate::fault::{Fault, Result};

/// How much is copied at once where the kernel does not copy, in bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// How much the kernel copies before we look whether to stop, in bytes.
const STEP_BYTES: u64 = 64 << 20;

/// Copies files of one filesystem; remembers what the filesystem cannot do.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    cannot_share: AtomicBool,
    cannot_copy: AtomicBool,
}

impl Copier {
    /// Makes the empty file `target` hold the first `size` bytes of `source`, with zeros where `source` is shorter.
    pub(crate) fn copy(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        size: u64,
        stop: &AtomicBool,
    ) -> Result<()> {
        if !self.share(source, target)? {
            let length = u64::try_from(rustix::fs::fstat(source)?.st_size).unwrap_or(0);
            self.copy_data(source, target, size.min(length), stop)?;
        }
        Ok(rustix::fs::ftruncate(target, size)?)
    }

    /// Whether the filesystem let both files share their blocks.
    fn share(&self, source: &OwnedFd, target: &OwnedFd) -> Result<bool> {
        if self.cannot_share.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(target, source) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS | Errno::INVAL) => {
                self.cannot_share.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn copy_data(&self, source: &OwnedFd, target: &OwnedFd, end: u64, stop: &AtomicBool) -> Result<()> {
        let mut offset = 0;
        while let Some((start, stretch_end)) = next_data(source, offset, end)? {
            self.copy_range(source, target, start..stretch_end, stop)?;
            offset = stretch_end;
        }
        Ok(())
    }

    fn copy_range(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        range: std::ops::Range<u64>,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut offset = range.start;
        let mut buffer = Vec::new();
        while offset < range.end {
            if stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::Unavailable.into());
            }
            let count = match self.copy_in_kernel(source, target, offset, range.end - offset)? {
                Some(count) => count,
                None => copy_by_hand(source, target, offset, range.end - offset, &mut buffer)?,
            };
            if count == 0 {
                break;
            }
            offset += count;
        }
        Ok(())
    }

    /// How many bytes the kernel copied; none if it does not do that here.
    fn copy_in_kernel(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        offset: u64,
        size: u64,
    ) -> Result<Option<u64>> {
        if self.cannot_copy.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (mut from, mut to) = (offset, offset);
        let step = usize::try_from(size.min(STEP_BYTES)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), step) {
            Ok(count) => Ok(Some(count as u64)),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOSYS | Errno::INVAL) => {
                self.cannot_copy.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The next stretch of data at or after `offset` and before `end`. All is data where the filesystem does not tell holes.
pub(crate) fn next_data(file: &impl AsFd, offset: u64, end: u64) -> Result<Option<(u64, u64)>> {
    if offset >= end {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) if start >= end => return Ok(None),
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((offset, end))),
        Err(errno) => return Err(errno.into()),
    };
    let hole = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, hole.min(end))))
}

fn copy_by_hand(
    source: &OwnedFd,
    target: &OwnedFd,
    offset: u64,
    size: u64,
    buffer: &mut Vec<u8>,
) -> Result<u64> {
    buffer.resize(CHUNK_BYTES, 0);
    let most = usize::try_from(size).unwrap_or(usize::MAX).min(CHUNK_BYTES);
    let count = rustix::io::pread(source, &mut buffer[..most], offset)?;
    write_all(target, &buffer[..count], offset)?;
    Ok(count as u64)
}

/// Writes all of `bytes`, in as many calls as it takes.
pub(crate) fn write_all(file: &impl AsFd, bytes: &[u8], offset: u64) -> Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(file, &bytes[done..], offset + done as u64) {
            Ok(0) => return Err(Fault::Kind(ErrorKind::Unavailable)),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
