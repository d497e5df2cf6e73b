//! A connection to the cluster, as a store needs it; made again when the cluster has shut the one before out.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::bounded;
use store::NodeRecord;

use crate::config::{Config, load};
use crate::error::Error;
use crate::librados::{Access, Cluster, Context, Functions};
use crate::locks::Locks;
use crate::nodes::Register;

/// A connection: where the objects are, and the locks.
pub(crate) struct Link {
    pub(crate) objects: Arc<Context>,
    pub(crate) locks: Locks,
    pub(crate) register: Register,
}

/// What it takes to connect.
pub(crate) struct Linker {
    functions: Arc<Functions>,
    config: Config,
    own: Own,
}

/// How long a store that stops waits until the other nodes know.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

impl Link {
    /// Tells the other nodes that this one stops; a cluster that does not answer holds nobody up.
    pub(crate) fn leave(self: &Arc<Self>) {
        let (told, heard) = bounded(1);
        let link = self.clone();
        let work = move || drop(told.send(link.register.leave()));
        let is_begun = std::thread::Builder::new().name("radosd-leave".into()).spawn(work).is_ok();
        if !is_begun || !matches!(heard.recv_timeout(LEAVE_PATIENCE), Ok(Ok(()))) {
            tracing::info!("the other nodes may not know that this one stopped");
        }
    }
}

/// Who a store is.
pub(crate) struct Own {
    /// Which radosd it is, in records of locks.
    pub(crate) key: String,
    pub(crate) note: Option<Note>,
    /// The stack for which locks are kept; none if they are kept for nobody in particular.
    pub(crate) node: Option<NodeRecord>,
}

/// The client's address, in a file that outlives the process: who takes its port over shuts its client out, because what it
/// sent last may still be under way.
pub(crate) struct Note(PathBuf);

impl Linker {
    /// # Errors
    /// If Ceph's library cannot be opened.
    pub(crate) fn new(config: Config, own: Own) -> Result<Self, Error> {
        Ok(Self { functions: Arc::new(load()?), config, own })
    }

    /// Connects, shuts out whoever is noted, and notes this client. Blocks.
    ///
    /// # Errors
    /// What cannot be reached, by name.
    pub(crate) fn connect(&self) -> Result<Link, Error> {
        let config = &self.config;
        let access = Access {
            cephx_id: &config.cephx_id,
            ceph_conf: config.ceph_conf.as_deref(),
            op_timeout_s: config.op_timeout_s,
            connect_timeout_s: config.connect_timeout_s,
        };
        let unreachable = |source| Error::of_connection(config.ceph_conf.clone(), &config.cephx_id, source);
        let cluster = Arc::new(Cluster::connect(self.functions.clone(), &access).map_err(unreachable)?);
        let address = cluster.address().map_err(unreachable)?;
        if !cluster.may_blocklist().map_err(unreachable)? {
            return Err(Error::Blocklist { cephx_id: config.cephx_id.clone() });
        }
        let open = |pool: &str, namespace: &str| {
            let opened = Context::open(&cluster, pool, namespace).map(Arc::new);
            let context = opened.map_err(|source| Error::Pool { pool: pool.to_owned(), source })?;
            if context.is_allowed_now() {
                return Ok(context);
            }
            let (cephx_id, pool) = (config.cephx_id.clone(), pool.to_owned());
            Err(Error::Rights { cephx_id, pool, namespace: namespace.to_owned() })
        };
        let objects = open(&config.pool, &config.namespace)?;
        let (lock_pool, lock_namespace) = config.lock_place();
        let lock_context = open(lock_pool, lock_namespace)?;
        let locks = Locks::new(lock_context.clone(), &self.own.key, &address, config.foreign_locks);
        if let Some(note) = &self.own.note {
            self.shut_out_predecessor(note, &cluster)?;
            note.write(&address)?;
        }
        let register = self.enter_nodes(lock_context, address)?;
        Ok(Link { objects, locks, register })
    }

    fn enter_nodes(&self, locks: Arc<Context>, address: String) -> Result<Register, Error> {
        let own = self.own.node.clone().map(|node| NodeRecord { address, ..node });
        let name = own.as_ref().map(|own| own.name.clone()).unwrap_or_default();
        let register = Register::new(locks, own);
        match register.join() {
            Ok(None) => Ok(register),
            Ok(Some(holder)) => Err(Error::NodeTaken { name, holder: holder.to_string() }),
            Err(fault) => {
                let pool = self.config.lock_place().0.to_owned();
                Err(Error::Node { name, pool, source: fault.into_io() })
            }
        }
    }

    fn shut_out_predecessor(&self, note: &Note, cluster: &Cluster) -> Result<(), Error> {
        let Some(address) = note.read()? else { return Ok(()) };
        tracing::info!(address, "shutting out the client of the process before");
        let cephx_id = self.config.cephx_id.clone();
        let shut_out = cluster.blocklist(&address);
        shut_out.map_err(|source| Error::Predecessor { address, cephx_id, source })
    }

    /// Nothing of this process is under way any more.
    pub(crate) fn forget(&self) {
        if let Some(note) = &self.own.note {
            note.remove();
        }
    }
}

impl Note {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn read(&self) -> Result<Option<String>, Error> {
        match fs::read_to_string(&self.0) {
            Ok(address) => Ok(Some(address.trim().to_owned()).filter(|address| !address.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// The file is whole at every moment.
    fn write(&self, address: &str) -> Result<(), Error> {
        let fresh = self.0.with_extension("new");
        let written = fs::write(&fresh, format!("{address}\n")).and_then(|()| fs::rename(&fresh, &self.0));
        written.map_err(|source| self.failed(source))
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "the note of this process's client stays");
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Note { path: self.0.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_again_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let note = Note::new(directory.path().join("blockerb.rados"));
        assert_eq!(note.read().unwrap(), None);
        note.write("10.0.0.1:0/42").unwrap();
        assert_eq!(note.read().unwrap().as_deref(), Some("10.0.0.1:0/42"));
        note.remove();
        assert_eq!(note.read().unwrap(), None);
    }
}
