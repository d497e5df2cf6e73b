//! Numbers that look random, from a seed that is told when a test fails.

/// A xorshift generator.
pub(crate) struct Dice(u64);

impl Dice {
    /// Seeded by the time, or by `ARCHIPELAGO_DEATHS_SEED`; `lane` tells the dice of one test apart.
    pub(crate) fn new(lane: u64) -> Dice {
        let told = std::env::var("ARCHIPELAGO_DEATHS_SEED").ok().and_then(|told| told.parse().ok());
        let now = || {
            let since =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            u64::from(since.subsec_nanos()) | 1
        };
        let seed = told.unwrap_or_else(now);
        println!("lane {lane}: seed {seed}");
        Dice((seed ^ lane.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// An index of a list of so many.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(u64::try_from(count).unwrap())).unwrap()
    }
}
