//! What all conversations of a mapper share, and how they come by an open map.

use std::{cell::RefCell, future::pending, rc::Rc};

use peer::tasks::Tasks;
use protocol::{ErrorKind, Failure};
use volume::{BootId, ObjectName};

use crate::{
    checks::Checks,
    collect::Collector,
    failure::stopping,
    loading::Found,
    parallel::Signal,
    session::Session,
    store_calls::Stores,
    turn::Turn,
    volumes::{Volume, Volumes},
    waiting::Waiting,
};

/// The state of a mapper.
pub(crate) struct Service {
    pub(crate) tasks: Tasks,
    pub(crate) stores: Stores,
    pub(crate) volumes: Volumes,
    pub(crate) boot: BootId,
    /// Whose writers wait for other nodes.
    pub(crate) waiting: Waiting,
    /// Given at the next turn of the loop.
    pub(crate) breath: RefCell<Signal>,
    pub(crate) collector: Collector,
    pub(crate) checks: Checks,
    /// The mapper is to stop: nobody goes on waiting for a lock.
    pub(crate) stopping: Signal,
    /// It took too long to stop: what is still under way is given up.
    pub(crate) giving_up: Signal,
}

/// An open map.
pub(crate) struct Opened {
    pub(crate) session: Rc<Session>,
    /// Whether its lock was taken just now: then whoever needed it for one operation closes it again.
    pub(crate) is_new: bool,
}

impl Service {
    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.tasks.effects().unix_ms()
    }

    /// Lets everybody else have a turn in the middle of long work.
    pub(crate) async fn breathe(&self) {
        let breath = self.breath.borrow().clone();
        let effects = self.tasks.effects();
        effects.wake_at(effects.now_ns());
        breath.or(pending::<()>()).await;
    }

    /// The map of a volume, under its lock, or of a snapshot. The caller has a turn.
    ///
    /// # Errors
    /// `NotFound`; `Busy` if another node has the lock.
    pub(crate) async fn open(&self, volume: &Volume) -> Result<Opened, Failure> {
        let _one = volume.opening.enter().await;
        if let Some(session) = volume.session() {
            if session.fence.is_some() {
                return Ok(Opened { session, is_new: false });
            }
            // Another node may have deleted the snapshot, or put something else under its name.
            let found = self.stores.live(&volume.name).await;
            match found {
                Ok(found) if found.bytes == session.header => return Ok(Opened { session, is_new: false }),
                Ok(_) => volume.forget(),
                Err(failure) => {
                    volume.forget();
                    return Err(failure);
                }
            }
        }
        self.open_anew(volume).await
    }

    async fn open_anew(&self, volume: &Volume) -> Result<Opened, Failure> {
        let found = self.stores.live(&volume.name).await?;
        if is_snapshot(&found) {
            let session = self.session(&volume.name, None, found).await?;
            volume.keep(&session);
            return Ok(Opened { session, is_new: false });
        }
        let taken = self.stores.take(&volume.name).await?;
        // Only now nobody else changes it.
        let opened = match self.stores.live(&volume.name).await {
            Ok(found) => self.session(&volume.name, Some(taken.fence.clone()), found).await,
            Err(failure) => Err(failure),
        };
        match opened {
            Ok(session) => {
                volume.keep(&session);
                Ok(Opened { session, is_new: taken.is_new })
            }
            Err(failure) => {
                self.stores.give_back(&taken).await;
                Err(failure)
            }
        }
    }

    async fn session(
        &self,
        name: &ObjectName,
        fence: Option<crate::store_calls::Fence>,
        found: Found,
    ) -> Result<Rc<Session>, Failure> {
        let boot = fence.as_ref().map(|fence| self.boot.under(fence.number));
        let map = self.stores.open_map(name, found.header, boot).await?;
        Ok(Session::new(&self.stores, self.boot, name, fence, found.bytes, map))
    }

    /// A look at a volume that another node has locked: to be used once.
    pub(crate) async fn look(&self, volume: &Volume) -> Result<Rc<Session>, Failure> {
        /// The other node may replace what we are reading, a few times.
        const ATTEMPTS: u32 = 4;
        let mut attempt = 1;
        loop {
            let found = self.stores.live(&volume.name).await?;
            match self.session(&volume.name, None, found).await {
                Err(failure) if failure.kind == ErrorKind::Corrupt && attempt < ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    /// A turn on a volume's map and the map under its lock, however long the lock takes. `is_alone`: an exclusive turn.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` if the mapper stops.
    pub(crate) async fn open_waiting(
        &self,
        volume: &Volume,
        is_alone: bool,
    ) -> Result<(Turn, Rc<Session>), Failure> {
        let mut has_waited = false;
        loop {
            let turn = if is_alone { volume.turns.exclusive().await } else { volume.turns.shared().await };
            match self.open(volume).await {
                Ok(opened) => return Ok((turn, opened.session)),
                Err(failure) if failure.kind == ErrorKind::Busy => {}
                Err(failure) => {
                    if has_waited {
                        self.stores.release_or_tell(&volume.name).await;
                    }
                    return Err(failure);
                }
            }
            // Without the turn: reads go on meanwhile.
            drop(turn);
            self.await_lock(&volume.name).await?;
            has_waited = true;
        }
    }

    /// Waits until this node has the lock of a volume that another one holds.
    async fn await_lock(&self, name: &ObjectName) -> Result<(), Failure> {
        let holder = match self.stores.lock_info(name).await {
            Ok(lock) => lock.owner.unwrap_or_else(|| "nobody".to_owned()),
            Err(failure) if failure.kind == ErrorKind::Corrupt => "a damaged record".to_owned(),
            Err(failure) => return Err(failure),
        };
        let _waits = self.waiting.begin(self.tasks.effects(), name, holder);
        let waited = self.stopping.or(self.stores.acquire(name, true)).await;
        waited.unwrap_or_else(|| Err(stopping(name))).map(drop)
    }

    /// Writes back what an open map has changed, closes it, and gives its lock back.
    pub(crate) async fn close(&self, volume: &Volume) -> Result<(), Failure> {
        let Some(session) = volume.session() else { return Ok(()) };
        let finished = match session.fence {
            Some(_) => session.finish().await,
            None => Ok(()),
        };
        volume.forget();
        finished?;
        match session.fence {
            Some(_) => self.stores.release(&volume.name).await,
            None => Ok(()),
        }
    }

    /// Ends an operation that needed the map open only for itself.
    pub(crate) async fn close_if_new(&self, volume: &Volume, opened: &Opened) -> Result<(), Failure> {
        if opened.is_new { self.close(volume).await } else { Ok(()) }
    }

    /// Closes all maps, for the next mapper.
    pub(crate) async fn close_all(&self) {
        for volume in self.volumes.open() {
            let _turn = volume.turns.exclusive().await;
            if let Err(failure) = self.close(&volume).await {
                tracing::warn!(volume = %volume.name, error = %failure, "volume not closed; its lock stays");
            }
        }
    }
}

fn is_snapshot(found: &Found) -> bool {
    found.root().state == volume::RootState::ReadOnly
}
