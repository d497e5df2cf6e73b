//! nbd: volumes for everything that speaks the Network Block Device protocol.
//!
//! ```text
//! client ── socket ── session ──(request in the segment)── vlmc
//!                        └─ relief: waits in the session's stead when storage is slow
//! ```
//!
//! A client's bytes are received into the segment and its replies sent out of it. A session is one thread as long as
//! storage is quick. Every connection to a volume ends at the same vlmc port, so what one flushes all have flushed.
//!
//! It never caches, never reorders within a connection what overlaps (the composer decides), and never trusts a client: a
//! broken one loses its connection, nothing else.

mod config;
mod connection;
mod endpoint;
mod error;
mod exports;
mod guests;
mod inbound;
mod listener;
mod memory;
mod negotiation;
mod opened;
mod pending;
mod relief;
mod replies;
mod rules;
mod session;
mod stream;
mod tls;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use config::Config;
pub use error::{Error, ProtocolFault};

use connection::Service;
use endpoint::Nbd;
use exports::Exports;
use memory::Memory;
use tls::Tls;

/// Serves attached volumes until `stop`.
///
/// # Errors
/// If the configuration, a certificate, a socket or the control port is not usable.
pub fn serve(
    stack: &client::Stack,
    common: &peer::Common,
    config: &Config,
    stop: &peer::Stop,
) -> Result<(), Error> {
    config.check()?;
    let tls = Tls::load(config)?;
    let memory = Memory::of_segment(stack.segment.geometry().arena_bytes());
    let service =
        Service { stack: stack.clone(), exports: Exports::default(), config: config.clone(), memory, tls };
    let endpoint = Nbd::open(service, common)?;
    Ok(client::serve_control(&stack.segment, common, stop, endpoint)?)
}

/// What the locks of this crate guard is whole after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
