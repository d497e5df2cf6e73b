//! Stores in RADOS, on real Ceph clusters that each test starts for itself or shares with others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod conformance;
mod locks;
mod nodes;
mod original;
mod outage;
mod rights;
mod stacks;
mod trouble;

use std::sync::Arc;

use tests::{Ceph, skip};

/// The cluster that tests share, if there can be one here.
fn shared(test: &str) -> Option<Arc<Ceph>> {
    is_possible(test).then(Ceph::shared)
}

/// Whether a cluster can be started here; says why not.
fn is_possible(test: &str) -> bool {
    Ceph::is_possible().map_err(|reason| skip(test, &reason)).is_ok()
}
