//! The volumes that are visible here, and who uses them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{lock, stream::Socket};

/// Every attached volume, by name.
#[derive(Default)]
pub(crate) struct Exports {
    table: Mutex<BTreeMap<String, Arc<Export>>>,
}

/// One attached volume or snapshot.
pub(crate) struct Export {
    pub(crate) volume: String,
    pub(crate) is_read_only: bool,
    users: Mutex<Users>,
    has_left: Condvar,
}

/// Who uses an export.
#[derive(Default)]
struct Users {
    sockets: HashMap<u64, Arc<Socket>>,
    next_id: u64,
    /// Nobody may come any more: it is being detached.
    is_closed: bool,
}

/// A client's use of an export; ends when dropped.
pub(crate) struct Use {
    export: Arc<Export>,
    id: u64,
}

/// Clients still use the export.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InUse {
    pub(crate) user_count: usize,
}

impl Exports {
    /// Makes a volume visible; none if it already is.
    pub(crate) fn attach(&self, volume: &str, is_read_only: bool) -> Option<Arc<Export>> {
        let mut table = lock(&self.table);
        if table.contains_key(volume) {
            return None;
        }
        let export = Arc::new(Export {
            volume: volume.to_owned(),
            is_read_only,
            users: Mutex::default(),
            has_left: Condvar::new(),
        });
        table.insert(volume.to_owned(), Arc::clone(&export));
        Some(export)
    }

    /// Forgets a volume.
    pub(crate) fn detach(&self, volume: &str) {
        lock(&self.table).remove(volume);
    }

    /// The export of this very name.
    pub(crate) fn get(&self, volume: &str) -> Option<Arc<Export>> {
        lock(&self.table).get(volume).cloned()
    }

    /// The export that a client means: the empty name means the only one there is.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Export>> {
        let table = lock(&self.table);
        match name {
            "" if table.len() == 1 => table.values().next().cloned(),
            name => table.get(name).cloned(),
        }
    }

    /// All of them, in order of names.
    pub(crate) fn all(&self) -> Vec<Arc<Export>> {
        lock(&self.table).values().cloned().collect()
    }
}

impl Export {
    /// Begins a client's use; none if the export is being detached.
    pub(crate) fn enter(self: &Arc<Self>, socket: &Arc<Socket>) -> Option<Use> {
        let mut users = lock(&self.users);
        if users.is_closed {
            return None;
        }
        let id = users.next_id;
        users.next_id += 1;
        users.sockets.insert(id, Arc::clone(socket));
        Some(Use { export: Arc::clone(self), id })
    }

    /// How many clients use it.
    pub(crate) fn user_count(&self) -> usize {
        lock(&self.users).sockets.len()
    }

    /// Lets nobody in any more, if nobody is in.
    pub(crate) fn close(&self) -> Result<(), InUse> {
        let mut users = lock(&self.users);
        match users.sockets.len() {
            0 => {
                users.is_closed = true;
                Ok(())
            }
            user_count => Err(InUse { user_count }),
        }
    }

    /// Lets nobody in any more, ends the connections of those who are in, and waits until they are gone.
    pub(crate) fn close_by_force(&self, patience: Duration) -> Result<(), InUse> {
        let deadline = Instant::now() + patience;
        let mut users = lock(&self.users);
        users.is_closed = true;
        users.sockets.values().for_each(|socket| socket.shut_down());
        while !users.sockets.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(InUse { user_count: users.sockets.len() });
            }
            (users, _) = self.has_left.wait_timeout(users, left).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Lets clients in again after a detach that failed.
    pub(crate) fn reopen(&self) {
        lock(&self.users).is_closed = false;
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        lock(&self.export.users).sockets.remove(&self.id);
        self.export.has_left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream, thread};

    use super::*;

    fn socket() -> (UnixStream, Arc<Socket>) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        (theirs, Arc::new(Socket::Unix(ours)))
    }

    #[test]
    fn the_empty_name_means_the_only_export() {
        let exports = Exports::default();
        exports.attach("a", false).unwrap();
        assert_eq!(exports.find("").unwrap().volume, "a");
        exports.attach("b", false).unwrap();
        assert!(exports.find("").is_none());
    }

    #[test]
    fn a_volume_is_attached_once() {
        let exports = Exports::default();
        exports.attach("a", false).unwrap();
        assert!(exports.attach("a", true).is_none());
    }

    #[test]
    fn closing_refuses_while_a_client_is_in_and_lets_nobody_in_afterwards() {
        let export = Exports::default().attach("a", false).unwrap();
        let (_theirs, ours) = socket();
        let client = export.enter(&ours).unwrap();
        assert_eq!(export.close(), Err(InUse { user_count: 1 }));
        drop(client);
        assert_eq!(export.close(), Ok(()));
        assert!(export.enter(&ours).is_none());
    }

    #[test]
    fn closing_by_force_ends_connections_and_waits_for_them() {
        let export = Exports::default().attach("a", false).unwrap();
        let (_theirs, ours) = socket();
        let client = export.enter(&ours).unwrap();
        let session = thread::spawn(move || {
            let read = (&*ours).read(&mut [0; 8]);
            drop(client);
            read.unwrap()
        });
        assert_eq!(export.close_by_force(Duration::from_secs(60)), Ok(()));
        assert_eq!(session.join().unwrap(), 0);
    }
}
