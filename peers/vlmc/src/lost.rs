//! Volumes that were taken from this node: their lock was broken, and somebody has to know.

use std::collections::BTreeMap;

use protocol::{ErrorKind, Failure, Op};
use serde_json::{Value, json};

/// Volumes that a composer had and has no more, since when; at most `LOST_MAX`, the first that were lost.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    since: BTreeMap<Box<[u8]>, u64>,
}

/// How many are remembered, and told.
const LOST_MAX: usize = 256;

impl Lost {
    /// An operation on a volume has ended.
    pub(crate) fn note(
        &mut self,
        volume: &[u8],
        op: Op,
        failure: Option<&Failure>,
        now_unix_ms: impl FnOnce() -> u64,
    ) {
        let needs_the_lock = matches!(op, Op::Write | Op::Flush | Op::Discard | Op::WriteZeroes);
        let is_known_by = needs_the_lock || matches!(op, Op::Open | Op::Close | Op::Delete);
        match failure {
            Some(failure) if needs_the_lock && failure.kind == ErrorKind::NotOwner => {
                self.add(volume, failure, now_unix_ms());
            }
            None if is_known_by && !self.since.is_empty() => self.remove(volume),
            _ => {}
        }
    }

    fn add(&mut self, volume: &[u8], failure: &Failure, since_unix_ms: u64) {
        if self.since.len() < LOST_MAX && !self.since.contains_key(volume) {
            self.since.insert(volume.into(), since_unix_ms);
            let volume = volume.escape_ascii();
            tracing::error!(%volume, %failure, "the lock was broken: what was written and not flushed is lost");
        }
    }

    fn remove(&mut self, volume: &[u8]) {
        if self.since.remove(volume).is_some() {
            tracing::info!(volume = %volume.escape_ascii(), "the volume is this node's again, or closed");
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.since.len()
    }

    /// For the status.
    pub(crate) fn told(&self) -> Value {
        let lines = self.since.iter().map(
            |(volume, since)| json!({ "volume": volume.escape_ascii().to_string(), "since_unix_ms": since }),
        );
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_lost_from_the_first_refusal_until_it_is_opened_again() {
        let mut lost = Lost::default();
        let refused = Failure::new(ErrorKind::NotOwner, "another node took it".to_owned());
        lost.note(b"disk-1", Op::Close, Some(&refused), || 1);
        assert_eq!(lost.count(), 0);
        lost.note(b"disk-1", Op::Write, Some(&refused), || 2);
        lost.note(b"disk-1", Op::Flush, Some(&refused), || 3);
        lost.note(b"disk-2", Op::Write, None, || 4);
        lost.note(b"disk-1", Op::Read, None, || 5);
        assert_eq!(lost.told(), json!([{ "volume": "disk-1", "since_unix_ms": 2 }]));
        lost.note(b"disk-1", Op::Open, None, || 6);
        assert_eq!(lost.count(), 0);
    }
}
