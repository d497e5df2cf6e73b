//! Snapshot: the volume as it is now, under a name of its own.

use protocol::{Failure, Snapshot};
use volume::{ObjectName, Purpose, Root, VolumeName};

use crate::{
    asked::{Answer, Asked},
    create::Vacancy,
    failure::{InVolume, exists},
    lock::Taken,
    service::{Opened, Service},
    volumes::Volume,
};

impl Service {
    /// Freezes a volume, or copies a snapshot's root.
    pub(crate) async fn snapshot(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let argument: Snapshot = asked.argument()?;
        let name = ObjectName::from(&VolumeName::new(&argument.name).in_volume(&asked.name)?);
        if name == volume.name {
            return Err(exists(&name));
        }
        self.end_rename_to(&name).await?;
        let target = self.volumes.get(&name);
        let turns = self.volumes.both(volume, &target).await;
        let opened = self.open(volume).await?;
        let result = self.snapshot_opened(asked, &opened, &name).await;
        let closed = self.close_if_new(volume, &opened).await;
        drop(turns);
        self.volumes.used(target);
        result.and(closed).map(|()| Answer::Done)
    }

    async fn snapshot_opened(
        &self,
        asked: &Asked,
        opened: &Opened,
        name: &ObjectName,
    ) -> Result<(), Failure> {
        let taken = self.stores.take(name).await?;
        let result = self.snapshot_under_lock(asked, opened, &taken).await;
        self.stores.give_back(&taken).await;
        result
    }

    async fn snapshot_under_lock(
        &self,
        asked: &Asked,
        opened: &Opened,
        taken: &Taken,
    ) -> Result<(), Failure> {
        let name = &taken.fence.lock;
        let Vacancy::Free { .. } = self.stores.vacancy(asked, name).await? else { return Ok(()) };
        let root = self.frozen(asked, opened).await?;
        let parent = &opened.session.name;
        let snapshot = root.snapshot(parent, asked.cause, self.now_ms()).in_volume(parent)?;
        // The volume's root is durable: from now on it changes no block that the snapshot sees.
        self.stores.replace(name, &snapshot.encode(), &taken.fence).await
    }

    /// The root of a volume whose tree nobody changes any more.
    async fn frozen(&self, asked: &Asked, opened: &Opened) -> Result<Root, Failure> {
        let session = &opened.session;
        if session.map.borrow().is_legacy() && session.is_read_only() {
            return self.upgraded_snapshot(session).await;
        }
        if !session.is_read_only() {
            session.begin().await?;
            session.complete_all().await?;
            session.checkpoint(Purpose::Share, asked.cause).await?;
        }
        let root = session.map.borrow().root().clone();
        Ok(root)
    }
}
