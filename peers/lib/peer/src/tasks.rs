//! Conversations as straight code.
//!
//! Some answers need several questions: take a lock, read a root, write a node. A peer writes such a conversation as an
//! `async` block that [`Tasks::call`]s other peers, and stays a deterministic state machine: tasks run in the peer's one
//! thread, in the order in which what they wait for arrives.
//!
//! ```text
//! tasks.spawn(async move {
//!     let reply = tasks.call(store, 4096, |request| { request.set_op(Op::Read.number()); Ok(()) }).await?;
//! });
//! ```

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use protocol::{ErrorKind, Failure};
use xseg::{Held, PortNumber};

use crate::{Answer, Effects, failure_of};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The running conversations of one peer. Clones are the same set.
#[derive(Clone)]
pub struct Tasks(Rc<Inner>);

struct Inner {
    effects: Effects,
    tasks: RefCell<HashMap<u64, Task>>,
    next: RefCell<u64>,
    ready: Arc<Ready>,
    /// By request slot: who waits for the reply, and the reply once it is there.
    replies: RefCell<HashMap<u32, Waiting>>,
    /// Who waits for a free slot or buffer.
    starved: RefCell<VecDeque<Waker>>,
}

#[derive(Default)]
struct Ready(Mutex<VecDeque<u64>>);

struct TaskWaker {
    id: u64,
    ready: Arc<Ready>,
}

enum Waiting {
    For(Waker),
    Arrived(Held),
    /// Nobody wants it any more.
    Abandoned,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.id);
    }
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new(effects: Effects) -> Tasks {
        Tasks(Rc::new(Inner {
            effects,
            tasks: RefCell::default(),
            next: RefCell::new(0),
            ready: Arc::default(),
            replies: RefCell::default(),
            starved: RefCell::default(),
        }))
    }

    /// Ends all conversations where they are, as the end of the process would: they hold each other.
    pub fn forget(&self) {
        drop(self.0.tasks.take());
        drop(self.0.replies.take());
    }

    /// What the peer can do.
    #[must_use]
    pub fn effects(&self) -> &Effects {
        &self.0.effects
    }

    /// Whether no conversation is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.tasks.borrow().is_empty()
    }

    /// Starts a conversation; it runs at the next [`Tasks::run`].
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = {
            let mut next = self.0.next.borrow_mut();
            *next += 1;
            *next
        };
        self.0.tasks.borrow_mut().insert(id, Box::pin(task));
        self.0.ready.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(id);
    }

    /// Gives a reply to the task that waits for it.
    pub fn replied(&self, reply: Held) {
        let slot = reply.slot();
        let previous = self.0.replies.borrow_mut().remove(&slot);
        match previous {
            Some(Waiting::For(waker)) => {
                self.0.replies.borrow_mut().insert(slot, Waiting::Arrived(reply));
                waker.wake();
            }
            Some(Waiting::Abandoned | Waiting::Arrived(_)) | None => self.0.effects.free(reply),
        }
        self.feed();
    }

    /// Runs tasks until each of them waits.
    pub fn run(&self) {
        while let Some(id) = self.next_ready() {
            let Some(mut task) = self.0.tasks.borrow_mut().remove(&id) else { continue };
            let waker = Waker::from(Arc::new(TaskWaker { id, ready: self.0.ready.clone() }));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                self.0.tasks.borrow_mut().insert(id, task);
            }
        }
    }

    /// Asks a peer and waits for its reply. `fill` writes the question.
    ///
    /// # Errors
    /// What `fill` refuses, what keeps the request from being sent, or what the peer answered.
    pub async fn call(
        &self,
        to: PortNumber,
        buffer_bytes: u64,
        fill: impl FnOnce(&mut Held) -> Result<(), Failure>,
    ) -> Result<Answer, Failure> {
        let mut request = Allocation { tasks: self, buffer_bytes }.await?;
        if let Err(failure) = fill(&mut request) {
            self.0.effects.free(request);
            return Err(failure);
        }
        let slot = request.slot();
        if let Err(refused) = self.0.effects.submit(request, to) {
            let (request, error) = refused.into_parts();
            self.0.effects.free(request);
            return Err(Failure::new(ErrorKind::Unavailable, error.to_string()));
        }
        let reply = Reply { tasks: self, slot }.await;
        match failure_of(&reply) {
            Some(failure) => Err(failure),
            None => Ok(reply),
        }
    }

    fn next_ready(&self) -> Option<u64> {
        self.0.ready.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Lets one task try again to get a slot.
    fn feed(&self) {
        if let Some(waker) = self.0.starved.borrow_mut().pop_front() {
            waker.wake();
        }
    }
}

