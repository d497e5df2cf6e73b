//! Conversations beside each other, inside one task.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Poll, Waker},
};

/// How many questions one request has under way at a time.
pub(crate) const PARALLEL: usize = 16;

/// Runs the futures that `next` makes, at most [`PARALLEL`] at a time, until it makes no more. After the first error no more
/// are begun; those under way are waited for.
///
/// # Errors
/// The first.
pub(crate) async fn each<F, E>(mut next: impl FnMut() -> Option<F>) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut result = Ok(());
    let mut has_more = true;
    poll_fn(|context| {
        loop {
            while has_more && result.is_ok() && running.len() < PARALLEL {
                match next() {
                    Some(future) => running.push(Box::pin(future)),
                    None => has_more = false,
                }
            }
            let before = running.len();
            running.retain_mut(|future| match future.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => {
                    if result.is_ok() {
                        result = Err(error);
                    }
                    false
                }
            });
            if running.is_empty() && (!has_more || result.is_err()) {
                return Poll::Ready(());
            }
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    result
}

/// Something that happens once. Clones are the same happening.
#[derive(Clone, Default)]
pub(crate) struct Signal(Rc<RefCell<SignalState>>);

#[derive(Default)]
struct SignalState {
    is_given: bool,
    /// Bounded by the running requests: each waits here at most once.
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

impl Signal {
    /// Lets it happen.
    pub(crate) fn give(&self) {
        let waiting = {
            let mut state = self.0.borrow_mut();
            state.is_given = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// What `future` comes to, or `None` if the signal is given first; then the future is dropped.
    pub(crate) async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        let listener = Listener { signal: self, number: self.number() };
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if listener.listen(context.waker()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn number(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.next += 1;
        state.next
    }
}

struct Listener<'a> {
    signal: &'a Signal,
    number: u64,
}

impl Listener<'_> {
    /// Whether the signal was given already; if not, it wakes `waker`.
    fn listen(&self, waker: &Waker) -> bool {
        let mut state = self.signal.0.borrow_mut();
        if !state.is_given {
            state.waiting.insert(self.number, waker.clone());
        }
        state.is_given
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.signal.0.borrow_mut().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        task::{Context, Waker},
    };

    use super::*;

    fn finish<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn all_are_run_and_the_first_error_ends_it() {
        let (made, done) = (Cell::new(0), Cell::new(0));
        let count = |limit: usize, failing: usize| {
            made.set(0);
            done.set(0);
            finish(each(|| {
                let number = made.get();
                (number < limit).then(|| {
                    made.set(number + 1);
                    async {
                        let mine = done.get();
                        done.set(mine + 1);
                        if mine == failing { Err(mine) } else { Ok(()) }
                    }
                })
            }))
        };
        assert_eq!(count(100, 1000), Some(Ok(())));
        assert_eq!(done.get(), 100);
        assert_eq!(count(100, 3), Some(Err(3)));
        assert_eq!(made.get(), PARALLEL);
    }

    #[test]
    fn a_signal_ends_what_waits_for_something_else() {
        let signal = Signal::default();
        assert!(finish(signal.or(std::future::pending::<()>())).is_none());
        signal.give();
        assert_eq!(finish(signal.or(std::future::pending::<()>())), Some(None));
        assert_eq!(finish(signal.or(async { 5 })), Some(Some(5)));
    }
}
