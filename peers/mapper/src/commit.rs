//! Commit: allocations and punches so far are durable.

use protocol::Failure;
use volume::RootState;

use crate::{asked::Answer, failure::read_only, service::Service, volumes::Volume};

impl Service {
    pub(crate) async fn commit(&self, volume: &Volume) -> Result<Answer, Failure> {
        {
            // The long part, beside others.
            let _turn = volume.turns.shared().await;
            if let Some(session) = volume.session() {
                session.sync_made().await?;
            }
        }
        let _turn = volume.turns.exclusive().await;
        if self.stores_know_read_only(volume).await? {
            return Err(read_only(&volume.name));
        }
        let session = self.open(volume).await?.session;
        if session.map.borrow().is_changing() {
            return session.commit().await.map(|()| Answer::Done);
        }
        if session.map.borrow().root().state == RootState::Changing {
            // An earlier mapper made the changes; taking them over makes them durable.
            session.begin().await?;
        }
        Ok(Answer::Done)
    }
}
