//! Somebody writes random bytes into a live segment: peers fail with errors, and never crash, hang or panic.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod roles;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    process::Child,
    time::{Duration, Instant},
};

use roles::{Role, spawn};
use xseg::{Geometry, Segment, abi};

/// How long a process plays its role, and noise lasts.
const LIFE: Duration = Duration::from_millis(2500);
/// How much later it must have ended.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "what the other tests start as processes"]
fn play_a_role() {
    roles::play();
}

/// A small generator: the same noise in each run, as far as time allows.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Where: anywhere behind the fixed header, half of the time in the tables that matter most.
    fn place(&mut self, len: u64) -> u64 {
        let tables = 64 * 1024 + 300 * 1024;
        let within = if self.next().is_multiple_of(2) { tables.min(len) } else { len } - abi::COUNTERS_AT;
        abi::COUNTERS_AT + self.next() % within
    }

    /// What: random bytes, small numbers, single bits, or what lies elsewhere.
    fn strike(&mut self, file: &File, len: u64) {
        let at = self.place(len);
        let bytes = match self.next() % 4 {
            0 => self.next().to_le_bytes(),
            1 => (self.next() % 300).to_le_bytes(),
            2 => (1u64 << (self.next() % 64)).to_le_bytes(),
            _ => {
                let mut other = [0; 8];
                let _ = file.read_at(&mut other, self.place(len));
                other
            }
        };
        let (at, size) = if self.next().is_multiple_of(2) { (at & !7, 8) } else { (at & !3, 4) };
        let size = size.min(usize::try_from(len - at).unwrap());
        file.write_all_at(&bytes[..size], at).unwrap();
    }
}

/// Plays all roles while `strikes` of noise a round fall; all of them must end by themselves.
fn endure(seed: u64, strikes: u64) {
    let name = format!("xseg-noise-{seed}-{}", std::process::id());
    let segment = Segment::create(&name, Geometry::new(32, 8, 256, 2 << 20).unwrap()).unwrap();
    let file = File::options().read(true).write(true).open(format!("/dev/shm/{name}")).unwrap();
    let len = file.metadata().unwrap().len();
    segment.set_route(roles::SERVER, Some(roles::FILTER)).unwrap();
    let mut children: Vec<Child> = Role::ALL.into_iter().map(|role| spawn(role, &name, 0, LIFE)).collect();
    let mut noise = Noise(seed);
    let start = Instant::now();
    let mut ends = Vec::new();
    while !children.is_empty() {
        if start.elapsed() < LIFE {
            (0..strikes).for_each(|_| noise.strike(&file, len));
            segment.reap();
            let _ = (segment.verify(), segment.ports(), segment.requests(), segment.trace().count());
        }
        children.retain_mut(|child| {
            let end = child.try_wait().unwrap();
            ends.extend(end);
            end.is_none()
        });
        if start.elapsed() > LIFE + PATIENCE {
            children.iter_mut().for_each(|child| child.kill().unwrap());
            panic!("seed {seed}: {} processes hang", children.len());
        }
    }
    Segment::destroy(&name).unwrap();
    assert!(ends.iter().all(|end| end.success()), "seed {seed}: {ends:?}");
}

#[test]
fn a_few_wrong_words_cost_no_more_than_errors() {
    endure(0x1234_5678_9abc_def1, 1);
}

#[test]
fn a_storm_of_wrong_words_costs_no_more_than_errors() {
    endure(0x0fed_cba9_8765_4321, 200);
}
