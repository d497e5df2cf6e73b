//! How long a role that keeps dying waits before it is started again.

use std::time::{Duration, Instant};

/// The second restart in a row waits so long, each further one twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// No restart waits longer: a role that cannot start costs little every two seconds, and one that can is missed.
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// Who ran so long before it died starts with no delay again: what cannot start dies sooner, and every delay is a pause for
/// the users of all volumes.
const SOUND_AFTER: Duration = Duration::from_secs(1);

/// Counts deaths in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// A role that ran since `started` died `now`: how long it waits.
    pub(crate) fn after_death(&mut self, started: Instant, now: Instant) -> Duration {
        if now.saturating_duration_since(started) >= SOUND_AFTER {
            self.deaths = 0;
        }
        let doublings = self.deaths.checked_sub(1);
        self.deaths = self.deaths.saturating_add(1);
        match doublings {
            None => Duration::ZERO,
            Some(doublings) => FIRST_DELAY
                .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
                .min(LONGEST_DELAY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_start_anew_after_a_sound_run() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..10).map(|_| backoff.after_death(start, start).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000]);
        for _ in 0..100 {
            backoff.after_death(start, start);
        }
        assert_eq!(backoff.after_death(start, start), LONGEST_DELAY);
        assert_eq!(backoff.after_death(start, start + SOUND_AFTER), Duration::ZERO);
    }
}
