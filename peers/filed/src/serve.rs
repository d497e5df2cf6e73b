//! A store as a peer: serves one port of the segment.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peer::measures::Measures;
use peer::status::{self, Status};
use peer::stores::{buffer, decode, encode};
use peer::{Clerk, Clock as _, Common, Desk, Stop, SystemClock, fill_result};
use protocol::{ErrorKind, Failure, Op};
use xseg::{Held, Port, PortNumber, Received, Reserve, Segment, Spin};

use crate::config::Config;
use crate::engine::{Engine, Finished, Surroundings};
use crate::error::Error;
use crate::process::Identity;
use crate::ring::{Futex, Region};

/// How long a file blocker sleeps at most, so that what dead clients left is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Serves the role's port until `stop` is set and what was accepted is done.
///
/// Requests that wait for a lock then stay accepted: the next owner of the port serves them.
///
/// # Errors
/// A setting that cannot work, or a port that cannot be had.
pub fn serve(segment: &Segment, common: &Common, config: &Config, stop: &Stop) -> Result<(), Error> {
    let (first, last) = (*common.ports.start(), *common.ports.end());
    if first != last {
        return Err(Error::Ports { first, last });
    }
    let nr_ops = common.nr_ops as usize;
    config.check(nr_ops)?;
    let port = segment.bind(PortNumber(first), Reserve { requests: 0, bytes: 0 });
    let port = port.map_err(|source| Error::Port { port: first, source })?;
    let waker = port.waker();
    // What the page cache does at once, others may do in our stead; what a disk does, only the thread that sleeps on the ring.
    let has_futex = config.passes_cache();
    let node = config.keeps_locks().then(|| peer::node::record(common, segment));
    let key = Some(Identity::key_of_port(segment.name(), first));
    let surroundings = Surroundings { has_futex, key, node };
    let engine = Engine::with(config, nr_ops, Arc::new(move || waker.wake()), surroundings)?;
    stop.register(port.waker());
    tracing::info!(role = common.role, port = first, directory = %config.archip_dir.display(), "serving");
    let server = Server {
        engine,
        port,
        segment: segment.clone(),
        common: common.clone(),
        backlog: VecDeque::new(),
        measures: Measures::default(),
        clock: SystemClock::default(),
        since: SystemTime::now(),
        next_reap: Instant::now(),
        spin: Spin::default(),
        disk_spin: Spin::default(),
        is_stopping: false,
    };
    if server.engine.sleeps_on_ring() {
        server.run(stop);
    } else {
        let (mut sleeper, waker) = (server.port.sleeper(), server.port.waker());
        Desk::open(segment, PortNumber(first), server, waker, stop).serve(&mut sleeper, Server::finish);
    }
    tracing::info!(role = common.role, port = first, "stopped");
    Ok(())
}

/// How often a file blocker that stops looks whether its work is done.
const STOP_LOOK: Duration = Duration::from_millis(1);

struct Server {
    engine: Engine<Held>,
    port: Port,
    segment: Segment,
    common: Common,
    /// Received beyond `nr_ops`; bounded by the segment's request table.
    backlog: VecDeque<Held>,
    measures: Measures,
    clock: SystemClock,
    since: SystemTime,
    next_reap: Instant,
    spin: Spin,
    /// While transfers are under way: one at a time takes longer than a spin, which is soon noticed.
    disk_spin: Spin,
    is_stopping: bool,
}

impl Server {
    fn run(mut self, stop: &Stop) {
        while !stop.is_set() {
            while let Some(received) = self.port.receive() {
                self.take(received);
                self.engine.submit_group();
            }
            if self.turn() {
                self.engine.submit();
            } else {
                self.sleep();
            }
        }
        self.finish();
    }

    /// Ends what was accepted.
    fn finish(&mut self) {
        self.is_stopping = true;
        self.engine.stop();
        // An operation that is done but not answered yet counts as busy, not as running.
        while self.turn() || !self.engine.is_idle() || !self.backlog.is_empty() {
            self.sleep();
        }
        self.engine.leave();
    }

    fn receive(&mut self) {
        while let Some(received) = self.port.receive() {
            self.take(received);
        }
    }

    fn take(&mut self, received: Received) {
        if let Received::Request(held) = &received {
            self.measures.arrived(held, self.clock.now_ns());
        }
        match received {
            Received::Request(held) if held.op() == Op::Ping.number() => self.answer_ping(held),
            Received::Request(held) if self.engine.running() < self.common.nr_ops as usize => {
                self.start(held)
            }
            Received::Request(held) => self.backlog.push_back(held),
            // We ask nobody, so it answers what an earlier owner of the port asked.
            Received::Reply(held) => self.port.free(held),
        }
    }

