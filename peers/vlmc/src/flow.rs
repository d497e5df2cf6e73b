//! Who may run on a volume now.

use std::{collections::VecDeque, num::NonZeroU32};

/// What runs on a volume.
///
/// | state | event | becomes |
/// | --- | --- | --- |
/// | Serving | request | Serving, one more running |
/// | Serving, none running | barrier | Alone |
/// | Serving | barrier | Draining |
/// | Draining, Alone | request or barrier | the same, one more waiting |
/// | Draining | the barrier is given up | Serving; what waited is admitted again, in order |
/// | Draining | the last running one ended | Alone: the barrier runs |
/// | Alone | the barrier ended | Serving; what waited is admitted again, in order |
///
/// What waits is bounded: it is part of the `nr_ops` requests that a port serves at a time.
#[derive(Debug)]
pub(crate) enum Flow<R> {
    /// Requests run beside each other.
    Serving { running: u32 },
    /// A barrier (snapshot, close, …) waits for what ran before it; newer requests wait for it.
    Draining { running: NonZeroU32, barrier: R, waiting: VecDeque<R> },
    /// The barrier runs.
    Alone { waiting: VecDeque<R> },
}

/// What the end of a request allows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<R> {
    /// Nothing.
    Nothing,
    /// This barrier runs now.
    Barrier(R),
    /// These are to be admitted again.
    Resume(VecDeque<R>),
}

impl<R> Flow<R> {
    /// Takes a request in. Given back: it runs now. Else it waits.
    pub(crate) fn admit(&mut self, request: R, is_barrier: bool) -> Option<R> {
        match (self, is_barrier) {
            (Flow::Serving { running }, false) => {
                *running += 1;
                Some(request)
            }
            (flow @ Flow::Serving { .. }, true) => flow.drain(request),
            (Flow::Draining { waiting, .. } | Flow::Alone { waiting }, _) => {
                waiting.push_back(request);
                None
            }
        }
    }

    fn drain(&mut self, barrier: R) -> Option<R> {
        let running = self.running();
        let waiting = VecDeque::new();
        match NonZeroU32::new(running) {
            Some(running) => {
                *self = Flow::Draining { running, barrier, waiting };
                None
            }
            None => {
                *self = Flow::Alone { waiting };
                Some(barrier)
            }
        }
    }

    /// A request that ran is answered.
    pub(crate) fn finish(&mut self) -> Next<R> {
        match std::mem::replace(self, Flow::Serving { running: 0 }) {
            Flow::Serving { running } => {
                *self = Flow::Serving { running: running.saturating_sub(1) };
                Next::Nothing
            }
            Flow::Draining { running, barrier, waiting } => match NonZeroU32::new(running.get() - 1) {
                Some(running) => {
                    *self = Flow::Draining { running, barrier, waiting };
                    Next::Nothing
                }
                None => {
                    *self = Flow::Alone { waiting };
                    Next::Barrier(barrier)
                }
            },
            Flow::Alone { waiting } => Next::Resume(waiting),
        }
    }

    /// Gives up the barrier that waits, if it is such a one: it, and what waited for it and is to be admitted again.
    pub(crate) fn give_up(&mut self, is_such: impl FnOnce(&R) -> bool) -> Option<(R, VecDeque<R>)> {
        match std::mem::replace(self, Flow::Serving { running: self.running() }) {
            Flow::Draining { barrier, waiting, .. } if is_such(&barrier) => Some((barrier, waiting)),
            other => {
                *self = other;
                None
            }
        }
    }

    /// How many requests run.
    pub(crate) fn running(&self) -> u32 {
        match self {
            Flow::Serving { running } => *running,
            Flow::Draining { running, .. } => running.get(),
            Flow::Alone { .. } => 1,
        }
    }

    /// How many requests wait for a barrier, and the barrier itself if it waits.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Flow::Serving { .. } => 0,
            Flow::Draining { waiting, .. } => waiting.len() + 1,
            Flow::Alone { waiting } => waiting.len(),
        }
    }

    /// The state's name, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Flow::Serving { .. } => "serving",
            Flow::Draining { .. } => "draining",
            Flow::Alone { .. } => "alone",
        }
    }

    /// Whether a barrier runs.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self, Flow::Alone { .. })
    }

    /// Whether nothing runs or waits.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Flow::Serving { running: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_waits_for_what_runs_and_newer_requests_wait_for_it() {
        let mut flow = Flow::Serving { running: 0 };
        assert_eq!(flow.admit(1, false), Some(1));
        assert_eq!(flow.admit(2, false), Some(2));
        assert_eq!(flow.admit(3, true), None);
        assert_eq!(flow.admit(4, false), None);
        assert_eq!(flow.finish(), Next::Nothing);
        assert_eq!(flow.finish(), Next::Barrier(3));
        assert_eq!(flow.admit(5, true), None);
        assert_eq!(flow.finish(), Next::Resume([4, 5].into()));
        assert!(flow.is_idle());
    }

    #[test]
    fn a_barrier_that_waits_can_be_given_up_and_one_that_runs_cannot() {
        let mut flow = Flow::Serving { running: 0 };
        assert_eq!(flow.give_up(|_| true), None);
        assert_eq!((flow.admit(1, false), flow.admit(2, true), flow.admit(3, false)), (Some(1), None, None));
        assert_eq!(flow.give_up(|_| false), None);
        assert_eq!(flow.give_up(|barrier| *barrier == 2), Some((2, [3].into())));
        assert_eq!((flow.name(), flow.running()), ("serving", 1));
        assert_eq!((flow.admit(4, true), flow.finish()), (None, Next::Barrier(4)));
        assert_eq!(flow.give_up(|_| true), None);
        assert_eq!(flow.name(), "alone");
    }

    #[test]
    fn a_barrier_runs_at_once_when_nothing_else_does() {
        let mut flow = Flow::Serving { running: 0 };
        assert_eq!(flow.admit('b', true), Some('b'));
        assert_eq!((flow.running(), flow.name()), (1, "alone"));
        assert_eq!(flow.finish(), Next::Resume(VecDeque::new()));
    }
}
