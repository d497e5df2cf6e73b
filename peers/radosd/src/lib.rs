//! A store in RADOS: each object is an object of a pool of a Ceph cluster.
//!
//! ```no_run
//! use radosd::{Config, Rados};
//! use store::{ObjectName, Store};
//!
//! let rados = Rados::open(&Config::new("blocks"))?;
//! let name = ObjectName::new("disk_0001")?;
//! rados.write(&name, 4096, b"bytes")?;
//! assert_eq!(rados.read(&name, 4094, 8)?, b"\0\0bytes\0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The engine is the store as a state machine of one thread, with any number of operations under way; [`serve`] gives it a
//! port, [`Rados`] a thread of its own. Ceph's library is opened when a store is, so nothing else needs it. Never answers a
//! change before the cluster has it for good, and never writes under a lock that another has.

mod config;
mod engine;
mod error;
mod fault;
mod fences;
mod hash;
mod jobs;
mod librados;
mod link;
mod locks;
mod names;
mod nodes;
mod operation;
mod pool;
mod presence;
mod rados;
mod record;
mod serve;
mod status;
mod under_way;

pub use config::Config;
pub use error::Error;
pub use rados::Rados;
pub use serve::serve;
pub use status::Status;
