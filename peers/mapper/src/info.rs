//! Info: what is known of a volume, without its lock.

use protocol::{Failure, LockInfo, VolumeInfo, VolumeKind};
use volume::{Header, LegacyVersion, ObjectName, RootState};

use crate::{
    asked::{Answer, Asked},
    loading::Found,
    service::Service,
};

impl Service {
    pub(crate) async fn info(&self, asked: &Asked) -> Result<Answer, Failure> {
        let found = self.stores.live(&asked.name).await?;
        let lock = self.stores.lock_info(&asked.name).await?;
        Ok(Answer::Info(describe(&asked.name, &found, Some(lock))))
    }
}

/// Longest text of a lock that is told, in bytes: the answer has to fit.
const LOCK_TEXT_MAX: usize = 96;

/// What to tell of a volume.
pub(crate) fn describe(name: &ObjectName, found: &Found, lock: Option<LockInfo>) -> VolumeInfo {
    let root = found.root();
    let kind = match root.state {
        RootState::ReadOnly => VolumeKind::Snapshot,
        RootState::Clean | RootState::Changing | RootState::Deleted | RootState::Moved => VolumeKind::Volume,
    };
    let map_version = match &found.header {
        Header::Root(_) => 3,
        Header::Legacy(legacy) => match legacy.version {
            LegacyVersion::V0 => 0,
            LegacyVersion::V1 => 1,
            LegacyVersion::V2 => 2,
        },
    };
    VolumeInfo {
        name: name.as_str().to_owned(),
        kind,
        size_bytes: root.size,
        block_size: root.block_size,
        generation: root.generation.0,
        map_version,
        parent: root.parent.as_ref().map(|parent| parent.as_str().to_owned()),
        created_unix_ms: root.created_unix_ms,
        lock: lock.filter(|lock| lock.owner.is_some()).map(shortened),
        id: root.id.0,
    }
}

fn shortened(lock: LockInfo) -> LockInfo {
    let cut = |text: String| text.chars().take(LOCK_TEXT_MAX / 4).collect::<String>();
    let is_long = |text: &str| text.len() > LOCK_TEXT_MAX;
    let owner = lock.owner.map(|owner| if is_long(&owner) { cut(owner) } else { owner });
    let description = if is_long(&lock.description) { cut(lock.description) } else { lock.description };
    LockInfo { owner, description, ..lock }
}
