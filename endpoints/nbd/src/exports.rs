//! The volumes that are visible here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{guests::Guests, lock};

/// Every attached volume, by name. Clones are the same table.
#[derive(Clone, Default)]
pub(crate) struct Exports(Arc<Mutex<BTreeMap<String, Arc<Export>>>>);

/// One attached volume or snapshot.
pub(crate) struct Export {
    pub(crate) volume: String,
    /// Writes are refused here, whatever the volume would allow.
    pub(crate) is_read_only: bool,
    /// Connections that use it.
    pub(crate) users: Guests,
}

impl Exports {
    /// Makes a volume visible; false if it already is.
    pub(crate) fn attach(&self, volume: &str, is_read_only: bool) -> bool {
        let mut table = lock(&self.0);
        let is_new = !table.contains_key(volume);
        if is_new {
            let export = Export { volume: volume.to_owned(), is_read_only, users: Guests::default() };
            table.insert(volume.to_owned(), Arc::new(export));
        }
        is_new
    }

    /// Forgets a volume.
    pub(crate) fn detach(&self, volume: &str) {
        lock(&self.0).remove(volume);
    }

    /// The export of this very name.
    pub(crate) fn get(&self, volume: &str) -> Option<Arc<Export>> {
        lock(&self.0).get(volume).cloned()
    }

    /// The export that a client means: the empty name means the only one there is.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Export>> {
        let table = lock(&self.0);
        match name {
            "" if table.len() == 1 => table.values().next().cloned(),
            name => table.get(name).cloned(),
        }
    }

    /// All of them, in order of names.
    pub(crate) fn all(&self) -> Vec<Arc<Export>> {
        lock(&self.0).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_name_means_the_only_export() {
        let exports = Exports::default();
        exports.attach("a", false);
        assert_eq!(exports.find("").unwrap().volume, "a");
        exports.attach("b", false);
        assert!(exports.find("").is_none());
    }

    #[test]
    fn a_volume_is_attached_once() {
        let exports = Exports::default();
        assert!(exports.attach("a", false));
        assert!(!exports.attach("a", true));
    }
}
