//! The other candidate: a ring of slot numbers for each pair of ports and direction (an entry is full if it is not
//! zero, so neither side reads the other's index), and a word a port to sleep on. It has no checks, no take-over and no
//! reply paths: a lower bound for what such an inbox would cost.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use rustix::thread::futex;

use crate::{Cores, Waiting, measure};

const ENTRIES: usize = 128;
/// Words of a request that are written and read as in xseg.
const WORDS: usize = 16;

#[repr(align(128))]
struct Entries([AtomicU32; ENTRIES]);

/// A request: as many words, as far apart, as in xseg.
#[repr(align(128))]
struct Record([AtomicU64; 192]);

#[repr(align(128))]
struct Doorbell(AtomicU32);

/// What comes in at one port: a ring from each peer, and what its owner sleeps on.
struct Inbox {
    rings: Vec<Entries>,
    doorbell: Doorbell,
}

impl Inbox {
    fn new(rings: usize) -> Inbox {
        let ring = || Entries([const { AtomicU32::new(0) }; ENTRIES]);
        Inbox { rings: (0..rings).map(|_| ring()).collect(), doorbell: Doorbell(AtomicU32::new(0)) }
    }

    fn push(&self, ring: usize, at: &mut usize, slot: u32) {
        let entry = &self.rings[ring].0[*at % ENTRIES];
        while entry.load(Ordering::Relaxed) != 0 {
            spin_loop();
        }
        entry.store(slot + 1, Ordering::Release);
        *at += 1;
        fence(Ordering::SeqCst);
        if self.doorbell.0.load(Ordering::Relaxed) != 0 {
            self.doorbell.0.store(0, Ordering::Release);
            futex::wake(&self.doorbell.0, futex::Flags::empty(), 1).unwrap();
        }
    }

    fn try_pop(&self, at: &mut [usize]) -> Option<u32> {
        self.rings.iter().zip(at).find_map(|(ring, at)| {
            let entry = &ring.0[*at % ENTRIES];
            let slot = entry.load(Ordering::Acquire).checked_sub(1)?;
            entry.store(0, Ordering::Release);
            *at += 1;
            Some(slot)
        })
    }

    fn pop(&self, at: &mut [usize], waiting: Waiting) -> u32 {
        loop {
            if let Some(slot) = self.try_pop(at) {
                return slot;
            }
            if waiting == Waiting::Spinning {
                spin_loop();
                continue;
            }
            self.doorbell.0.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(slot) = self.try_pop(at) {
                self.doorbell.0.store(0, Ordering::Relaxed);
                return slot;
            }
            let _ = futex::wait(&self.doorbell.0, futex::Flags::empty(), 1, None);
        }
    }
}

struct Pair {
    server: Inbox,
    client: Inbox,
    records: Vec<Record>,
    /// The ring that is used; the others are empty, and looked at.
    used: usize,
}

impl Pair {
    fn new(rings: usize, records: usize) -> Pair {
        let record = || Record([const { AtomicU64::new(0) }; 192]);
        let records = (0..records).map(|_| record()).collect();
        Pair { server: Inbox::new(rings), client: Inbox::new(1), records, used: rings - 1 }
    }

    fn record(&self, slot: u32) -> &Record {
        &self.records[usize::try_from(slot).unwrap()]
    }

    fn send(&self, at: &mut usize, slot: u32, number: u32) {
        let record = self.record(slot);
        record.0[..WORDS].iter().for_each(|word| word.store(u64::from(number), Ordering::Relaxed));
        self.server.push(self.used, at, slot);
    }

    fn serve(&self, rounds: u32, waiting: Waiting) {
        let (mut taken, mut put) = (vec![0; self.server.rings.len()], 0);
        for _ in 0..rounds {
            let slot = self.server.pop(&mut taken, waiting);
            let record = self.record(slot);
            let sum: u64 = record.0[..WORDS].iter().map(|word| word.load(Ordering::Relaxed)).sum();
            record.0[0].store(1, Ordering::Relaxed);
            record.0[WORDS].store(sum, Ordering::Relaxed);
            self.client.push(0, &mut put, slot);
        }
    }

    fn take(&self, at: &mut usize, waiting: Waiting) -> u32 {
        let slot = self.client.pop(std::slice::from_mut(at), waiting);
        assert!(self.record(slot).0[WORDS].load(Ordering::Relaxed) < u64::MAX);
        slot
    }
}

/// One request at a time; the server looks at `rings` rings.
pub(crate) fn round_trips(cores: Cores, waiting: Waiting, rounds: u32, rings: usize) -> f64 {
    let pair = Pair::new(rings, 1);
    let client = || {
        let (mut put, mut taken) = (0, 0);
        for round in 0..rounds {
            pair.send(&mut put, 0, round);
            pair.take(&mut taken, waiting);
        }
    };
    measure(cores, rounds, || pair.serve(rounds, waiting), client)
}

/// `depth` requests at a time.
pub(crate) fn stream(rounds: u32, depth: u32, rings: usize) -> f64 {
    let pair = Pair::new(rings, usize::try_from(depth).unwrap());
    let client = || {
        let (mut put, mut taken) = (0, 0);
        (0..depth).for_each(|slot| pair.send(&mut put, slot, slot));
        for round in 0..rounds {
            let slot = pair.take(&mut taken, Waiting::Spinning);
            if round + depth < rounds {
                pair.send(&mut put, slot, round);
            }
        }
    };
    measure(Cores::Two, rounds, || pair.serve(rounds, Waiting::Spinning), client)
}
