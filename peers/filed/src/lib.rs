//! A store on files: each object is a file below two levels of hashed directories.
//!
//! ```
//! use filed::{Config, Files};
//! use store::{ObjectName, Store};
//!
//! let directory = tempfile::tempdir()?;
//! let files = Files::open(&Config::new(directory.path()), 16)?;
//! let name = ObjectName::new("disk_0001")?;
//! files.write(&name, 4096, b"bytes")?;
//! assert_eq!(files.read(&name, 4094, 8)?, b"\0\0bytes\0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Engine`] is the store as a state machine of one thread; [`Files`] is one with a thread of its own. Reads and writes go
//! through io_uring, all else that blocks through a pool of threads. Never answers before what it says is true, and never
//! touches a file outside of its directories.

mod backoff;
mod config;
mod copy;
mod engine;
mod entries;
mod error;
mod fault;
mod fences;
mod files;
mod handle;
mod hash;
mod inline;
mod layout;
mod legacy_locks;
mod list;
mod locks;
mod lost;
mod nfs;
mod nodes;
mod notifier;
mod objects;
mod operation;
mod pool;
mod premade;
mod prepare;
mod process;
mod record;
mod reserve;
mod ring;
mod root;
mod scrub;
mod scrub_state;
mod serve;
mod status;
mod sums;
mod syncs;
mod verified;
mod waiting;

pub use config::{Config, Io, Verify};
pub use engine::{Engine, Finished};
pub use error::Error;
pub use files::Files;
pub use pool::Wake;
pub use ring::Region;
pub use serve::serve;
pub use status::Status;
