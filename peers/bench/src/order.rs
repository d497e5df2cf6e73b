//! The order in which blocks are touched.

use crate::Pattern;

/// Gives block numbers: each once, then all again in another order.
#[derive(Debug)]
pub(crate) struct Order {
    pattern: Pattern,
    count: u64,
    seed: u64,
    pass: u64,
    next: u64,
}

impl Order {
    /// Of blocks 0 to `count`, which is not 0.
    pub(crate) fn new(pattern: Pattern, count: u64, seed: u64) -> Order {
        Order { pattern, count, seed, pass: 0, next: 0 }
    }

    /// The next block.
    pub(crate) fn next(&mut self) -> u64 {
        let position = self.next;
        let pass = self.pass;
        self.next += 1;
        if self.next == self.count {
            self.next = 0;
            self.pass += 1;
        }
        match self.pattern {
            Pattern::Sequential => position,
            Pattern::Random => shuffled(position, self.count, mix(self.seed ^ mix(pass))),
        }
    }
}

/// The place of `position` in an order of `count` things that `key` decides: a Feistel network over the next power of four,
/// followed until it comes back into range.
fn shuffled(position: u64, count: u64, key: u64) -> u64 {
    let bits = count.next_power_of_two().trailing_zeros().div_ceil(2).max(1);
    let mask = (1_u64 << bits) - 1;
    let mut value = position;
    loop {
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(right ^ key.rotate_left(16 * round)) & mask));
        }
        value = left << bits | right;
        if value < count {
            return value;
        }
    }
}

/// Scatters the bits of a number.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let number = (number ^ number >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    number ^ number >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(order: &mut Order, count: u64) -> Vec<u64> {
        (0..count).map(|_| order.next()).collect()
    }

    #[test]
    fn every_block_comes_once_in_a_pass() {
        for count in [1, 2, 3, 5, 64, 100, 1023, 4097] {
            let mut order = Order::new(Pattern::Random, count, 9);
            for _ in 0..3 {
                let mut seen = pass(&mut order, count);
                seen.sort_unstable();
                assert_eq!(seen, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn passes_and_seeds_differ_and_the_same_seed_repeats() {
        let mut order = Order::new(Pattern::Random, 1000, 1);
        let first = pass(&mut order, 1000);
        assert_ne!(first, pass(&mut order, 1000));
        assert_ne!(first, pass(&mut Order::new(Pattern::Random, 1000, 2), 1000));
        assert_eq!(first, pass(&mut Order::new(Pattern::Random, 1000, 1), 1000));
    }

    #[test]
    fn a_sequence_starts_again_at_its_end() {
        assert_eq!(pass(&mut Order::new(Pattern::Sequential, 3, 1), 5), [0, 1, 2, 0, 1]);
    }
}
