//! Settings as written, and what is wrong with them.

use std::fs::File;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::librados::{Functions, PACKAGE};

/// Settings of one store in RADOS, as in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The pool where the objects are. It must be there.
    pub pool: String,
    /// The namespace in it; empty for the pool's own.
    #[serde(default)]
    pub namespace: String,
    /// The pool where the locks are; `pool` if not given. Stores whose writes are fenced by the same locks share it.
    #[serde(default)]
    pub lock_pool: Option<String>,
    /// The namespace of the locks; `namespace` if neither this nor `lock_pool` is given.
    #[serde(default)]
    pub lock_namespace: Option<String>,
    /// The locks are kept by a store of another kind: their numbers are believed when they are first named.
    #[serde(default)]
    pub foreign_locks: bool,
    /// The user of the cluster, without `client.`.
    #[serde(default = "default_cephx_id")]
    pub cephx_id: String,
    /// The cluster's configuration file; if not given, where Ceph's own tools look.
    #[serde(default)]
    pub ceph_conf: Option<PathBuf>,
    /// After so many seconds a request that no OSD has answered fails; 0 for never.
    #[serde(default = "default_op_timeout_s")]
    pub op_timeout_s: u32,
    /// After so many seconds an attempt to reach the cluster fails.
    #[serde(default = "default_connect_timeout_s")]
    pub connect_timeout_s: u32,
    /// How many threads do what the library has no other way for: locks, lists, hashes.
    #[serde(default = "default_nr_threads")]
    pub nr_threads: usize,
}

/// The user that every cluster has.
fn default_cephx_id() -> String {
    "admin".to_owned()
}

/// Longer than a cluster takes to get over a lost OSD; a pause is better than an error.
fn default_op_timeout_s() -> u32 {
    120
}

/// A cluster that is there answers in milliseconds.
fn default_connect_timeout_s() -> u32 {
    10
}

/// Two for what is quick, two for what takes long.
fn default_nr_threads() -> usize {
    4
}

/// More threads than this only get in each other's way.
const NR_THREADS_MAX: usize = 1024;
/// Most requests served at a time.
const NR_OPS_MAX: usize = 65536;
/// A day; longer is never.
const TIMEOUT_S_MAX: u32 = 86400;

impl Config {
    /// Settings of a store in `pool`, all others at their defaults.
    #[must_use]
    pub fn new(pool: impl Into<String>) -> Self {
        Self {
            pool: pool.into(),
            namespace: String::new(),
            lock_pool: None,
            lock_namespace: None,
            foreign_locks: false,
            cephx_id: default_cephx_id(),
            ceph_conf: None,
            op_timeout_s: default_op_timeout_s(),
            connect_timeout_s: default_connect_timeout_s(),
            nr_threads: default_nr_threads(),
        }
    }

    /// Checks every setting, and that the library is there; asks no cluster.
    ///
    /// # Errors
    /// The first setting that cannot work, by name; or how to install the library.
    pub fn check(&self, nr_ops: usize) -> Result<(), Error> {
        in_range("nr_threads", self.nr_threads, 1, NR_THREADS_MAX)?;
        in_range("nr_ops", nr_ops, 1, NR_OPS_MAX)?;
        in_range("op_timeout_s", self.op_timeout_s as usize, 0, TIMEOUT_S_MAX as usize)?;
        in_range("connect_timeout_s", self.connect_timeout_s as usize, 1, TIMEOUT_S_MAX as usize)?;
        let texts = [("pool", &self.pool), ("cephx_id", &self.cephx_id)];
        if let Some((setting, _)) = texts.into_iter().find(|(_, text)| text.is_empty()) {
            return Err(Error::Empty { setting });
        }
        if let Some(path) = &self.ceph_conf {
            File::open(path).map_err(|source| Error::File { path: path.clone(), source })?;
        }
        load().map(drop)
    }

    /// Whether this is the store of maps, whose locks are a stack's own; a store of blocks only looks at them.
    #[must_use]
    pub fn keeps_locks(&self) -> bool {
        self.lock_place() == (&self.pool, &self.namespace) && !self.foreign_locks
    }

    /// Where the locks are: pool and namespace.
    #[must_use]
    pub fn lock_place(&self) -> (&str, &str) {
        let pool = self.lock_pool.as_deref().unwrap_or(&self.pool);
        let beside = if self.lock_pool.is_some() { "" } else { &self.namespace };
        (pool, self.lock_namespace.as_deref().unwrap_or(beside))
    }
}

/// Opens the library.
pub(crate) fn load() -> Result<Functions, Error> {
    Functions::load().map_err(|source| Error::Library { package: PACKAGE, source })
}

fn in_range(setting: &'static str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::OutOfRange { setting, value, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_errors() {
        let written = r#"{"pool": "blocks", "poll": "maps"}"#;
        assert!(serde_json::from_str::<Config>(written).unwrap_err().to_string().contains("poll"));
    }

    #[test]
    fn numbers_out_of_range_and_empty_names_are_named() {
        let config = Config { nr_threads: 0, ..Config::new("blocks") };
        assert_eq!(config.check(16).unwrap_err().to_string(), "nr_threads = 0 is not between 1 and 1024");
        assert_eq!(Config::new("").check(16).unwrap_err().to_string(), "pool is empty");
        assert!(Config::new("blocks").check(0).is_err());
    }

    #[test]
    fn a_missing_file_of_the_cluster_is_named() {
        let config = Config { ceph_conf: Some("/nonexistent/ceph.conf".into()), ..Config::new("blocks") };
        assert_eq!(
            config.check(16).unwrap_err().to_string(),
            "cannot read ceph_conf = /nonexistent/ceph.conf"
        );
    }

    #[test]
    fn locks_are_beside_the_objects_unless_a_place_is_given() {
        let config = Config { namespace: "one".into(), ..Config::new("blocks") };
        assert_eq!(config.lock_place(), ("blocks", "one"));
        let apart = Config { lock_pool: Some("maps".into()), ..config.clone() };
        assert_eq!(apart.lock_place(), ("maps", ""));
        let named = Config { lock_namespace: Some("two".into()), ..apart };
        assert_eq!(named.lock_place(), ("maps", "two"));
    }
}
