//! Numbers that look random, from a seed that is told when a test fails.

use std::time::{SystemTime, UNIX_EPOCH};

/// A xorshift generator.
pub struct Dice(u64);

impl Dice {
    /// Seeded by the time, or by an environment variable; `lane` tells the dice of one test apart.
    #[must_use]
    pub fn told(variable: &str, lane: u64) -> Dice {
        let told = std::env::var(variable).ok().and_then(|told| told.parse().ok());
        let now =
            || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos());
        let seed = told.unwrap_or_else(|| now() | 1);
        println!("lane {lane}: {variable}={seed}");
        Dice((seed ^ lane.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1))
    }

    /// Others, that these determine.
    #[must_use]
    pub fn another(&mut self) -> Dice {
        Dice(self.below(u64::MAX).max(1))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// An index of a list of so many.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(u64::try_from(count).unwrap())).unwrap()
    }
}
