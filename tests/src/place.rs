//! Where a stack keeps its blocks and maps.

use std::path::Path;

use toml::{Table, Value};

use crate::{Ceph, TestStack};

/// Where a store is.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// In files, where `config init` puts them.
    Files,
    /// In a pool and namespace.
    Pool(&'a str, &'a str),
}

/// A configuration for a stack whose stores are there; nobody runs it yet.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn prepared(ceph: &Ceph, blocks: Place<'_>, maps: Place<'_>) -> TestStack {
    prepared_as("admin", &ceph.configuration(), blocks, maps)
}

/// As [`prepared`], for a user of the cluster and its configuration file.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn prepared_as(user: &str, conf: &Path, blocks: Place<'_>, maps: Place<'_>) -> TestStack {
    let as_whom = (user, conf.to_str().unwrap());
    TestStack::prepared(&[], |text| {
        let mut configuration: Table = text.parse().unwrap();
        edit(&mut configuration, as_whom, "blockerb", blocks);
        edit(&mut configuration, as_whom, "blockerm", maps);
        let table = configuration["blockerb"].as_table_mut().unwrap();
        match (blocks, maps) {
            (Place::Files, Place::Pool(..)) | (Place::Pool(..), Place::Files) => {
                table.remove("lock_dir");
                table.insert("foreign_locks".into(), Value::Boolean(true));
            }
            (Place::Pool(..), Place::Pool(pool, namespace)) => {
                table.insert("lock_pool".into(), pool.into());
                table.insert("lock_namespace".into(), namespace.into());
            }
            (Place::Files, Place::Files) => {}
        }
        configuration.to_string()
    })
}

/// A running stack whose stores are there.
///
/// # Panics
/// If it does not come up.
#[must_use]
pub fn started(ceph: &Ceph, blocks: Place<'_>, maps: Place<'_>) -> TestStack {
    let stack = prepared(ceph, blocks, maps);
    stack.launch();
    stack
}

fn edit(configuration: &mut Table, (user, conf): (&str, &str), role: &str, place: Place<'_>) {
    let Place::Pool(pool, namespace) = place else { return };
    let table = configuration[role].as_table_mut().unwrap();
    table.remove("archip_dir");
    table.remove("lock_dir");
    let written = [
        ("type", "radosd"),
        ("pool", pool),
        ("namespace", namespace),
        ("ceph_conf", conf),
        ("cephx_id", user),
    ];
    for (key, value) in written {
        table.insert(key.into(), value.into());
    }
}
