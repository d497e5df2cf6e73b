//! How a reply says that something failed.

use store::ErrorKind;

/// The status word of a reply: 0, or the number of an error kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// It was done.
    pub const DONE: Status = Status(0);

    /// What the word means; an unknown number is the peer's fault and counts as `Corrupt`.
    pub fn kind(self) -> Option<ErrorKind> {
        match self {
            Status::DONE => None,
            Status(number) => {
                let known = u8::try_from(number).ok().and_then(ErrorKind::from_number);
                Some(known.unwrap_or(ErrorKind::Corrupt))
            }
        }
    }
}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Status {
        Status(u32::from(kind.number()))
    }
}

/// A failed request as its requester sees it: the kind to act on, the message to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to act on.
    pub kind: ErrorKind,
    /// What to show: what was tried, on which name.
    pub message: String,
}

impl Failure {
    /// A failure with its message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }
}
