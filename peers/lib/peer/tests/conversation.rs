//! Peers under the real loop, on a private segment.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{ops::RangeInclusive, thread};

use peer::{Common, Effects, Event, Peer, Stop, failure_of, tasks::Tasks};
use protocol::{ErrorKind, Failure, Op};
use xseg::{Geometry, Held, Port, PortNumber, Received, Reserve, Segment};

const ASKER: PortNumber = PortNumber(1);
const STORE: PortNumber = PortNumber(2);
const RESERVE: Reserve = Reserve { requests: 4, bytes: 1 << 16 };

fn segment() -> Segment {
    Segment::private(Geometry::new(16, 8, 256, 8 << 20).unwrap()).unwrap()
}

fn common(ports: RangeInclusive<u32>) -> Common {
    Common { role: "tested".into(), ports, nr_ops: 8, node: "node".into(), run_dir: "/".into() }
}

/// Answers `info` with the length of the target's name, and fails everything else.
struct Store(Effects);

impl Peer for Store {
    fn handle(&mut self, event: Event) {
        let Event::Accepted(mut request) = event else { return };
        let result = match Op::from_number(request.op()) {
            Some(Op::Info) => {
                request.set_serviced(u64::try_from(request.target().as_ref().len()).unwrap());
                Ok(())
            }
            _ => Err(Failure::new(ErrorKind::Unsupported, "only info")),
        };
        self.0.respond(request, result.as_ref().copied());
    }
}

/// Answers `info` with ten times what the store says, asking it ten times.
struct Asker(Tasks);

impl Peer for Asker {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(request) => self.0.spawn(serve(self.0.clone(), request)),
            Event::Replied(reply) => self.0.replied(reply),
            Event::Tick | Event::Stopping => {}
        }
        self.0.run();
    }

    fn is_idle(&self) -> bool {
        self.0.is_empty()
    }
}

async fn serve(tasks: Tasks, mut request: Held) {
    let result = ask(&tasks, &mut request).await;
    tasks.effects().respond(request, result.as_ref().copied());
}

async fn ask(tasks: &Tasks, request: &mut Held) -> Result<(), Failure> {
    let mut sum = 0;
    for _ in 0..10 {
        let name = request.target();
        let op = request.op();
        let fill = |question: &mut Held| {
            question.set_op(op);
            question
                .set_target(name.as_ref())
                .map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))
        };
        sum += tasks.call(STORE, 4096, fill).await?.serviced();
    }
    request.set_serviced(sum);
    Ok(())
}

fn with_peers(test: impl FnOnce(&Segment)) {
    let segment = segment();
    let (stop_asker, stop_store) = (Stop::new(), Stop::new());
    thread::scope(|scope| {
        let asker = scope.spawn(|| {
            peer::run(&segment, &common(1..=1), ASKER, RESERVE, &stop_asker, |effects| {
                Asker(Tasks::new(effects))
            })
        });
        let store = scope.spawn(|| peer::run(&segment, &common(2..=2), STORE, RESERVE, &stop_store, Store));
        test(&segment);
        stop_asker.set();
        asker.join().unwrap().unwrap();
        stop_store.set();
        store.join().unwrap().unwrap();
    });
    assert_eq!(segment.verify(), []);
}

fn send(port: &mut Port, to: PortNumber, op: Op, target: &str) {
    let mut request = port.allocate(4096).unwrap();
    request.set_op(op.number());
    request.set_target(target.as_bytes()).unwrap();
    port.submit(request, to).unwrap();
}

fn receive(port: &mut Port) -> Held {
    loop {
        match port.receive() {
            Some(Received::Reply(reply)) => return reply,
            Some(Received::Request(_)) => panic!("nobody asks a client"),
            None => {
                port.wait(None);
            }
        }
    }
}

#[test]
fn a_conversation_asks_and_answers() {
    with_peers(|segment| {
        let mut port = segment.bind_dynamic(RESERVE).unwrap();
        send(&mut port, ASKER, Op::Info, "seven..");
        let reply = receive(&mut port);
        assert_eq!((reply.status(), reply.serviced()), (0, 70));
        port.free(reply);
    });
}

#[test]
fn more_conversations_than_slots_wait_their_turn() {
    with_peers(|segment| {
        let mut port = segment.bind_dynamic(Reserve { requests: 40, bytes: 1 << 18 }).unwrap();
        for _ in 0..40 {
            send(&mut port, ASKER, Op::Info, "seven..");
        }
        for _ in 0..40 {
            let reply = receive(&mut port);
            assert_eq!((reply.status(), reply.serviced()), (0, 70));
            port.free(reply);
        }
    });
}

#[test]
fn a_failure_travels_back_with_its_kind_and_message() {
    with_peers(|segment| {
        let mut port = segment.bind_dynamic(RESERVE).unwrap();
        send(&mut port, ASKER, Op::Hash, "object");
        let reply = receive(&mut port);
        assert_eq!(failure_of(&reply), Some(Failure::new(ErrorKind::Unsupported, "only info")));
        port.free(reply);
    });
}

#[test]
fn ping_tells_what_was_served() {
    with_peers(|segment| {
        let mut port = segment.bind_dynamic(RESERVE).unwrap();
        send(&mut port, STORE, Op::Info, "object");
        let info = receive(&mut port);
        port.free(info);
        send(&mut port, STORE, Op::Ping, "*");
        let reply = receive(&mut port);
        let mut json = vec![0; usize::try_from(reply.serviced()).unwrap()];
        reply.read(0, &mut json).unwrap();
        port.free(reply);
        let status: peer::status::Status = serde_json::from_slice(&json).unwrap();
        assert_eq!((status.role.as_str(), status.served.get("info"), status.failed), ("tested", Some(&1), 0));
    });
}

#[test]
fn requests_sent_before_the_peer_is_there_are_served_when_it_comes() {
    let segment = segment();
    let mut port = segment.bind_dynamic(RESERVE).unwrap();
    send(&mut port, STORE, Op::Info, "object");
    let stop = Stop::new();
    thread::scope(|scope| {
        let store = scope.spawn(|| peer::run(&segment, &common(2..=2), STORE, RESERVE, &stop, Store));
        let reply = receive(&mut port);
        assert_eq!(reply.serviced(), 6);
        port.free(reply);
        stop.set();
        store.join().unwrap().unwrap();
    });
}
