//! Blocks that say what they are.
//!
//! Each unit of 512 bytes: checksum, volume, offset, version, seed (five little-endian numbers of 8 bytes), then numbers that
//! derive from these. So whatever comes back tells where it belongs and whether it is whole.

use crate::{job::UNIT_BYTES, order::mix};

const UNIT: usize = 512;
const HEADER: usize = 40;
const _: () = assert!(UNIT as u64 == UNIT_BYTES);

/// What a unit says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Hash of the target's name.
    pub(crate) target: u64,
    /// Where it belongs, in bytes.
    pub(crate) offset: u64,
    /// Which write of its block wrote it, from 1.
    pub(crate) version: u32,
    /// Which run.
    pub(crate) seed: u64,
}

/// What is found wrong with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Zeros: the write is gone.
    Lost,
    /// An older write.
    Stale,
    /// Something whole that belongs elsewhere.
    Misplaced,
    /// Neither old nor new.
    Torn,
}

/// Fills a block with units that say they are `first` and what follows it.
pub(crate) fn fill(block: &mut [u8], first: Stamp) {
    for (unit, offset) in block.chunks_exact_mut(UNIT).zip((first.offset..).step_by(UNIT)) {
        let stamp = Stamp { offset, ..first };
        let version = u64::from(stamp.version);
        let numbers = [stamp.target, offset, version, stamp.seed].into_iter().chain(body(stamp));
        for (bytes, number) in unit[8..].chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = checksum(&unit[8..]);
        unit[..8].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Compares a block with what was written: the first unit that differs, with its offset.
pub(crate) fn check(block: &[u8], first: Stamp) -> Option<(Wrong, u64)> {
    let offsets = (first.offset..).step_by(UNIT);
    block.chunks_exact(UNIT).zip(offsets).find_map(|(unit, offset)| {
        let wrong = check_unit(unit, Stamp { offset, ..first })?;
        Some((wrong, offset))
    })
}

fn check_unit(unit: &[u8], expected: Stamp) -> Option<Wrong> {
    if unit.iter().all(|byte| *byte == 0) {
        return Some(Wrong::Lost);
    }
    if number(unit, 0) != checksum(&unit[8..]) {
        return Some(Wrong::Torn);
    }
    let is_here = number(unit, 8) == expected.target && number(unit, 16) == expected.offset;
    let is_now = number(unit, 24) == u64::from(expected.version) && number(unit, 32) == expected.seed;
    match (is_here, is_now) {
        (true, true) => None,
        (true, false) => Some(Wrong::Stale),
        (false, _) => Some(Wrong::Misplaced),
    }
}

fn body(stamp: Stamp) -> impl Iterator<Item = u64> {
    let start = mix(stamp.seed ^ mix(stamp.offset) ^ u64::from(stamp.version));
    (1..=u64::try_from((UNIT - HEADER) / 8).unwrap_or(0)).map(move |step| start.wrapping_mul(2 * step + 1))
}

fn number(unit: &[u8], at: usize) -> u64 {
    unit[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Tells any change of a unit but one in 2^64.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| number(word, 0));
    let sum = words.fold(0x9e37_79b9_7f4a_7c15_u64, |sum, word| {
        (sum ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29)
    });
    mix(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { target: 5, offset: 8192, version: 3, seed: 7 };

    fn block(stamp: Stamp) -> Vec<u8> {
        let mut block = vec![0; 4096];
        fill(&mut block, stamp);
        block
    }

    #[test]
    fn what_was_written_is_right() {
        assert_eq!(check(&block(STAMP), STAMP), None);
    }

    #[test]
    fn everything_wrong_has_its_name_and_place() {
        let mut zeroed = block(STAMP);
        zeroed[512..1024].fill(0);
        assert_eq!(check(&zeroed, STAMP), Some((Wrong::Lost, 8192 + 512)));
        let old = block(Stamp { version: 2, ..STAMP });
        assert_eq!(check(&old, STAMP), Some((Wrong::Stale, 8192)));
        let elsewhere = block(Stamp { offset: 0, ..STAMP });
        assert_eq!(check(&elsewhere, STAMP), Some((Wrong::Misplaced, 8192)));
        let other = block(Stamp { target: 6, ..STAMP });
        assert_eq!(check(&other, STAMP), Some((Wrong::Misplaced, 8192)));
        let mut mixed = block(STAMP);
        mixed[4000..4096].copy_from_slice(&old[4000..4096]);
        assert_eq!(check(&mixed, STAMP), Some((Wrong::Torn, 8192 + 3584)));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for bit in (0..4096 * 8).step_by(37) {
            let mut flipped = block(STAMP);
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped, STAMP).is_some(), "bit {bit}");
        }
    }
}
