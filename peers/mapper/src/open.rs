//! Open and close: taking a volume for this node, and giving it back.

use protocol::{ErrorKind, Failure};

use volume::ObjectName;

use crate::{
    asked::{Answer, Asked},
    lock::held_by,
    service::Service,
    volumes::Volume,
};

impl Service {
    /// Takes the volume's lock, or fails at once. Idempotent for this node.
    pub(crate) async fn open_volume(&self, volume: &Volume) -> Result<Answer, Failure> {
        let _turn = volume.turns.exclusive().await;
        if let Some(session) = volume.session()
            && let Some(fence) = &session.fence
        {
            // The lock may have been broken since.
            match self.stores.take(&volume.name).await {
                Ok(taken) if taken.fence == *fence => return Ok(Answer::Done),
                Ok(_) => volume.forget(),
                Err(failure) => {
                    volume.forget();
                    return Err(failure);
                }
            }
        }
        self.open(volume).await.map(|_| Answer::Done)
    }

    /// As `open_volume`, but takes nothing.
    pub(crate) async fn look_at_lock(&self, name: &ObjectName) -> Result<Answer, Failure> {
        match self.stores.lock_info(name).await?.owner {
            Some(owner) if owner != self.stores.node() => Err(held_by(name, &owner)),
            _ => Ok(Answer::Done),
        }
    }

    /// Writes everything back and gives the lock back. Fails if this node does not have it.
    pub(crate) async fn close_volume(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let _turn = volume.turns.exclusive().await;
        if volume.session().is_none() {
            let found = self.stores.live(&volume.name).await?;
            if found.root().state == volume::RootState::ReadOnly {
                return Ok(Answer::Done);
            }
            let lock = self.stores.lock_info(&volume.name).await?;
            if lock.owner.as_deref() != Some(self.stores.node()) {
                // A mapper that died after closing it did not answer.
                return if asked.is_again { Ok(Answer::Done) } else { Err(not_open(&volume.name)) };
            }
            self.open(volume).await?;
        }
        if let Some(session) = volume.session().filter(|session| session.fence.is_some()) {
            session.complete_all().await?;
        }
        self.close(volume).await.map(|()| Answer::Done)
    }
}

fn not_open(name: &ObjectName) -> Failure {
    Failure::new(ErrorKind::NotOwner, format!("volume {name} is not open on this node"))
}
