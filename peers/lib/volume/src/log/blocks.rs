//! Which blocks logs name: the tree learns of them at the next checkpoint.

use std::collections::BTreeMap;

use super::{Change, LogChain};
use crate::error::VolumeError;
use crate::name::{BlockIndex, ObjectName};
use crate::root::Root;

/// A block as the logs of a volume leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedBlock {
    /// Which block.
    pub index: BlockIndex,
    /// Its own object.
    pub name: ObjectName,
    /// Whether only what was written to it is there, if anything was: the rest is in the tree's entry.
    pub is_partial: bool,
}

impl LogChain {
    /// The blocks that all changes together leave, in order.
    ///
    /// # Errors
    /// [`VolumeError::OutOfRange`] if a change is of a block that the volume of `root` does not have.
    pub fn blocks(&self, root: &Root) -> Result<Vec<LoggedBlock>, VolumeError> {
        let mut left = BTreeMap::new();
        let block = |index, written_at, is_partial| {
            let name = ObjectName::block(root.id, written_at, index);
            (index, LoggedBlock { index, name, is_partial })
        };
        for change in self.changes() {
            let (last, count) = (change.last_block(), root.block_count());
            if last.0 >= count {
                return Err(VolumeError::OutOfRange { index: last, count });
            }
            match *change {
                Change::Set { index, written_at } => left.extend([block(index, written_at, false)]),
                Change::Partial { index, written_at } => left.extend([block(index, written_at, true)]),
                Change::Punch { index, .. } => {
                    while let Some(gone) = left.range(index..=last).next().map(|(gone, _)| *gone) {
                        left.remove(&gone);
                    }
                }
            }
        }
        Ok(left.into_values().collect())
    }
}
