//! Whose turn it is on a volume.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// Gives out turns on one volume in the order in which they are asked for: many shared ones at a time, or one exclusive.
#[derive(Clone, Default)]
pub(crate) struct Turns(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    taken: Taken,
    queue: VecDeque<Ticket>,
    next_number: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Taken {
    #[default]
    Free,
    Shared(u32),
    Exclusive,
}

struct Ticket {
    number: u64,
    kind: Kind,
    waker: Waker,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shared,
    Exclusive,
}

/// A turn; it ends when dropped.
pub(crate) struct Turn(Turns);

impl Turns {
    /// Waits for a turn beside others that change nothing the other relies on.
    pub(crate) async fn shared(&self) -> Turn {
        Waiting { turns: self, kind: Kind::Shared, number: None }.await
    }

    /// Waits until nobody else has a turn.
    pub(crate) async fn exclusive(&self) -> Turn {
        Waiting { turns: self, kind: Kind::Exclusive, number: None }.await
    }

    /// Whether nobody has a turn or waits for one.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.0.borrow();
        state.taken == Taken::Free && state.queue.is_empty()
    }

    fn wake_first(&self) {
        let state = self.0.borrow();
        if let Some(first) = state.queue.front()
            && state.taken.admits(first.kind)
        {
            first.waker.wake_by_ref();
        }
    }
}

impl Taken {
    fn admits(self, kind: Kind) -> bool {
        match (self, kind) {
            (Taken::Free, _) | (Taken::Shared(_), Kind::Shared) => true,
            (Taken::Shared(_), Kind::Exclusive) | (Taken::Exclusive, _) => false,
        }
    }

    fn with(self, kind: Kind) -> Taken {
        match (self, kind) {
            (Taken::Shared(count), Kind::Shared) => Taken::Shared(count + 1),
            (_, Kind::Shared) => Taken::Shared(1),
            (_, Kind::Exclusive) => Taken::Exclusive,
        }
    }

    fn without_one(self) -> Taken {
        match self {
            Taken::Shared(count) if count > 1 => Taken::Shared(count - 1),
            Taken::Free | Taken::Shared(_) | Taken::Exclusive => Taken::Free,
        }
    }
}

struct Waiting<'a> {
    turns: &'a Turns,
    kind: Kind,
    number: Option<u64>,
}

impl Future for Waiting<'_> {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn> {
        let kind = self.kind;
        let mut state = self.turns.0.borrow_mut();
        let first = state.queue.front().map(|ticket| ticket.number);
        if state.taken.admits(kind) && first == self.number {
            state.queue.pop_front();
            state.taken = state.taken.with(kind);
            drop(state);
            self.number = None;
            // The next one may be shared as well.
            self.turns.wake_first();
            return Poll::Ready(Turn(self.turns.clone()));
        }
        let number = self.number.unwrap_or(state.next_number);
        match state.queue.iter_mut().find(|ticket| ticket.number == number) {
            Some(ticket) => ticket.waker.clone_from(context.waker()),
            None => {
                state.next_number += 1;
                state.queue.push_back(Ticket { number, kind, waker: context.waker().clone() });
            }
        }
        drop(state);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.turns.0.borrow_mut().queue.retain(|ticket| ticket.number != number);
            self.turns.wake_first();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.0.0.borrow_mut();
            state.taken = state.taken.without_one();
        }
        self.0.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn shared_turns_are_taken_together_and_an_exclusive_one_alone() {
        let turns = Turns::default();
        let first = poll(std::pin::pin!(turns.shared())).unwrap();
        let second = poll(std::pin::pin!(turns.shared())).unwrap();
        let mut exclusive = std::pin::pin!(turns.exclusive());
        assert!(poll(exclusive.as_mut()).is_none());
        drop(first);
        assert!(poll(exclusive.as_mut()).is_none());
        drop(second);
        assert!(poll(exclusive.as_mut()).is_some());
    }

    #[test]
    fn a_shared_turn_does_not_overtake_an_exclusive_one() {
        let turns = Turns::default();
        let first = poll(std::pin::pin!(turns.shared())).unwrap();
        let mut exclusive = std::pin::pin!(turns.exclusive());
        assert!(poll(exclusive.as_mut()).is_none());
        let mut late = std::pin::pin!(turns.shared());
        assert!(poll(late.as_mut()).is_none());
        drop(first);
        assert!(poll(late.as_mut()).is_none());
        let held = poll(exclusive.as_mut()).unwrap();
        assert!(poll(late.as_mut()).is_none());
        drop(held);
        assert!(poll(late.as_mut()).is_some());
    }

    #[test]
    fn who_gives_up_waiting_blocks_nobody() {
        let turns = Turns::default();
        let first = poll(std::pin::pin!(turns.shared())).unwrap();
        {
            let mut exclusive = std::pin::pin!(turns.exclusive());
            assert!(poll(exclusive.as_mut()).is_none());
        }
        assert!(poll(std::pin::pin!(turns.shared())).is_some());
        drop(first);
        assert!(turns.is_idle());
    }
}
