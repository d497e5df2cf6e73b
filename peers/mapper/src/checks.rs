//! Checks that are under way, between their steps.

use std::collections::{HashSet, VecDeque};

use peer::tasks::Gate;
use protocol::Failure;

use crate::{check_tree::Tree, failure::invalid, kept::Kept, marks::Key};

/// Bytes of the number that resume points begin with.
const ID_BYTES: usize = 8;
/// Most checks that are kept; beyond, the one that was not asked for longest begins its volume again.
const KEPT_MAX: usize = 4;

/// A check that is under way. Lost with its mapper; the next one goes on at the same volume.
#[derive(Default)]
pub(crate) struct Check {
    /// In all its resume points, so that checks beside each other keep their places.
    id: [u8; ID_BYTES],
    pub(crate) point: Vec<u8>,
    /// Names that were listed and not looked at.
    pub(crate) ahead: VecDeque<Vec<u8>>,
    pub(crate) volume: Option<Tree>,
    pub(crate) whole: HashSet<Key>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Checks {
    /// One step at a time.
    pub(crate) turn: Gate,
    kept: Kept<Check, KEPT_MAX>,
}

impl Checks {
    /// The check that a resume point is of: a new one with this number if it is empty.
    pub(crate) fn take(&self, resume: &[u8], number: u64) -> Result<Box<Check>, Failure> {
        if resume.is_empty() {
            return Ok(Box::new(Check { id: number.to_le_bytes(), ..Check::default() }));
        }
        let parts = resume.split_first_chunk::<ID_BYTES>().filter(|(_, point)| !point.is_empty());
        let (id, point) = parts.ok_or_else(|| invalid("this is no point at which a check goes on"))?;
        let lost = || Box::new(Check { id: *id, point: point.to_vec(), ..Check::default() });
        Ok(self.kept.take(|kept| kept.id == *id && kept.point == point).unwrap_or_else(lost))
    }

    /// Keeps a check for its next step. Its resume point; none at the end.
    pub(crate) fn keep(&self, check: Box<Check>) -> Option<Vec<u8>> {
        let resume = (!check.point.is_empty()).then(|| [&check.id[..], &check.point].concat())?;
        self.kept.keep(check);
        Some(resume)
    }
}
