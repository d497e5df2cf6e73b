//! How this stack says that it lives, to those who ask which nodes do.

use std::collections::BTreeMap;

use peer::node::unix_ms;
use store::{LockWait, ObjectName};

use crate::fault::Result;
use crate::librados::{Heard, Watch};
use crate::link::Link;

/// The watch over the nodes, and what is said of this one.
#[derive(Default)]
pub(crate) struct Presence {
    watch: Watching,
    /// The locks that are waited for, by the slots of those who do.
    waits: BTreeMap<u32, LockWait>,
}

#[derive(Default)]
enum Watching {
    /// It is no node, or the watch is being begun.
    #[default]
    No,
    Yes(Watch),
    /// The next look begins another.
    Lost,
}

impl Presence {
    /// An acquire in this slot waits from now on.
    pub(crate) fn waits(&mut self, slot: u32, lock: &ObjectName) {
        let lock = String::from_utf8_lossy(lock.as_bytes()).into_owned();
        self.waits.insert(slot, LockWait { lock, since_unix_ms: unix_ms() });
    }

    /// Whatever was in this slot is finished.
    pub(crate) fn finished(&mut self, slot: u32) {
        self.waits.remove(&slot);
    }

    /// How many acquires wait.
    pub(crate) fn waits_count(&self) -> usize {
        self.waits.len()
    }

    /// Whether the watch has to be begun again.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.watch, Watching::Lost)
    }

    /// The watch is being begun.
    pub(crate) fn begin(&mut self) {
        self.watch = Watching::No;
    }

    /// What came of that.
    pub(crate) fn began(&mut self, result: Result<Option<Watch>>) {
        self.watch = match result {
            Ok(watch) => watch.map_or(Watching::No, Watching::Yes),
            Err(fault) => {
                tracing::debug!(?fault, "this node cannot answer who asks whether it lives");
                Watching::Lost
            }
        };
    }

    /// Answers who asks; gives back a watch that is lost.
    pub(crate) fn heard(&mut self, heard: Heard, link: Option<&Link>) -> Option<Watch> {
        match (heard, &self.watch, link) {
            (Heard::Notification(notification), Watching::Yes(watch), Some(link)) => {
                watch.answer(notification, &link.register.answer(self.waits.values().cloned().collect()));
                None
            }
            (Heard::Lost, ..) => self.lose(),
            (Heard::Notification(_), ..) => None,
        }
    }

    /// The watch is of no use any more.
    pub(crate) fn lose(&mut self) -> Option<Watch> {
        match std::mem::take(&mut self.watch) {
            Watching::Yes(watch) => {
                self.watch = Watching::Lost;
                Some(watch)
            }
            other => {
                self.watch = other;
                None
            }
        }
    }
}
