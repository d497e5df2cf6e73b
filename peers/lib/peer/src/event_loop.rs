//! The loop around a peer.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use protocol::{ErrorKind, Failure, Op};
use xseg::{Held, PortNumber, Received, Reserve, Segment, Sleeper};

use crate::{
    Clock, Common, Effects, Stop, SystemClock,
    desk::{Clerk, Desk},
    measures::Measures,
    status,
};

/// A process on the segment, as a state machine. Never blocks, never reads a clock.
pub trait Peer {
    /// Deals with one event.
    fn handle(&mut self, event: Event);

    /// Looks at what other threads have done since: after every event and every sleep, which [`Effects::waker`] ends.
    /// Whether there was anything.
    fn turn(&mut self) -> bool {
        false
    }

    /// What only this peer can tell of itself, for `ping`.
    fn details(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Whether the names in requests to this peer are those of volumes.
    fn serves_volumes(&self) -> bool {
        false
    }

    /// Whether nothing is left to do of what [`Event::Stopping`] began.
    fn is_idle(&self) -> bool {
        true
    }

    /// Forgets everything, as the end of its process would make it: what else holds itself alive is dropped.
    fn forget(&mut self) {}
}

impl<P: Peer + ?Sized> Peer for Box<P> {
    fn handle(&mut self, event: Event) {
        (**self).handle(event);
    }

    fn turn(&mut self) -> bool {
        (**self).turn()
    }

    fn details(&self) -> serde_json::Value {
        (**self).details()
    }

    fn serves_volumes(&self) -> bool {
        (**self).serves_volumes()
    }

    fn is_idle(&self) -> bool {
        (**self).is_idle()
    }

    fn forget(&mut self) {
        (**self).forget();
    }
}

/// What a peer is told.
pub enum Event {
    /// A request to serve. It must be answered exactly once.
    Accepted(Held),
    /// A request of ours came home. It must be freed.
    Replied(Held),
    /// The time asked for with `Effects::wake_at` has come.
    Tick,
    /// No more requests will come; finish, and give back what others could wait for.
    Stopping,
}

/// Why a role could not start or go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve port {port} as {role}")]
pub struct Error {
    port: u32,
    role: String,
    #[source]
    source: xseg::Error,
}

/// How long a peer sleeps at most, so that what a dead process left is noticed: once a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How often a peer looks for what dead processes left.
const REAP_INTERVAL_NS: u64 = 1_000_000_000;
/// How many received requests are handled before timers are looked at.
const BURST: usize = 64;
/// How long who stood in lingers at most: a client on another processor is awake, and asks again, within some 20 µs.
const LONGEST_LINGER: Duration = Duration::from_micros(40);

/// Binds `port` and runs the peer that `build` makes until `stop` is set and its work is done.
///
/// # Errors
/// If the port cannot be bound.
pub fn run<P: Peer>(
    segment: &Segment,
    common: &Common,
    port: PortNumber,
    reserve: Reserve,
    stop: &Stop,
    build: impl FnOnce(Effects) -> P,
) -> Result<(), Error> {
    run_with_clock(segment, common, port, reserve, stop, Box::new(SystemClock::default()), build)
}

/// As [`run`], but threads of this process that ask the peer serve it at once while its own thread sleeps: see [`Desk`].
///
/// # Errors
/// If the port cannot be bound.
pub fn run_at_desk<P: Peer + Send + 'static>(
    segment: &Segment,
    common: &Common,
    number: PortNumber,
    reserve: Reserve,
    stop: &Stop,
    build: impl FnOnce(Effects) -> P,
) -> Result<(), Error> {
    try_run_at_desk(segment, common, number, reserve, stop, |effects| Ok(build(effects)))
}

