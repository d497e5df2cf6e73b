//! The one error of this crate.

use std::{fmt, io};

/// What kind of failure it was, for the caller to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// No such segment or port.
    #[error("not found")]
    NotFound,
    /// The name is taken.
    #[error("it exists")]
    Exists,
    /// Somebody alive owns it, or it is still in use.
    #[error("busy")]
    Busy,
    /// What lies in the segment is not what the layout demands.
    #[error("corrupt")]
    Corrupt,
    /// No slots, buffer space or memory left: the caller's own reserve, or the segment.
    #[error("no space")]
    NoSpace,
    /// The other side is gone, or the system refused.
    #[error("unavailable")]
    Unavailable,
    /// Another layout version, unknown features, or a foreign pid namespace.
    #[error("unsupported")]
    Unsupported,
    /// The argument makes no sense: a range, a number, a name.
    #[error("invalid")]
    Invalid,
}

/// On what the action failed.
#[derive(Debug)]
pub(crate) enum Subject {
    Segment(Box<str>),
    Port(u32),
    /// A port and the process that owns it.
    Owned(u32, u32),
    Slot(u32),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Segment(name) => write!(f, "segment {name}"),
            Subject::Port(port) => write!(f, "port {port}"),
            Subject::Owned(port, pid) => write!(f, "port {port}, owned by process {pid}"),
            Subject::Slot(slot) => write!(f, "request slot {slot}"),
        }
    }
}

/// A segment operation that failed: `kind` for the caller to act on, the rest for the reader.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {subject}: {kind}")]
pub struct Error {
    kind: ErrorKind,
    action: &'static str,
    subject: Subject,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, action: &'static str, subject: Subject) -> Error {
        Error { kind, action, subject, source: None }
    }

    pub(crate) fn segment(kind: ErrorKind, action: &'static str, name: &str) -> Error {
        Error::new(kind, action, Subject::Segment(name.into()))
    }

    pub(crate) fn port(kind: ErrorKind, action: &'static str, port: u32) -> Error {
        Error::new(kind, action, Subject::Port(port))
    }

    pub(crate) fn slot(kind: ErrorKind, action: &'static str, slot: u32) -> Error {
        Error::new(kind, action, Subject::Slot(slot))
    }

    pub(crate) fn system(action: &'static str, name: &str, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => ErrorKind::NoSpace,
            io::ErrorKind::InvalidInput => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        Error { kind, action, subject: Subject::Segment(name.into()), source: Some(source) }
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The process that owns the port, if that is why the action failed.
    pub fn owner_pid(&self) -> Option<u32> {
        match self.subject {
            Subject::Owned(_, pid) => Some(pid),
            _ => None,
        }
    }
}

/// Short for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
