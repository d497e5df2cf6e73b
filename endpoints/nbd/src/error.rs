//! How serving NBD fails.

use std::{io, path::PathBuf};

use protocol::Failure;

use crate::wire::Malformed;

/// A failure of the endpoint, or of one connection to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of the configuration has a value that is not allowed.
    #[error("{key} = {value}: {allowed}")]
    Config {
        /// The key.
        key: &'static str,
        /// What was found.
        value: String,
        /// What may be there.
        allowed: &'static str,
    },
    /// A socket could not be opened.
    #[error("cannot listen on {place}")]
    Listen {
        /// Path or address.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate, key or list of authorities is not usable.
    #[error("cannot use {what} {path}: {reason}")]
    Certificate {
        /// Which of them.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The list of attached volumes cannot be read or kept.
    #[error("cannot {action} list of attached volumes {path}")]
    Attachments {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start thread {name}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A thread has died of a panic, which was logged.
    #[error("thread {name} has died")]
    ThreadDied {
        /// Its name.
        name: &'static str,
    },
    /// A port of the segment could not be served.
    #[error(transparent)]
    Peer(#[from] peer::Error),
    /// The stack did not do what a connection needs.
    #[error(transparent)]
    Stack(#[from] Failure),
    /// TLS cannot be begun.
    #[error("cannot begin TLS")]
    Tls(#[from] rustls::Error),
    /// The connection to a client broke.
    #[error("connection to client broke")]
    Connection(#[from] io::Error),
    /// A client does not speak the protocol.
    #[error("client broke the protocol: {0}")]
    Protocol(#[source] ProtocolFault),
}

/// What a client did that ends its connection.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ProtocolFault(#[from] Malformed);

impl From<Malformed> for Error {
    fn from(fault: Malformed) -> Error {
        Error::Protocol(ProtocolFault(fault))
    }
}
