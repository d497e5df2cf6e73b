//! The role's own keys.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// Settings of a role that tells what the stack measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A TCP address to answer at. There is no password: loopback, unless the network is trusted.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// A Unix socket to answer at.
    #[serde(default)]
    pub socket: Option<PathBuf>,
}

/// A role that nobody could ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither an address nor a socket.
    #[error("listen or socket is needed: nobody could ask this role")]
    Nowhere,
    /// A socket that depends on where the stack was started.
    #[error("socket = {0:?}: an absolute path is needed")]
    Relative(PathBuf),
}

impl Config {
    /// Checks what can be checked without touching the host.
    ///
    /// # Errors
    /// The first key with a value that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        match (&self.listen, &self.socket) {
            (None, None) => Err(ConfigError::Nowhere),
            (_, Some(path)) if !path.is_absolute() => Err(ConfigError::Relative(path.clone())),
            _ => Ok(()),
        }
    }
}
