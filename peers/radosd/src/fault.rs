//! Failures before the object and the action are known.

use std::io;

use store::{Action, ErrorKind, ObjectName, StoreError};

/// What went wrong below an operation: found by us, or reported by the cluster.
#[derive(Debug)]
pub(crate) enum Fault {
    Kind(ErrorKind),
    Cluster(io::Error),
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Kind(kind) => *kind,
            Self::Cluster(error) => ErrorKind::of_io(error),
        }
    }

    /// As the error of a store that cannot start.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Kind(kind) => io::Error::other(kind.to_string()),
            Self::Cluster(error) => error,
        }
    }

    /// Whether the cluster has put us on its blocklist.
    pub(crate) fn is_shut_out(&self) -> bool {
        matches!(self, Self::Cluster(error) if is_shut_out(error))
    }

    /// The same failure for one more of those who waited for the same thing.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Kind(kind) => Self::Kind(*kind),
            Self::Cluster(error) => match error.raw_os_error() {
                Some(number) => Self::Cluster(io::Error::from_raw_os_error(number)),
                None => Self::Kind(self.kind()),
            },
        }
    }

    pub(crate) fn while_doing(self, action: Action, object: &ObjectName) -> StoreError {
        match self {
            Self::Kind(kind) => StoreError::new(kind, action, object),
            Self::Cluster(error) => StoreError::from_io(error, action, object),
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
        Self::Cluster(error)
    }
}

/// Whether an answer says that this client is on the cluster's blocklist.
pub(crate) fn is_shut_out(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESHUTDOWN)
}

/// `None` where the cluster says that there is no such object.
pub(crate) fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODATA)) => Ok(None),
        Err(error) => Err(error),
    }
}
