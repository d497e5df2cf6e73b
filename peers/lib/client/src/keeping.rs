//! Descriptors that outlive the process that opened them: the supervisor keeps a duplicate, with a few words, and gives
//! it to the role's next incarnation. docs/protocols.md#5-kept-descriptors

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use peer::Common;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg,
    socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

/// Name of the supervisor's socket in the run directory.
pub const SOCKET: &str = "keep.sock";
/// Longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a role looks for a supervisor that is gone.
const RETRY: Duration = Duration::from_secs(1);

/// What a role asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Keep the descriptor that comes with this, in the place of one of the same name.
    Keep {
        /// Whose it is.
        role: String,
        /// What the role calls it.
        name: String,
        /// What the next incarnation must know of it.
        note: String,
    },
    /// Close it.
    Forget {
        /// Whose it is.
        role: String,
        /// What the role calls it.
        name: String,
    },
    /// Tell the name that comes after this one, with its descriptor.
    Next {
        /// Whose they are.
        role: String,
        /// The name before; empty for the first.
        after: String,
    },
    /// Nothing: the connection's end tells that the supervisor is gone.
    Stay,
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// It was done; to [`Ask::Next`]: there are no more.
    Done,
    /// It was not, for this reason.
    Refused(String),
    /// The descriptor that comes with this.
    Kept {
        /// Its name.
        name: String,
        /// What was said of it.
        note: String,
    },
}

/// Sends one message, with a descriptor or without.
///
/// # Errors
/// What the socket says; `InvalidInput` if the message is too long.
pub fn send<M: Serialize>(
    socket: impl AsFd,
    message: &M,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message; nothing when the other side is gone.
///
/// # Errors
/// What the socket says; `InvalidData` if it makes no sense.
pub fn receive<M: for<'m> Deserialize<'m>>(socket: impl AsFd) -> io::Result<Option<(M, Option<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last().or(descriptor);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptor)))
}

/// One kept descriptor, as its next owner gets it.
pub struct Kept {
    /// What the role calls it.
    pub name: String,
    /// What was said of it.
    pub note: String,
    /// The descriptor.
    pub descriptor: OwnedFd,
}

/// A role's way to the supervisor that keeps its descriptors. Where there is none, nothing is kept, and nothing fails.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    socket: PathBuf,
    role: String,
    /// What is to be kept, for a supervisor that comes later.
    wanted: Mutex<BTreeMap<String, (String, OwnedFd)>>,
}

impl Keeper {
    /// The keeper of a role, and what it kept of the incarnation before.
    #[must_use]
    pub fn of(common: &Common) -> (Keeper, Vec<Kept>) {
        let socket = common.run_dir.join(SOCKET);
        let keeper = Keeper(Arc::new(Inner { socket, role: common.role.clone(), wanted: Mutex::default() }));
        let kept = match keeper.0.take() {
            Ok(kept) => kept,
            Err(error) => {
                tracing::debug!(%error, "no supervisor keeps descriptors");
                return (keeper, Vec::new());
            }
        };
        let theirs = Arc::downgrade(&keeper.0);
        let watch = move || {
            while let Some(inner) = theirs.upgrade() {
                let connection = inner.hand_over();
                drop(inner);
                // Returns when the supervisor is gone.
                let _gone = connection.and_then(receive::<Told>);
                thread::sleep(RETRY);
            }
        };
        if let Err(error) = thread::Builder::new().name("keeper".into()).spawn(watch) {
            tracing::warn!(%error, "a supervisor that comes later will keep no descriptors");
        }
        (keeper, kept)
    }

    /// Has a descriptor kept, with what the next incarnation must know; until then nobody should depend on it.
    pub fn keep(&self, name: &str, note: String, descriptor: OwnedFd) {
        let mut wanted = self.0.wanted();
        let told = self.0.keep(name, &note, &descriptor);
        wanted.insert(name.to_owned(), (note, descriptor));
        drop(wanted);
        if let Err(error) = told {
            tracing::debug!(name, %error, "nobody keeps this descriptor");
        }
    }

    /// Changes what is said of a descriptor that is kept.
    pub fn note(&self, name: &str, note: String) {
        let mut wanted = self.0.wanted();
        if let Some((said, descriptor)) = wanted.get_mut(name) {
            let told = self.0.keep(name, &note, descriptor);
            *said = note;
            if let Err(error) = told {
                tracing::debug!(name, %error, "nobody keeps this descriptor");
            }
        }
    }

    /// Gives up a descriptor.
    pub fn forget(&self, name: &str) {
        self.0.wanted().remove(name);
        let ask = Ask::Forget { role: self.0.role.clone(), name: name.to_owned() };
        if let Err(error) = self.0.connect().and_then(|connection| asked(&connection, &ask, None)) {
            tracing::debug!(name, %error, "nobody kept this descriptor");
        }
    }
}

impl Inner {
    fn wanted(&self) -> MutexGuard<'_, BTreeMap<String, (String, OwnedFd)>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        connect(&socket, &address(&self.socket)?)?;
        Ok(socket)
    }

    fn keep(&self, name: &str, note: &str, descriptor: &OwnedFd) -> io::Result<()> {
        let ask = Ask::Keep { role: self.role.clone(), name: name.to_owned(), note: note.to_owned() };
        asked(&self.connect()?, &ask, Some(descriptor.as_fd())).map(drop)
    }

    fn take(&self) -> io::Result<Vec<Kept>> {
        let connection = self.connect()?;
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let ask = Ask::Next { role: self.role.clone(), after };
            match asked(&connection, &ask, None)? {
                Some((name, note, descriptor)) => {
                    after = name.clone();
                    found.push(Kept { name, note, descriptor });
                }
                None => return Ok(found),
            }
        }
    }

    /// Gives everything to a supervisor that may be a new one; the connection ends with it.
    fn hand_over(&self) -> io::Result<OwnedFd> {
        let connection = self.connect()?;
        for (name, (note, descriptor)) in self.wanted().iter() {
            let ask = Ask::Keep { role: self.role.clone(), name: name.clone(), note: note.clone() };
            asked(&connection, &ask, Some(descriptor.as_fd()))?;
        }
        send(&connection, &Ask::Stay, None)?;
        sockopt::set_socket_timeout(&connection, sockopt::Timeout::Recv, None)?;
        Ok(connection)
    }
}

/// Asks, and waits for the answer.
fn asked(
    connection: &OwnedFd,
    ask: &Ask,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<Option<(String, String, OwnedFd)>> {
    send(connection, ask, descriptor)?;
    match receive(connection)? {
        Some((Told::Done, _)) => Ok(None),
        Some((Told::Kept { name, note }, Some(descriptor))) => Ok(Some((name, note, descriptor))),
        Some((Told::Refused(reason), _)) => Err(io::Error::other(reason)),
        Some((Told::Kept { .. }, None)) | None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Where a keeper listens.
///
/// # Errors
/// If the path is longer than a socket's name can be.
pub fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}
