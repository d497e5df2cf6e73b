//! A thin safe layer over Ceph's C library, which is opened at run time.
//!
//! Handles of the library are owned here and given back when dropped; nothing above sees a pointer of it. Operations that do not
//! block end on a thread of the library, which runs the closure that was given with them.

#![expect(unsafe_code, reason = "the C library; see docs/decisions/0016-librados-at-run-time.md")]

mod cluster;
mod completion;
mod context;
mod functions;
mod region;
mod watch;
mod write;

pub(crate) use cluster::{Access, Cluster};
pub(crate) use completion::{Done, Ended};
pub(crate) use context::Context;
pub(crate) use functions::{Functions, PACKAGE};
pub(crate) use region::{Buffer, Region};
pub(crate) use watch::{Heard, Watch};
pub(crate) use write::WriteOp;

use std::io;

/// What a function of the library returned: a count, or an error number below zero.
fn checked(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.saturating_neg()))
}
