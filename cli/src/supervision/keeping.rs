//! The supervisor's side of [`client::keeping`]: descriptors of roles, kept while a role is away.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Bound,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use client::keeping::{Ask, Told, address, receive, send};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, bind, listen, socket_with};

/// How many descriptors are kept in all.
const MAX_KEPT: usize = 512;
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 64;

/// Role and name of a descriptor.
type Key = (String, String);

/// All that is kept. Clones are the same store.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<BTreeMap<Key, (String, OwnedFd)>>>);

/// Keeps what roles hand over at `socket`, until this process ends.
pub(super) fn serve(socket: &Path) -> io::Result<()> {
    // The pid file's lock proves that whoever made the old socket is gone.
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    bind(&listener, &address(socket)?)?;
    listen(&listener, BACKLOG)?;
    let store = Store::default();
    let accept = move || {
        while let Ok(connection) = accept_with(&listener, SocketFlags::CLOEXEC) {
            let store = store.clone();
            // A connection that can't be served is closed; the role tries again.
            let _refused = thread::Builder::new().name("keep".into()).spawn(move || store.serve(&connection));
        }
    };
    thread::Builder::new().name("keep-accept".into()).spawn(accept).map(drop)
}

impl Store {
    fn serve(&self, connection: &OwnedFd) {
        // What makes no sense ends the connection.
        while let Ok(Some((ask, descriptor))) = receive::<Ask>(connection) {
            if ask == Ask::Stay {
                continue;
            }
            let told = self.answer(ask, descriptor);
            let descriptor = told.1.as_ref().map(OwnedFd::as_fd);
            if send(connection, &told.0, descriptor).is_err() {
                return;
            }
        }
    }

    fn answer(&self, ask: Ask, descriptor: Option<OwnedFd>) -> (Told, Option<OwnedFd>) {
        match (ask, descriptor) {
            (Ask::Keep { role, name, note }, Some(descriptor)) => {
                (self.keep((role, name), note, descriptor), None)
            }
            (Ask::Keep { .. }, None) => (Told::Refused("no descriptor came".to_owned()), None),
            (Ask::Forget { role, name }, _) => {
                self.all().remove(&(role, name));
                (Told::Done, None)
            }
            (Ask::Next { role, after }, _) => self.next(role, after),
            (Ask::Stay, _) => (Told::Done, None),
        }
    }

    fn keep(&self, key: Key, note: String, descriptor: OwnedFd) -> Told {
        let mut all = self.all();
        if all.len() >= MAX_KEPT && !all.contains_key(&key) {
            return Told::Refused(format!("{MAX_KEPT} descriptors are kept already"));
        }
        if !all.contains_key(&key) {
            tracing::info!(role = key.0, name = key.1, "keeps a descriptor");
        }
        all.insert(key, (note, descriptor));
        Told::Done
    }

    fn next(&self, role: String, after: String) -> (Told, Option<OwnedFd>) {
        let all = self.all();
        let from = (Bound::Excluded((role.clone(), after)), Bound::Unbounded);
        match all.range(from).next().filter(|((owner, _), _)| *owner == role) {
            None => (Told::Done, None),
            Some(((_, name), (note, descriptor))) => match duplicate(descriptor.as_fd()) {
                Ok(descriptor) => (Told::Kept { name: name.clone(), note: note.clone() }, Some(descriptor)),
                Err(error) => (Told::Refused(error.to_string()), None),
            },
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, (String, OwnedFd)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn duplicate(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    descriptor.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
    };

    use client::keeping::{Keeper, SOCKET};
    use peer::Common;

    use super::*;

    fn common(role: &str, run_dir: &Path) -> Common {
        Common {
            role: role.into(),
            ports: 1..=1,
            nr_ops: 1,
            node: "node".into(),
            run_dir: run_dir.to_owned(),
        }
    }

    #[test]
    fn the_next_incarnation_gets_what_was_kept_and_nothing_of_others() {
        let dir = tempfile::tempdir().unwrap();
        serve(&dir.path().join(SOCKET)).unwrap();
        let (first, kept) = Keeper::of(&common("fuse", dir.path()));
        assert!(kept.is_empty());
        let (reader, writer) = io::pipe().unwrap();
        first.keep("pipe", "one".into(), writer.into());
        first.note("pipe", "two".into());
        first.keep("gone", String::new(), File::open("/dev/null").unwrap().into());
        first.forget("gone");
        drop(first);
        assert!(Keeper::of(&common("nbd", dir.path())).1.is_empty());
        let (second, kept) = Keeper::of(&common("fuse", dir.path()));
        let [ref kept] = kept[..] else { panic!("{} are kept", kept.len()) };
        assert_eq!((kept.name.as_str(), kept.note.as_str()), ("pipe", "two"));
        File::from(kept.descriptor.try_clone().unwrap()).write_all(b"x").unwrap();
        let mut byte = [0];
        (&reader).read_exact(&mut byte).unwrap();
        drop(second);
    }

    #[test]
    fn noise_ends_a_connection_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET);
        serve(&socket).unwrap();
        let stranger =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::connect(&stranger, &address(&socket).unwrap()).unwrap();
        rustix::io::write(&stranger, b"\xff{").unwrap();
        assert!(receive::<Told>(&stranger).unwrap().is_none());
        send(&stranger, &Ask::Stay, None).unwrap_err();
        assert!(Keeper::of(&common("fuse", dir.path())).1.is_empty());
    }
}
