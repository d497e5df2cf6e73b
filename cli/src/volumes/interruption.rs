//! What a command undoes when SIGINT or SIGTERM ends it.

use std::{
    io::{self, Write},
    process::abort,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::Signals,
    low_level::emulate_default_handler,
};

/// Undoes what was begun, and says what became of it.
type Undo = Box<dyn FnOnce() -> String + Send>;

/// Shared with the thread that waits for signals: whoever holds the lock decides what there is to undo.
pub(super) struct Interruption {
    undo: Arc<Mutex<Option<Undo>>>,
}

impl Interruption {
    /// From now on the first signal undoes what was begun and then ends the process; a second one ends it at once.
    pub(super) fn watch() -> io::Result<Interruption> {
        let undo = Arc::new(Mutex::new(None));
        let has_come = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&has_come))?;
        }
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let theirs = Arc::clone(&undo);
        let wait = move || {
            if let Some(signal) = signals.forever().next() {
                has_come.store(true, Ordering::Relaxed);
                interrupted(&theirs, signal);
            }
        };
        thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(Interruption { undo })
    }

    /// Takes a step that `undo` takes back. An interruption in its midst waits for its end.
    pub(super) fn begin<T, E>(
        &self,
        step: impl FnOnce() -> Result<T, E>,
        undo: impl FnOnce() -> String + Send + 'static,
    ) -> Result<T, E> {
        let mut kept = lock(&self.undo);
        let done = step()?;
        *kept = Some(Box::new(undo));
        Ok(done)
    }

    /// Takes the step after which there is nothing to undo any more.
    pub(super) fn end<T>(&self, step: impl FnOnce() -> T) -> T {
        let mut kept = lock(&self.undo);
        let done = step();
        *kept = None;
        done
    }
}

/// Keeps the lock, so that the command neither goes on nor reports what is only the interruption's doing.
fn interrupted(undo: &Mutex<Option<Undo>>, signal: i32) {
    let mut begun = lock(undo);
    if let Some(undo) = begun.take() {
        // Whoever interrupted may have gone.
        let _unread = writeln!(io::stderr(), "\ninterrupted: {}", undo());
    }
    let _ended = emulate_default_handler(signal);
    abort();
}

fn lock(undo: &Mutex<Option<Undo>>) -> MutexGuard<'_, Option<Undo>> {
    undo.lock().unwrap_or_else(PoisonError::into_inner)
}
