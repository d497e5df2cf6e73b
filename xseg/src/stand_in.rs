//! Serving a port in the stead of its owner's thread, which goes on sleeping: nobody is woken, and nobody waits.

use std::{
    collections::HashMap,
    fmt,
    sync::{PoisonError, RwLock, Weak},
};

use crate::port::PortNumber;

/// Serves a port of this process, in a thread that has put something into its inbox while the owner's thread slept.
pub trait StandIn: Send + Sync {
    /// Serves what is in the inbox and says anew that the owner sleeps. False if the owner has to be woken: somebody else
    /// serves the port already, there is too much to do, or something that only the owner's thread can do.
    fn stand_in(&self) -> bool;
}

/// Who stands in for which port of this process. At most one a port.
#[derive(Default)]
pub(crate) struct StandIns(RwLock<HashMap<u32, Weak<dyn StandIn>>>);

impl fmt::Debug for StandIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandIns")
    }
}

impl StandIns {
    pub(crate) fn set(&self, port: PortNumber, stand_in: Weak<dyn StandIn>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(port.0, stand_in);
    }

    /// Whether the port was served, so that its owner need not be woken.
    pub(crate) fn serve(&self, port: u32) -> bool {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&port).and_then(Weak::upgrade);
        found.is_some_and(|stand_in| stand_in.stand_in())
    }
}
