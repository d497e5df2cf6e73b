//! What bytes travel through: a Unix or TCP socket, with or without TLS.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv},
};
use rustls::ServerConnection;

use crate::lock;

/// How many encrypted bytes are received, and how many plain ones are encrypted, at a time.
const TLS_STEP: usize = 64 << 10;

/// How long a client may take to hear that nothing more comes.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// A connected socket. Usable from several threads: one receives, one sends.
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Ends the connection; who waits on it is woken.
    pub(crate) fn shut_down(&self) {
        let _ = match self {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Nothing more is received; what was may still be answered.
    pub(crate) fn stop_receiving(&self) {
        let _ = match self {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Read),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Read),
        };
    }

    /// Whether the client has ended the connection, whatever of it is still to be received.
    pub(crate) fn is_hung_up(&self) -> bool {
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut polled = [PollFd::new(self, PollFlags::RDHUP)];
        poll(&mut polled, Some(&Timespec::default())).is_ok() && polled[0].revents().intersects(ended)
    }

    /// Bounds how long receiving and sending wait; none for as long as it takes.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
            Socket::Tcp(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
        }
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(self, buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(Some(count)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Unix(stream) => stream.as_fd(),
            Socket::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&*stream).read(buffer),
            Socket::Tcp(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&*stream).write(bytes),
            Socket::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket as a session uses it.
pub(crate) enum Stream {
    Plain(Arc<Socket>),
    Tls(Box<TlsStream>),
}

/// A socket whose bytes are encrypted.
pub(crate) struct TlsStream {
    socket: Arc<Socket>,
    connection: Mutex<ServerConnection>,
    inbound: Mutex<Encrypted>,
    /// Held while sending, so that records leave in the order in which they were encrypted.
    outbound: Mutex<Vec<u8>>,
}

/// Received and not yet decrypted.
struct Encrypted {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Stream {
    /// The stream after TLS was agreed on; the handshake happens with the first bytes.
    pub(crate) fn encrypted(socket: Arc<Socket>, mut connection: ServerConnection) -> Stream {
        connection.set_buffer_limit(None);
        Stream::Tls(Box::new(TlsStream {
            socket,
            connection: Mutex::new(connection),
            inbound: Mutex::new(Encrypted { bytes: vec![0; TLS_STEP].into(), start: 0, end: 0 }),
            outbound: Mutex::default(),
        }))
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.socket,
        }
    }

    /// The socket, if bytes may pass between it and memory as they are.
    pub(crate) fn plain(&self) -> Option<&Socket> {
        match self {
            Stream::Plain(socket) => Some(socket),
            Stream::Tls(_) => None,
        }
    }

    /// Receives at least one byte; 0 at the end. One thread at a time.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.receive_once(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }

    /// Waits for the client once. `Interrupted` if what came makes no plain byte yet.
    fn receive_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => (&**socket).read(buffer),
            Stream::Tls(stream) => stream.receive_once(buffer),
        }
    }

    /// Receives what is there without waiting; none if nothing is. TLS may wait for the rest of a record.
    pub(crate) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(socket) => socket.receive_now(buffer),
            Stream::Tls(stream) => stream.receive_now(buffer),
        }
    }

    /// Sends all of these bytes. One thread at a time.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => (&**socket).write_all(bytes),
            Stream::Tls(stream) => stream.send(bytes),
        }
    }

    /// Says that nothing more will be sent, where that can be said.
    pub(crate) fn close(&self) {
        if let Stream::Tls(stream) = self {
            lock(&stream.connection).send_close_notify();
            // A client that is gone or does not listen need not be told.
            let _told = self.socket().set_patience(Some(FAREWELL_PATIENCE)).and_then(|()| stream.send(&[]));
        }
        self.socket().shut_down();
    }
}

impl TlsStream {
    fn receive_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inbound = lock(&self.inbound);
        if let Some(count) = self.decrypted(buffer)? {
            return Ok(count);
        }
        if inbound.is_empty() {
            let count = (&*self.socket).read(&mut inbound.bytes)?;
            inbound.refilled(count);
        }
        self.decrypt(&mut inbound)?;
        self.decrypted(buffer)?.ok_or_else(|| io::ErrorKind::Interrupted.into())
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut inbound = lock(&self.inbound);
        loop {
            if let Some(count) = self.decrypted(buffer)? {
                return Ok(Some(count));
            }
            if inbound.is_empty() {
                match self.socket.receive_now(&mut inbound.bytes)? {
                    Some(count) => inbound.refilled(count),
                    None => return Ok(None),
                }
            }
            self.decrypt(&mut inbound)?;
        }
    }

    /// Plain bytes that are ready; none if more must be received first.
    fn decrypted(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match lock(&self.connection).reader().read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands received bytes (none: the end) to TLS, and sends what it has to say in return.
    fn decrypt(&self, inbound: &mut Encrypted) -> io::Result<()> {
        let mut connection = lock(&self.connection);
        let consumed = connection.read_tls(&mut &inbound.bytes[inbound.start..inbound.end])?;
        inbound.start += consumed;
        let outcome = connection.process_new_packets();
        let must_send = connection.wants_write();
        drop(connection);
        if must_send {
            self.send(&[])?;
        }
        outcome.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut outbound = lock(&self.outbound);
        let mut steps = bytes.chunks(TLS_STEP);
        loop {
            let step = steps.next();
            outbound.clear();
            let mut connection = lock(&self.connection);
            connection.writer().write_all(step.unwrap_or_default())?;
            while connection.wants_write() {
                connection.write_tls(&mut *outbound)?;
            }
            drop(connection);
            (&*self.socket).write_all(&outbound)?;
            if step.is_none() {
                return Ok(());
            }
        }
    }
}

impl Encrypted {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn refilled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
    }
}

/// A stream that fails with `TimedOut` once a moment has passed, however slowly bytes come.
pub(crate) struct Timed<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) deadline: Instant,
}

impl Timed<'_> {
    fn arm(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.socket().set_patience(Some(left))
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        self.stream.receive_once(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.arm()?;
        self.stream.send(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
