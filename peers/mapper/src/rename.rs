//! Rename: the volume under another name, in three steps of which each leaves one volume.

use protocol::{Failure, Renamed};
use volume::{ObjectName, Root, RootState, VolumeName};

use crate::{
    asked::{Answer, Asked},
    create::Vacancy,
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
        // Otherwise the volume that left its old name only half, or the one that left this one, would be there again.
        self.end_rename_to(&volume.name).await?;
        self.end_rename_to(&to).await?;
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
        if !root.state.is_live() || self.stores.has_moved(root).await? {
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
        let result = self.move_root(asked, volume, &from_taken.fence, &to_taken.fence).await;
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
        let Vacancy::Free { .. } = self.stores.vacancy(asked, &to.lock).await? else {
            return Err(exists(&to.lock));
        };
        let root = self.settled_root(volume).await?;
        self.stores.check_no_intent(&from.lock, &root).await?;
        let intent = root.rename_intent(&to.lock, asked.cause).in_volume(&from.lock)?;
        let renamed = root.renamed(&from.lock, asked.cause).in_volume(&from.lock)?;
        self.stores.replace(&from.lock, &intent.encode(), from).await?;
        self.stores.replace(&to.lock, &renamed.encode(), to).await?;
        self.stores.replace(&from.lock, &intent.moved(&to.lock, asked.cause).encode(), from).await
    }

    /// The root of a volume that nobody changes, in our format.
    async fn settled_root(&self, volume: &Volume) -> Result<Root, Failure> {
        let session = self.open(volume).await?.session;
        if session.fence.is_some() {
            if session.map.borrow().is_legacy() {
                session.begin().await?;
            }
            session.complete_all().await?;
            session.finish().await?;
        }
        let found = self.stores.live(&volume.name).await?;
        Ok(self.upgraded(&volume.name, found).await?.root().clone())
    }
}
