//! Sockets that clients connect to.

use std::{
    fs, io,
    net::{Shutdown, SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use client::keeping::{Keeper, Kept};
use peer::Common;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Config, Error,
    connection::{Service, serve},
    guests::Guests,
    lock,
    stream::Socket,
};

/// How long accepting rests after it failed, so that a lack of descriptors does not become a lack of processor time.
const REST: Duration = Duration::from_millis(100);
/// How long clients may take to leave when the role stops, before their connections are cut.
pub(crate) const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// The mode of the Unix socket: for owner and group, like the segment.
const SOCKET_MODE: u32 = 0o660;

/// Accepts clients in a thread of its own until it is closed.
pub(crate) struct Listener {
    doors: Arc<Doors>,
    /// Sent to, or dropped, once.
    ready: Mutex<Option<SyncSender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where clients come in.
struct Doors {
    unix: Option<UnixDoor>,
    tcp: Option<TcpListener>,
    /// Shut down to make `closing` readable.
    close: UnixStream,
    closing: UnixStream,
    guests: Guests,
    keeper: Keeper,
}

/// What a predecessor's listening sockets are called where they are kept, with the place as the note.
const KEPT_UNIX: &str = "unix";
const KEPT_TCP: &str = "tcp";

/// Listening sockets of a killed predecessor, and who keeps ours.
pub(crate) struct KeptSockets {
    keeper: Keeper,
    kept: Vec<Kept>,
}

impl KeptSockets {
    /// Those of this role.
    pub(crate) fn of(common: &Common) -> KeptSockets {
        let (keeper, kept) = Keeper::of(common);
        KeptSockets { keeper, kept }
    }

    fn take(&mut self, name: &str, place: &str) -> Option<OwnedFd> {
        let position = self.kept.iter().position(|kept| kept.name == name && kept.note == place)?;
        Some(self.kept.swap_remove(position).descriptor)
    }

    /// A listening socket that the next incarnation of the role goes on with.
    fn keep(&self, name: &str, place: &str, listener: impl AsFd) -> io::Result<()> {
        self.keeper.keep(name, place.to_owned(), listener.as_fd().try_clone_to_owned()?);
        Ok(())
    }
}

/// A Unix socket; its file goes with it.
struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Opens the configured sockets, or goes on with those that were kept; clients wait until [`Listener::accept`].
    pub(crate) fn open(service: &Arc<Service>, kept: KeptSockets) -> Result<Listener, Error> {
        let doors = Arc::new(Doors::open(&service.config, kept)?);
        let (service, inside) = (Arc::clone(service), Arc::clone(&doors));
        let (ready, is_ready) = mpsc::sync_channel(1);
        let accept = move || {
            if is_ready.recv().is_ok() {
                inside.accept_all(&service);
            }
        };
        let accepting = thread::Builder::new().name("nbd-accept".into()).spawn(accept);
        let thread = accepting.map_err(|source| Error::Thread { name: "nbd-accept", source })?;
        Ok(Listener { doors, ready: Mutex::new(Some(ready)), thread: Mutex::new(Some(thread)) })
    }

    /// Accepts clients from now on.
    pub(crate) fn accept(&self) {
        if let Some(ready) = lock(&self.ready).take() {
            // The thread waits for this before anything else.
            let _heard = ready.send(());
        }
    }

    /// Where TCP clients find us.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.doors.tcp.as_ref()?.local_addr().ok()
    }

    /// Accepts nobody any more, and waits until everybody has left.
    pub(crate) fn close(&self) {
        drop(lock(&self.ready).take());
        // Of a socket pair both ends of which are ours: there is nothing to fail.
        let _closed = self.doors.close.shutdown(Shutdown::Both);
        if let Some(thread) = lock(&self.thread).take() {
            // It logged what made it panic, if anything did.
            let _panicked = thread.join();
        }
        self.doors.keeper.forget(KEPT_UNIX);
        self.doors.keeper.forget(KEPT_TCP);
        if let Err(count) = self.doors.guests.close(LEAVE_PATIENCE) {
            tracing::warn!(count, "connections did not end in time");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl Doors {
    fn open(config: &Config, mut kept: KeptSockets) -> Result<Doors, Error> {
        let unix = config.socket.as_deref().map(|path| UnixDoor::open(path, &mut kept)).transpose()?;
        let tcp = config.listen.map(|address| open_tcp(address, &mut kept)).transpose()?;
        let pair = UnixStream::pair();
        let (close, closing) =
            pair.map_err(|source| Error::Listen { place: "a pair of sockets".into(), source })?;
        Ok(Doors { unix, tcp, close, closing, guests: Guests::default(), keeper: kept.keeper })
    }

    fn accept_all(&self, service: &Arc<Service>) {
        loop {
            let mut sources = vec![self.closing.as_fd()];
            sources.extend(self.unix.as_ref().map(|door| door.listener.as_fd()));
            sources.extend(self.tcp.as_ref().map(AsFd::as_fd));
            if is_readable(&sources, None) {
                return;
            }
            if let Err(error) = self.accept_waiting(service) {
                tracing::warn!(%error, "cannot accept a client");
                let rest = Timespec::try_from(REST).ok();
                if is_readable(&sources[..1], rest.as_ref()) {
                    return;
                }
            }
        }
    }

    /// Accepts everybody who waits.
    fn accept_waiting(&self, service: &Arc<Service>) -> io::Result<()> {
        if let Some(door) = &self.unix {
            while let Some((stream, _)) = waiting(door.listener.accept())? {
                stream.set_nonblocking(false)?;
                self.welcome(service, Socket::Unix(stream))?;
            }
        }
        if let Some(listener) = &self.tcp {
            while let Some((stream, _)) = waiting(listener.accept())? {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                // So that a client whose host vanished does not stay for ever.
                rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
                self.welcome(service, Socket::Tcp(stream))?;
            }
        }
        Ok(())
    }

    /// Gives a client a thread, if there is room. Else its connection ends with its socket.
    fn welcome(&self, service: &Arc<Service>, socket: Socket) -> io::Result<()> {
        let socket = Arc::new(socket);
        let Some(guest) = self.guests.enter(&socket, service.config.max_connections) else {
            tracing::debug!(max_connections = service.config.max_connections, "a client was turned away");
            return Ok(());
        };
        let service = Arc::clone(service);
        thread::Builder::new().name("nbd-client".into()).spawn(move || {
            if let Err(error) = serve(&service, &socket) {
                tracing::debug!(error = %Causes(&error), "a connection ended early");
            }
            socket.shut_down();
            drop(guest);
        })?;
        Ok(())
    }
}

impl UnixDoor {
    fn open(path: &Path, kept: &mut KeptSockets) -> Result<UnixDoor, Error> {
        let place = path.display().to_string();
        let failed = |source| Error::Listen { place: place.clone(), source };
        // One whose file is gone is a door that nobody finds.
        let listener = match kept.take(KEPT_UNIX, &place).filter(|_| path.exists()) {
            Some(listener) => UnixListener::from(listener),
            None => UnixDoor::bind(path).map_err(failed)?,
        };
        kept.keep(KEPT_UNIX, &place, &listener).map_err(failed)?;
        Ok(UnixDoor { listener, path: path.to_owned() })
    }

    fn bind(path: &Path) -> io::Result<UnixListener> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        // Gone already if somebody removed the directory.
        let _gone = fs::remove_file(&self.path);
    }
}

fn open_tcp(address: SocketAddr, kept: &mut KeptSockets) -> Result<TcpListener, Error> {
    let place = address.to_string();
    let failed = |source| Error::Listen { place: place.clone(), source };
    let listener = match kept.take(KEPT_TCP, &place) {
        Some(listener) => TcpListener::from(listener),
        None => TcpListener::bind(address).map_err(failed)?,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    kept.keep(KEPT_TCP, &place, &listener).map_err(failed)?;
    Ok(listener)
}

/// Whether the socket at this path is what a dead process left.
fn is_abandoned(path: &Path) -> bool {
    matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Waits until one of the sources is readable. Whether the first is.
fn is_readable(sources: &[BorrowedFd<'_>], timeout: Option<&Timespec>) -> bool {
    let mut polled: Vec<_> = sources.iter().map(|source| PollFd::new(source, PollFlags::IN)).collect();
    // Interrupted by a signal is as if nothing had happened yet.
    let _count = poll(&mut polled, timeout);
    polled[0].revents().contains(PollFlags::IN)
}

/// Who waits at a door; none if nobody does, or has gone again.
fn waiting<T>(accepted: io::Result<T>) -> io::Result<Option<T>> {
    match accepted {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// An error with all that caused it, in one line.
struct Causes<'a>(&'a Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(out, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
