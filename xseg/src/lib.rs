//! The transport of one machine: requests with data, handed from process to process in shared memory.
//!
//! A [`Segment`] is a file in `/dev/shm` that every process of a stack maps. A process binds a [`Port`] on it,
//! allocates requests ([`Held`]) from what the port reserved, submits them to other ports, and receives what was sent
//! to its own. Nothing is copied: a server works in the buffer of its client, and lends ranges of it on
//! ([`Port::allocate_child`]). Any process may die at any instruction; its successor is served what it left.
//!
//! ```
//! use xseg::{Geometry, PortNumber, Received, Reserve, Segment};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let segment = Segment::private(Geometry::new(16, 8, 256, 4 << 20)?)?;
//! let mut server = segment.bind(PortNumber(1), Reserve { requests: 16, bytes: 0 })?;
//! let mut client = segment.bind_dynamic(Reserve { requests: 16, bytes: 1 << 20 })?;
//!
//! let mut request = client.allocate(4096)?;
//! request.set_op(2);
//! request.set_target(b"volume")?;
//! request.write(0, b"some bytes")?;
//! client.submit(request, PortNumber(1))?;
//!
//! server.wait(None);
//! if let Some(Received::Request(mut request)) = server.receive() {
//!     let mut bytes = [0; 10];
//!     request.read(0, &mut bytes)?;
//!     assert_eq!(&bytes, b"some bytes");
//!     request.set_serviced(10);
//!     server.respond(request)?;
//! }
//!
//! client.wait(None);
//! if let Some(Received::Reply(reply)) = client.receive() {
//!     assert_eq!((reply.status(), reply.serviced()), (0, 10));
//!     client.free(reply);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It never knows what an operation means, never blocks but in [`Port::wait`], and never trusts a byte of the segment:
//! whatever another process writes there, the worst that comes of it is an error. The design is in
//! `docs/protocols.md`, section 1; the layout in [`abi`].

// Under the model checker (cfg loom) only the protocol itself is built: its atomics are not words in memory.
pub mod abi;
#[cfg(not(loom))]
mod bytes;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod geometry;
#[cfg(not(loom))]
mod held;
mod inbox;
#[cfg(not(loom))]
mod inspect;
mod kill;
#[cfg(not(loom))]
mod local;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod passing;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod port;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
mod reap;
#[cfg(not(loom))]
mod receiver;
#[cfg(not(loom))]
mod recovery;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod slabs;
#[cfg(not(loom))]
mod stand_in;
mod state;
mod sync;
#[cfg(not(loom))]
mod trace;
#[cfg(not(loom))]
mod wait;

#[cfg(test)]
#[cfg(not(loom))]
mod fuzz;
#[cfg(test)]
#[cfg(loom)]
mod models;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(not(loom))]
pub use bytes::{Argument, Name, ShortBytes};
#[cfg(not(loom))]
pub use error::{Error, ErrorKind, Result};
#[cfg(not(loom))]
pub use geometry::{Geometry, MAX_ARENA_BYTES, MAX_PORTS, MAX_REQUESTS};
#[cfg(not(loom))]
pub use held::{Held, RequestId};
#[cfg(not(loom))]
pub use inspect::{Finding, PortInfo, RequestInfo};
#[cfg(not(loom))]
pub use memory::{RawBuffer, RawFutex};
#[cfg(not(loom))]
pub use passing::{Refused, STATUS_UNAVAILABLE};
#[cfg(not(loom))]
pub use port::{Port, PortNumber, Reserve, Submitter};
#[cfg(not(loom))]
pub use reap::Reaped;
#[cfg(not(loom))]
pub use receiver::{Received, Receiver};
#[cfg(not(loom))]
pub use recovery::FLAG_ABANDONABLE;
#[cfg(not(loom))]
pub use segment::Segment;
#[cfg(not(loom))]
pub use stand_in::StandIn;
pub use state::Phase;
#[cfg(not(loom))]
pub use trace::{Event, Step};
#[cfg(not(loom))]
pub use wait::{Sleeper, Spin, Waker, Woken};
