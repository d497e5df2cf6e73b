//! Running a composer on its ports.

use std::thread;

use peer::{Common, Effects, Peer, Stop};
use xseg::{PortNumber, Reserve, Segment};

use crate::{
    Config, ConfigError,
    completing::{FILL_BYTES, FILLS_MAX},
    composer::Composer,
    map_calls::ENTRIES_BYTES,
};

/// Why a composer could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port could not be served.
    #[error(transparent)]
    Port(#[from] peer::Error),
    /// The system gave no thread.
    #[error("cannot start a thread for port {port}")]
    Thread {
        /// The port that is not served.
        port: u32,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Parts that a request has on average when all are served at once; more wait for their turn.
const PARTS_PER_REQUEST: u32 = 2;
/// What flushes need beside the parts of reads and writes.
const SPARE_PARTS: u32 = 64;
/// Questions to the mapper that are under way at a time.
const MAP_CALLS_MAX: u64 = 16;

/// Serves volumes until `stop` is set: one thread for each port.
///
/// # Errors
/// A bad setting, or a port that cannot be served; then none is.
pub fn serve(segment: &Segment, common: &Common, config: &Config, stop: &Stop) -> Result<(), Error> {
    config.check()?;
    let port_count = u64::try_from(common.ports.clone().count()).unwrap_or(u64::MAX).max(1);
    let cache_bytes = config.entry_cache_bytes / port_count;
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for port in common.ports.clone() {
            let builder = thread::Builder::new().name(format!("{}-{port}", common.role));
            let work = move || serve_port(segment, common, port, config, cache_bytes, stop);
            let spawned = builder.spawn_scoped(scope, work);
            threads.push(spawned.map_err(|source| {
                stop.set();
                Error::Thread { port, source }
            })?);
        }
        let ends = threads.into_iter().map(|thread| thread.join().expect("a composer does not panic"));
        ends.fold(Ok(()), Result::and)
    })
}

/// The composer of one port, for who drives it himself, as a simulation does.
pub fn composer(effects: Effects, config: &Config) -> impl Peer + use<> {
    Composer::new(effects, config.blocker_port, config.mapper_port, config.entry_cache_bytes)
}

fn serve_port(
    segment: &Segment,
    common: &Common,
    port: u32,
    config: &Config,
    cache_bytes: u64,
    stop: &Stop,
) -> Result<(), Error> {
    let build = |effects| Composer::new(effects, config.blocker_port, config.mapper_port, cache_bytes);
    // A composer with a port missing serves some volumes and not others: better none.
    let _others = StopWithOne(stop);
    Ok(peer::run_at_desk(segment, common, PortNumber(port), reserve(common.nr_ops), stop, build)?)
}

/// Stops all threads of the role when one ends, however it ends.
struct StopWithOne<'s>(&'s Stop);

impl Drop for StopWithOne<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

fn reserve(nr_ops: u32) -> Reserve {
    let requests = nr_ops.saturating_mul(PARTS_PER_REQUEST).saturating_add(SPARE_PARTS);
    let copies = u64::try_from(FILLS_MAX).unwrap_or(0) * FILL_BYTES;
    Reserve { requests, bytes: MAP_CALLS_MAX * ENTRIES_BYTES + copies }
}
