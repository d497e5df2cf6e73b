//! Where the roles of a stack are.

use std::ops::RangeInclusive;

use xseg::{PortNumber, Segment};

/// A segment, and which of its ports serve what.
#[derive(Clone)]
pub struct Stack {
    /// The node's segment.
    pub segment: Segment,
    /// Ports of the composers; volumes are divided among them.
    pub vlmc: RangeInclusive<u32>,
    /// Port of the mapper.
    pub mapper: u32,
    /// Port of the store of maps and locks.
    pub blocker_maps: u32,
    /// Port of the store of blocks.
    pub blocker_blocks: u32,
    /// Endpoints by kind (`nbd`, `fuse`) and their control ports.
    pub endpoints: Vec<(String, u32)>,
    /// This node's identity, the owner of its locks.
    pub node: String,
}

impl Stack {
    /// The composer that serves this volume: always the same one, so that it may keep the volume's map.
    #[must_use]
    pub fn vlmc_port(&self, volume: &str) -> PortNumber {
        let count = self.vlmc.end().saturating_sub(*self.vlmc.start()).saturating_add(1);
        PortNumber(self.vlmc.start() + hash(volume.as_bytes()) % count)
    }
}

/// FNV-1a: the same in every process and every version.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn the_division_of_volumes_never_changes() {
        assert_eq!(hash(b""), 0x811c_9dc5);
        assert_eq!(hash(b"foobar"), 0xbf9c_f968);
    }
}
