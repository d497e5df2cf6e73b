//! Looking again for a moment before sleeping, where that paid lately.

use std::num::NonZero;
use std::time::{Duration, Instant};

/// How well spinning went lately.
pub(crate) struct Spin {
    /// Spins in vain since the last good one.
    failures: u32,
    /// Sleeps to go without spinning.
    skip: u32,
    is_allowed: bool,
}

/// Longest spin before a sleep.
const SPIN: Duration = Duration::from_micros(20);
/// Looks between two looks at the clock.
const LOOKS: u32 = 16;
/// Spins in vain double the sleeps until the next try, up to two to this power.
const BACKOFF_MAX: u32 = 6;

impl Spin {
    pub(crate) fn new() -> Self {
        // With one processor, whoever we spin for cannot run.
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { failures: 0, skip: 0, is_allowed: processors > 1 }
    }

    /// Looks until there is something or the time is over; whether there is something.
    pub(crate) fn run(&mut self, mut look: impl FnMut() -> bool) -> bool {
        if !self.is_allowed || self.skip > 0 {
            self.skip = self.skip.saturating_sub(1);
            return false;
        }
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..LOOKS {
                if look() {
                    self.failures = 0;
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        self.failures = (self.failures + 1).min(BACKOFF_MAX);
        self.skip = (1 << self.failures) - 1;
        false
    }
}
