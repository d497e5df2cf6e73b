//! Rename: the volume under another name, in three steps of which each leaves one volume.

use protocol::{Failure, Renamed};
use volume::{ObjectName, Root, RootState, VolumeName};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, exists, no_volume},
    service::Service,
    store_calls::Fence,
    volumes::Volume,
};

impl Service {
    /// Gives a volume or snapshot another name, and closes it. Fails at once if another node has either name.
    pub(crate) async fn rename(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let argument: Renamed = asked.argument()?;
        let to = ObjectName::from(&VolumeName::new(&argument.name).in_volume(&asked.name)?);
        if to == volume.name {
            return Err(exists(&to));
        }
        let target = self.volumes.get(&to);
        let turns = self.volumes.both(volume, &target).await;
        let result = self.rename_alone(asked, volume, &to).await;
        volume.forget();
        target.forget();
        drop(turns);
        self.volumes.used(target);
        result.map(|()| Answer::Done)
    }

    async fn rename_alone(&self, asked: &Asked, volume: &Volume, to: &ObjectName) -> Result<(), Failure> {
        let found = self.stores.find(&volume.name, None).await?.ok_or_else(|| no_volume(&volume.name))?;
        let root = found.root();
        let is_ours = root.last_request == asked.cause && root.moved_to.as_ref() == Some(to);
        if is_ours && root.state == RootState::Moved {
            return Ok(());
        }
        let has_moved = self.stores.has_moved(root).await?;
        if !root.state.is_live() || (has_moved && !is_ours) {
            return Err(no_volume(&volume.name));
        }
        let from_taken = self.stores.take(&volume.name).await?;
        let to_taken = match self.stores.take(to).await {
            Ok(taken) => taken,
            Err(failure) => {
                self.stores.give_back(&from_taken).await;
                return Err(failure);
            }
        };
        let result = match has_moved {
            true => self.leave_behind(asked, &from_taken.fence, to).await,
            false => self.move_root(asked, volume, &from_taken.fence, &to_taken.fence).await,
        };
        self.stores.give_back(&to_taken).await;
        if from_taken.is_new || result.is_ok() {
            self.stores.release_or_tell(&volume.name).await;
        }
        result
    }

    async fn move_root(
        &self,
        asked: &Asked,
        volume: &Volume,
        from: &Fence,
        to: &Fence,
    ) -> Result<(), Failure> {
        if self.stores.find_live(&to.lock).await?.is_some() {
            return Err(exists(&to.lock));
        }
        let root = self.settled_root(volume).await?;
        let intent = root.rename_intent(&to.lock, asked.cause).in_volume(&from.lock)?;
        self.stores.replace(&from.lock, &intent.encode(), from).await?;
        self.stores.replace(&to.lock, &root.renamed(asked.cause).encode(), to).await?;
        self.leave_behind(asked, from, &to.lock).await
    }

    /// The root of a volume that nobody changes, in our format.
    async fn settled_root(&self, volume: &Volume) -> Result<Root, Failure> {
        let session = self.open(volume).await?.session;
        if session.fence.is_some() {
            if session.map.borrow().is_legacy() {
                session.begin().await?;
            }
            session.finish().await?;
        }
        let found = self.stores.live(&volume.name).await?;
        Ok(self.upgraded(&volume.name, found).await?.root().clone())
    }

    async fn leave_behind(&self, asked: &Asked, from: &Fence, to: &ObjectName) -> Result<(), Failure> {
        let found = self.stores.find(&from.lock, None).await?.ok_or_else(|| no_volume(&from.lock))?;
        self.stores.replace(&from.lock, &found.root().moved(to, asked.cause).encode(), from).await
    }
}
