//! What a port reserved and nobody uses: free slots and free buffer ranges, in the port's own memory.

use std::{collections::BTreeMap, ops::Range};

use crate::{geometry::index, local::Local, state::bits};

/// Smallest buffer, and the alignment of small ones.
const SMALL: u64 = 64;
/// Alignment of buffers that are at least this long.
const PAGE: u64 = 4096;
/// Four sizes between powers of two: 64 bits' worth.
const CLASSES: usize = 256;

/// Bytes that a buffer of `bytes` takes: at most a quarter more, and a multiple of its alignment.
pub(crate) fn capacity(bytes: u64) -> u64 {
    if bytes == 0 {
        return 0;
    }
    let bytes = bytes.max(SMALL);
    let step = (bytes.next_power_of_two() >> 3).max(SMALL);
    let rounded = bytes.next_multiple_of(step);
    if bytes < PAGE { rounded } else { rounded.next_multiple_of(PAGE) }
}

fn class(capacity: u64) -> usize {
    let power = capacity.max(SMALL).ilog2();
    let quarter = bits(capacity >> (power - 2), 3);
    index(power * 4 + quarter)
}

/// Free ranges by where they begin; neighbours are merged.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a free range. One that overlaps what is free already is refused.
    pub(crate) fn add(&mut self, range: Range<u64>) -> bool {
        let (mut start, mut end) = (range.start, range.end);
        if start >= end {
            return false;
        }
        if let Some((&before, &before_end)) = self.0.range(..end).next_back() {
            if before_end > start {
                return false;
            }
            if before_end == start {
                self.0.remove(&before);
                start = before;
            }
        }
        if let Some(after_end) = self.0.remove(&end) {
            end = after_end;
        }
        self.0.insert(start, end);
        true
    }

    /// Takes the lowest range of `len` bytes with this alignment.
    pub(crate) fn take(&mut self, len: u64, align: u64) -> Option<u64> {
        let (&start, &end, at) = self.0.iter().find_map(|(start, end)| {
            let at = start.next_multiple_of(align);
            (at.checked_add(len)? <= *end).then_some((start, end, at))
        })?;
        self.cut(start..end, at..at + len);
        Some(at)
    }

    /// Takes exactly this range, if all of it is free.
    pub(crate) fn take_exact(&mut self, range: Range<u64>) -> bool {
        let Some((&start, &end)) = self.0.range(..=range.start).next_back() else { return false };
        if range.end > end || range.is_empty() {
            return false;
        }
        self.cut(start..end, range);
        true
    }

    fn cut(&mut self, from: Range<u64>, piece: Range<u64>) {
        self.0.remove(&from.start);
        if from.start < piece.start {
            self.0.insert(from.start, piece.start);
        }
        if piece.end < from.end {
            self.0.insert(piece.end, from.end);
        }
    }
}

/// Free slots, most of them with a buffer of some size still attached, so that reuse is one pop.
#[derive(Debug)]
pub(crate) struct Pool {
    bare: Vec<u32>,
    with_buffer: Vec<Vec<u32>>,
    ranges: Ranges,
}

impl Pool {
    pub(crate) fn new(ranges: Ranges) -> Pool {
        Pool { bare: Vec::new(), with_buffer: vec![Vec::new(); CLASSES], ranges }
    }

    /// A free slot and where its buffer of `bytes` begins.
    pub(crate) fn allocate(&mut self, local: &Local, bytes: u64) -> Option<(u32, u64)> {
        let capacity = capacity(bytes);
        if let Some(found) = self.ready(local, capacity) {
            return Some(found);
        }
        while let Some(slot) = local.returned.pop() {
            self.free(local, slot);
        }
        self.ready(local, capacity).or_else(|| self.carve(local, capacity))
    }

    /// A slot that has what is asked for.
    fn ready(&mut self, local: &Local, capacity: u64) -> Option<(u32, u64)> {
        if capacity == 0 {
            return self.bare.pop().map(|slot| (slot, 0));
        }
        let slot = self.with_buffer[class(capacity)].pop()?;
        Some((slot, local.reserved(slot).0))
    }

    /// A bare slot and a fresh range; takes buffers off free slots if it must.
    fn carve(&mut self, local: &Local, capacity: u64) -> Option<(u32, u64)> {
        if capacity == 0 {
            self.strip(local);
            return self.bare.pop().map(|slot| (slot, 0));
        }
        if self.bare.is_empty() {
            self.strip(local);
        }
        let slot = self.bare.pop()?;
        let align = if capacity < PAGE { SMALL } else { PAGE };
        let at = self.ranges.take(capacity, align).or_else(|| {
            self.strip(local);
            self.ranges.take(capacity, align)
        });
        if at.is_none() {
            self.bare.push(slot);
        }
        at.map(|at| (slot, at))
    }

    fn strip(&mut self, local: &Local) {
        for slots in &mut self.with_buffer {
            for slot in slots.drain(..) {
                let (at, bytes) = local.reserved(slot);
                local.set_buffer(slot, 0, 0, 0);
                self.ranges.add(at..at + capacity(bytes));
                self.bare.push(slot);
            }
        }
    }

    /// Takes back a slot whose state is already free.
    pub(crate) fn free(&mut self, local: &Local, slot: u32) {
        let capacity = capacity(local.reserved(slot).1);
        if capacity == 0 {
            self.bare.push(slot);
        } else {
            self.with_buffer[class(capacity)].push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_are_aligned_and_waste_little() {
        for bytes in [1, 63, 64, 65, 1000, 4095, 4096, 4097, 65536, 300_000, 1 << 20, (1 << 22) + 1] {
            let capacity = capacity(bytes);
            assert!(capacity >= bytes && capacity <= bytes + (bytes / 4).max(4096));
            assert!(capacity.is_multiple_of(if bytes < PAGE { SMALL } else { PAGE }));
        }
    }

    #[test]
    fn a_class_holds_one_capacity() {
        let mut seen = BTreeMap::new();
        for bytes in (1..100_000).chain((100_000..20_000_000).step_by(1009)) {
            let capacity = capacity(bytes);
            assert_eq!(*seen.entry(class(capacity)).or_insert(capacity), capacity);
        }
    }

    #[test]
    fn ranges_merge_and_refuse_overlap() {
        let mut ranges = Ranges::default();
        assert!(ranges.add(0..100) && ranges.add(200..300) && ranges.add(100..200));
        assert!(!ranges.add(50..60));
        assert_eq!(ranges.take(300, 1), Some(0));
        assert!(ranges.add(0..300));
        assert!(ranges.take_exact(64..128));
        assert!(!ranges.take_exact(100..140));
        assert_eq!(ranges.take(64, 64), Some(0));
        assert_eq!(ranges.take(173, 64), None);
        assert_eq!(ranges.take(108, 64), Some(128));
    }
}
