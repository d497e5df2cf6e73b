//! A network with a cluster, which the tests share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tests::{
    Ceph, Host, Network,
    place::{Place, prepared},
    skip,
};

/// A network, and the cluster on it. Ends with the last test that uses it.
pub(crate) struct Site {
    // Before the network: it runs there.
    ceph: Ceph,
    network: Network,
}

impl Site {
    /// The one that tests share, if there can be one here.
    pub(crate) fn shared(test: &str) -> Option<Arc<Site>> {
        static SHARED: Mutex<Weak<Site>> = Mutex::new(Weak::new());
        if let Err(reason) = Ceph::is_possible().and_then(|()| Network::is_possible()) {
            skip(test, &reason);
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let site = shared.upgrade().unwrap_or_else(|| Arc::new(Site::start()));
        *shared = Arc::downgrade(&site);
        Some(site)
    }

    fn start() -> Site {
        let network = Network::start();
        let ceph = Ceph::start_on(&network);
        ["blocks", "maps"].iter().for_each(|pool| ceph.make_pool(pool));
        Site { ceph, network }
    }

    /// So many hosts that share what is in a namespace.
    pub(crate) fn hosts<const COUNT: usize>(&self, namespace: &str) -> [Host; COUNT] {
        let (blocks, maps) = (Place::Pool("blocks", namespace), Place::Pool("maps", namespace));
        std::array::from_fn(|_| self.network.host(prepared(&self.ceph, blocks, maps)))
    }
}
