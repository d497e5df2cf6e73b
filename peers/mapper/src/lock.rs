//! Locks of volumes: `docs/protocols.md` section 3.

use protocol::{ErrorKind, Failure};
use volume::ObjectName;

use crate::store_calls::{Fence, Stores};

/// A lock that this node holds.
pub(crate) struct Taken {
    pub(crate) fence: Fence,
    /// Whether the node did not hold it before: then whoever took it for one operation gives it back.
    pub(crate) is_new: bool,
}

impl Stores {
    /// Takes the lock of a volume, or fails at once with `Busy` if another node has it.
    pub(crate) async fn take(&self, name: &ObjectName) -> Result<Taken, Failure> {
        let before = self.lock_info(name).await?;
        let number = match self.acquire(name, false).await {
            Err(failure) if failure.kind == ErrorKind::Busy => return Err(self.held(name).await),
            other => other?,
        };
        let is_new = before.owner.as_deref() != Some(self.node());
        Ok(Taken { fence: Fence { lock: name.clone(), number }, is_new })
    }

    async fn held(&self, name: &ObjectName) -> Failure {
        let owner = self.lock_info(name).await.ok().and_then(|lock| lock.owner);
        held_by(name, owner.as_deref().unwrap_or("another node"))
    }

    /// Gives a lock back that was taken for one operation.
    pub(crate) async fn give_back(&self, taken: &Taken) {
        if taken.is_new {
            self.release_or_tell(&taken.fence.lock).await;
        }
    }

    /// Gives a lock back; if that fails it stays with this node, which may take it again.
    pub(crate) async fn release_or_tell(&self, lock: &ObjectName) {
        if let Err(failure) = self.release(lock).await {
            tracing::warn!(volume = %lock, error = %failure, "lock not given back");
        }
    }
}

/// What is told of a volume that another node has.
pub(crate) fn held_by(name: &ObjectName, owner: &str) -> Failure {
    Failure::new(ErrorKind::Busy, format!("volume {name} is held by {owner}"))
}
