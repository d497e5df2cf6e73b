//! Hears what became of requests, in a thread of its own or, while that sleeps, in the one that brought the news.

use std::time::{Duration, Instant};

use peer::{Clerk, Desk, Stop};
use xseg::Segment;

use crate::{Completion, Completions};

/// How long a listener sleeps at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How many completions are heard before others may take over.
const BURST: usize = 64;

/// Somebody who is told of every completion of a device.
pub trait Listener: Send + 'static {
    /// Something completed.
    fn hear(&mut self, completion: &Completion);

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool;
}

struct Ear<L> {
    completions: Completions,
    listener: L,
}

impl<L: Listener> Ear<L> {
    fn hear(&mut self, completion: Completion) {
        self.listener.hear(&completion);
        self.completions.done(completion.held);
    }

    /// Hears what is still under way.
    fn finish(&mut self) {
        while !self.listener.is_idle() {
            if let Some(completion) = self.completions.next(Some(Instant::now() + LONGEST_SLEEP)) {
                self.hear(completion);
            }
        }
    }
}

impl<L: Listener> Clerk for Ear<L> {
    fn work(&mut self) -> bool {
        self.completions.disarm();
        for _ in 0..BURST {
            match self.completions.try_next() {
                Some(completion) => self.hear(completion),
                None => return false,
            }
        }
        true
    }

    fn leave(&mut self) -> bool {
        self.completions.arm()
    }

    fn due_ns(&self) -> Option<u64> {
        None
    }

    fn sleeps_until(&self) -> Instant {
        Instant::now() + LONGEST_SLEEP
    }

    fn slept(&mut self) {}
}

impl Completions {
    /// Tells a listener of every completion until `stop` is set and nothing is under way any more.
    pub fn listen(self, segment: &Segment, listener: impl Listener, stop: &Stop) {
        let (port, mut sleeper, waker) = (self.number(), self.sleeper(), self.waker());
        stop.register(waker.clone());
        let ear = Ear { completions: self, listener };
        Desk::open(segment, port, ear, waker, stop).serve(&mut sleeper, Ear::finish);
    }
}
