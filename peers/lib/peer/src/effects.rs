//! What a peer can do to the world.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use protocol::{ErrorKind, Failure};
use xseg::{Held, Port, PortNumber, Received, Refused, Sleeper, Waker};

use crate::{Clock, fill_result, measures::Measures};

/// A peer's hands: its port, the clock, chance. Clones are the same hands. One thread at a time uses them: the peer's own, or
/// one that stands in for it.
#[derive(Clone)]
pub struct Effects(Arc<Mutex<Inner>>);

struct Inner {
    port: Port,
    clock: Box<dyn Clock>,
    measures: Measures,
    in_flight: u64,
    wake_at_ns: Option<u64>,
    #[cfg(feature = "simulation")]
    death: Death,
}

/// When the peer dies, as far as a simulation has decided.
#[cfg(feature = "simulation")]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Death {
    Never,
    /// Before the effect after so many more.
    After(u32),
    Happened,
}

impl Effects {
    /// The hands of a peer that something else than [`crate::run`] drives, as a simulation does.
    #[must_use]
    pub fn new(port: Port, clock: Box<dyn Clock>) -> Effects {
        let inner = Inner {
            port,
            clock,
            measures: Measures::default(),
            in_flight: 0,
            wake_at_ns: None,
            #[cfg(feature = "simulation")]
            death: Death::Never,
        };
        Effects(Arc::new(Mutex::new(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whole after every statement; whoever panicked says so on its own.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's own port.
    #[must_use]
    pub fn port(&self) -> PortNumber {
        self.inner().port.number()
    }

    /// Answers a request whose result fields are filled in.
    pub fn respond(&self, mut request: Held, result: Result<(), &Failure>) {
        fill_result(&mut request, result);
        let inner = &mut *self.inner();
        #[cfg(feature = "simulation")]
        if inner.is_dead() {
            return;
        }
        let now_ns = inner.clock.now_ns();
        inner.measures.answered(&request, result.is_err(), now_ns);
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if let Err(refused) = inner.port.respond(request) {
            tracing::warn!(error = %refused, "a reply could not be delivered");
        }
    }

    /// A new request of ours with a buffer of its own.
    ///
    /// # Errors
    /// `NoSpace` when all of the port's slots or buffers are in use: try again after a reply was freed.
    pub fn allocate(&self, buffer_bytes: u64) -> Result<Held, Failure> {
        self.inner().port.allocate(buffer_bytes).map_err(|error| exhausted(&error))
    }

    /// A new request of ours that borrows a range of `parent`'s buffer.
    ///
    /// # Errors
    /// As [`Effects::allocate`]; `Invalid` if the range is outside the parent's buffer.
    pub fn allocate_child(&self, parent: &Held, range: Range<u64>) -> Result<Held, Failure> {
        self.inner().port.allocate_child(parent, range).map_err(|error| exhausted(&error))
    }

    /// Sends a request of ours, or passes an accepted one on: its reply then comes back through us, to be responded.
    ///
    /// # Errors
    /// Gives the request back if there is no such port or its way is too long.
    pub fn submit(&self, request: Held, to: PortNumber) -> Result<(), Refused> {
        let inner = &mut *self.inner();
        #[cfg(feature = "simulation")]
        if inner.is_dead() {
            return Ok(());
        }
        inner.port.submit(request, to)
    }

    /// Gives a reply's slot and buffer back.
    pub fn free(&self, held: Held) {
        let inner = &mut *self.inner();
        #[cfg(feature = "simulation")]
        if inner.is_dead() {
            return;
        }
        inner.port.free(held);
    }

    /// Nanoseconds since some fixed moment.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.inner().clock.now_ns()
    }

    /// Milliseconds since 1970, for people.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.inner().clock.unix_ms()
    }

    /// A number that nobody can guess.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.inner().clock.random()
    }

    /// The time asked for by `wake_at`, if any.
    #[must_use]
    pub fn wakes_at_ns(&self) -> Option<u64> {
        self.inner().wake_at_ns
    }

    /// Asks for a tick at this time, or at an earlier one if that was asked for before.
    pub fn wake_at(&self, at_ns: u64) {
        let inner = &mut *self.inner();
        inner.wake_at_ns = Some(inner.wake_at_ns.map_or(at_ns, |earlier| earlier.min(at_ns)));
    }

    /// What arrived, if anything. Whoever drives the peer makes an event of it.
    #[must_use]
    pub fn receive(&self) -> Option<Received> {
        self.inner().port.receive()
    }

    /// A request is ours to be responded: the reply to what a predecessor passed on, or what was set aside.
    pub fn adopt(&self) {
        self.begin();
    }

    pub(crate) fn arrived(&self, request: &Held) {
        let inner = &mut *self.inner();
        let now_ns = inner.clock.now_ns();
        inner.measures.arrived(request, now_ns);
    }

    pub(crate) fn begin(&self) {
        self.inner().in_flight += 1;
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.inner().in_flight
    }

    pub(crate) fn measures<T>(&self, look: impl FnOnce(&mut Measures) -> T) -> T {
        look(&mut self.inner().measures)
    }

    /// A request waits for what may take for ever: until [`Effects::adopt`] takes it up again it uses up no turn of others.
    pub fn set_aside(&self) {
        let inner = &mut *self.inner();
        inner.in_flight = inner.in_flight.saturating_sub(1);
    }

    /// Ends the loop's sleep from another thread, for [`crate::Peer::turn`].
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.inner().port.waker()
    }

