//! The role's settings.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{Error, wire::PAYLOAD_MAX};

/// The keys of an `nbd` role, besides those that every role has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The Unix socket to serve at. Never encrypted: its permissions guard it.
    pub socket: Option<PathBuf>,
    /// The TCP address to serve at; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// How many clients may be connected; more are turned away.
    pub max_connections: usize,
    /// How long a client may take to choose a volume, in seconds.
    pub handshake_timeout_s: u64,
    /// Most memory of the segment that a connection takes, in MiB: bounds what it may have under way, and its largest request.
    /// All connections together leave half of the segment to others; who comes late gets less.
    pub connection_mib: u32,
    /// The certificate chain (PEM) that TCP clients see. With it, TLS is required on TCP.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM).
    pub tls_key: Option<PathBuf>,
    /// The authorities (PEM) that clients' certificates must be signed by; without it clients need none.
    pub tls_client_ca: Option<PathBuf>,
}

/// The longest path that fits in the address of a Unix socket, in bytes.
const SOCKET_PATH_MAX: usize = 107;
/// The most connections that can be asked for: each takes a dynamic port.
const CONNECTIONS_MAX: usize = 1000;
/// The most memory of a connection, in MiB: the largest payload of the protocol.
const CONNECTION_MAX_MIB: u32 = PAYLOAD_MAX >> 20;
/// The longest handshake that can be asked for, in seconds.
const HANDSHAKE_TIMEOUT_MAX_S: u64 = 3600;

impl Default for Config {
    fn default() -> Config {
        Config {
            socket: None,
            listen: None,
            // More than a node's machines need; each may cost two threads.
            max_connections: 64,
            handshake_timeout_s: 30,
            // So that the largest request every NBD server should take fits.
            connection_mib: CONNECTION_MAX_MIB,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
        }
    }
}

impl Config {
    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// `Config` naming the first key that does not.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |key, value: String, allowed| Err(Error::Config { key, value, allowed });
        if self.socket.is_none() && self.listen.is_none() {
            return refuse("socket", "nothing".into(), "socket or listen must be set");
        }
        if let Some(path) = self.socket.as_ref().filter(|path| path.as_os_str().len() > SOCKET_PATH_MAX) {
            return refuse("socket", path.display().to_string(), "a path of at most 107 bytes");
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.max_connections) {
            return refuse("max_connections", self.max_connections.to_string(), "1 to 1000");
        }
        if !(1..=HANDSHAKE_TIMEOUT_MAX_S).contains(&self.handshake_timeout_s) {
            return refuse("handshake_timeout_s", self.handshake_timeout_s.to_string(), "1 to 3600 seconds");
        }
        if !(1..=CONNECTION_MAX_MIB).contains(&self.connection_mib) {
            return refuse("connection_mib", self.connection_mib.to_string(), "1 to 32 MiB");
        }
        self.check_tls()
    }

    fn check_tls(&self) -> Result<(), Error> {
        let refuse = |key, path: &PathBuf, allowed| {
            Err(Error::Config { key, value: path.display().to_string(), allowed })
        };
        match (&self.tls_certificate, &self.tls_key, &self.tls_client_ca) {
            (Some(certificate), None, _) => {
                refuse("tls_certificate", certificate, "only together with tls_key")
            }
            (None, Some(key), _) => refuse("tls_key", key, "only together with tls_certificate"),
            (None, None, Some(ca)) => {
                refuse("tls_client_ca", ca, "only together with tls_certificate and tls_key")
            }
            (Some(certificate), ..) if self.listen.is_none() => {
                refuse("tls_certificate", certificate, "only together with listen")
            }
            _ => Ok(()),
        }
    }

    /// The largest payload of a request, in bytes.
    pub(crate) fn payload_max(&self) -> u32 {
        self.connection_mib << 20
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.handshake_timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(config: &Config) -> &'static str {
        match config.check() {
            Err(Error::Config { key, .. }) => key,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_socket_alone_is_enough() {
        let config = Config { socket: Some("/run/nbd.sock".into()), ..Config::default() };
        assert!(config.check().is_ok());
    }

    #[test]
    fn what_cannot_work_is_named() {
        let socket = Config { socket: Some("/run/nbd.sock".into()), ..Config::default() };
        assert_eq!(key_of(&Config::default()), "socket");
        assert_eq!(key_of(&Config { socket: Some("/x".repeat(60).into()), ..Config::default() }), "socket");
        assert_eq!(key_of(&Config { max_connections: 0, ..socket.clone() }), "max_connections");
        assert_eq!(key_of(&Config { handshake_timeout_s: 0, ..socket.clone() }), "handshake_timeout_s");
        assert_eq!(key_of(&Config { tls_key: Some("k".into()), ..socket.clone() }), "tls_key");
        assert_eq!(key_of(&Config { tls_client_ca: Some("a".into()), ..socket.clone() }), "tls_client_ca");
        let certified = Config { tls_certificate: Some("c".into()), tls_key: Some("k".into()), ..socket };
        assert_eq!(key_of(&certified), "tls_certificate");
    }
}
