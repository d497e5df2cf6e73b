//! Maps of the original: upgraded whole, under their lock.

use protocol::{Failure, Flags};
use volume::{BlockIndex, Header, ObjectName, Purpose, Root};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, no_volume},
    loading::Found,
    service::{Opened, Service},
    session::Session,
    volumes::Volume,
};

impl Service {
    /// Brings a map of the original to our format; one of ours stays as it is. A version 0 map needs the flag `ASSUMEV0` and
    /// the volume's size in bytes as the request's size.
    pub(crate) async fn update(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let _turn = volume.turns.exclusive().await;
        let v0_size = asked.flags.contains(Flags::ASSUMEV0).then_some(asked.size);
        let found = self.stores.find(&volume.name, v0_size).await?;
        let found =
            found.filter(|found| found.root().state.is_live()).ok_or_else(|| no_volume(&volume.name))?;
        match found.header {
            Header::Root(_) => self.stores.live(&volume.name).await.map(|_| Answer::Done),
            Header::Legacy(_) if found.root().state == volume::RootState::ReadOnly => {
                self.upgraded(&volume.name, found).await?;
                volume.forget();
                Ok(Answer::Done)
            }
            Header::Legacy(_) => {
                let opened: Opened = self.open(volume).await?;
                let result = opened.session.begin().await;
                let closed = self.close_if_new(volume, &opened).await;
                result.and(closed).map(|()| Answer::Done)
            }
        }
    }

    /// The root of a snapshot, after its map was brought to our format.
    pub(crate) async fn upgraded(&self, name: &ObjectName, found: Found) -> Result<Found, Failure> {
        if let Header::Root(_) = found.header {
            return Ok(found);
        }
        let taken = self.stores.take(name).await?;
        let map = self.stores.open_map(name, found.header, Some(self.boot.under(taken.fence.number))).await;
        let result = match map {
            Ok(map) => {
                let fence = Some(taken.fence.clone());
                Session::new(&self.stores, self.boot, name, fence, found.bytes, map).upgrade().await
            }
            Err(failure) => Err(failure),
        };
        self.stores.give_back(&taken).await;
        result?;
        self.stores.live(name).await
    }

    /// The root of a snapshot of the original, in our format.
    pub(crate) async fn upgraded_snapshot(&self, session: &Session) -> Result<Root, Failure> {
        let found = self.stores.live(&session.name).await?;
        Ok(self.upgraded(&session.name, found).await?.root().clone())
    }
}

impl Session {
    /// Writes a map of the original in our format: nodes first, then a root over the old header, or under the proper name if
    /// the header has a former one. The old tables are the collector's.
    pub(crate) async fn upgrade(&self) -> Result<(), Failure> {
        let all = BlockIndex(0)..BlockIndex(self.map.borrow().block_count());
        let id = self.stores().draw_id(&self.name).await?;
        let header = self.map.borrow().legacy().map(|legacy| legacy.name.clone());
        // Nothing comes between loading and upgrading: nobody makes room meanwhile.
        self.load(|map| map.wanted(&all)).await?;
        let cause = self.same_cause();
        self.map.borrow_mut().upgrade(id, cause).in_volume(&self.name)?;
        self.checkpoint(Purpose::Close, cause).await?;
        let former = header.filter(|header| *header != self.name);
        self.stores().delete_later(former.into_iter().collect(), Vec::new());
        Ok(())
    }
}
