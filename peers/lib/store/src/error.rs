//! How a store fails.

use std::{fmt, io};

use crate::ObjectName;

/// What went wrong, for the caller to act on. The numbers are those of docs/protocols.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ErrorKind {
    /// No such volume, object or lock.
    NotFound = 1,
    /// The name is taken.
    Exists = 2,
    /// Somebody else holds it, or it is in use.
    Busy = 3,
    /// The caller's lock or number is not the current one.
    NotOwner = 4,
    /// What is at rest is not what was written.
    Corrupt = 5,
    /// The disk, pool or quota is full.
    NoSpace = 6,
    /// The disk or a peer does not answer, or failed.
    Unavailable = 7,
    /// The operation is unknown here.
    Unsupported = 8,
    /// The request makes no sense: bad name, range or size.
    Invalid = 9,
    /// A snapshot, or a directory that cannot be written.
    ReadOnly = 10,
}

impl ErrorKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::NotFound,
        Self::Exists,
        Self::Busy,
        Self::NotOwner,
        Self::Corrupt,
        Self::NoSpace,
        Self::Unavailable,
        Self::Unsupported,
        Self::Invalid,
        Self::ReadOnly,
    ];

    /// The number on the wire: never 0, which means success there.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The kind that an error of the operating system amounts to.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => Self::Invalid,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Unavailable,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotFound => "not found",
            Self::Exists => "already exists",
            Self::Busy => "held by another or in use",
            Self::NotOwner => "lock is not held with this owner and number",
            Self::Corrupt => "corrupt",
            Self::NoSpace => "no space left",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid request",
            Self::ReadOnly => "read-only",
        })
    }
}

/// What a store was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Answering a ping.
    Ping,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making durable.
    Sync,
    /// Changing the size.
    Truncate,
    /// Deleting.
    Delete,
    /// Taking a lock.
    Acquire,
    /// Giving a lock back.
    Release,
    /// Copying another object to this one.
    Copy,
    /// Asking for the size.
    Info,
    /// Hashing.
    Hash,
    /// Making everything durable.
    Flush,
    /// Giving a range back.
    Discard,
    /// Zeroing a range.
    WriteZeroes,
    /// Listing names.
    List,
    /// Asking who holds a lock.
    LockInfo,
    /// Asking who uses the store.
    Nodes,
    /// Comparing what is at rest with its checksums.
    Scrub,
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ping => "ping for",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Truncate => "truncate",
            Self::Delete => "delete",
            Self::Acquire => "acquire lock of",
            Self::Release => "release lock of",
            Self::Copy => "copy to",
            Self::Info => "get size of",
            Self::Hash => "hash",
            Self::Flush => "flush for",
            Self::Discard => "discard in",
            Self::WriteZeroes => "write zeroes to",
            Self::List => "list from",
            Self::LockInfo => "look at lock of",
            Self::Nodes => "list nodes for",
            Self::Scrub => "scrub from",
        })
    }
}

/// A store operation that failed: `kind` for the caller to act on, the rest for the reader.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} object {object}: {kind}")]
pub struct StoreError {
    /// What the caller acts on.
    pub kind: ErrorKind,
    action: Action,
    object: Box<ObjectName>,
    source: Option<io::Error>,
}

impl StoreError {
    /// A failure that the store itself found.
    #[must_use]
    pub fn new(kind: ErrorKind, action: Action, object: &ObjectName) -> Self {
        Self { kind, action, object: Box::new(object.clone()), source: None }
    }

    /// A failure that the operating system reported; its kind follows from the error.
    #[must_use]
    pub fn from_io(error: io::Error, action: Action, object: &ObjectName) -> Self {
        let kind = ErrorKind::of_io(&error);
        Self { source: Some(error), ..Self::new(kind, action, object) }
    }

    /// The same failure, with what is behind it.
    #[must_use]
    pub fn caused_by(self, source: io::Error) -> Self {
        Self { source: Some(source), ..self }
    }

    /// What the store was doing.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// What it was doing it to.
    #[must_use]
    pub fn object(&self) -> &ObjectName {
        &self.object
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn numbers_of_kinds_are_1_to_10_and_no_other_number_is_a_kind() {
        let numbers = ErrorKind::ALL.map(ErrorKind::number);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let known: Vec<_> = (0..=255).filter_map(ErrorKind::from_number).collect();
        assert_eq!(known, ErrorKind::ALL);
    }

    #[test]
    fn message_names_action_object_and_kind_and_leaves_the_source_apart() {
        let object = ObjectName::new("disk").unwrap();
        let error = StoreError::from_io(io::ErrorKind::StorageFull.into(), Action::Write, &object);
        assert_eq!(error.to_string(), "cannot write object disk: no space left");
        assert_eq!(error.kind, ErrorKind::NoSpace);
        assert!(error.source().is_some());
    }

    #[test]
    fn an_input_output_error_is_unavailable() {
        const EIO: i32 = 5;
        assert_eq!(ErrorKind::of_io(&io::Error::from_raw_os_error(EIO)), ErrorKind::Unavailable);
    }
}
