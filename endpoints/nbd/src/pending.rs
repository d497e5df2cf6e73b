//! Requests that the stack is working on, and which thread waits for them.

use crate::wire::Request;

/// The requests under way of one session; how many there may be is bounded by the session's port.
#[derive(Default)]
pub(crate) struct Pending {
    requests: Vec<Option<Request>>,
    free: Vec<usize>,
    pub(crate) duty: Duty,
}

/// Which thread hears completions and answers them. It changes together with what is pending, so that neither thread
/// believes the other to be waiting when it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Duty {
    /// The session's own thread.
    #[default]
    Session,
    /// The relief, while the session waits for its client.
    Relief,
    /// The relief, but the session would take it back if completions come quickly.
    Wanted,
    /// The relief, until the next completion: the session cannot go on without one.
    Needed,
}

impl Pending {
    /// Keeps a request; the number that its completion must carry.
    pub(crate) fn insert(&mut self, request: Request) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.requests.push(None);
            self.requests.len() - 1
        });
        self.requests[index] = Some(request);
        u64::try_from(index).expect("an index fits in 64 bits")
    }

    /// The request that belongs to a completion; none if the number was never given out.
    pub(crate) fn get(&self, token: u64) -> Option<Request> {
        *self.requests.get(usize::try_from(token).ok()?)?
    }

    /// Forgets a request. It must hold no buffer any more: who finds nothing pending expects all of them to be free.
    pub(crate) fn remove(&mut self, token: u64) -> Option<Request> {
        let index = usize::try_from(token).ok()?;
        let request = self.requests.get_mut(index)?.take()?;
        self.free.push(index);
        Some(request)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Command, CommandFlags};

    fn request(cookie: u64) -> Request {
        Request {
            flags: CommandFlags::empty(),
            command: Command::Flush,
            cookie,
            offset: 0,
            length: 0,
            payload: 0,
        }
    }

    #[test]
    fn a_request_is_found_once_by_its_number() {
        let mut pending = Pending::default();
        let (first, second) = (pending.insert(request(7)), pending.insert(request(8)));
        assert_eq!(pending.get(first).unwrap().cookie, 7);
        assert_eq!(pending.remove(first).unwrap().cookie, 7);
        assert_eq!((pending.get(first), pending.remove(first)), (None, None));
        assert_eq!(pending.remove(u64::MAX), None);
        assert!(!pending.is_empty());
        assert_eq!(pending.remove(second).unwrap().cookie, 8);
        assert!(pending.is_empty());
        assert_eq!(pending.insert(request(9)), second);
    }
}
