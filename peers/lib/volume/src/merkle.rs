//! The content hash of a volume, as the original and Pithos make it of the hashes of its blocks.

use sha2::{Digest, Sha256};

/// Makes one hash of the hashes of blocks, in order, with memory for one hash a level.
///
/// The list is padded with zeros to a power of two, and hashed in pairs until one is left. One block's hash is its own
/// root; the root of no blocks is the hash of nothing.
#[derive(Debug, Clone, Default)]
pub struct Merkle {
    /// `open[level]`: the left half of a pair whose right half is still to come.
    open: Vec<Option<[u8; 32]>>,
    count: u64,
}

impl Merkle {
    /// A hash of no blocks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the SHA-256 of the next block (of its bytes without trailing zeros).
    pub fn add(&mut self, hash: [u8; 32]) {
        self.count += 1;
        self.carry(hash, 0);
    }

    /// Adds `count` blocks that are holes: as that many times the hash of nothing, in a time that grows with its logarithm.
    pub fn add_holes(&mut self, count: u64) {
        let mut subtrees: Vec<[u8; 32]> = vec![Sha256::digest([]).into()];
        let mut left = count;
        while left > 0 {
            let aligned = if self.count == 0 { u64::BITS } else { self.count.trailing_zeros() };
            let level = aligned.min(left.ilog2()) as usize;
            while let Some(half) = subtrees.last().copied().filter(|_| subtrees.len() <= level) {
                subtrees.push(pair(&half, &half));
            }
            self.count += 1 << level;
            left -= 1 << level;
            self.carry(subtrees[level], level);
        }
    }

    fn carry(&mut self, hash: [u8; 32], from: usize) {
        let mut hash = hash;
        let mut level = from;
        loop {
            if self.open.len() <= level {
                self.open.resize(level + 1, None);
            }
            match self.open[level].take() {
                Some(left) => hash = pair(&left, &hash),
                None => {
                    self.open[level] = Some(hash);
                    return;
                }
            }
            level += 1;
        }
    }

    /// The root.
    pub fn finish(mut self) -> [u8; 32] {
        if self.count == 0 {
            return Sha256::digest([]).into();
        }
        let mut padding = [0; 32];
        let height = self.count.next_power_of_two().trailing_zeros() as usize;
        for level in 0..height {
            if self.open.get(level).copied().flatten().is_some() {
                self.carry(padding, level);
            }
            padding = pair(&padding, &padding);
        }
        self.open.into_iter().flatten().next_back().unwrap_or_default()
    }
}

fn pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule, written down plainly.
    fn plain(hashes: &[[u8; 32]]) -> [u8; 32] {
        if hashes.is_empty() {
            return Sha256::digest([]).into();
        }
        let mut row = hashes.to_vec();
        row.resize(row.len().next_power_of_two(), [0; 32]);
        while row.len() > 1 {
            row = row.chunks(2).map(|two| Sha256::digest([two[0], two[1]].concat()).into()).collect();
        }
        row[0]
    }

    #[test]
    fn the_root_is_that_of_the_padded_list() {
        for count in 0..70u8 {
            let hashes: Vec<[u8; 32]> = (0..count).map(|n| Sha256::digest([n]).into()).collect();
            let mut merkle = Merkle::new();
            hashes.iter().for_each(|&hash| merkle.add(hash));
            assert_eq!(merkle.finish(), plain(&hashes), "{count} blocks");
        }
    }

    #[test]
    fn a_run_of_holes_counts_as_its_holes_one_by_one() {
        let nothing: [u8; 32] = Sha256::digest([]).into();
        let mut random = 1_u64;
        for round in 0..200 {
            let (mut quick, mut slow) = (Merkle::new(), Merkle::new());
            for _ in 0..round % 7 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (holes, blocks) = (random >> 40 & 0x3ff, random >> 60);
                quick.add_holes(holes);
                (0..holes).for_each(|_| slow.add(nothing));
                for block in 0..blocks {
                    let hash = Sha256::digest(block.to_le_bytes()).into();
                    quick.add(hash);
                    slow.add(hash);
                }
            }
            assert_eq!(quick.finish(), slow.finish(), "round {round}");
        }
    }

    #[test]
    fn one_block_is_its_own_root_and_none_is_the_hash_of_nothing() {
        let mut merkle = Merkle::new();
        merkle.add([7; 32]);
        assert_eq!(merkle.finish(), [7; 32]);
        let text: String = Merkle::new().finish().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, crate::ZERO_BLOCK);
    }
}
