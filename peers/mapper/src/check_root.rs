//! The part of a check that is about a volume as a whole: its name, its id, its lock, its session.

use protocol::{ErrorKind, Failure};
use volume::{Header, ObjectName, Root, RootState, VolumeId, VolumeName};

use crate::{findings::Findings, service::Service, store_calls::Place, volumes::Volume};

impl Service {
    /// Looks at a live root. Whether its tree is a volume's.
    pub(crate) async fn check_root(
        &self,
        name: &ObjectName,
        root: &Root,
        findings: &mut Findings,
    ) -> Result<bool, Failure> {
        if let Err(error) = VolumeName::new(name.as_str()) {
            findings.odd_name(name, &error);
        }
        self.check_id(name, root, findings).await?;
        let owner = match self.stores.lock_info(name).await {
            Ok(lock) => lock.owner,
            Err(failure) if failure.kind == ErrorKind::Corrupt => {
                findings.unreadable_lock(name, &failure);
                return Ok(!self.stores.has_moved(root).await?);
            }
            Err(failure) => return Err(failure),
        };
        if owner.is_some_and(|owner| owner != self.stores.node()) {
            // It is in use there, for all we know.
            return Ok(!self.stores.has_moved(root).await?);
        }
        let volume = self.volumes.get(name);
        let result = self.check_unused(&volume, findings).await;
        self.volumes.used(volume);
        result
    }

    async fn check_id(&self, name: &ObjectName, root: &Root, findings: &mut Findings) -> Result<(), Failure> {
        if root.id == VolumeId(0) {
            return Ok(());
        }
        let id = ObjectName::id(root.id);
        match self.stores.size(Place::Maps, &id).await {
            Err(failure) if failure.kind == ErrorKind::NotFound => {
                let is_mended = findings.mends;
                if is_mended {
                    self.stores.create(&id, name.as_bytes(), None).await?;
                }
                findings.unreserved_id(name, &id, is_mended);
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Looks at a volume that no other node has, when nothing is done to it here.
    async fn check_unused(&self, volume: &Volume, findings: &mut Findings) -> Result<bool, Failure> {
        let turn = volume.turns.exclusive().await;
        if volume.session().is_some() {
            return Ok(true);
        }
        let found = match self.stores.find(&volume.name, None).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(false),
            // The next look at it says so.
            Err(failure) if failure.kind == ErrorKind::Corrupt => return Ok(true),
            Err(failure) => return Err(failure),
        };
        let Header::Root(root) = &found.header else { return Ok(found.root().state.is_live()) };
        if let Some(to) = root.moved_to.as_ref().filter(|_| root.state.is_live())
            && self.stores.has_moved(root).await?
        {
            drop(turn);
            let is_mended = findings.mends && self.end_rename_to(to).await.is_ok();
            findings.unfinished_rename(&volume.name, to, is_mended);
            return Ok(false);
        }
        if root.state == RootState::Changing {
            self.check_session(volume, root, findings).await?;
        }
        Ok(root.state.is_live())
    }

    /// Looks at a session that ended badly. The caller has an exclusive turn.
    async fn check_session(
        &self,
        volume: &Volume,
        root: &Root,
        findings: &mut Findings,
    ) -> Result<(), Failure> {
        let header = Header::Root(root.clone());
        match self.stores.open_map(&volume.name, header, None).await {
            // Left so by a session that ended well, for all we know.
            Ok(map) if map.borrow().has_partial() => return Ok(()),
            Ok(_) => {}
            // The look at its logs and its tree says so.
            Err(failure) if is_damage(&failure) => return Ok(()),
            Err(failure) => return Err(failure),
        }
        let is_mended = findings.mends && self.end_session(volume).await?;
        findings.unclosed_session(&volume.name, is_mended);
        Ok(())
    }

    /// Leaves a volume clean; false if damage is in the way.
    async fn end_session(&self, volume: &Volume) -> Result<bool, Failure> {
        let opened = self.open(volume).await?;
        let finished = opened.session.finish().await;
        // A lock that this node kept stays: a composer may still use the volume.
        self.close_if_new(volume, &opened).await?;
        match finished {
            Ok(()) => Ok(true),
            Err(failure) if is_damage(&failure) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

/// Whether what is at rest is why something failed.
fn is_damage(failure: &Failure) -> bool {
    matches!(failure.kind, ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Invalid)
}