/// As [`run_at_desk`], for a peer that may turn out not to be possible once it has its port.
///
/// # Errors
/// If the port cannot be bound, or what `build` says.
pub fn try_run_at_desk<P: Peer + Send + 'static, E: From<Error>>(
    segment: &Segment,
    common: &Common,
    number: PortNumber,
    reserve: Reserve,
    stop: &Stop,
    build: impl FnOnce(Effects) -> Result<P, E>,
) -> Result<(), E> {
    let clock = Box::new(SystemClock::default());
    let stepper = Stepper::try_new(segment, common, number, reserve, clock, build)?;
    let (mut sleeper, waker) = (stepper.effects.sleeper(), stepper.effects.waker());
    stop.register(waker.clone());
    tracing::info!(role = common.role, port = number.0, "serving");
    Desk::open(segment, number, stepper, waker, stop).serve(&mut sleeper, Stepper::finish);
    tracing::info!(role = common.role, port = number.0, "stopped");
    Ok(())
}

/// As [`run`], with another clock.
///
/// # Errors
/// If the port cannot be bound.
pub fn run_with_clock<P: Peer>(
    segment: &Segment,
    common: &Common,
    number: PortNumber,
    reserve: Reserve,
    stop: &Stop,
    clock: Box<dyn Clock>,
    build: impl FnOnce(Effects) -> P,
) -> Result<(), Error> {
    let mut stepper = Stepper::new(segment, common, number, reserve, clock, build)?;
    stop.register(stepper.effects.waker());
    tracing::info!(role = common.role, port = number.0, "serving");
    stepper.serve(stop);
    tracing::info!(role = common.role, port = number.0, "stopped");
    Ok(())
}

/// A peer and what drives it, a step at a time: [`run`] does nothing else, and a simulation decides when.
pub struct Stepper<P: Peer> {
    peer: P,
    effects: Effects,
    /// Looks into the inbox for who stands in.
    lookout: Sleeper,
    segment: Segment,
    common: Common,
    /// Accepted beyond `nr_ops`; bounded by the segment's request table.
    backlog: VecDeque<Held>,
    since_unix_ms: u64,
    next_reap_ns: u64,
    is_stopping: bool,
}

#[cfg(feature = "simulation")]
impl<P: Peer> Drop for Stepper<P> {
    fn drop(&mut self) {
        self.peer.forget();
    }
}

impl<P: Peer> Stepper<P> {
    /// Binds a port for the peer that `build` makes.
    ///
    /// # Errors
    /// If the port cannot be bound.
    pub fn new(
        segment: &Segment,
        common: &Common,
        number: PortNumber,
        reserve: Reserve,
        clock: Box<dyn Clock>,
        build: impl FnOnce(Effects) -> P,
    ) -> Result<Stepper<P>, Error> {
        Self::try_new(segment, common, number, reserve, clock, |effects| Ok(build(effects)))
    }

    fn try_new<E: From<Error>>(
        segment: &Segment,
        common: &Common,
        number: PortNumber,
        reserve: Reserve,
        clock: Box<dyn Clock>,
        build: impl FnOnce(Effects) -> Result<P, E>,
    ) -> Result<Stepper<P>, E> {
        let bound = segment.bind(number, reserve);
        let port = bound.map_err(|source| Error { port: number.0, role: common.role.clone(), source })?;
        let effects = Effects::new(port, clock);
        let since_unix_ms = effects.unix_ms();
        let peer = build(effects.clone())?;
        if peer.serves_volumes() {
            effects.measures(Measures::tell_volumes_apart);
        }
        let (segment, common, backlog) = (segment.clone(), common.clone(), VecDeque::new());
        Ok(Stepper {
            peer,
            lookout: effects.sleeper().spinning(LONGEST_LINGER),
            effects,
            segment,
            common,
            backlog,
            since_unix_ms,
            next_reap_ns: 0,
            is_stopping: false,
        })
    }

    /// Deals with what came first, if anything came, and with the time. Whether there was anything.
    pub fn step(&mut self) -> bool {
        let has_received = self.receive();
        let has_turned = self.peer.turn();
        self.tick() || has_received || has_turned
    }

