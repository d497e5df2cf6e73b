//! Renames that died before their last step: the old root still says what it is to become.

use protocol::{ErrorKind, Failure};
use volume::{ObjectName, Root};

use crate::{loading::Found, service::Service, store_calls::Stores, volumes::Volume};

impl Service {
    /// Ends the rename that led to `name`, if one did and has not ended. The caller has no turn.
    ///
    /// # Errors
    /// `Busy` if another node has the lock of the name before.
    pub(crate) async fn end_rename_to(&self, name: &ObjectName) -> Result<(), Failure> {
        let found = self.stores.header_if_readable(name).await?;
        match found.as_ref().and_then(|found| found.root().moved_from.as_ref()) {
            Some(from) => self.end_rename(from, name).await,
            None => Ok(()),
        }
    }

    async fn end_rename(&self, from: &ObjectName, to: &ObjectName) -> Result<(), Failure> {
        let (former, volume) = (self.volumes.get(from), self.volumes.get(to));
        let turns = self.volumes.both(&former, &volume).await;
        let result = self.stores.end_rename_to(to).await;
        drop(turns);
        self.volumes.used(former);
        self.volumes.used(volume);
        result
    }

    /// Ends the rename that brought an open volume here, or leaves it to the next session.
    pub(crate) async fn end_own_rename(&self, volume: &Volume) {
        let Some(session) = volume.session() else { return };
        let Some(from) = session.former_name.take() else { return };
        match self.end_rename(&from, &volume.name).await {
            Ok(()) => session.map.borrow_mut().forget_former_name(),
            Err(failure) => {
                tracing::info!(volume = %volume.name, %from, error = %failure, "rename not ended yet");
            }
        }
    }
}

impl Stores {
    /// As [`Service::end_rename_to`]. The caller has turns on both names.
    async fn end_rename_to(&self, to: &ObjectName) -> Result<(), Failure> {
        let Some(found) = self.header_if_readable(to).await? else { return Ok(()) };
        let Some((from, _)) = self.unfinished(to, found.root()).await? else { return Ok(()) };
        let taken = self.take(&from).await?;
        // Read again: only under the lock nobody else changes it.
        let result = match self.unfinished(to, found.root()).await {
            Ok(Some((_, intent))) => {
                let moved = intent.moved(to, intent.last_request);
                self.replace(&from, &moved.encode(), &taken.fence).await
            }
            other => other.map(drop),
        };
        // Nobody uses the name: a lock that was held before is that of the rename.
        self.release_or_tell(&from).await;
        result
    }

    /// The intent that still leads to `to`, where `root` lies, and its name.
    async fn unfinished(&self, to: &ObjectName, root: &Root) -> Result<Option<(ObjectName, Root)>, Failure> {
        let Some(from) = &root.moved_from else { return Ok(None) };
        let Some(found) = self.header_if_readable(from).await? else { return Ok(None) };
        let old = found.root();
        let is_intent = old.state.is_live() && old.moved_to.as_ref() == Some(to) && old.went_on_as(root);
        Ok(is_intent.then(|| (from.clone(), old.clone())))
    }

    /// Fails if a rename that led to `name`, where `root` lies, has not ended: without `root` its volume would come back.
    pub(crate) async fn check_no_intent(&self, name: &ObjectName, root: &Root) -> Result<(), Failure> {
        match self.unfinished(name, root).await? {
            None => Ok(()),
            Some((from, _)) => Err(Failure::new(
                ErrorKind::Busy,
                format!("the rename of {from} to {name} has not ended: try again"),
            )),
        }
    }

    /// What lies under this very name; what cannot be read tells of no rename, and is no volume that could come back.
    async fn header_if_readable(&self, name: &ObjectName) -> Result<Option<Found>, Failure> {
        match self.header_of(name, None).await {
            Err(failure) if failure.kind == ErrorKind::Corrupt => Ok(None),
            other => other,
        }
    }
}
