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
/// The lock of those who write, behind the locks of all keys.
const WRITING_BYTE: i64 = FIRST_BYTE + (1 << 32);

#[expect(clippy::cast_possible_truncation, reason = "the constant is 1")]
const WRITE_LOCK: libc::c_short = libc::F_WRLCK as libc::c_short;
#[expect(clippy::cast_possible_truncation, reason = "the constant is 0")]
const READ_LOCK: libc::c_short = libc::F_RDLCK as libc::c_short;
#[expect(clippy::cast_possible_truncation, reason = "the constant is 0")]
const FROM_START: libc::c_short = libc::SEEK_SET as libc::c_short;

/// Locks the file under `key` until its last transfer after its last close.
///
/// # Errors
/// `TimedOut` if transfers of another process with this key do not end.
pub(crate) fn claim(file: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    lock_patiently(file, WRITE_LOCK, FIRST_BYTE + i64::from(key)).map(drop)
}

/// Keeps everybody from giving the file checksums as long as it is open, or in a transfer. False where there are no such
/// locks.
///
/// # Errors
/// `TimedOut` if somebody gives it checksums for long.
pub(crate) fn lock_for_writing(file: BorrowedFd<'_>) -> io::Result<bool> {
    lock_patiently(file, READ_LOCK, WRITING_BYTE)
}

/// Keeps everybody from beginning to write to the file; false if somebody already has, or might have.
pub(crate) fn lock_against_writing(file: BorrowedFd<'_>) -> bool {
    try_lock(file, WRITE_LOCK, WRITING_BYTE).is_ok()
}

/// Whether the filesystem has such locks.
fn lock_patiently(file: BorrowedFd<'_>, kind: libc::c_short, byte: i64) -> io::Result<bool> {
    let give_up = Instant::now() + WAIT_MAX;
    loop {
        match try_lock(file, kind, byte) {
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
                return Ok(false);
            }
            result => return result.map(|()| true),
        }
    }
}

fn try_lock(file: BorrowedFd<'_>, kind: libc::c_short, byte: i64) -> io::Result<()> {
    let lock = libc::flock { l_type: kind, l_whence: FROM_START, l_start: byte, l_len: 1, l_pid: 0 };
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
        assert!(try_lock(second.as_fd(), WRITE_LOCK, FIRST_BYTE + 7).is_err());
        try_lock(second.as_fd(), WRITE_LOCK, FIRST_BYTE + 8).unwrap();
        // As a transfer in the kernel does, a second descriptor keeps the open file.
        let transfer = first.try_clone().unwrap();
        drop(first);
        assert!(try_lock(second.as_fd(), WRITE_LOCK, FIRST_BYTE + 7).is_err());
        drop(transfer);
        claim(second.as_fd(), 7).unwrap();
    }

    #[test]
    fn writers_keep_checksums_away_and_not_each_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || file.reopen().unwrap();
        let (first, second, third) = (open(), open(), open());
        assert!(lock_for_writing(first.as_fd()).unwrap());
        assert!(lock_for_writing(second.as_fd()).unwrap());
        assert!(!lock_against_writing(third.as_fd()));
        drop((first, second));
        assert!(lock_against_writing(third.as_fd()));
        assert!(try_lock(open().as_fd(), READ_LOCK, WRITING_BYTE).is_err());
    }
}
