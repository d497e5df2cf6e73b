//! The part of the segment's memory that connections may take, and how it is divided.

use std::sync::{Arc, Mutex};

use crate::lock;

/// The least memory of a connection, in bytes: with less it is refused.
pub(crate) const SHARE_MIN: u64 = 1 << 20;
/// Connections together take at most this part of the segment, so that peers and tools always have room.
const PART_OF_SEGMENT: u64 = 2;
/// One connection takes at most this part of what is left, so that who comes later gets some too.
const PART_OF_REST: u64 = 4;

/// What is left for connections, in bytes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Mutex<u64>>);

/// One connection's part; given back when dropped.
pub(crate) struct Share {
    memory: Memory,
    pub(crate) bytes: u64,
}

impl Memory {
    /// For a segment with so much memory.
    pub(crate) fn of_segment(arena_bytes: u64) -> Memory {
        Memory(Arc::new(Mutex::new(arena_bytes / PART_OF_SEGMENT)))
    }

    /// A power of two, at most `most` bytes; none if nearly nothing is left.
    pub(crate) fn take(&self, most: u64) -> Option<Share> {
        let mut left = lock(&self.0);
        let fair = (*left / PART_OF_REST).clamp(SHARE_MIN, most.max(SHARE_MIN));
        let bytes = 1 << fair.ilog2();
        *left = left.checked_sub(bytes)?;
        Some(Share { memory: self.clone(), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *lock(&self.memory.0) += self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn early_connections_get_more_and_late_ones_still_get_some() {
        let memory = Memory::of_segment(256 * MIB);
        let mut shares = Vec::new();
        while let Some(share) = memory.take(32 * MIB) {
            shares.push(share);
        }
        assert_eq!(shares[0].bytes, 32 * MIB);
        assert_eq!(shares.last().unwrap().bytes, MIB);
        assert_eq!(shares.iter().map(|share| share.bytes).sum::<u64>(), 128 * MIB);
        assert!(shares.len() > 16, "{}", shares.len());
    }

    #[test]
    fn what_was_given_back_is_there_again() {
        let memory = Memory::of_segment(2 * MIB);
        let share = memory.take(32 * MIB).unwrap();
        assert!(memory.take(32 * MIB).is_none());
        drop(share);
        assert!(memory.take(32 * MIB).is_some());
    }
}
