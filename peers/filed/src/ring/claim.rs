//! Whether a dead process still moves bytes of a file.
//!
//! A killed process is gone before the direct transfers of its ring are: the disk may still write into the memory of a
//! request, or to the file, while the next owner of the port serves that request again. But a transfer holds its open
//! file, and an open file holds its locks. So each direct file is locked under its server's key, and the next server with
//! that key gets the lock when the last transfer of the one before has ended.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long the transfers of a dead process may take; longer means that the disk does not answer.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether they ended.
const LOOK: Duration = Duration::from_millis(1);
/// Locks are on bytes from here on, where no object has any.
const FIRST_BYTE: i64 = 1 << 62;

#[expect(clippy::cast_possible_truncation, reason = "the constant is 1")]
const WRITE_LOCK: libc::c_short = libc::F_WRLCK as libc::c_short;
#[expect(clippy::cast_possible_truncation, reason = "the constant is 0")]
const FROM_START: libc::c_short = libc::SEEK_SET as libc::c_short;

/// Locks the file under `key` until its last transfer after its last close.
///
/// # Errors
/// `TimedOut` if transfers of another process with this key do not end.
pub(crate) fn claim(file: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let give_up = Instant::now() + WAIT_MAX;
    loop {
        match try_claim(file, key) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) => {
                if Instant::now() > give_up {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(LOOK);
            }
            // A filesystem without locks cannot tell.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL)) =>
            {
                return Ok(());
            }
            result => return result,
        }
    }
}

fn try_claim(file: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let lock = libc::flock {
        l_type: WRITE_LOCK,
        l_whence: FROM_START,
        l_start: FIRST_BYTE + i64::from(key),
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the call reads the lock, which lives until it returns.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_claim_outlives_its_process_as_long_as_its_file_is_in_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second) = (file.reopen().unwrap(), file.reopen().unwrap());
        claim(first.as_fd(), 7).unwrap();
        assert!(try_claim(second.as_fd(), 7).is_err());
        try_claim(second.as_fd(), 8).unwrap();
        // As a transfer in the kernel does, a second descriptor keeps the open file.
        let transfer = first.try_clone().unwrap();
        drop(first);
        assert!(try_claim(second.as_fd(), 7).is_err());
        drop(transfer);
        claim(second.as_fd(), 7).unwrap();
    }
}
