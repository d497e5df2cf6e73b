//! For how long a test kills.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// So often a test says where it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The time of a test. It may be over early, when whoever started the test wants so.
pub(crate) struct Clock {
    begun: Instant,
    duration: Duration,
    /// How often something was told.
    told: AtomicU64,
}

impl Clock {
    pub(crate) fn new(duration: Duration) -> Clock {
        Clock { begun: Instant::now(), duration, told: AtomicU64::new(0) }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over_by(Duration::ZERO)
    }

    /// As `is_over`, with so much more time.
    pub(crate) fn is_over_by(&self, more: Duration) -> bool {
        self.begun.elapsed() >= self.duration + more || tests::is_run_over()
    }

    /// Says where the test is, now and then; `what` is what there was so far.
    pub(crate) fn tell(&self, what: impl Display) {
        let (now, all) = (self.begun.elapsed().as_secs(), self.duration.as_secs());
        let turn = now / TELL_EVERY.as_secs();
        if self.told.fetch_max(turn, Ordering::Relaxed) < turn {
            println!("{now} s of {all} s: {what}");
        }
    }
}
