//! Map punch: whole blocks become holes.

use protocol::{ErrorKind, Failure, Message};
use volume::{Purpose, VolumeError};

use crate::{
    asked::{Answer, Asked},
    entries::{fresh, range_of},
    failure::{InVolume, read_only},
    service::Service,
    session::Session,
    volumes::Volume,
};

impl Service {
    /// Makes holes of the blocks of a range, waiting for the lock. Their objects go after the next checkpoint.
    pub(crate) async fn map_punch(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        if self.stores_know_read_only(volume).await? {
            return Err(read_only(&volume.name));
        }
        let (_turn, session) = self.open_waiting(volume, true).await?;
        let range = range_of(asked, &session, u64::MAX)?;
        session.begin().await?;
        if session.map.borrow().needs_checkpoint() {
            session.checkpoint(Purpose::Continue, session.same_cause()).await?;
        }
        session.punch(&range).await?;
        session.append_log().await?;
        let fresh = fresh(&session.map.borrow());
        Ok(fresh.map_or(Answer::Done, |fresh| Answer::Argument(fresh.encode())))
    }
}

impl Session {
    async fn punch(&self, range: &std::ops::Range<volume::BlockIndex>) -> Result<(), Failure> {
        /// Another conversation may make room for its own nodes, a few times.
        const ATTEMPTS: u32 = 16;
        for _ in 0..ATTEMPTS {
            self.load(|map| map.wanted_for_punch(range)).await?;
            let punched = self.map.borrow_mut().punch(range);
            match punched {
                Ok(_) => return Ok(()),
                Err(VolumeError::NotLoaded(_)) => {}
                Err(error) => return Err(error).in_volume(&self.name),
            }
        }
        Err(Failure::new(ErrorKind::Busy, format!("there is no memory for the map of volume {}", self.name)))
    }
}
