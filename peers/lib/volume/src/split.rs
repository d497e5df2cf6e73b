//! Byte ranges of a volume as pieces of its blocks.

use std::ops::Range;

use crate::name::BlockIndex;

/// A piece of a byte range inside one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockPart {
    /// Which block.
    pub index: BlockIndex,
    /// Which bytes of it.
    pub range: Range<u64>,
}

/// Cuts `length` bytes from `offset` at the borders of blocks of `block_size` bytes.
pub fn split(offset: u64, length: u64, block_size: u32) -> impl Iterator<Item = BlockPart> {
    let block = u64::from(block_size.max(1));
    let end = offset.saturating_add(length);
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let start = at % block;
        let part = (block - start).min(end - at);
        let index = BlockIndex(at / block);
        at += part;
        Some(BlockPart { index, range: start..start + part })
    })
}

/// The blocks that lie wholly inside `length` bytes from `offset` of a volume of `size` bytes: what a discard frees.
///
/// The last block counts as whole if the range reaches the volume's end.
pub fn whole_blocks(offset: u64, length: u64, block_size: u32, size: u64) -> Range<BlockIndex> {
    let block = u64::from(block_size.max(1));
    let end = offset.saturating_add(length).min(size);
    let first = offset.div_ceil(block);
    let last = if end == size { end.div_ceil(block) } else { end / block };
    BlockIndex(first)..BlockIndex(last.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(offset: u64, length: u64) -> Vec<(u64, Range<u64>)> {
        split(offset, length, 4096).map(|part| (part.index.0, part.range)).collect()
    }

    #[test]
    fn a_range_is_cut_at_the_borders_of_blocks() {
        assert_eq!(parts(0, 4096), [(0, 0..4096)]);
        assert_eq!(parts(4094, 4), [(0, 4094..4096), (1, 0..2)]);
        assert_eq!(parts(100, 0), []);
        assert_eq!(parts(10, 10_000), [(0, 10..4096), (1, 0..4096), (2, 0..1818)]);
    }

    #[test]
    fn a_range_at_the_end_of_all_numbers_ends() {
        assert_eq!(parts(u64::MAX - 1, 10).len(), 1);
    }

    #[test]
    fn only_whole_blocks_are_freed() {
        let whole = |offset, length| whole_blocks(offset, length, 4096, 10_000);
        assert_eq!(whole(0, 4096), BlockIndex(0)..BlockIndex(1));
        assert_eq!(whole(1, 4096), BlockIndex(1)..BlockIndex(1));
        assert_eq!(whole(1, 9999), BlockIndex(1)..BlockIndex(3));
        assert_eq!(whole(8192, 1808), BlockIndex(2)..BlockIndex(3));
        assert_eq!(whole(0, u64::MAX), BlockIndex(0)..BlockIndex(3));
    }
}
