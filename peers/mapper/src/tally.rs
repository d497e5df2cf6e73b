//! What one step of a collection looks at and deletes.

use std::cell::RefCell;

use protocol::{Collected, ErrorKind, Failure, Message};
use volume::ObjectName;

use crate::{
    asked::{Answer, cut},
    parallel,
    store_calls::{Place, Stores},
};

/// Nodes read, or names looked at, in one step.
pub(crate) const STEP_WORK: usize = if cfg!(test) { 16 } else { 4096 };
/// The longest reason that an answer has room for, in bytes.
const SPARED_BYTES: usize = 400;

/// What one step found.
pub(crate) struct Tally {
    /// Whether what could be deleted is only counted.
    is_dry: bool,
    seen: usize,
    removed: u64,
    removed_bytes: u64,
    /// Why the original's blocks were left alone.
    spared: Option<String>,
}

impl Tally {
    pub(crate) fn new(is_dry: bool) -> Tally {
        Tally { is_dry, seen: 0, removed: 0, removed_bytes: 0, spared: None }
    }

    pub(crate) fn add_seen(&mut self, count: usize) {
        self.seen += count;
    }

    /// Whether it is time to end the step.
    pub(crate) fn is_full(&self) -> bool {
        self.seen >= STEP_WORK
    }

    /// The original's blocks are left alone for this reason.
    pub(crate) fn spare(&mut self, reason: String) {
        self.spared = Some(cut(reason, SPARED_BYTES));
    }

    /// Objects and bytes that are gone.
    pub(crate) fn deleted(&self) -> (u64, u64) {
        if self.is_dry { (0, 0) } else { (self.removed, self.removed_bytes) }
    }

    pub(crate) async fn remove(
        &mut self,
        stores: &Stores,
        place: Place,
        garbage: Vec<ObjectName>,
    ) -> Result<(), Failure> {
        let sum = RefCell::new((0_u64, 0_u64));
        let (sums, is_dry) = (&sum, self.is_dry);
        let mut names = garbage.iter();
        let removed = parallel::each(|| {
            names.next().map(|name| async move {
                let size = match stores.size(place, name).await {
                    Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(()),
                    other => other?,
                };
                if !is_dry {
                    stores.delete(place, name, None).await?;
                }
                let mut sums = sums.borrow_mut();
                *sums = (sums.0 + 1, sums.1.saturating_add(size));
                Ok::<(), Failure>(())
            })
        });
        let result = removed.await;
        let (removed, bytes) = sum.into_inner();
        self.removed += removed;
        self.removed_bytes = self.removed_bytes.saturating_add(bytes);
        result
    }

    pub(crate) fn answer(self, resume: Option<Vec<u8>>) -> Answer {
        let Tally { seen, removed, removed_bytes, spared, .. } = self;
        let seen = u64::try_from(seen).unwrap_or(u64::MAX);
        Answer::Argument(Collected { seen, removed, removed_bytes, resume, spared }.encode())
    }
}
