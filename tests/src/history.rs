//! What clients on several hosts asked of one volume and were told, and whether a volume that keeps its promises could have told it.
//!
//! The volume is some *registers*, pieces of 4 KiB, and a lock. [`History::verify`] looks, for each register, for an order of all that
//! was asked that agrees with every clock (what ended before another thing began comes before it) and in which each answer is
//! right (linearizability, by the search of Wing and Gong, which visits no state twice). The rules of one step are those of `state`.
//!
//! A request that was never answered may take effect at any time, or never; one that failed, until it failed, or never.

mod search;
mod state;
mod witness;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use witness::Witness;

/// What is written to a register; no two writes write the same. Zero: nothing was written.
pub type Value = u64;
/// When something happened, since the history began.
pub type Moment = Duration;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A register is written.
    Write(usize, Value),
    /// What this client wrote last, this value to this register, becomes durable.
    Flush(usize, Value),
    /// A register is read; this was seen.
    Read(usize, Value),
    /// The host takes the volume's lock.
    Open,
    /// The host gives it back.
    Close,
    /// The host breaks another's.
    Break,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was done.
    Done(Moment),
    /// It failed. It may have had its effect before, but has none afterwards.
    Failed(Moment),
    /// Nobody knows.
    Never,
}

/// When a host hears that its lock was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum News {
    /// Before anybody else gets the lock.
    #[default]
    AtOnce,
    /// When it wants to change something.
    Late,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The host on which it was made.
    pub host: usize,
    /// What was asked.
    pub action: Action,
    /// When.
    pub begun: Moment,
    /// What came of it.
    pub end: End,
}

/// Everything that was asked, by all clients of all hosts.
pub struct History {
    origin: Instant,
    news: News,
    operations: Mutex<Vec<Operation>>,
}

impl Default for History {
    fn default() -> History {
        History::new(News::default())
    }
}

impl History {
    /// An empty one, of hosts that hear of broken locks then.
    #[must_use]
    pub fn new(news: News) -> History {
        History { origin: Instant::now(), news, operations: Mutex::default() }
    }

    /// How long the history has lasted.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.origin.elapsed()
    }

    /// Notes a request.
    pub fn add(&self, operation: Operation) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    /// Every answer must be one that a volume could have given.
    ///
    /// # Errors
    /// Where the search could not go on, or that it had too much to look at.
    pub fn verify(&self, registers: usize) -> Result<(), String> {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        (0..registers).try_for_each(|register| {
            let of_register: Vec<Operation> =
                operations.iter().filter(|operation| operation.is_of(register)).copied().collect();
            search::search(&of_register, self.news).map_err(|why| format!("register {register}: {why}"))
        })
    }
}

impl fmt::Display for History {
    /// What was done, in numbers.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |wanted: fn(&Operation) -> bool| operations.iter().filter(|it| wanted(it)).count();
        write!(
            out,
            "{} requests: {} writes and {} reads done, {} locks broken, {} refused, {} never answered",
            operations.len(),
            of(|it| it.is_done() && matches!(it.action, Action::Write(..))),
            of(|it| it.is_done() && matches!(it.action, Action::Read(..))),
            of(|it| it.is_done() && it.action == Action::Break),
            of(|it| matches!(it.end, End::Failed(_))),
            of(|it| it.end == End::Never),
        )
    }
}

impl Operation {
    fn is_of(&self, register: usize) -> bool {
        match self.action {
            Action::Write(it, _) | Action::Flush(it, _) | Action::Read(it, _) => it == register,
            Action::Open | Action::Close | Action::Break => true,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.end, End::Done(_))
    }

    /// After this moment it has no effect any more.
    fn ended(&self) -> Moment {
        match self.end {
            End::Done(moment) | End::Failed(moment) => moment,
            End::Never => Moment::MAX,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "host {}, {:?}, {:?} to {:?}", self.host, self.action, self.begun, self.end)
    }
}
