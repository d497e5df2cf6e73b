use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{ErrorKind, Geometry, Held, Port, PortNumber, Received, Reserve, Segment, StandIn, Woken};

mod death;

const SERVER: PortNumber = PortNumber(1);
const STORE: PortNumber = PortNumber(2);
const FILTER: PortNumber = PortNumber(3);
const SOME: Reserve = Reserve { requests: 16, bytes: 256 * 1024 };

fn segment() -> Segment {
    Segment::private(Geometry::new(16, 8, 256, 4 << 20).unwrap()).unwrap()
}

fn request(port: &mut Port) -> Held {
    match port.receive() {
        Some(Received::Request(held)) => held,
        other => panic!("not a request: {other:?}"),
    }
}

fn reply(port: &mut Port) -> Held {
    match port.receive() {
        Some(Received::Reply(held)) => held,
        other => panic!("not a reply: {other:?}"),
    }
}

fn send(port: &mut Port, op: u16, to: PortNumber) {
    let mut held = port.allocate(64).unwrap();
    held.set_op(op);
    port.submit(held, to).unwrap();
}

#[test]
fn a_request_arrives_as_it_was_sent_and_its_reply_as_it_was_answered() {
    let segment = segment();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut held = client.allocate(8192).unwrap();
    held.set_op(2);
    held.set_flags(6);
    held.set_offset(1 << 40);
    held.set_size(4096);
    held.set_fence(9);
    held.set_flow(77);
    held.set_target(b"volume").unwrap();
    held.set_argument(b"argument").unwrap();
    held.write(100, b"payload").unwrap();
    let id = held.id();
    client.submit(held, SERVER).unwrap();

    let mut accepted = request(&mut server);
    assert_eq!((accepted.op(), accepted.flags(), accepted.offset(), accepted.size()), (2, 6, 1 << 40, 4096));
    assert_eq!((accepted.fence(), accepted.flow(), accepted.attempts()), (9, 77, 0));
    assert_eq!((&*accepted.target(), &*accepted.argument()), (&b"volume"[..], &b"argument"[..]));
    assert_eq!((accepted.id(), accepted.from(), accepted.origin()), (id, client.number(), client.number()));
    let mut payload = [0; 7];
    accepted.read(100, &mut payload).unwrap();
    assert_eq!(&payload, b"payload");
    accepted.set_status(3);
    accepted.set_serviced(4095);
    accepted.set_argument(b"result").unwrap();
    server.respond(accepted).unwrap();

    let answered = reply(&mut client);
    assert_eq!((answered.status(), answered.serviced(), answered.id()), (3, 4095, id));
    assert_eq!(&*answered.argument(), b"result");
    assert_eq!(answered.from(), SERVER);
    client.free(answered);
    assert_eq!(segment.verify(), []);
    assert!(segment.requests().is_empty());
    assert_eq!(segment.anomalies(), 0);
}

#[test]
fn requests_are_received_in_the_order_of_submission() {
    let segment = segment();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let mut client = segment.bind_dynamic(Reserve { requests: 64, bytes: 64 * 1024 }).unwrap();
    for round in 0..3u16 {
        for op in 0..50 {
            send(&mut client, round * 50 + op, SERVER);
            if op == 20 {
                let first = request(&mut server);
                assert_eq!(first.op(), round * 50);
                server.respond(first).unwrap();
            }
        }
        for op in 1..50 {
            let held = request(&mut server);
            assert_eq!(held.op(), round * 50 + op);
            server.respond(held).unwrap();
        }
        while let Some(Received::Reply(held)) = client.receive() {
            client.free(held);
        }
    }
}

#[test]
fn what_a_port_reserved_bounds_it_and_nobody_else() {
    let segment = segment();
    let mut greedy = segment.bind_dynamic(SOME).unwrap();
    let mut modest = segment.bind_dynamic(SOME).unwrap();
    let mut all: Vec<Held> = (0..16).map(|_| greedy.allocate(16 * 1024).unwrap()).collect();
    assert_eq!(greedy.allocate(0).unwrap_err().kind(), ErrorKind::NoSpace);
    let one = modest.allocate(256 * 1024).unwrap();
    assert_eq!(modest.allocate(1).unwrap_err().kind(), ErrorKind::NoSpace);
    modest.free(one);
    greedy.free(all.pop().unwrap());
    assert_eq!(greedy.allocate(64 * 1024).unwrap_err().kind(), ErrorKind::NoSpace);
    drop(all);
    drop(greedy.allocate(256 * 1024).unwrap());
}

