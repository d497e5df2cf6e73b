//! Sockets that clients connect to.

use std::{
    fs, io,
    net::{Shutdown, SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

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
}

/// A Unix socket; its file goes with it.
struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Opens the configured sockets and accepts from them.
    pub(crate) fn open(service: &Arc<Service>) -> Result<Listener, Error> {
        let doors = Arc::new(Doors::open(&service.config)?);
        let (service, inside) = (Arc::clone(service), Arc::clone(&doors));
        let accepting =
            thread::Builder::new().name("nbd-accept".into()).spawn(move || inside.accept_all(&service));
        let thread = accepting.map_err(|source| Error::Thread { name: "nbd-accept", source })?;
        Ok(Listener { doors, thread: Mutex::new(Some(thread)) })
    }

    /// Where TCP clients find us.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.doors.tcp.as_ref()?.local_addr().ok()
    }

    /// Accepts nobody any more, and waits until everybody has left.
    pub(crate) fn close(&self) {
        // Of a socket pair both ends of which are ours: there is nothing to fail.
        let _closed = self.doors.close.shutdown(Shutdown::Both);
        if let Some(thread) = lock(&self.thread).take() {
            // It logged what made it panic, if anything did.
            let _panicked = thread.join();
        }
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
    fn open(config: &Config) -> Result<Doors, Error> {
        let unix = config.socket.as_deref().map(UnixDoor::open).transpose()?;
        let tcp = config.listen.map(open_tcp).transpose()?;
        let pair = UnixStream::pair();
        let (close, closing) =
            pair.map_err(|source| Error::Listen { place: "a pair of sockets".into(), source })?;
        Ok(Doors { unix, tcp, close, closing, guests: Guests::default() })
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
    fn open(path: &Path) -> Result<UnixDoor, Error> {
        let failed = |source| Error::Listen { place: path.display().to_string(), source };
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
                fs::remove_file(path).map_err(failed)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let listener = listener.map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(UnixDoor { listener, path: path.to_owned() })
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        // Gone already if somebody removed the directory.
        let _gone = fs::remove_file(&self.path);
    }
}

fn open_tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { place: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
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
