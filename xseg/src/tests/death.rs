//! What is left of an owner, in one process: deaths are played by forgetting its memory.

use super::{SERVER, SOME, STORE, reply, request, segment, send};
use crate::{ErrorKind, FLAG_ABANDONABLE, Held, Port, Reserve, STATUS_UNAVAILABLE, Segment, sync::Ordering};

#[expect(clippy::mem_forget, reason = "a killed process runs no destructors")]
fn forget(held: Held) {
    std::mem::forget(held);
}

/// As if the owner's process had been killed: its memory is gone, its words stay.
#[expect(clippy::mem_forget, reason = "a killed process runs no destructors")]
fn kill(segment: &Segment, port: Port) {
    let number = port.number().0;
    std::mem::forget(port);
    segment.shared.owner(number).store(u64::MAX, Ordering::SeqCst);
}

#[test]
fn the_next_owner_serves_what_the_dead_one_had_accepted_and_what_waited() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    for op in 0..4 {
        send(&mut client, op, SERVER);
    }
    forget(request(&mut server));
    forget(request(&mut server));
    send(&mut client, 4, SERVER);
    kill(&segment, server);
    send(&mut client, 5, SERVER);

    let mut server = segment.bind(SERVER, SOME).unwrap();
    for op in 0..6 {
        let held = request(&mut server);
        assert_eq!((held.op(), held.attempts()), (op, u32::from(op < 2)));
        server.respond(held).unwrap();
    }
    assert!(server.receive().is_none());
    for op in 0..6 {
        assert_eq!(reply(&mut client).op(), op);
    }
    assert_eq!(segment.verify(), []);
    assert_eq!((segment.anomalies(), segment.deaths()), (0, 1));
}

#[test]
fn nothing_is_served_before_the_orphans_of_the_dead_owner_are_home() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let mut store = segment.bind(STORE, SOME).unwrap();
    send(&mut client, 1, SERVER);
    let parent = request(&mut server);
    let child = server.allocate_child(&parent, 0..64).unwrap();
    server.submit(child, STORE).unwrap();
    let mut free = server.allocate(64).unwrap();
    free.set_flags(FLAG_ABANDONABLE);
    server.submit(free, STORE).unwrap();
    forget(parent);
    kill(&segment, server);

    let mut server = segment.bind(SERVER, SOME).unwrap();
    assert!(server.receive().is_none());
    let first = request(&mut store);
    store.respond(first).unwrap();
    let held = request(&mut server);
    assert_eq!((held.op(), held.attempts()), (1, 1));
    server.respond(held).unwrap();
    let second = request(&mut store);
    store.respond(second).unwrap();
    assert!(server.receive().is_none());
    drop(reply(&mut client));
    assert!(segment.requests().is_empty());
    let all: Vec<Held> = (0..16).map(|_| server.allocate(8 * 1024).unwrap()).collect();
    drop(all);
    drop(server.allocate(256 * 1024).unwrap());
}

#[test]
fn an_owner_that_leaves_in_order_leaves_what_waits() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    send(&mut client, 7, SERVER);
    drop(segment.bind(SERVER, SOME).unwrap());
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let held = request(&mut server);
    assert_eq!((held.op(), held.attempts()), (7, 0));
    assert_eq!(segment.deaths(), 0);
}

#[test]
fn what_a_dead_client_held_is_freed_and_what_is_under_way_is_answered_to_nobody() {
    let segment = segment();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let mut client = segment.bind_dynamic(Reserve { requests: 256 - 16, bytes: 3 << 20 }).unwrap();
    send(&mut client, 1, SERVER);
    forget(client.allocate(4096).unwrap());
    let held = request(&mut server);
    kill(&segment, client);
    let reaped = segment.reap();
    assert_eq!((reaped.ports, reaped.requests), (1, 1));
    assert_eq!(segment.requests().len(), 1);
    assert_eq!(
        segment.bind_dynamic(Reserve { requests: 256 - 16, bytes: 0 }).unwrap_err().kind(),
        ErrorKind::NoSpace
    );
    server.respond(held).unwrap();
    assert!(segment.requests().is_empty());
    segment.bind_dynamic(Reserve { requests: 256 - 16, bytes: 3 << 20 }).unwrap();
    assert_eq!(segment.verify(), []);
}

#[test]
fn a_dropped_request_is_answered_with_unavailable() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    send(&mut client, 1, SERVER);
    drop(request(&mut server));
    assert!(server.receive().is_none());
    assert_eq!(reply(&mut client).status(), STATUS_UNAVAILABLE);
}

#[test]
fn a_buffer_that_is_lent_to_a_request_under_way_is_not_given_back() {
    let segment = segment();
    let mut store = segment.bind(STORE, SOME).unwrap();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    for dies in [true, false] {
        let mut server = segment.bind_dynamic(SOME).unwrap();
        send(&mut client, 1, server.number());
        let parent = request(&mut server);
        let child = server.allocate_child(&parent, 0..64).unwrap();
        server.submit(child, STORE).unwrap();
        if dies {
            forget(parent);
            kill(&segment, server);
        } else {
            drop(parent);
            assert!(server.receive().is_none());
            drop(server);
        }
        segment.reap();
        assert!(client.receive().is_none());
        let other = segment.bind_dynamic(SOME).unwrap();
        let child = request(&mut store);
        store.respond(child).unwrap();
        segment.reap();
        assert_eq!(reply(&mut client).status(), STATUS_UNAVAILABLE);
        drop(other);
        assert!(segment.requests().is_empty());
    }
    assert_eq!((segment.verify(), segment.anomalies()), (vec![], 0));
}

#[test]
fn a_dropped_request_is_answered_once_its_buffer_is_back() {
    let segment = segment();
    let mut client = segment.bind_dynamic(SOME).unwrap();
    let mut server = segment.bind(SERVER, SOME).unwrap();
    let mut store = segment.bind(STORE, SOME).unwrap();
    send(&mut client, 1, SERVER);
    let parent = request(&mut server);
    let child = server.allocate_child(&parent, 0..64).unwrap();
    server.submit(child, STORE).unwrap();
    drop(parent);
    assert!(server.receive().is_none() && client.receive().is_none());
    let child = request(&mut store);
    store.respond(child).unwrap();
    drop(reply(&mut server));
    assert!(server.receive().is_none());
    assert_eq!(reply(&mut client).status(), STATUS_UNAVAILABLE);
}