#[test]
fn buffers_are_aligned() {
    let segment = segment();
    let mut port = segment.bind_dynamic(SOME).unwrap();
    let small = port.allocate(100).unwrap();
    let large = port.allocate(5000).unwrap();
    assert_eq!(small.raw(0..100).unwrap().as_ptr().addr() % 64, 0);
    assert_eq!(large.raw(0..5000).unwrap().as_ptr().addr() % 4096, 0);
    assert_eq!(large.raw(0..5001).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_child_works_in_the_buffer_of_its_parent() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, Reserve { requests: 16, bytes: 0 }).unwrap();
    let mut store = segment.bind(STORE, Reserve { requests: 16, bytes: 0 }).unwrap();
    let held = client.allocate(8192).unwrap();
    client.submit(held, SERVER).unwrap();
    let parent = request(&mut server);
    assert_eq!(server.allocate_child(&parent, 8000..8193).unwrap_err().kind(), ErrorKind::Invalid);
    let child = server.allocate_child(&parent, 4096..8192).unwrap();
    server.submit(child, STORE).unwrap();

    let (parent, error) = server.respond(parent).unwrap_err().into_parts();
    assert_eq!(error.kind(), ErrorKind::Busy);

    let served = request(&mut store);
    assert_eq!(served.buffer_bytes(), 4096);
    served.write(0, b"from the store").unwrap();
    store.respond(served).unwrap();
    let child = reply(&mut server);
    server.respond(parent).unwrap();
    server.free(child);
    let answered = reply(&mut client);
    let mut bytes = [0; 14];
    answered.read(4096, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from the store");
    client.free(answered);
}

#[test]
fn a_forwarded_request_comes_back_through_the_interposer() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let mut filter = segment.bind(FILTER, SOME).unwrap();
    segment.set_route(SERVER, Some(FILTER)).unwrap();
    send(&mut client, 5, SERVER);
    let seen = request(&mut filter);
    filter.forward(seen, SERVER).unwrap();
    let mut served = request(&mut server);
    assert_eq!(served.from(), FILTER);
    assert_eq!(served.path(), [client.number(), FILTER]);
    served.set_serviced(5);
    server.respond(served).unwrap();
    let mut passing = reply(&mut filter);
    assert!(!passing.is_home());
    passing.set_serviced(passing.serviced() + 1);
    filter.respond(passing).unwrap();
    assert_eq!(reply(&mut client).serviced(), 6);
}

#[test]
fn an_owned_port_is_busy_and_names_its_owner() {
    let segment = segment();
    let _server = segment.bind(SERVER, SOME).unwrap();
    let error = segment.bind(SERVER, SOME).unwrap_err();
    assert_eq!((error.kind(), error.owner_pid()), (ErrorKind::Busy, Some(std::process::id())));
}

#[test]
fn submitting_to_nobody_gives_the_request_back() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let held = client.allocate(0).unwrap();
    let (held, error) = client.submit(held, PortNumber(15)).unwrap_err().into_parts();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let (held, error) = client.submit(held, PortNumber(99)).unwrap_err().into_parts();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    client.free(held);
}

#[test]
fn a_waker_ends_a_wait_even_if_it_came_first() {
    let segment = segment();
    let mut port = segment.bind_dynamic(SOME).unwrap();
    let waker = port.waker();
    waker.wake();
    assert_eq!(port.wait(None), Woken::Waker);
    let thread = thread::spawn(move || waker.wake());
    assert_eq!(port.wait(None), Woken::Waker);
    thread.join().unwrap();
    assert_eq!(port.wait(Some(Instant::now() + Duration::from_millis(1))), Woken::Deadline);
}

#[test]
fn an_armed_port_does_not_sleep_over_a_request() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    assert!(server.arm());
    send(&mut client, 1, SERVER);
    assert!(!server.disarm());
    assert!(!server.arm());
    drop(request(&mut server));
}

/// Answers everything, in whatever thread.
struct Answering(Mutex<Port>);

impl StandIn for Answering {
    fn stand_in(&self) -> bool {
        let Ok(mut port) = self.0.try_lock() else { return false };
        while let Some(Received::Request(held)) = port.receive() {
            port.respond(held).unwrap();
        }
        port.arm()
    }
}

