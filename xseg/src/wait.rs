//! Waiting for an inbox: spin for a bounded time while that pays, then sleep on the inbox word.

use std::{
    hint::spin_loop,
    num::NonZero,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{thread::futex, time::Timespec};

use crate::{
    abi::{INBOX_FIRST, INBOX_SLEEPING},
    inbox::{Cells, arm, disarm},
    local::Local,
    sync::Ordering,
};

/// Longest spin before a sleep, unless the owner says otherwise.
const SPIN: Duration = Duration::from_micros(20);
/// Longest sleep at a stretch: a pusher may have died between its push and its wake-up call.
const NAP: Duration = Duration::from_secs(1);
/// Looks between two looks at the clock.
const LOOKS: u32 = 16;
/// Spins in vain double the waits until the next try, up to two to this power.
const MAX_BACKOFF: u32 = 6;

/// Why a wait returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something is there for `receive`.
    Inbox,
    /// A [`Waker`] was called.
    Waker,
    /// The deadline passed.
    Deadline,
}

/// Makes the wait of a port's owner return, from any thread of its process.
#[derive(Clone, Debug)]
pub struct Waker {
    pub(crate) local: Arc<Local>,
}

impl Waker {
    /// Wakes the owner; if it does not wait now, its next wait returns at once.
    pub fn wake(&self) {
        self.local.wake();
    }

    /// As [`Waker::wake`], for what anybody can deal with who serves the port: a [`StandIn`](crate::StandIn), in this thread, if
    /// the owner sleeps.
    pub fn call(&self) {
        self.local.call();
    }
}

/// Sleeps for a port's owner outside of the port, so that a [`StandIn`](crate::StandIn) may use that meanwhile.
#[derive(Debug)]
pub struct Sleeper {
    local: Arc<Local>,
    spin: Spin,
}

impl Sleeper {
    pub(crate) fn new(local: Arc<Local>) -> Sleeper {
        Sleeper { local, spin: Spin::default() }
    }

    /// Spins at most so long; zero for never.
    #[must_use]
    pub fn spinning(self, longest: Duration) -> Sleeper {
        Sleeper { spin: Spin::of(longest), ..self }
    }

    /// Looks for a moment, if that paid lately, whether there is something to do. Whether there is.
    pub fn spin(&mut self) -> bool {
        let local = &self.local;
        self.spin.run(|| has_reason(local))
    }

    /// Sleeps after [`Port::arm`](crate::Port::arm) until the owner is woken, the deadline passes, or for a second.
    pub fn sleep(&self, deadline: Instant) {
        if let Some(nap) = time_left(Some(deadline)) {
            sleep(&self.local, nap);
        }
    }
}

/// Looking again for a moment before sleeping, while that pays: how well it went lately.
#[derive(Debug)]
pub struct Spin {
    /// Spins in vain since the last good one.
    failures: u32,
    /// Waits to go without spinning.
    skip: u32,
    /// Longest spin; zero for none.
    longest: Duration,
}

impl Default for Spin {
    /// For 20 µs at most; never with one processor, where whoever is waited for cannot run meanwhile.
    fn default() -> Spin {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Spin { failures: 0, skip: 0, longest: if processors > 1 { SPIN } else { Duration::ZERO } }
    }
}

impl Spin {
    /// For at most so long; zero for never.
    pub fn of(longest: Duration) -> Spin {
        let default = Spin::default();
        if default.longest.is_zero() { default } else { Spin { longest, ..default } }
    }

    pub(crate) fn set_longest(&mut self, longest: Duration) {
        *self = Spin { failures: 0, skip: 0, longest };
    }

    /// Spins, if that paid lately, until `is_ready` or the time is over. Whether it is ready.
    pub fn run(&mut self, mut is_ready: impl FnMut() -> bool) -> bool {
        if self.longest.is_zero() {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if is_ready() {
                    self.failures = 0;
                    return true;
                }
                spin_loop();
            }
            if start.elapsed() >= self.longest {
                break;
            }
        }
        self.failures = (self.failures + 1).min(MAX_BACKOFF);
        self.skip = (1 << self.failures) - 1;
        false
    }
}

/// Whether the owner has a reason to be awake.
pub(crate) fn has_reason(local: &Local) -> bool {
    let shared = &*local.shared;
    shared.inbox(local.me.port).load(Ordering::Relaxed) >= INBOX_FIRST
        || shared.audit(local.me.port).load(Ordering::Relaxed) != 0
        || local.is_pending()
}

/// Says that the owner sleeps, unless it has a reason to be awake. Whether it may sleep.
pub(crate) fn try_arm(local: &Local) -> bool {
    let armed = arm(&*local.shared, local.me.port);
    if armed && has_reason(local) {
        disarm(&*local.shared, local.me.port);
        return false;
    }
    armed
}

/// Waits until there is something in the inbox, a waker was called, or the deadline passed.
pub(crate) fn wait(local: &Local, spin: &mut Spin, deadline: Option<Instant>) -> Woken {
    loop {
        if local.take_woken() {
            return Woken::Waker;
        }
        if has_reason(local) {
            return Woken::Inbox;
        }
        let Some(nap) = time_left(deadline) else { return Woken::Deadline };
        if spin.run(|| has_reason(local)) {
            continue;
        }
        if try_arm(local) {
            sleep(local, nap);
        }
        disarm(&*local.shared, local.me.port);
    }
}

/// Time until the deadline, a nap at most; `None` if it passed.
fn time_left(deadline: Option<Instant>) -> Option<Duration> {
    let Some(deadline) = deadline else { return Some(NAP) };
    let left = deadline.checked_duration_since(Instant::now())?;
    (!left.is_zero()).then_some(left.min(NAP))
}

fn sleep(local: &Local, nap: Duration) {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 0 };
    let timeout = timespec(nap).unwrap_or(timeout);
    let word = local.shared.inbox(local.me.port);
    // Any reason to wake up, a signal too, is found out by looking again.
    let _ = futex::wait(word, futex::Flags::empty(), INBOX_SLEEPING, Some(&timeout));
}

fn timespec(duration: Duration) -> Option<Timespec> {
    let tv_sec = i64::try_from(duration.as_secs()).ok()?;
    Some(Timespec { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) })
}