    fn start(&mut self, held: Held) {
        let asked = decode(&held).and_then(|request| {
            let buffer = buffer(&held, &request.operation)?;
            Ok((request, buffer.map_or(Region::EMPTY, Region::of_request)))
        });
        match asked {
            Ok((request, region)) => self.engine.start(request, region, held),
            Err(failure) => self.respond(held, Err(failure)),
        }
    }

    /// Answers what is finished, and starts what waited for it. Whether there was anything.
    fn turn(&mut self) -> bool {
        self.engine.turn();
        let mut is_busy = false;
        while let Some(Finished { token: mut held, result }) = self.engine.finished() {
            is_busy = true;
            if self.is_stopping && result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unavailable) {
                leave_to_successor(held);
                continue;
            }
            let result = encode(&mut held, result);
            self.respond(held, result);
        }
        while self.engine.running() < self.common.nr_ops as usize
            && let Some(next) = self.backlog.pop_front()
        {
            is_busy = true;
            self.start(next);
        }
        is_busy
    }

    fn respond(&mut self, mut held: Held, result: Result<(), Failure>) {
        self.measures.answered(&held, result.is_err(), self.clock.now_ns());
        fill_result(&mut held, result.as_ref().map(drop));
        if let Err(refused) = self.port.respond(held) {
            tracing::warn!(error = %refused, "a reply could not be delivered");
        }
    }

    /// Sleeps until a request, a transfer or a thread has something. A request may follow the last answer at once,
    /// and a disk with much to do may end a transfer any moment, so both are looked for before.
    fn sleep(&mut self) {
        let mut received = None;
        let spin = if self.engine.has_transfers() { &mut self.disk_spin } else { &mut self.spin };
        let (engine, port) = (&mut self.engine, &mut self.port);
        let has_work = spin.run(|| {
            // A sleep on the ring does so by itself.
            engine.submit();
            received = port.receive();
            received.is_some() || engine.has_news()
        });
        if has_work {
            received.into_iter().for_each(|received| self.take(received));
        } else {
            self.sleep_on_word();
        }
    }

    fn sleep_on_word(&mut self) {
        if self.is_stopping {
            // What arrives now stays in the inbox, which would end every sleep at once.
            self.engine.submit();
            std::thread::sleep(STOP_LOOK);
        } else if self.engine.sleeps_on_ring() {
            if self.port.arm() {
                self.engine.sleep(Futex::of_port(self.port.futex_word()), LONGEST_SLEEP);
            }
            self.port.disarm();
        } else {
            self.engine.submit();
            self.port.wait(Some(Instant::now() + LONGEST_SLEEP));
        }
        self.look_after_the_dead();
    }

    fn look_after_the_dead(&mut self) {
        if Instant::now() >= self.next_reap {
            self.next_reap = Instant::now() + LONGEST_SLEEP;
            self.segment.reap();
        }
    }

    fn answer_ping(&mut self, mut held: Held) {
        let status = Status {
            role: self.common.role.clone(),
            pid: std::process::id(),
            port: self.port.number().0,
            since_unix_ms: unix_ms(self.since),
            served: self.measures.served(),
            failed: self.measures.failed(),
            in_flight: self.engine.running() as u64,
            waiting: self.backlog.len() as u64,
            details: serde_json::to_value(self.engine.status()).unwrap_or_default(),
            measured: (held.argument().as_ref() == status::MEASURED).then(|| self.measures.report()),
        };
        let json = serde_json::to_vec(&status).unwrap_or_default();
        let written = held.write(0, &json).map_err(|_| {
            Failure::new(
                ErrorKind::Invalid,
                format!("cannot answer ping: the status needs {} bytes", json.len()),
            )
        });
        held.set_serviced(if written.is_ok() { json.len() as u64 } else { 0 });
        self.respond(held, written);
    }
}

impl Clerk for Server {
    fn work(&mut self) -> bool {
        // Whatever the waker was called for is found by looking.
        let _is_woken = self.port.disarm();
        self.receive();
        // What is started from there may end at once.
        let is_busy = !self.backlog.is_empty();
        self.turn();
        is_busy
    }

    /// The kernel ends a thread's transfers with the thread.
    fn work_alone(&mut self) {
        self.engine.submit();
    }

    fn wants_owner(&mut self) -> bool {
        self.engine.has_unsubmitted()
    }

    fn leave(&mut self) -> bool {
        self.port.arm()
    }

    fn due_ns(&self) -> Option<u64> {
        None
    }

    fn sleeps_until(&self) -> Instant {
        Instant::now() + LONGEST_SLEEP
    }

    fn slept(&mut self) {
        self.look_after_the_dead();
    }
}

/// Neither answers nor frees: the request stays accepted by a port without owner, whose next owner serves it again.
fn leave_to_successor(held: Held) {
    let _kept = ManuallyDrop::new(held);
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
