//! How fast requests are sent.

use std::time::{Duration, Instant};

/// Says when the next request is due.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    rate_per_second: Option<u64>,
    sent: u64,
}

impl Pace {
    pub(crate) fn new(start: Instant, rate_per_second: Option<u64>) -> Pace {
        Pace { start, rate_per_second, sent: 0 }
    }

    /// When the next request is due; without a rate it always is.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let Some(rate) = self.rate_per_second else { return now };
        let nanos = u128::from(self.sent) * 1_000_000_000 / u128::from(rate.max(1));
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// One was sent.
    pub(crate) fn sent(&mut self) {
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_distances_however_late_they_are_sent() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Some(1000));
        for number in 0..5 {
            assert_eq!(pace.due(start), start + Duration::from_millis(number));
            pace.sent();
        }
    }
}
