//! Who is connected, and how to make them leave.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{lock, stream::Socket};

/// Connections that can be counted, refused and ended. Clones are the same set.
#[derive(Clone, Default)]
pub(crate) struct Guests(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inside: Mutex<Inside>,
    has_left: Condvar,
    is_closing: AtomicBool,
}

#[derive(Default)]
struct Inside {
    sockets: HashMap<u64, Arc<Socket>>,
    next_id: u64,
    is_closed: bool,
}

/// One connection's stay; ends when dropped.
pub(crate) struct Guest {
    house: Guests,
    id: u64,
}

impl Guests {
    /// Lets a connection in; none if `most` are in, or nobody may come any more.
    pub(crate) fn enter(&self, socket: &Arc<Socket>, most: usize) -> Option<Guest> {
        let mut inside = lock(&self.0.inside);
        if inside.is_closed || inside.sockets.len() >= most {
            return None;
        }
        let id = inside.next_id;
        inside.next_id += 1;
        inside.sockets.insert(id, Arc::clone(socket));
        Some(Guest { house: self.clone(), id })
    }

    /// How many are in.
    pub(crate) fn count(&self) -> usize {
        lock(&self.0.inside).sockets.len()
    }

    /// Whether those who are in are asked to leave.
    pub(crate) fn is_closing(&self) -> bool {
        self.0.is_closing.load(Ordering::Relaxed)
    }

    /// Lets nobody in any more, provided that nobody is in, after at most `ended` for those whose clients have hung up, and
    /// then at most `patience` for those that are just leaving. Else: how many are in.
    pub(crate) fn close_if_empty(&self, ended: Duration, patience: Duration) -> Result<(), usize> {
        self.await_leaving(ended)?;
        let mut inside = self.wait_until_empty(lock(&self.0.inside), Instant::now() + patience);
        match inside.sockets.len() {
            0 => {
                inside.is_closed = true;
                Ok(())
            }
            count => Err(count),
        }
    }

    /// Lets nobody in any more and asks those to leave who are in.
    pub(crate) fn begin_closing(&self) {
        self.0.is_closing.store(true, Ordering::Relaxed);
        lock(&self.0.inside).is_closed = true;
    }

    /// Lets nobody in any more and makes those leave who are in: what they asked for already is answered, and after
    /// `patience` their connections are cut. Else: how many are left after twice that time.
    pub(crate) fn close(&self, patience: Duration) -> Result<(), usize> {
        self.begin_closing();
        let mut inside = lock(&self.0.inside);
        for end in [Socket::stop_receiving, Socket::shut_down] {
            inside.sockets.values().for_each(|socket| end(socket));
            inside = self.wait_until_empty(inside, Instant::now() + patience);
        }
        if inside.sockets.is_empty() { Ok(()) } else { Err(inside.sockets.len()) }
    }

    /// Waits until nobody is in any more whose client has hung up. Else: how many are after `patience`.
    pub(crate) fn await_leaving(&self, patience: Duration) -> Result<(), usize> {
        let deadline = Instant::now() + patience;
        let mut inside = lock(&self.0.inside);
        loop {
            let leaving = inside.sockets.values().filter(|socket| socket.is_hung_up()).count();
            let left = deadline.saturating_duration_since(Instant::now());
            if leaving == 0 || left.is_zero() {
                return if leaving == 0 { Ok(()) } else { Err(leaving) };
            }
            (inside, _) = self.0.has_left.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_until_empty<'a>(
        &'a self,
        mut inside: MutexGuard<'a, Inside>,
        deadline: Instant,
    ) -> MutexGuard<'a, Inside> {
        while !inside.sockets.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (inside, _) = self.0.has_left.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
        }
        inside
    }

    /// Lets guests in again.
    pub(crate) fn reopen(&self) {
        lock(&self.0.inside).is_closed = false;
        self.0.is_closing.store(false, Ordering::Relaxed);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.house.0.inside).sockets.remove(&self.id);
        self.house.0.has_left.notify_all();
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
    fn only_so_many_come_in() {
        let guests = Guests::default();
        let (_theirs, ours) = socket();
        let _first = guests.enter(&ours, 1).unwrap();
        assert!(guests.enter(&ours, 1).is_none());
    }

    #[test]
    fn a_house_with_guests_is_not_closed_and_a_closed_one_lets_nobody_in() {
        let guests = Guests::default();
        let (_theirs, ours) = socket();
        let guest = guests.enter(&ours, 9).unwrap();
        assert_eq!(guests.close_if_empty(Duration::ZERO, Duration::ZERO), Err(1));
        drop(guest);
        assert_eq!(guests.close_if_empty(Duration::ZERO, Duration::ZERO), Ok(()));
        assert!(guests.enter(&ours, 9).is_none());
        guests.reopen();
        assert!(guests.enter(&ours, 9).is_some());
    }

    #[test]
    fn those_who_have_hung_up_are_waited_for_and_nobody_else() {
        let guests = Guests::default();
        let ((theirs, ours), (_other, stays)) = (socket(), socket());
        let (guest, _stays) = (guests.enter(&ours, 9).unwrap(), guests.enter(&stays, 9).unwrap());
        assert_eq!(guests.await_leaving(Duration::ZERO), Ok(()));
        drop(theirs);
        assert_eq!(guests.await_leaving(Duration::ZERO), Err(1));
        let session = thread::spawn(move || drop(guest));
        assert_eq!(guests.await_leaving(Duration::from_secs(60)), Ok(()));
        session.join().unwrap();
    }

    #[test]
    fn closing_an_empty_house_waits_for_those_who_have_hung_up() {
        let guests = Guests::default();
        let (theirs, ours) = socket();
        let guest = guests.enter(&ours, 9).unwrap();
        drop(theirs);
        assert_eq!(guests.close_if_empty(Duration::ZERO, Duration::ZERO), Err(1));
        let session = thread::spawn(move || drop(guest));
        assert_eq!(guests.close_if_empty(Duration::from_secs(60), Duration::ZERO), Ok(()));
        session.join().unwrap();
    }

    #[test]
    fn closing_ends_connections_and_waits_for_them() {
        let guests = Guests::default();
        let (_theirs, ours) = socket();
        let guest = guests.enter(&ours, 9).unwrap();
        let session = thread::spawn(move || {
            let read = (&*ours).read(&mut [0; 8]);
            drop(guest);
            read.unwrap()
        });
        assert_eq!(guests.close(Duration::from_secs(60)), Ok(()));
        assert_eq!(session.join().unwrap(), 0);
    }
}
