//! Why a store in RADOS cannot start.

use std::io;
use std::path::PathBuf;

/// Why a store in RADOS cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ceph's library cannot be opened.
    #[error("cannot open Ceph's library ({source}): install the Debian package {package}")]
    Library {
        /// What to install.
        package: &'static str,
        /// What the loader says.
        source: io::Error,
    },
    /// The cluster cannot be reached.
    #[error("cannot reach the Ceph cluster of {} as client.{cephx_id}", place(conf.as_ref()))]
    Cluster {
        /// The setting `ceph_conf`.
        conf: Option<PathBuf>,
        /// Who tried.
        cephx_id: String,
        /// What the library says.
        source: io::Error,
    },
    /// The cluster does not believe that we are who we say.
    #[error(
        "the Ceph cluster of {} refuses client.{cephx_id}: the keyring that its configuration file names must hold what \
         `ceph auth get client.{cephx_id}` prints, and this process must be able to read it",
        place(conf.as_ref())
    )]
    Key {
        /// The setting `ceph_conf`.
        conf: Option<PathBuf>,
        /// Who tried.
        cephx_id: String,
        /// What the library says.
        source: io::Error,
    },
    /// The client lacks the right to objects of a pool.
    #[error(
        "client.{cephx_id} may not read and write in pool {pool}{}: it needs osd 'profile rbd pool={pool}' (`ceph auth caps` \
         gives rights, all of a client's at once)",
        inside(namespace)
    )]
    Rights {
        /// Who tried.
        cephx_id: String,
        /// Where.
        pool: String,
        /// The namespace in it.
        namespace: String,
    },
    /// The client lacks the right to shut others out, without which locks could not be taken from the dead.
    #[error(
        "client.{cephx_id} may not put clients on the cluster's blocklist: it needs mon 'profile rbd' (`ceph auth caps` gives \
         rights, all of a client's at once)"
    )]
    Blocklist {
        /// Who tried.
        cephx_id: String,
    },
    /// A pool cannot be used.
    #[error("cannot use pool {pool} (`ceph osd pool create {pool}` makes one)")]
    Pool {
        /// Its name.
        pool: String,
        /// What the library says.
        source: io::Error,
    },
    /// The process that served before cannot be shut out, so its last writes could land after newer ones.
    #[error(
        "cannot shut out the client {address} of the process before: client.{cephx_id} needs the right to: mon 'profile rbd'"
    )]
    Predecessor {
        /// Its client.
        address: String,
        /// Who tried.
        cephx_id: String,
        /// What the library says.
        source: io::Error,
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
    /// The nodes cannot be told that this one is there.
    #[error("cannot enter node \"{name}\" among those that use pool {pool}")]
    Node {
        /// The name.
        name: String,
        /// Where the locks are.
        pool: String,
        /// What the library says.
        source: io::Error,
    },
    /// A file of the cluster's or of ours cannot be used.
    #[error("cannot read ceph_conf = {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The note of this process's client cannot be kept.
    #[error("cannot note the client's address in {}", path.display())]
    Note {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A text must not be empty.
    #[error("{setting} is empty")]
    Empty {
        /// Which setting.
        setting: &'static str,
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
    /// More than one port: operations on one object must meet in one place.
    #[error("a store in RADOS serves one port, not ports {first} to {last}")]
    Ports {
        /// The first one asked for.
        first: u32,
        /// The last one asked for.
        last: u32,
    },
    /// The port cannot be had.
    #[error(transparent)]
    Port(#[from] peer::Error),
    /// A thread could not be started.
    #[error("cannot start a thread of the store")]
    Thread(#[source] io::Error),
}

impl Error {
    /// A connection that failed: refused, or out of reach.
    pub(crate) fn of_connection(conf: Option<PathBuf>, cephx_id: &str, source: io::Error) -> Self {
        let cephx_id = cephx_id.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::Key { conf, cephx_id, source };
        }
        Self::Cluster { conf, cephx_id, source }
    }
}

fn inside(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(", namespace {namespace}") }
}

fn place(conf: Option<&PathBuf>) -> String {
    conf.map_or_else(|| "Ceph's own configuration file".to_owned(), |path| path.display().to_string())
}
