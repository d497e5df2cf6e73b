//! Delete: a tombstone first, then what only this volume used.

use protocol::{ErrorKind, Failure, Flags};
use volume::{BlockIndex, BootId, Entry, Header, ObjectName, ParsedName, RequestId, Root, RootState, Walk};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, no_volume},
    loading::{Found, former_name},
    parallel,
    service::Service,
    store_calls::{Fence, Place, Stores},
    volumes::Volume,
};

impl Service {
    /// Deletes a volume or a snapshot. Fails at once if another node has it.
    pub(crate) async fn delete(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        if let Err(failure) = self.end_rename_to(&volume.name).await {
            // The tombstone tells of it as well.
            tracing::info!(volume = %volume.name, error = %failure, "rename not ended yet");
        }
        let _turn = volume.turns.exclusive().await;
        let is_forced = asked.flags.contains(Flags::FORCE);
        match self.delete_readable(asked, volume).await {
            Err(failure) if failure.kind == ErrorKind::Corrupt && is_forced => self.drop_map(volume).await,
            // A mapper that died after dropping it did not answer.
            Err(failure) if failure.kind == ErrorKind::NotFound && is_forced && asked.is_again => {
                Ok(Answer::Done)
            }
            other => other,
        }
    }

    async fn delete_readable(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let found = self.stores.find(&volume.name, None).await?.ok_or_else(|| no_volume(&volume.name))?;
        let is_live = found.root().state.is_live() && !self.stores.has_moved(found.root()).await?;
        if !is_live {
            let is_ours =
                found.root().state == RootState::Deleted && found.root().last_request == asked.cause;
            return if is_ours { Ok(Answer::Done) } else { Err(no_volume(&volume.name)) };
        }
        let taken = self.stores.take(&volume.name).await?;
        let deleted = self.bury(asked.cause, &taken.fence).await;
        // A tombstone that could not be written may be there all the same.
        volume.forget();
        if taken.is_new || deleted.is_ok() {
            self.stores.release_or_tell(&volume.name).await;
        }
        deleted.map(|()| Answer::Done)
    }

    /// Deletes what nobody can read under a volume's name, and nothing else: what it used is the collector's.
    async fn drop_map(&self, volume: &Volume) -> Result<Answer, Failure> {
        let taken = self.stores.take(&volume.name).await?;
        volume.forget();
        let dropped = self.drop_under_lock(&taken.fence).await;
        self.stores.release_or_tell(&volume.name).await;
        dropped.map(|()| Answer::Done)
    }

    async fn drop_under_lock(&self, fence: &Fence) -> Result<(), Failure> {
        for name in [Some(fence.lock.clone()), former_name(&fence.lock)].into_iter().flatten() {
            // The one that it is found under.
            if self.stores.size(Place::Maps, &name).await.is_ok() {
                tracing::warn!(object = %name, "map dropped that cannot be read");
                return self.stores.delete(Place::Maps, &name, Some(fence)).await;
            }
        }
        Err(no_volume(&fence.lock))
    }

    async fn bury(&self, cause: RequestId, fence: &Fence) -> Result<(), Failure> {
        // Read again: only under the lock nobody else changes it.
        let mut found = self.stores.live(&fence.lock).await?;
        if found.root().state != RootState::ReadOnly {
            // So that what only this volume of the original used can be told from the rest.
            found = self.upgraded(&fence.lock, found).await?;
        }
        self.stores.replace(&fence.lock, &found.root().tombstone(cause).encode(), fence).await?;
        let (stores, name, boot) = (self.stores.clone(), fence.lock.clone(), self.boot.under(fence.number));
        self.stores.spawn(async move {
            if let Err(failure) = stores.clear_away(&name, found, boot).await {
                tracing::warn!(volume = %name, error = %failure, "objects of a deleted volume are left to the collector");
            }
        });
        Ok(())
    }
}

impl Stores {
    /// Deletes the blocks, nodes and logs that only a deleted volume used.
    async fn clear_away(&self, name: &ObjectName, found: Found, boot: BootId) -> Result<(), Failure> {
        let Header::Root(root) = found.header else { return Ok(()) };
        if root.state == RootState::ReadOnly {
            // A snapshot, or an image with an id of its own: its volume or its clones may use all of it.
            return Ok(());
        }
        self.clear_logged(name, &root, boot).await?;
        let mut walk = Walk::new(&root);
        while let Some(key) = walk.next_node() {
            let Some(object) = key.name().filter(|object| is_owned(&root, object)) else {
                // What lies below a shared node is shared.
                walk.skip();
                continue;
            };
            let bytes = self.read_whole(&object).await?;
            if let Some(leaf) = walk.load(&bytes).in_volume(name)? {
                let blocks =
                    leaf.entries().filter_map(|(index, entry)| own_block(&root, index, &entry)).collect();
                self.delete_all(Place::Blocks, blocks).await?;
            }
            self.delete(Place::Maps, &object, None).await?;
        }
        Ok(())
    }

    /// Deletes what was made since the last checkpoint, and the logs that say so.
    async fn clear_logged(&self, name: &ObjectName, root: &Root, boot: BootId) -> Result<(), Failure> {
        let mut logs = root.logs(boot);
        let mut read = Vec::new();
        while let Some(log) = logs.wanted() {
            match self.read_whole(&log).await {
                Ok(bytes) => logs.add(&bytes).in_volume(name)?,
                Err(failure) if failure.kind == ErrorKind::NotFound => {
                    logs.end();
                    break;
                }
                Err(failure) => return Err(failure),
            }
            read.push(log);
        }
        let blocks = logs.changes().iter().filter_map(|change| change.object_name(root.id));
        let blocks = blocks.filter(|block| is_owned(root, block)).collect();
        self.delete_all(Place::Blocks, blocks).await?;
        self.delete_all(Place::Maps, read).await
    }

    async fn delete_all(&self, place: Place, names: Vec<ObjectName>) -> Result<(), Failure> {
        let mut names = names.iter();
        parallel::each(|| names.next().map(|name| self.delete(place, name, None))).await
    }
}

/// The object of an entry, if only this volume uses it.
fn own_block(root: &Root, index: BlockIndex, entry: &Entry<'_>) -> Option<ObjectName> {
    let is_own = match entry {
        // Blocks that the original made for the volume. Those of a list belong to whoever listed them.
        Entry::Named { name, written_at, writable: true } => {
            let is_of_original = matches!(ParsedName::parse(name), ParsedName::LegacyBlock { .. });
            is_of_original && *written_at >= root.shared_before && root.created_by == RequestId::default()
        }
        Entry::Object { owner, written_at } => *owner == root.id && *written_at >= root.shared_before,
        Entry::Named { .. } | Entry::Hole => false,
    };
    entry.object_name(index).filter(|_| is_own)
}

fn is_owned(root: &Root, object: &ObjectName) -> bool {
    root.owns(&ParsedName::parse(object.as_str()))
}
