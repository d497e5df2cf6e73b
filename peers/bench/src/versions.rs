//! Which write was the last of each block.

/// A number for each block: how often it was written; and which blocks are in use now.
#[derive(Debug)]
pub(crate) struct Versions {
    newest: Vec<u32>,
    /// Blocks that requests under way touch; as many as the depth.
    busy: Vec<u64>,
}

/// Marks a block whose newest write failed: it may hold it or not.
const UNKNOWN: u32 = 1 << 31;

impl Versions {
    /// Of so many blocks, none written yet.
    pub(crate) fn new(count: u64) -> Versions {
        Versions { newest: vec![0; usize::try_from(count).unwrap_or(0)], busy: Vec::new() }
    }

    /// What a block holds, if that is known.
    pub(crate) fn held(&self, block: u64) -> Option<u32> {
        let newest = self.newest.get(index(block)).copied()?;
        (newest > 0 && newest & UNKNOWN == 0).then_some(newest)
    }

    /// The version of the next write of a block.
    pub(crate) fn next(&self, block: u64) -> u32 {
        let newest = self.newest.get(index(block)).copied().unwrap_or(0);
        (newest & !UNKNOWN) + 1
    }

    /// A write of a block was answered.
    pub(crate) fn written(&mut self, block: u64, version: u32, is_done: bool) {
        if let Some(newest) = self.newest.get_mut(index(block)) {
            *newest = if is_done { version } else { version | UNKNOWN };
        }
    }

    /// Takes a block for one request. False if another one has it.
    pub(crate) fn take(&mut self, block: u64) -> bool {
        let is_free = !self.busy.contains(&block);
        if is_free {
            self.busy.push(block);
        }
        is_free
    }

    /// The request that had the block is done.
    pub(crate) fn give_back(&mut self, block: u64) {
        if let Some(position) = self.busy.iter().position(|busy| *busy == block) {
            self.busy.swap_remove(position);
        }
    }

    /// The first block from `start` on whose content is known.
    pub(crate) fn next_held(&self, start: u64) -> Option<u64> {
        let end = u64::try_from(self.newest.len()).unwrap_or(0);
        (start..end).find(|block| self.held(*block).is_some())
    }
}

fn index(block: u64) -> usize {
    usize::try_from(block).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_one_requests_at_a_time() {
        let mut versions = Versions::new(4);
        assert!(versions.take(2) && !versions.take(2) && versions.take(3));
        versions.give_back(2);
        assert!(versions.take(2));
    }

    #[test]
    fn only_what_is_known_is_read_back() {
        let mut versions = Versions::new(4);
        versions.written(1, 1, true);
        versions.written(2, 1, false);
        assert_eq!((versions.next_held(0), versions.next_held(2)), (Some(1), None));
        assert_eq!((versions.next(0), versions.next(1), versions.next(2)), (1, 2, 2));
        versions.written(2, 2, true);
        assert_eq!(versions.next_held(2), Some(2));
    }
}
