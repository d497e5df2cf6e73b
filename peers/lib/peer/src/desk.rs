//! A place where a peer is served by its own thread or, while that sleeps, by another one of the process that asks it.
//!
//! A request to a peer whose thread sleeps costs two wake-ups: that thread's, and that of whoever waits for the reply.
//! At a desk, whoever asks does the work at once instead, and the peer's thread goes on sleeping. Only one thread at a time is
//! at the desk, so a peer has no need to know of it. docs/decisions/0027-served-by-who-asks.md says what that is worth.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use xseg::{PortNumber, Segment, Sleeper, StandIn, Waker};

use crate::Stop;

/// A peer with its port, for one thread after the other.
pub trait Clerk: Send {
    /// Does what there is to do, a bounded piece of it. Whether there may be more.
    fn work(&mut self) -> bool;

    /// Does what only the peer's own thread may do.
    fn work_alone(&mut self) {}

    /// Whether there is such work.
    fn wants_owner(&mut self) -> bool {
        false
    }

    /// Looks for a moment, if that paid lately, whether something comes. Whether something has come.
    fn linger(&mut self) -> bool {
        false
    }

    /// Says in the inbox that nobody is here. False if there is something to do.
    fn leave(&mut self) -> bool;

    /// The moment at which the peer's own thread has to be here though nobody asks, in nanoseconds of the peer's clock.
    fn due_ns(&self) -> Option<u64>;

    /// That moment, a bounded time from now at most.
    fn sleeps_until(&self) -> Instant;

    /// The peer's own thread has slept.
    fn slept(&mut self);
}

/// Pieces of work that a stand-in does before it leaves the rest to the peer's own thread: others may ask all the time.
const PIECES_MAX: u32 = 4;

/// Why the seat is there.
const SITS: &str = "only the peer's own thread takes it away, when it finishes";

/// Where a peer is served.
pub struct Desk<C> {
    /// Nobody is at the desk any more once this is empty.
    seat: Mutex<Option<Seat<C>>>,
    /// Somebody stood in since the peer's own thread looked last: then it is not worth its while to wait for requests.
    is_helped: AtomicBool,
    waker: Waker,
    stop: Stop,
}

/// What a thread does that stands in.
#[derive(Default)]
enum Visit {
    /// It asks, or wakes.
    #[default]
    Short,
    /// It tells something, and may linger afterwards: what calls the desk at which it stood in last.
    Telling(Option<Waker>),
    /// At the next desk it [lingers](Clerk::linger).
    Lingering,
}

thread_local! {
    static VISIT: Cell<Visit> = const { Cell::new(Visit::Short) };
}

/// Tells a peer something by a [`Waker`], then stays for a moment at the desk where this thread stood in last: who was answered
/// there may ask again at once, and then nobody has to be woken. Not unless it then holds up nobody.
pub fn tell_and_linger(tell: impl FnOnce(), holds_up_nobody: impl FnOnce() -> bool) {
    VISIT.set(Visit::Telling(None));
    tell();
    if let Visit::Telling(Some(waker)) = VISIT.take()
        && holds_up_nobody()
    {
        VISIT.set(Visit::Lingering);
        waker.call();
        VISIT.take();
    }
}

struct Seat<C> {
    clerk: C,
    /// When the peer's own thread is awake again, if it knows.
    due_ns: Option<u64>,
}

impl<C: Clerk + 'static> Desk<C> {
    /// Opens the desk of a port, whose waker this is; threads of this process may stand in from now on.
    pub fn open(segment: &Segment, port: PortNumber, clerk: C, waker: Waker, stop: &Stop) -> Arc<Desk<C>> {
        let seat = Mutex::new(Some(Seat { clerk, due_ns: None }));
        let desk = Arc::new(Desk { seat, is_helped: AtomicBool::new(false), waker, stop: stop.clone() });
        let stand_in: Weak<Desk<C>> = Arc::downgrade(&desk);
        segment.set_stand_in(port, stand_in);
        desk
    }

    /// What the peer's own thread does until it shall stop; then `finish`, undisturbed.
    pub fn serve(&self, sleeper: &mut Sleeper, finish: impl FnOnce(&mut C)) {
        while !self.stop.is_set() {
            let is_busy = self.sit(Seat::work);
            let is_helped = self.is_helped.swap(false, Ordering::Relaxed);
            if !is_busy && (is_helped || !sleeper.spin()) {
                self.sleep(sleeper);
            }
        }
        // It also ends in this thread: another one may be just what its end waits for.
        let seat = self.lock().take();
        let mut seat = seat.expect(SITS);
        finish(&mut seat.clerk);
    }

    fn sleep(&self, sleeper: &Sleeper) {
        if let Some(until) = self.sit(Seat::leave) {
            sleeper.sleep(until);
            self.sit(|seat| seat.clerk.slept());
        }
    }

    fn sit<R>(&self, work: impl FnOnce(&mut Seat<C>) -> R) -> R {
        work(self.lock().as_mut().expect(SITS))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seat<C>>> {
        self.seat.lock().expect("who panicked over a peer's state leaves nothing to go on with")
    }
}

impl<C: Clerk> StandIn for Desk<C> {
    fn stand_in(&self) -> bool {
        let Ok(mut seat) = self.seat.try_lock() else { return false };
        let Some(seat) = seat.as_mut() else { return false };
        self.is_helped.store(true, Ordering::Relaxed);
        let mut lingers = match VISIT.take() {
            Visit::Short => false,
            Visit::Telling(_) => {
                VISIT.set(Visit::Telling(Some(self.waker.clone())));
                false
            }
            Visit::Lingering => true,
        };
        for _ in 0..PIECES_MAX {
            let is_busy = seat.clerk.work() || std::mem::take(&mut lingers) && seat.clerk.linger();
            if !is_busy && seat.clerk.leave() {
                // A call to stop may have been taken for one to work.
                return !(seat.clerk.wants_owner() || seat.is_due_earlier() || self.stop.is_set());
            }
        }
        false
    }
}

impl<C: Clerk> Seat<C> {
    /// What the peer's own thread does.
    fn work(&mut self) -> bool {
        let is_busy = self.clerk.work();
        self.clerk.work_alone();
        is_busy
    }

    /// Says in the inbox that nobody is here; until when the peer's own thread may sleep. None if there is something to do.
    fn leave(&mut self) -> Option<Instant> {
        if !self.clerk.leave() {
            return None;
        }
        self.due_ns = self.clerk.due_ns();
        Some(self.clerk.sleeps_until())
    }

    /// Whether the peer's own thread would come too late.
    fn is_due_earlier(&self) -> bool {
        self.clerk.due_ns().is_some_and(|due| self.due_ns.is_none_or(|planned| due < planned))
    }
}
