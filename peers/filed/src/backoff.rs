//! How often something is tried that pays now and then.

/// Each failure in a row doubles how many chances pass by before the next try; a success ends that.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    pause: u32,
}

/// Failures double the pause up to two to this power.
const FAILURES_MAX: u32 = 7;

impl Backoff {
    /// Whether this chance is one to take.
    pub(crate) fn may_try(&mut self) -> bool {
        let is_paused = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        !is_paused
    }

    /// How a try went, or would have gone.
    pub(crate) fn note(&mut self, has_paid: bool) {
        self.failures = if has_paid { 0 } else { (self.failures + 1).min(FAILURES_MAX) };
        self.pause = (1 << self.failures) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_double_the_pause_and_a_success_ends_it() {
        let mut backoff = Backoff::default();
        let mut pause_after = |has_paid| {
            backoff.note(has_paid);
            backoff.pause
        };
        assert_eq!([false, false, false, true, false].map(&mut pause_after), [1, 3, 7, 0, 1]);
        assert_eq!((0..100).map(|_| pause_after(false)).last(), Some((1 << FAILURES_MAX) - 1));
    }

    #[test]
    fn chances_pass_by_after_a_failure() {
        let mut backoff = Backoff::default();
        backoff.note(false);
        assert_eq!([(); 3].map(|()| backoff.may_try()), [false, true, true]);
    }
}
