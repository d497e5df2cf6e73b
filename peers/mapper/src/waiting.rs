//! Volumes whose writers wait for the lock of another node.

use std::{cell::RefCell, collections::BTreeMap};

use peer::Effects;
use serde_json::{Value, json};
use volume::ObjectName;

/// Who waits for what. Bounded by the running requests.
#[derive(Debug, Default)]
pub(crate) struct Waiting(RefCell<BTreeMap<ObjectName, Wait>>);

#[derive(Debug)]
struct Wait {
    holder: String,
    since_unix_ms: u64,
    /// How many requests wait.
    count: usize,
}

/// How many volumes are told.
const TOLD_MAX: usize = 64;

/// One request that waits, until this is dropped.
pub(crate) struct Waits<'a> {
    waiting: &'a Waiting,
    effects: &'a Effects,
    name: ObjectName,
}

impl Waiting {
    /// One more request waits.
    pub(crate) fn begin<'a>(&'a self, effects: &'a Effects, name: &ObjectName, holder: String) -> Waits<'a> {
        let mut all = self.0.borrow_mut();
        let wait = all.entry(name.clone()).or_insert_with(|| {
            tracing::info!(volume = %name, %holder, "a writer waits for the lock");
            Wait { holder, since_unix_ms: effects.unix_ms(), count: 0 }
        });
        wait.count += 1;
        Waits { waiting: self, effects, name: name.clone() }
    }

    /// How many volumes are waited for.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// For the status.
    pub(crate) fn told(&self) -> Value {
        let line = |(name, wait): (&ObjectName, &Wait)| json!({ "volume": name.as_str(), "holder": wait.holder, "since_unix_ms": wait.since_unix_ms });
        self.0.borrow().iter().take(TOLD_MAX).map(line).collect()
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut all = self.waiting.0.borrow_mut();
        let Some(wait) = all.get_mut(&self.name) else { return };
        wait.count -= 1;
        if wait.count == 0 {
            let waited_ms = self.effects.unix_ms().saturating_sub(wait.since_unix_ms);
            tracing::info!(volume = %self.name, waited_ms, "nobody waits for the lock any more");
            all.remove(&self.name);
        }
    }
}
