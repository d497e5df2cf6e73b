//! What a peer can do to the world.

use std::{cell::RefCell, ops::Range, rc::Rc, time::Duration};

use protocol::{ErrorKind, Failure};
use xseg::{Held, Port, PortNumber, Received, Refused, Waker};

use crate::{Clock, fill_result, measures::Measures};

/// A peer's hands: its port, the clock, chance. Clones are the same hands; they never leave the peer's thread.
#[derive(Clone)]
pub struct Effects(Rc<RefCell<Inner>>);

struct Inner {
    port: Port,
    clock: Box<dyn Clock>,
    measures: Measures,
    in_flight: u64,
    wake_at_ns: Option<u64>,
    #[cfg(feature = "simulation")]
    death: Death,
    /// What a dead peer's memory is freed with: its conversations hold each other.
    #[cfg(feature = "simulation")]
    at_end: Vec<Box<dyn FnOnce()>>,
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
            #[cfg(feature = "simulation")]
            at_end: Vec::new(),
        };
        Effects(Rc::new(RefCell::new(inner)))
    }

    /// The peer's own port.
    #[must_use]
    pub fn port(&self) -> PortNumber {
        self.0.borrow().port.number()
    }

    /// Answers a request whose result fields are filled in.
    pub fn respond(&self, mut request: Held, result: Result<(), &Failure>) {
        fill_result(&mut request, result);
        let inner = &mut *self.0.borrow_mut();
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
        self.0.borrow_mut().port.allocate(buffer_bytes).map_err(|error| exhausted(&error))
    }

    /// A new request of ours that borrows a range of `parent`'s buffer.
    ///
    /// # Errors
    /// As [`Effects::allocate`]; `Invalid` if the range is outside the parent's buffer.
    pub fn allocate_child(&self, parent: &Held, range: Range<u64>) -> Result<Held, Failure> {
        self.0.borrow_mut().port.allocate_child(parent, range).map_err(|error| exhausted(&error))
    }

    /// Sends a request of ours, or passes an accepted one on: its reply then comes back through us, to be responded.
    ///
    /// # Errors
    /// Gives the request back if there is no such port or its way is too long.
    pub fn submit(&self, request: Held, to: PortNumber) -> Result<(), Refused> {
        let inner = &mut *self.0.borrow_mut();
        #[cfg(feature = "simulation")]
        if inner.is_dead() {
            return Ok(());
        }
        inner.port.submit(request, to)
    }

    /// Gives a reply's slot and buffer back.
    pub fn free(&self, held: Held) {
        let inner = &mut *self.0.borrow_mut();
        #[cfg(feature = "simulation")]
        if inner.is_dead() {
            return;
        }
        inner.port.free(held);
    }

    /// Nanoseconds since some fixed moment.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.borrow().clock.now_ns()
    }

    /// Milliseconds since 1970, for people.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.0.borrow().clock.unix_ms()
    }

    /// A number that nobody can guess.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.0.borrow_mut().clock.random()
    }

    /// The time asked for by `wake_at`, if any.
    #[must_use]
    pub fn wakes_at_ns(&self) -> Option<u64> {
        self.0.borrow().wake_at_ns
    }

    /// Asks for a tick at this time, or at an earlier one if that was asked for before.
    pub fn wake_at(&self, at_ns: u64) {
        let inner = &mut *self.0.borrow_mut();
        inner.wake_at_ns = Some(inner.wake_at_ns.map_or(at_ns, |earlier| earlier.min(at_ns)));
    }

    /// What arrived, if anything. Whoever drives the peer makes an event of it.
    #[must_use]
    pub fn receive(&self) -> Option<Received> {
        self.0.borrow_mut().port.receive()
    }

    /// A request is ours to be responded: the reply to what a predecessor passed on, or what was set aside.
    pub fn adopt(&self) {
        self.begin();
    }

    pub(crate) fn arrived(&self, request: &Held) {
        let inner = &mut *self.0.borrow_mut();
        let now_ns = inner.clock.now_ns();
        inner.measures.arrived(request, now_ns);
    }

    pub(crate) fn begin(&self) {
        self.0.borrow_mut().in_flight += 1;
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.0.borrow().in_flight
    }

    pub(crate) fn measures<T>(&self, look: impl FnOnce(&mut Measures) -> T) -> T {
        look(&mut self.0.borrow_mut().measures)
    }

    /// A request waits for what may take for ever: until [`Effects::adopt`] takes it up again it uses up no turn of others.
    pub fn set_aside(&self) {
        let inner = &mut *self.0.borrow_mut();
        inner.in_flight = inner.in_flight.saturating_sub(1);
    }

    /// Ends the loop's sleep from another thread, for [`crate::Peer::turn`].
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.0.borrow().port.waker()
    }

    /// True once when the time asked for by `wake_at` has come.
    pub(crate) fn take_due(&self) -> bool {
        let inner = &mut *self.0.borrow_mut();
        let is_due = inner.wake_at_ns.is_some_and(|at| at <= inner.clock.now_ns());
        if is_due {
            inner.wake_at_ns = None;
        }
        is_due
    }

    /// Sleeps until something arrives, the time asked for has come, or `longest` has passed.
    pub(crate) fn wait(&self, longest: Duration) {
        let inner = &mut *self.0.borrow_mut();
        let until_tick =
            inner.wake_at_ns.map(|at| Duration::from_nanos(at.saturating_sub(inner.clock.now_ns())));
        let sleep = until_tick.map_or(longest, |tick| tick.min(longest));
        inner.port.wait(Some(std::time::Instant::now() + sleep));
    }
}

#[cfg(feature = "simulation")]
impl Effects {
    /// The peer dies before the effect (an answer, a submission, a freed request) after `count` more. What it does then
    /// does not happen; whoever drives it drops it before anybody binds its port again.
    pub fn die_after(&self, count: u32) {
        let inner = &mut *self.0.borrow_mut();
        if inner.death != Death::Happened {
            inner.death = Death::After(count);
        }
    }

    /// Dies now.
    pub fn die(&self) {
        self.die_after(0);
        self.0.borrow_mut().is_dead();
    }

    pub(crate) fn at_end(&self, free: impl FnOnce() + 'static) {
        self.0.borrow_mut().at_end.push(Box::new(free));
    }

    pub(crate) fn end(&self) {
        let all = std::mem::take(&mut self.0.borrow_mut().at_end);
        all.into_iter().for_each(|free| free());
    }

    /// Whether the peer died.
    #[must_use]
    pub fn has_died(&self) -> bool {
        self.0.borrow().death == Death::Happened
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