    /// No more requests will be served; what is under way ends.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        self.peer.handle(Event::Stopping);
    }

    /// Whether the peer was stopped and has nothing left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_stopping && self.effects.in_flight() == 0 && self.peer.is_idle()
    }

    /// What the peer's hands are: its port, its clock.
    #[must_use]
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    fn serve(&mut self, stop: &Stop) {
        while !stop.is_set() {
            if !self.turn() {
                self.sleep();
                self.tick();
            }
        }
        self.finish();
    }

    /// Ends what is under way.
    fn finish(&mut self) {
        self.stop();
        while !self.is_done() {
            // One at a time: the last reply must not be followed by a sleep.
            if !self.step() {
                self.sleep();
            }
        }
    }

    /// What is there, a burst of it at most. Whether there may be more.
    fn turn(&mut self) -> bool {
        let count = (0..BURST).take_while(|_| self.receive()).count();
        if self.peer.turn() {
            self.serve_backlog();
        }
        self.tick();
        count == BURST
    }

    /// One request or reply. While the peer stops, new requests stay for the next owner of the port.
    fn receive(&mut self) -> bool {
        let received = self.effects.receive();
        let has_received = received.is_some();
        match received {
            Some(Received::Request(request)) if self.is_stopping => self.backlog.push_back(request),
            Some(Received::Request(request)) => self.accept(request),
            Some(Received::Reply(reply)) => self.peer.handle(Event::Replied(reply)),
            None => {}
        }
        if !self.is_stopping {
            self.serve_backlog();
        }
        has_received
    }

    fn sleep(&mut self) {
        self.effects.wait(LONGEST_SLEEP);
        self.look_after_the_dead();
    }

    /// Once a second, what dead clients left.
    fn look_after_the_dead(&mut self) {
        let now_ns = self.effects.now_ns();
        if now_ns >= self.next_reap_ns {
            self.next_reap_ns = now_ns + REAP_INTERVAL_NS;
            self.segment.reap();
        }
    }

    fn tick(&mut self) -> bool {
        let is_due = self.effects.take_due();
        if is_due {
            self.peer.handle(Event::Tick);
        }
        is_due
    }

    fn accept(&mut self, request: Held) {
        self.effects.arrived(&request);
        if request.op() == Op::Ping.number() {
            self.effects.begin();
            self.answer_ping(request);
        } else if self.effects.in_flight() < u64::from(self.common.nr_ops) {
            self.effects.begin();
            self.peer.handle(Event::Accepted(request));
        } else {
            self.backlog.push_back(request);
        }
    }

    fn serve_backlog(&mut self) {
        while self.effects.in_flight() < u64::from(self.common.nr_ops) {
            let Some(request) = self.backlog.pop_front() else { return };
            self.effects.begin();
            self.peer.handle(Event::Accepted(request));
        }
    }

    fn answer_ping(&self, mut request: Held) {
        let is_measured = request.argument().as_ref() == status::MEASURED;
        let (served, failed, measured) = self.effects.measures(|measures| {
            (measures.served(), measures.failed(), is_measured.then(|| measures.report()))
        });
        let status = status::Status {
            role: self.common.role.clone(),
            pid: std::process::id(),
            port: self.effects.port().0,
            since_unix_ms: self.since_unix_ms,
            served,
            failed,
            in_flight: self.effects.in_flight() - 1,
            waiting: u64::try_from(self.backlog.len()).unwrap_or(u64::MAX),
            details: self.peer.details(),
            measured,
        };
        let json = serde_json::to_vec(&status).expect("a status of plain fields always encodes");
        let result = request.write(0, &json).map_err(|_| {
            Failure::new(
                ErrorKind::Invalid,
                format!("cannot answer ping: the status needs {} bytes", json.len()),
            )
        });
        request.set_serviced(if result.is_ok() { u64::try_from(json.len()).unwrap_or(0) } else { 0 });
        self.effects.respond(request, result.as_ref().copied());
    }
}

impl<P: Peer + Send> Clerk for Stepper<P> {
    fn work(&mut self) -> bool {
        self.effects.disarm();
        self.turn()
    }

    fn linger(&mut self) -> bool {
        self.lookout.spin()
    }

    fn leave(&mut self) -> bool {
        self.effects.arm()
    }

    fn due_ns(&self) -> Option<u64> {
        self.effects.wakes_at_ns()
    }

    fn sleeps_until(&self) -> Instant {
        self.effects.sleeps_until(LONGEST_SLEEP)
    }

    fn slept(&mut self) {
        self.look_after_the_dead();
    }
}
