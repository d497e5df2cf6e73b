//! How long a client waits while the roles below it die: one small request at a time, and what it reads is right.

use std::time::{Duration, Instant};

use client::Client;
use tests::Dice;

use crate::{SEED, clock::Clock};

const BLOCK: usize = 4096;
const BLOCKS: u64 = 2048;

/// Sorted durations of all requests.
pub(crate) struct Pauses(Vec<Duration>);

/// Writes and reads blocks of a volume until the time is over; every block holds what was written last.
pub(crate) fn measure(mut client: Client, volume: &str, clock: &Clock) -> Pauses {
    let mut dice = Dice::told(SEED, 1);
    let mut written = vec![0_u32; usize::try_from(BLOCKS).unwrap()];
    let (mut bytes, mut times) = (vec![0; BLOCK], Vec::new());
    while !clock.is_over() {
        let block = dice.below(BLOCKS);
        let index = usize::try_from(block).unwrap();
        let offset = block * u64::try_from(BLOCK).unwrap();
        let begun = Instant::now();
        if dice.below(2) == 0 {
            written[index] += 1;
            client.write(volume, offset, &content(index, written[index])).unwrap();
        } else {
            client.read(volume, offset, &mut bytes).unwrap();
            assert!(bytes == content(index, written[index]), "block {block}, write {}", written[index]);
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Pauses(times)
}

fn content(index: usize, count: u32) -> Vec<u8> {
    if count == 0 {
        return vec![0; BLOCK];
    }
    tests::pattern(u32::try_from(index).unwrap() << 16 | count, BLOCK)
}

impl std::fmt::Display for Pauses {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |per_mille: usize| self.0.get((self.0.len() * per_mille / 1000).min(self.0.len() - 1));
        write!(out, "{} requests:", self.0.len())?;
        for (name, per_mille) in [("p50", 500), ("p99", 990), ("p99.9", 999), ("longest", 1000)] {
            write!(out, " {name} {:?}", at(per_mille).copied().unwrap_or_default())?;
        }
        Ok(())
    }
}
