//! Time and chance, so that a simulation can own both.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where a peer's loop takes time and random numbers from.
pub trait Clock: Send {
    /// Nanoseconds since some fixed moment; never goes back.
    fn now_ns(&self) -> u64;
    /// Milliseconds since 1970, for people.
    fn unix_ms(&self) -> u64;
    /// A number that nobody can guess.
    fn random(&mut self) -> u64;
}

/// The machine's own clock and random numbers.
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&mut self) -> u64 {
        getrandom::u64().expect("the kernel gives random numbers once it is up")
    }
}