#[test]
fn a_sleeping_port_is_served_by_its_stand_in_and_a_waking_one_is_not() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let answering = Arc::new(Answering(Mutex::new(segment.bind(SERVER, SOME).unwrap())));
    let stand_in: std::sync::Weak<Answering> = Arc::downgrade(&answering);
    segment.set_stand_in(SERVER, stand_in);
    assert!(answering.0.lock().unwrap().arm());
    send(&mut client, 1, SERVER);
    drop(reply(&mut client));
    assert!(!answering.0.lock().unwrap().disarm());
    send(&mut client, 2, SERVER);
    assert!(client.receive().is_none());
    assert_eq!(request(&mut answering.0.lock().unwrap()).op(), 2);
}

#[test]
fn two_threads_share_a_port_as_two_halves() {
    const ROUNDS: u64 = 20_000;
    let segment = segment();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let (mut submitter, mut receiver) = segment.bind_dynamic(SOME).unwrap().split();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..ROUNDS {
                let mut held = loop {
                    match submitter.allocate(64) {
                        Ok(held) => break held,
                        Err(_) => thread::yield_now(),
                    }
                };
                held.set_offset(number);
                submitter.submit(held, SERVER).unwrap();
            }
        });
        scope.spawn(move || {
            for number in 0..ROUNDS {
                server.wait(None);
                let mut held = request(&mut server);
                assert_eq!(held.offset(), number);
                held.set_serviced(number);
                server.respond(held).unwrap();
            }
        });
        scope.spawn(move || {
            for number in 0..ROUNDS {
                receiver.wait(None);
                let Some(Received::Reply(held)) = receiver.receive() else { panic!("no reply") };
                assert_eq!(held.serviced(), number);
                receiver.free(held);
            }
        });
    });
    assert_eq!(segment.verify(), []);
    assert!(segment.requests().is_empty());
}

#[test]
fn a_named_segment_is_opened_by_what_it_is_and_destroyed_once() {
    let name = format!("posix:xseg-test-{}", std::process::id());
    let geometry = Geometry::new(16, 8, 64, 1 << 20).unwrap();
    let made = Segment::create(&name, geometry).unwrap();
    assert_eq!(Segment::create(&name, geometry).unwrap_err().kind(), ErrorKind::Exists);
    let opened = Segment::open(&name).unwrap();
    assert_eq!((opened.id(), opened.geometry()), (made.id(), geometry));
    let mut server = opened.bind(SERVER, SOME).unwrap();
    let mut client = made.bind_dynamic(SOME).unwrap();
    send(&mut client, 3, SERVER);
    assert_eq!(request(&mut server).op(), 3);
    Segment::destroy(&name).unwrap();
    assert_eq!(Segment::destroy(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Segment::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Segment::open("../passwd").unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_spoilt_header_or_length_is_corrupt() {
    let name = format!("xseg-spoilt-{}", std::process::id());
    let path = format!("/dev/shm/{name}");
    Segment::create(&name, Geometry::new(16, 8, 64, 1 << 20).unwrap()).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let whole = file.metadata().unwrap().len();
    let header = std::fs::read(&path).unwrap();
    for len in [whole - 1, whole + 1] {
        file.set_len(len).unwrap();
        assert_eq!(Segment::open(&name).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    file.set_len(whole).unwrap();
    Segment::open(&name).unwrap();
    for byte in [0, 8, 16, 40, 70, 112, 120] {
        std::os::unix::fs::FileExt::write_at(&file, &[0xee], byte).unwrap();
        assert!(Segment::open(&name).is_err());
        std::os::unix::fs::FileExt::write_at(&file, &header[usize::try_from(byte).unwrap()..][..1], byte)
            .unwrap();
        Segment::open(&name).unwrap();
    }
    for len in [4096, 100, 0] {
        file.set_len(len).unwrap();
        assert_eq!(Segment::open(&name).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    Segment::destroy(&name).unwrap();
}

#[test]
fn the_trace_tells_the_steps_of_a_request() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    send(&mut client, 1, SERVER);
    assert_eq!(segment.trace().count(), 0);
    let held = request(&mut server);
    server.respond(held).unwrap();
    drop(reply(&mut client));
    segment.set_trace(true);
    send(&mut client, 1, SERVER);
    let held = request(&mut server);
    let id = held.id();
    server.respond(held).unwrap();
    drop(reply(&mut client));
    use crate::Step::{Accept, Respond, Return, Submit};
    let steps: Vec<_> = segment.trace().map(|event| (event.step, event.request == id)).collect();
    assert_eq!(steps, [(Submit, true), (Accept, true), (Respond, true), (Return, true)]);
}
