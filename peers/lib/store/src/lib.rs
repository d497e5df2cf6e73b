//! Objects at rest: their names, what a store is asked and answers, how it fails, and what every store must keep.
//!
//! ```
//! use store::{Action, ErrorKind, ObjectName, StoreError};
//!
//! let object = ObjectName::new(b"disk_0000000000000001_0000000000000000").expect("short enough");
//! let error = StoreError::new(ErrorKind::NotFound, Action::Read, &object);
//! assert_eq!(error.to_string(), "cannot read object disk_0000000000000001_0000000000000000: not found");
//! ```
//!
//! Never does I/O itself, and knows neither the segment nor the bytes on the wire.

mod blocking;
pub mod conformance;
mod error;
mod listing;
mod name;
mod node;
mod request;

pub use blocking::{Data, Store};
pub use error::{Action, ErrorKind, StoreError};
pub use listing::{Lister, Smallest};
pub use name::{NameError, ObjectName};
pub use node::{LockWait, Node, NodeRecord};
pub use request::{
    Damage, Fence, LockState, Page, ScrubState, StoreOperation, StoreReply, StoreRequest, WriteMode,
};
