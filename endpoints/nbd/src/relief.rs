//! A second thread for a session: it waits for the stack when that takes long, while the session listens to its client.
//!
//! A session with quick storage answers by itself: it receives what the client sent, submits it, waits for completions,
//! and answers those that are ready with one send. So there is no thread to wake between. When completions take longer than
//! [`LEND_AFTER`], it lends its [`Replier`] to the relief, and takes it back when storage is quick again.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    lock,
    pending::Duty,
    replies::{Replier, Shared},
};

/// How long a session waits for the stack before it lets the relief wait.
pub(crate) const LEND_AFTER: Duration = Duration::from_micros(250);
/// How long the relief waits at a time.
const WAIT: Duration = Duration::from_secs(1);

/// The relief's thread, and the ways to and from it.
pub(crate) struct Relief {
    lend: mpsc::Sender<Replier>,
    returned: mpsc::Receiver<Replier>,
}

/// The relief's thread has ended before its session.
#[derive(Debug)]
pub(crate) struct ReliefDied;

impl Relief {
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Relief> {
        let (lend, lent) = mpsc::channel::<Replier>();
        let (give_back, returned) = mpsc::channel();
        let shared = Arc::clone(shared);
        thread::Builder::new().name("nbd-replies".into()).spawn(move || {
            for mut replier in lent {
                wait_and_answer(&mut replier, &shared);
                if give_back.send(replier).is_err() {
                    return;
                }
            }
        })?;
        Ok(Relief { lend, returned })
    }

    /// Lets the relief wait for what is pending.
    pub(crate) fn lend(&self, replier: Replier, shared: &Shared) {
        lock(&shared.pending).duty = Duty::Relief;
        // Fails only if the thread has died of a panic; then nobody answers, and the client sees the end.
        let _dead = self.lend.send(replier);
    }

    /// Takes back what was lent, once the relief has given duty up. None if that takes longer than `patience`.
    ///
    /// # Errors
    /// If the relief has died.
    pub(crate) fn take_back(&self, patience: Duration) -> Result<Option<Replier>, ReliefDied> {
        match self.returned.recv_timeout(patience) {
            Ok(replier) => Ok(Some(replier)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(ReliefDied),
        }
    }
}

fn wait_and_answer(replier: &mut Replier, shared: &Shared) {
    loop {
        let began = Instant::now();
        let has_answered = replier.answer(shared, began + WAIT);
        let is_quick = has_answered && began.elapsed() < LEND_AFTER;
        let mut pending = lock(&shared.pending);
        let is_taken_back = match pending.duty {
            Duty::Session | Duty::Relief => false,
            Duty::Wanted => is_quick,
            Duty::Needed => has_answered,
        };
        if is_taken_back || pending.is_empty() || shared.is_over() {
            pending.duty = Duty::Session;
            return;
        }
    }
}
