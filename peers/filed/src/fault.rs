//! Failures before the object and the action are known.

use std::io;

use rustix::io::Errno;
use store::{Action, ErrorKind, ObjectName, StoreError};

/// What went wrong below an operation: found by us, or reported by the system.
#[derive(Debug)]
pub(crate) enum Fault {
    Kind(ErrorKind),
    System(io::Error),
    /// So many bytes at this offset are not what was written.
    Damaged(u64, u64),
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Kind(kind) => *kind,
            Self::System(error) => ErrorKind::of_io(error),
            Self::Damaged(..) => ErrorKind::Corrupt,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// The same failure for one more of those who waited for the same thing.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Kind(kind) => Self::Kind(*kind),
            Self::Damaged(offset, size) => Self::Damaged(*offset, *size),
            Self::System(error) => match error.raw_os_error() {
                Some(number) => Self::System(io::Error::from_raw_os_error(number)),
                None => Self::Kind(self.kind()),
            },
        }
    }

    pub(crate) fn while_doing(self, action: Action, object: &ObjectName) -> StoreError {
        match self {
            Self::Kind(kind) => StoreError::new(kind, action, object),
            Self::System(error) => StoreError::from_io(error, action, object),
            Self::Damaged(offset, size) => {
                let told = format!("{size} bytes at {offset} differ from their checksum");
                StoreError::new(ErrorKind::Corrupt, action, object).caused_by(io::Error::other(told))
            }
        }
    }
}

impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        Self::Kind(kind)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// `None` where the system says that there is no such file.
pub(crate) fn if_found<T>(result: std::result::Result<T, Errno>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether an error of the ring is the answer; others may come of what only the ring cannot do.
pub(crate) fn is_hard(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EINTR | libc::EINVAL | libc::EOPNOTSUPP | libc::ECANCELED)
    )
}

/// Whether a write was refused before it began, so that nothing the system had taken can be lost.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(ErrorKind::of_io(error), ErrorKind::NoSpace | ErrorKind::Invalid | ErrorKind::ReadOnly)
}
