//! Volumes whose writers wait for the lock of another node.

use std::{cell::RefCell, collections::BTreeMap};

use protocol::{ErrorKind, Failure};
use serde_json::{Value, json};
use volume::ObjectName;

use crate::service::{Service, stopping};

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
struct Waits<'a> {
    service: &'a Service,
    name: ObjectName,
}

impl Waiting {
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

impl Service {
    /// Waits until this node has the lock of a volume that another one holds.
    pub(crate) async fn await_lock(&self, name: &ObjectName) -> Result<(), Failure> {
        let holder = match self.stores.lock_info(name).await {
            Ok(lock) => lock.owner.unwrap_or_else(|| "nobody".to_owned()),
            Err(failure) if failure.kind == ErrorKind::Corrupt => "a damaged record".to_owned(),
            Err(failure) => return Err(failure),
        };
        let _waits = Waits::begin(self, name, holder);
        let waited = self.stopping.or(self.stores.acquire(name, true)).await;
        waited.unwrap_or_else(|| Err(stopping(name))).map(drop)
    }
}

impl<'a> Waits<'a> {
    fn begin(service: &'a Service, name: &ObjectName, holder: String) -> Waits<'a> {
        let mut all = service.waiting.0.borrow_mut();
        let wait = all.entry(name.clone()).or_insert_with(|| {
            tracing::info!(volume = %name, %holder, "a writer waits for the lock");
            Wait { holder, since_unix_ms: service.now_ms(), count: 0 }
        });
        wait.count += 1;
        Waits { service, name: name.clone() }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut all = self.service.waiting.0.borrow_mut();
        let Some(wait) = all.get_mut(&self.name) else { return };
        wait.count -= 1;
        if wait.count == 0 {
            let waited_ms = self.service.now_ms().saturating_sub(wait.since_unix_ms);
            tracing::info!(volume = %self.name, waited_ms, "nobody waits for the lock any more");
            all.remove(&self.name);
        }
    }
}
