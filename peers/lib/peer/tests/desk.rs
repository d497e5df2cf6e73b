//! Peers that are served by who asks them, on a private segment.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use peer::{Common, Effects, Event, Peer, Stop};
use protocol::Op;
use xseg::{Geometry, Port, PortNumber, Received, Reserve, Segment};

const FRONT: PortNumber = PortNumber(1);
const BACK: PortNumber = PortNumber(2);
const RESERVE: Reserve = Reserve { requests: 32, bytes: 1 << 16 };

/// Passes requests on, if to anybody, and counts what it did in whose thread.
struct Clerk {
    effects: Effects,
    to: Option<PortNumber>,
    me: ThreadId,
    by_others: Arc<AtomicU64>,
    ticks: Arc<AtomicU64>,
}

impl Peer for Clerk {
    fn handle(&mut self, event: Event) {
        self.by_others.fetch_add(u64::from(thread::current().id() != self.me), Ordering::Relaxed);
        match (event, self.to) {
            (Event::Accepted(request), Some(to)) => self.effects.submit(request, to).unwrap(),
            (Event::Accepted(request), None) => {
                self.effects.wake_at(self.effects.now_ns() + 1_000_000);
                self.effects.respond(request, Ok(()));
            }
            (Event::Replied(reply), _) => self.effects.respond(reply, Ok(())),
            (Event::Tick, _) => drop(self.ticks.fetch_add(1, Ordering::Relaxed)),
            (Event::Stopping, _) => {}
        }
    }
}

/// Two peers at desks, one behind the other, each with a thread of its own.
struct Office {
    segment: Segment,
    stop: Stop,
    by_others: Arc<AtomicU64>,
    ticks: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Office {
    fn open() -> Office {
        let segment = Segment::private(Geometry::new(16, 8, 512, 8 << 20).unwrap()).unwrap();
        let (stop, by_others, ticks) = (Stop::new(), Arc::default(), Arc::default());
        let mut office = Office { segment, stop, by_others, ticks, threads: Vec::new() };
        office.seat(BACK, None);
        office.seat(FRONT, Some(BACK));
        office
    }

    fn seat(&mut self, port: PortNumber, to: Option<PortNumber>) {
        let (segment, stop) = (self.segment.clone(), self.stop.clone());
        let (by_others, ticks) = (Arc::clone(&self.by_others), Arc::clone(&self.ticks));
        self.threads.push(thread::spawn(move || {
            let ports = port.0..=port.0;
            let role = "tested".to_owned();
            let common = Common { role, ports, nr_ops: 64, node: "node".into(), run_dir: "/".into() };
            let me = thread::current().id();
            let build = |effects| Clerk { effects, to, me, by_others, ticks };
            peer::run_at_desk(&segment, &common, port, RESERVE, &stop, build).unwrap();
        }));
    }

    fn client(&self) -> Port {
        self.segment.bind_dynamic(RESERVE).unwrap()
    }

    /// Waits until nobody is at the desks.
    fn await_sleep(&self) {
        let sleeps = |port| {
            self.segment.ports().iter().any(|info| info.number == port && info.is_alive && info.is_sleeping)
        };
        while !(sleeps(FRONT) && sleeps(BACK)) {
            thread::yield_now();
        }
    }

    fn close(self) {
        self.stop.set();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn ask(client: &mut Port) {
    let mut request = client.allocate(0).unwrap();
    request.set_op(Op::Info.number());
    client.submit(request, FRONT).unwrap();
}

fn has_answer(client: &mut Port) -> bool {
    match client.receive() {
        Some(Received::Reply(reply)) => {
            client.free(reply);
            true
        }
        other => {
            assert!(other.is_none(), "nobody asks a client: {other:?}");
            false
        }
    }
}

#[test]
fn who_asks_sleeping_peers_does_their_work_and_has_the_answer_at_once() {
    let office = Office::open();
    let mut client = office.client();
    office.await_sleep();
    ask(&mut client);
    assert!(has_answer(&mut client));
    // The one in front twice: the request and the reply; the one behind once.
    assert_eq!(office.by_others.load(Ordering::Relaxed), 3);
    office.close();
}

#[test]
fn a_time_asked_for_in_anothers_thread_is_kept() {
    let office = Office::open();
    let mut client = office.client();
    office.await_sleep();
    ask(&mut client);
    let deadline = Instant::now() + Duration::from_secs(60);
    while office.ticks.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "nobody ticks");
        thread::yield_now();
    }
    office.close();
}

#[test]
fn every_request_is_answered_whoever_serves() {
    const ROUNDS: u32 = 5_000;
    let office = Office::open();
    thread::scope(|scope| {
        for depth in [1, 3, 16] {
            let mut client = office.client();
            scope.spawn(move || {
                let (mut sent, mut answered) = (0, 0);
                while answered < ROUNDS {
                    while sent < ROUNDS && sent - answered < depth {
                        ask(&mut client);
                        sent += 1;
                    }
                    if has_answer(&mut client) {
                        answered += 1;
                    } else {
                        client.wait(None);
                    }
                }
            });
        }
    });
    office.close();
}

/// Has nothing to do until somebody lingers: then something comes.
struct Dozing {
    port: Port,
    lingered: Arc<AtomicU64>,
    worked: Arc<AtomicU64>,
}

impl peer::Clerk for Dozing {
    fn work(&mut self) -> bool {
        self.port.disarm();
        self.worked.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn linger(&mut self) -> bool {
        self.lingered.fetch_add(1, Ordering::Relaxed) == 0
    }

    fn leave(&mut self) -> bool {
        self.port.arm()
    }

    fn due_ns(&self) -> Option<u64> {
        None
    }

    fn sleeps_until(&self) -> Instant {
        Instant::now()
    }

    fn slept(&mut self) {}
}

#[test]
fn who_lingers_does_what_comes_meanwhile_and_only_where_it_has_served() {
    let segment = Segment::private(Geometry::new(16, 8, 512, 8 << 20).unwrap()).unwrap();
    let mut port = segment.bind(FRONT, RESERVE).unwrap();
    let (lingered, worked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let waker = port.waker();
    assert!(port.arm());
    let clerk = Dozing { port, lingered: lingered.clone(), worked: worked.clone() };
    let _desk = peer::Desk::open(&segment, FRONT, clerk, waker.clone(), &Stop::new());
    let counts = || (lingered.load(Ordering::Relaxed), worked.load(Ordering::Relaxed));
    peer::tell_and_linger(|| {}, || true);
    assert_eq!(counts(), (0, 0), "nobody was served");
    peer::tell_and_linger(|| waker.call(), || false);
    assert_eq!(counts(), (0, 1), "it would hold up somebody");
    peer::tell_and_linger(|| waker.call(), || true);
    assert_eq!(counts(), (1, 4), "called, before it lingers, and for what came");
    waker.call();
    assert_eq!(counts(), (1, 5), "it has left");
    peer::tell_and_linger(|| waker.call(), || true);
    assert_eq!(counts(), (2, 7), "nothing came");
}