/// Waits for a free slot and buffer.
struct Allocation<'a> {
    tasks: &'a Tasks,
    buffer_bytes: u64,
}

impl Future for Allocation<'_> {
    type Output = Result<Held, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = &self.tasks.0;
        match inner.effects.allocate(self.buffer_bytes) {
            // With none of ours under way nothing will ever come free.
            Err(failure) if failure.kind == ErrorKind::NoSpace && !inner.replies.borrow().is_empty() => {
                inner.starved.borrow_mut().push_back(context.waker().clone());
                Poll::Pending
            }
            result => {
                self.tasks.feed();
                Poll::Ready(result)
            }
        }
    }
}

/// Waits for the reply in a slot.
struct Reply<'a> {
    tasks: &'a Tasks,
    slot: u32,
}

impl Future for Reply<'_> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut replies = self.tasks.0.replies.borrow_mut();
        match replies.remove(&self.slot) {
            Some(Waiting::Arrived(held)) => Poll::Ready(Answer::new(held, self.tasks.0.effects.clone())),
            _ => {
                replies.insert(self.slot, Waiting::For(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        let mut replies = self.tasks.0.replies.borrow_mut();
        match replies.remove(&self.slot) {
            Some(Waiting::For(_) | Waiting::Abandoned) => {
                replies.insert(self.slot, Waiting::Abandoned);
            }
            Some(Waiting::Arrived(held)) => {
                drop(replies);
                self.tasks.0.effects.free(held);
            }
            None => {}
        }
    }
}

/// Lets one conversation at a time touch something, in the order in which they asked.
#[derive(Clone, Default)]
pub struct Gate(Rc<RefCell<GateState>>);

#[derive(Default)]
struct GateState {
    is_taken: bool,
    queue: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

/// The right to touch what a [`Gate`] guards; ends when dropped.
pub struct Pass(Gate);

impl Gate {
    /// Waits for one's turn.
    pub async fn enter(&self) -> Pass {
        Entering { gate: self, ticket: None }.await
    }

    /// Whether somebody is inside.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.0.borrow().is_taken
    }
}

struct Entering<'a> {
    gate: &'a Gate,
    ticket: Option<u64>,
}

impl Future for Entering<'_> {
    type Output = Pass;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Pass> {
        let gate = self.gate.clone();
        let mut state = gate.0.borrow_mut();
        let first = state.queue.front().map(|(ticket, _)| *ticket);
        if !state.is_taken && first == self.ticket {
            state.queue.pop_front();
            state.is_taken = true;
            self.ticket = None;
            drop(state);
            return Poll::Ready(Pass(gate));
        }
        let ticket = self.ticket.unwrap_or(state.next_ticket);
        match state.queue.iter_mut().find(|(waiting, _)| *waiting == ticket) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => {
                state.next_ticket += 1;
                state.queue.push_back((ticket, context.waker().clone()));
            }
        }
        drop(state);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.gate.0.borrow_mut().queue.retain(|(waiting, _)| *waiting != ticket);
            self.gate.wake_first();
        }
    }
}

impl Gate {
    fn wake_first(&self) {
        let state = self.0.borrow();
        if !state.is_taken
            && let Some((_, waker)) = state.queue.front()
        {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.0.borrow_mut().is_taken = false;
        self.0.wake_first();
    }
}
