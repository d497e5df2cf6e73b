//! The mapper: owns maps and locks. It creates, clones, snapshots, resizes, renames and deletes volumes, and says where
//! their blocks are.
//!
//! ```text
//!   vlmc ── map-read, map-write, snapshot, … ──▶ mapper ──▶ store of maps and locks
//!                                                   └─────▶ store of blocks (makes, copies, deletes)
//! ```
//!
//! Each request is a conversation ([`peer::tasks`]) in the peer's one thread. What maps are and how they change is the
//! `volume` crate's; this one carries its plans out, in an order that leaves what is at rest whole at every step. It
//! never touches the data of a volume, and keeps nothing but what it can read again.

use std::path::Path;

use peer::{Common, Effects, Peer, Stop};
use volume::BootId;
use xseg::{PortNumber, Reserve, Segment};

mod asked;
mod census;
mod check;
mod check_root;
mod check_tree;
mod checks;
mod collect;
mod commit;
mod config;
mod create;
mod delete;
mod differences;
mod entries;
mod failure;
mod findings;
mod hash;
mod info;
mod intents;
mod kept;
mod kinds;
mod leftovers;
mod legacy;
mod listing;
mod loading;
mod lock;
mod mapper;
mod marks;
mod open;
mod original_blocks;
mod originals;
mod parallel;
mod partial;
mod punch;
mod rename;
mod resize;
mod serve;
mod service;
mod session;
mod snapshot;
mod store_calls;
mod tally;
#[cfg(test)]
mod tests;
mod tree_walk;
mod turn;
mod volumes;
mod waiting;

pub use config::{Config, ConfigError};

/// Why a mapper could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port cannot be had.
    #[error(transparent)]
    Peer(#[from] peer::Error),
    /// A mapper has one thread, and so one port.
    #[error("portno_start = {first} and portno_end = {last}: a mapper serves one port")]
    Ports {
        /// The first port.
        first: u32,
        /// The last port.
        last: u32,
    },
    /// The machine does not say which of its starts this is, so nobody could tell what a loss of power took.
    #[error("cannot read {BOOT_ID}")]
    Boot(#[source] std::io::Error),
}

/// Where the kernel says which start of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Requests to the stores that one request may have under way, beside those that wait for a lock.
const REQUESTS_BESIDE: u32 = 256;
/// Memory of the segment for reading and writing maps, in bytes.
const BUFFER_BYTES: u64 = 16 << 20;

/// Serves the role's port until `stop` is set; then closes all maps and gives their locks back.
///
/// # Errors
/// A bad setting, or a port that cannot be had.
pub fn serve(segment: &Segment, common: &Common, config: &Config, stop: &Stop) -> Result<(), Error> {
    let boot = boot_id(Path::new(BOOT_ID)).map_err(Error::Boot)?;
    serve_booted(segment, common, config, stop, boot)
}

fn serve_booted(
    segment: &Segment,
    common: &Common,
    config: &Config,
    stop: &Stop,
    boot: BootId,
) -> Result<(), Error> {
    config.check()?;
    let (first, last) = (*common.ports.start(), *common.ports.end());
    if first != last {
        return Err(Error::Ports { first, last });
    }
    let port = PortNumber(first);
    let reserve = Reserve { requests: common.nr_ops.saturating_add(REQUESTS_BESIDE), bytes: BUFFER_BYTES };
    peer::run(segment, common, port, reserve, stop, |effects| {
        mapper::Mapper::new(effects, config, &common.node, boot)
    })?;
    Ok(())
}

/// The mapper of one port, for who drives it himself, as a simulation does. `boot` tells starts of the machine apart.
pub fn mapper(effects: Effects, config: &Config, node: &str, boot: [u8; 16]) -> impl Peer + use<> {
    mapper::Mapper::new(effects, config, node, BootId(boot))
}

fn boot_id(path: &Path) -> std::io::Result<BootId> {
    let text = std::fs::read_to_string(path)?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16);
    number.map(|number| BootId(number.to_be_bytes())).map_err(std::io::Error::other)
}
