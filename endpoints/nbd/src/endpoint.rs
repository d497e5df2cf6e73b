//! What the role does when it is asked to attach and detach volumes.

use std::{fmt::Write, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use client::{Client, Endpoint};
use peer::Common;
use protocol::{Attached, ErrorKind, Failure, VolumeKind};

use crate::{
    connection::{ENDED_PATIENCE, Service},
    exports::Export,
    listener::{KeptSockets, LEAVE_PATIENCE, Listener},
};

/// How long a detach waits for clients that are just leaving.
const LAST_USER_PATIENCE: Duration = Duration::from_secs(1);
/// How long a detach waits for the stack to write back and close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);
/// The same when the role stops: what was not closed is still open after the restart, and no data depends on it.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The endpoint as its control port sees it.
pub(crate) struct Nbd {
    service: Arc<Service>,
    listener: Listener,
}

impl Nbd {
    /// Opens the sockets; volumes come by and by, and clients after those that were attached before.
    pub(crate) fn open(service: Service, common: &Common) -> Result<Nbd, crate::Error> {
        let service = Arc::new(service);
        let listener = Listener::open(&service, KeptSockets::of(common))?;
        Ok(Nbd { service, listener })
    }

    fn attached_as(&self, export: &Export) -> Attached {
        Attached {
            volume: export.volume.clone(),
            location: self.location(&export.volume),
            via: "nbd".to_owned(),
            is_read_only: export.is_read_only,
            user_count: u32::try_from(export.users.count()).unwrap_or(u32::MAX),
        }
    }

    /// The URI under which clients find a volume.
    fn location(&self, volume: &str) -> String {
        match (&self.service.config.socket, self.listener.address()) {
            (Some(path), _) => unix_uri(path, volume),
            (None, Some(address)) => tcp_uri(address, self.service.tls.is_some(), volume),
            (None, None) => String::new(),
        }
    }

    fn client(&self) -> Result<Client, Failure> {
        Client::connect(&self.service.stack)
    }

    /// Writes back what clients left, and gives the volume free.
    fn close(&self, export: &Export, patience: Duration) -> Result<(), Failure> {
        if export.is_read_only {
            return Ok(());
        }
        let mut client = self.client()?;
        client.set_patience(patience);
        client.flush(&export.volume)?;
        match client.close(&export.volume) {
            // Its lock was broken, or somebody closed it by hand: nothing is left to give free.
            Err(failure) if matches!(failure.kind, ErrorKind::NotOwner | ErrorKind::NotFound) => Ok(()),
            closed => closed,
        }
    }
}

impl Endpoint for Nbd {
    fn attach(&mut self, volume: &str, is_read_only: bool) -> Result<Attached, Failure> {
        let mut client = self.client()?;
        let info = client.info(volume)?;
        let is_read_only = is_read_only || info.kind == VolumeKind::Snapshot;
        if self.service.exports.get(volume).is_some() {
            return Err(Failure::new(ErrorKind::Exists, format!("volume {volume} is attached already")));
        }
        if !is_read_only {
            match client.open(volume) {
                // Another node has it and is about to hand it over: until then reads are not kept, and writes wait.
                Err(failure) if failure.kind == ErrorKind::Busy => {}
                opened => opened?,
            }
        }
        self.service.exports.attach(volume, is_read_only);
        let export = self.service.exports.get(volume).ok_or_else(|| unknown(volume))?;
        Ok(self.attached_as(&export))
    }

    fn detach(&mut self, volume: &str, is_forced: bool) -> Result<(), Failure> {
        let export = self.service.exports.get(volume).ok_or_else(|| unknown(volume))?;
        let left = if is_forced {
            export.users.close(LEAVE_PATIENCE)
        } else {
            export.users.close_if_empty(ENDED_PATIENCE, LAST_USER_PATIENCE)
        };
        let closed =
            left.map_err(|count| in_use(volume, count)).and_then(|()| self.close(&export, CLOSE_PATIENCE));
        match closed {
            Ok(()) => self.service.exports.detach(volume),
            Err(_) => export.users.reopen(),
        }
        closed
    }

    fn attached(&self) -> Vec<Attached> {
        self.service.exports.all().iter().map(|export| self.attached_as(export)).collect()
    }

    fn refresh(&mut self, volume: &str) -> Result<(), Failure> {
        // Clients are told the size when they connect, and each session looks again when one asks for more.
        self.service.exports.get(volume).map(drop).ok_or_else(|| unknown(volume))
    }

    fn resumed(&mut self) {
        self.listener.accept();
    }

    fn suspend(&mut self) {
        let exports = self.service.exports.all();
        exports.iter().for_each(|export| export.users.begin_closing());
        self.listener.close();
        for export in exports {
            if let Err(failure) = self.close(&export, STOP_PATIENCE) {
                tracing::warn!(volume = export.volume, %failure, "a volume was not closed");
                if failure.kind == ErrorKind::Unavailable {
                    // The stack is gone already; the others would only wait for it, too.
                    break;
                }
            }
        }
    }
}

fn unknown(volume: &str) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("volume {volume} is not attached"))
}

fn in_use(volume: &str, count: usize) -> Failure {
    Failure::new(ErrorKind::Busy, format!("volume {volume} is used by {count} clients"))
}

fn unix_uri(socket: &Path, volume: &str) -> String {
    format!(
        "nbd+unix:///{}?socket={}",
        escaped(volume.as_bytes(), ""),
        escaped(socket.as_os_str().as_encoded_bytes(), "/")
    )
}

fn tcp_uri(mut address: SocketAddr, is_encrypted: bool, volume: &str) -> String {
    let scheme = if is_encrypted { "nbds" } else { "nbd" };
    if address.ip().is_unspecified() {
        let here =
            if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(here);
    }
    format!("{scheme}://{address}/{}", escaped(volume.as_bytes(), ""))
}

/// Bytes as a URI may carry them: what is neither plain nor in `also` as %XX.
fn escaped(bytes: &[u8], also: &str) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || also.as_bytes().contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes all that is written to it");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_escaped_in_uris() {
        let uri = unix_uri(Path::new("/run/a b/nbd.sock"), "disk#1/ü");
        assert_eq!(uri, "nbd+unix:///disk%231%2F%C3%BC?socket=/run/a%20b/nbd.sock");
    }

    #[test]
    fn an_address_that_means_everywhere_is_named_as_here() {
        assert_eq!(tcp_uri("0.0.0.0:10809".parse().unwrap(), false, "a"), "nbd://127.0.0.1:10809/a");
        assert_eq!(tcp_uri("[::]:10809".parse().unwrap(), true, "a"), "nbds://[::1]:10809/a");
    }
}