    /// True once when the time asked for by `wake_at` has come.
    pub(crate) fn take_due(&self) -> bool {
        let inner = &mut *self.inner();
        let is_due = inner.wake_at_ns.is_some_and(|at| at <= inner.clock.now_ns());
        if is_due {
            inner.wake_at_ns = None;
        }
        is_due
    }

    /// Sleeps until something arrives, the time asked for has come, or `longest` has passed.
    pub(crate) fn wait(&self, longest: Duration) {
        let until = self.sleeps_until(longest);
        self.inner().port.wait(Some(until));
    }

    /// When the peer has to be awake though nothing arrives: at the time asked for, or after `longest`.
    pub(crate) fn sleeps_until(&self, longest: Duration) -> Instant {
        let inner = &mut *self.inner();
        let until_tick =
            inner.wake_at_ns.map(|at| Duration::from_nanos(at.saturating_sub(inner.clock.now_ns())));
        Instant::now() + until_tick.map_or(longest, |tick| tick.min(longest))
    }

    /// Says in the inbox that the peer's thread sleeps. False if there is something to do.
    pub(crate) fn arm(&self) -> bool {
        self.inner().port.arm()
    }

    /// Says in the inbox that the peer is awake.
    pub(crate) fn disarm(&self) {
        // Whatever the waker was called for is found by looking.
        let _is_woken = self.inner().port.disarm();
    }

    /// What sleeps in the peer's stead while others may use it.
    pub(crate) fn sleeper(&self) -> Sleeper {
        self.inner().port.sleeper()
    }
}

#[cfg(feature = "simulation")]
impl Effects {
    /// The peer dies before the effect (an answer, a submission, a freed request) after `count` more. What it does then
    /// does not happen; whoever drives it drops it before anybody binds its port again.
    pub fn die_after(&self, count: u32) {
        let inner = &mut *self.inner();
        if inner.death != Death::Happened {
            inner.death = Death::After(count);
        }
    }

    /// Dies now.
    pub fn die(&self) {
        self.die_after(0);
        self.inner().is_dead();
    }

    /// Whether the peer died.
    #[must_use]
    pub fn has_died(&self) -> bool {
        self.inner().death == Death::Happened
    }
}

#[cfg(feature = "simulation")]
impl Inner {
    /// Whether the effect that is about to happen does not, because its peer is dead.
    fn is_dead(&mut self) -> bool {
        match self.death {
            Death::Never => false,
            Death::Happened => true,
            Death::After(0) => {
                self.death = Death::Happened;
                self.port.abandon();
                true
            }
            Death::After(count) => {
                self.death = Death::After(count - 1);
                false
            }
        }
    }
}

fn exhausted(error: &xseg::Error) -> Failure {
    let kind = match error.kind() {
        xseg::ErrorKind::NoSpace => ErrorKind::NoSpace,
        xseg::ErrorKind::Invalid => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Failure::new(kind, error.to_string())
}
