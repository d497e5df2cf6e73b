//! A connection to the cluster, as a store needs it; made again when the cluster has shut the one before out.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, load};
use crate::error::Error;
use crate::librados::{Access, Cluster, Context, Functions};
use crate::locks::Locks;

/// A connection: where the objects are, and the locks.
pub(crate) struct Link {
    pub(crate) objects: Arc<Context>,
    pub(crate) locks: Locks,
}

/// What it takes to connect.
pub(crate) struct Linker {
    functions: Arc<Functions>,
    config: Config,
    /// Which radosd this is, in records of locks.
    key: String,
    note: Option<Note>,
}

/// The client's address, in a file that outlives the process: who takes its port over shuts its client out, because what it
/// sent last may still be under way.
pub(crate) struct Note(PathBuf);

impl Linker {
    /// # Errors
    /// If Ceph's library cannot be opened.
    pub(crate) fn new(config: Config, key: String, note: Option<Note>) -> Result<Self, Error> {
        Ok(Self { functions: Arc::new(load()?), config, key, note })
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
        let locks = Locks::new(open(lock_pool, lock_namespace)?, &self.key, &address, config.foreign_locks);
        if let Some(note) = &self.note {
            self.shut_out_predecessor(note, &cluster)?;
            note.write(&address)?;
        }
        Ok(Link { objects, locks })
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
        if let Some(note) = &self.note {
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
