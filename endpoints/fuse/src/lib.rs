//! The FUSE endpoint: every attached volume is a file, and where the host allows it a loop device over that file.
//!
//! ```text
//! mkfs, mount ── /dev/loopN ── mountpoint/VOLUME ── kernel ── this role ── requests on the segment ── vlmc
//! ```
//!
//! The files are opened for direct I/O, so nothing of them stays in this host's page cache: a volume may be shown at other
//! endpoints at the same time. A file's size is the volume's; truncating it is refused, `vlmc resize` is for that.

mod config;
mod endpoint;
mod filesystem;
mod io;
mod kernel;
mod loop_device;
mod mounts;
mod serving;
mod shown;
mod wire;

pub use config::{Config, ConfigError};

use client::Stack;
use peer::{Common, Stop};

/// Why the role cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system could not be mounted.
    #[error("cannot mount the volumes' file system on {path}")]
    Mount {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The control port could not be served.
    #[error(transparent)]
    Control(#[from] peer::Error),
}

/// Mounts the file system and serves until `stop`.
///
/// # Errors
/// If the mount or the control port fails.
pub fn serve(stack: &Stack, common: &Common, config: &Config, stop: &Stop) -> Result<(), Error> {
    let endpoint = endpoint::FuseEndpoint::start(stack.clone(), common, config)
        .map_err(|source| Error::Mount { path: config.mountpoint.display().to_string(), source })?;
    Ok(client::serve_control(&stack.segment, common, stop, endpoint)?)
}
