//! Why a file blocker cannot start.

use std::path::PathBuf;

/// Why a file blocker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory of the configuration cannot be used.
    #[error("cannot use {} as {setting}", path.display())]
    Directory {
        /// Which setting names it.
        setting: &'static str,
        /// What it names.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What other hosts do would be seen late, or writes come late.
    #[error(
        "{setting} = {} is on NFS, mounted without {option}: hosts cannot share it so; mount it with vers=4.2,hard,lookupcache=none, or keep it in RADOS",
        path.display()
    )]
    Mount {
        /// Which setting names it.
        setting: &'static str,
        /// What it names.
        path: PathBuf,
        /// The option that its mount needs.
        option: &'static str,
    },
    /// Another stack that lives has this node's name.
    #[error(
        "node \"{name}\" is {holder}: two stacks of one name would both write where one may; give each its own `node`"
    )]
    NodeTaken {
        /// The name.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// A number is out of its range.
    #[error("{setting} = {value} is not between {least} and {most}")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: usize,
        /// The smallest allowed.
        least: usize,
        /// The largest allowed.
        most: usize,
    },
    /// More files would be open than the process may have.
    #[error("fdcache = {fdcache} needs {needed} open files, but the limit of this process is {limit}")]
    TooFewFiles {
        /// The setting.
        fdcache: usize,
        /// Open files it amounts to.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// io_uring was asked for and is not there.
    #[error("io = \"uring\", but the kernel refuses io_uring")]
    Ring(#[source] std::io::Error),
    /// More than one port: operations on one object must meet in one place.
    #[error("a file blocker serves one port, not ports {first} to {last}")]
    Ports {
        /// The first one asked for.
        first: u32,
        /// The last one asked for.
        last: u32,
    },
    /// The port cannot be had.
    #[error("cannot serve port {port}")]
    Port {
        /// Its number.
        port: u32,
        /// What the segment says.
        source: xseg::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread of the file blocker")]
    Thread(#[source] std::io::Error),
}
