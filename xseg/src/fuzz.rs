//! Random steps of three peers in one thread, with wrong words between any two of them.

use std::collections::VecDeque;

use crate::{
    Geometry, Held, Port, PortNumber, Received, Reserve, Segment,
    abi::{COUNTERS_AT, SLAB_BYTES},
    geometry::to_usize,
};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

const RESERVE: Reserve = Reserve { requests: 16, bytes: SLAB_BYTES };

fn port(random: &mut Random) -> PortNumber {
    PortNumber(u32::try_from(random.below(9)).unwrap())
}

/// Writes one wrong word: random bits, a small number, one bit, or a word from elsewhere.
fn strike(segment: &Segment, random: &mut Random) {
    let plan = &segment.shared.plan;
    let (start, end) = match random.below(4) {
        0 => (to_usize(COUNTERS_AT), plan.trace),
        1 => (plan.trace, plan.request_table),
        _ => (plan.request_table, plan.arena),
    };
    let words = crate::held::as_u64((end - start) / 8);
    let place = |random: &mut Random| start + to_usize(random.below(words)) * 8;
    let word = match random.below(4) {
        0 => random.below(u64::MAX),
        1 => random.below(40) | random.below(40) << 32,
        2 => 1 << random.below(64),
        _ => segment.shared.map.word64(place(random)).load(crate::sync::Ordering::Relaxed),
    };
    let at = place(random);
    if random.below(2) == 0 {
        segment.shared.map.copy_in(at, &word.to_le_bytes());
    } else {
        segment.shared.map.copy_in(at + 4, &word.to_le_bytes()[..4]);
    }
}

/// One random thing that a peer does; errors are what noise may cause.
fn act(
    segment: &Segment,
    ports: &mut [Option<Port>],
    held: &mut VecDeque<(usize, Held)>,
    random: &mut Random,
) {
    let which = to_usize(random.below(3));
    let Some(port_of) = ports[which].as_mut() else {
        let number = PortNumber(u32::try_from(which).unwrap());
        ports[which] =
            if which < 2 { segment.bind(number, RESERVE).ok() } else { segment.bind_dynamic(RESERVE).ok() };
        return;
    };
    match random.below(12) {
        0..=2 => held.extend(port_of.allocate(random.below(9000)).ok().map(|it| (which, it))),
        3..=5 => match port_of.receive() {
            Some(Received::Request(it) | Received::Reply(it)) => held.push_back((which, it)),
            None => (),
        },
        6..=9 => handle(ports, held, random),
        10 => {
            segment.reap();
            let _ = (segment.verify(), segment.ports(), segment.requests(), segment.trace().count());
        }
        _ if random.below(20) == 0 => {
            held.retain(|(owner, _)| *owner != which);
            ports[which] = None;
        }
        _ => _ = segment.set_route(port(random), (random.below(2) == 0).then(|| port(random))),
    }
}

/// Does something with one of the requests in hand.
fn handle(ports: &mut [Option<Port>], held: &mut VecDeque<(usize, Held)>, random: &mut Random) {
    let Some((which, mut it)) = held.pop_front() else { return };
    let Some(port_of) = ports[which].as_mut() else { return };
    let _ = (it.id(), it.target().len(), it.argument().len(), it.path().len(), it.set_argument(b"bytes"));
    let _ = it.write(random.below(9000), b"some bytes");
    let done = match random.below(4) {
        0 if it.is_home() => {
            port_of.free(it);
            Ok(())
        }
        0 | 1 => port_of.respond(it),
        2 => {
            let range = 0..it.buffer_bytes().min(100);
            held.extend(port_of.allocate_child(&it, range).ok().map(|child| (which, child)));
            held.push_back((which, it));
            return;
        }
        _ => port_of.submit(it, port(random)),
    };
    if let Err(refused) = done {
        held.push_back((which, refused.into_parts().0));
    }
}

fn play(seed: u64, calm: u64) {
    let mut random = Random(seed | 1);
    for _ in 0..20 {
        let segment = Segment::private(Geometry::new(9, 5, 64, 8 * SLAB_BYTES).unwrap()).unwrap();
        segment.set_trace(true);
        let mut ports = [None, None, None];
        let mut held = VecDeque::new();
        for _ in 0..1000 {
            act(&segment, &mut ports, &mut held, &mut random);
            if calm == 0 {
                assert_eq!(segment.anomalies(), 0);
            } else if random.below(calm) == 0 {
                strike(&segment, &mut random);
            }
        }
        held.clear();
        ports = [None, None, None];
        drop(ports);
    }
}

#[test]
fn any_wrong_word_costs_no_more_than_errors() {
    for seed in 1..6 {
        play(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed), 3);
        play(0x517c_c1b7_2722_0a95_u64.wrapping_mul(seed), 50);
    }
}

#[test]
fn random_steps_without_noise_cause_no_anomaly() {
    for seed in 1..6 {
        play(0x2545_f491_4f6c_dd1d_u64.wrapping_mul(seed), 0);
    }
}
