//! The inbox that xseg has, through its public interface.

use std::{hint::spin_loop, time::Duration};

use xseg::{Geometry, Held, Port, PortNumber, Received, Reserve, Segment};

use crate::{Cores, Waiting, measure};

const SERVER: PortNumber = PortNumber(0);

fn pair(waiting: Waiting) -> (Port, Port) {
    let segment = Segment::private(Geometry::new(4, 1, 256, 4 << 20).unwrap()).unwrap();
    let reserve = Reserve { requests: 64, bytes: 1 << 20 };
    let mut pair = (segment.bind(SERVER, reserve).unwrap(), segment.bind_dynamic(reserve).unwrap());
    if waiting == Waiting::Sleeping {
        pair.0.set_spin(Duration::ZERO);
        pair.1.set_spin(Duration::ZERO);
    }
    pair
}

fn next(port: &mut Port, waiting: Waiting) -> Held {
    loop {
        match port.receive() {
            Some(Received::Request(held) | Received::Reply(held)) => return held,
            None if waiting == Waiting::Spinning => spin_loop(),
            None => _ = port.wait(None),
        }
    }
}

fn send(port: &mut Port, number: u32) {
    let mut held = port.allocate(4096).unwrap();
    held.set_op(2);
    held.set_offset(u64::from(number));
    held.set_size(4096);
    port.submit(held, SERVER).unwrap();
}

fn serve(port: &mut Port, rounds: u32, waiting: Waiting) {
    for _ in 0..rounds {
        let mut held = next(port, waiting);
        held.set_serviced(held.size());
        port.respond(held).unwrap();
    }
}

/// One request at a time.
pub(crate) fn round_trips(cores: Cores, waiting: Waiting, rounds: u32) -> f64 {
    let (mut server, mut client) = pair(waiting);
    let server = move || serve(&mut server, rounds, waiting);
    let client = move || {
        for round in 0..rounds {
            send(&mut client, round);
            let held = next(&mut client, waiting);
            assert_eq!(held.serviced(), 4096);
            client.free(held);
        }
    };
    measure(cores, rounds, server, client)
}

/// `depth` requests at a time.
pub(crate) fn stream(waiting: Waiting, rounds: u32, depth: u32) -> f64 {
    let (mut server, mut client) = pair(waiting);
    let server = move || serve(&mut server, rounds, waiting);
    let client = move || {
        (0..depth).for_each(|round| send(&mut client, round));
        for round in 0..rounds {
            let held = next(&mut client, waiting);
            client.free(held);
            if round + depth < rounds {
                send(&mut client, round);
            }
        }
    };
    measure(Cores::Two, rounds, server, client)
}
