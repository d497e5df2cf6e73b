//! Resize, both ways: what was cut off never comes back.

use protocol::{Failure, Resize};
use volume::{BlockIndex, Purpose, Writability};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, invalid, read_only},
    service::Service,
    session::Session,
    volumes::Volume,
};

impl Service {
    /// Changes a volume's size. Fails at once if another node has it.
    pub(crate) async fn resize(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let argument: Resize = asked.argument()?;
        volume::check_size(argument.size_bytes).in_volume(&volume.name)?;
        let _turn = volume.turns.exclusive().await;
        let opened = self.open(volume).await?;
        let result = match opened.session.is_read_only() {
            true => Err(read_only(&volume.name)),
            false => opened.session.resize(&argument).await,
        };
        let closed = self.close_if_new(volume, &opened).await;
        result.and(closed).map(|()| Answer::Done)
    }
}

impl Session {
    async fn resize(&self, wanted: &Resize) -> Result<(), Failure> {
        let (old, new) = (self.map.borrow().size(), wanted.size_bytes);
        if new == old {
            return Ok(());
        }
        if new < old && !wanted.may_shrink {
            let name = &self.name;
            return Err(invalid(format!(
                "volume {name} would shrink from {old} to {new} bytes, and may not"
            )));
        }
        self.begin().await?;
        self.complete_all().await?;
        if self.map.borrow().needs_checkpoint() {
            self.checkpoint(Purpose::Continue, self.same_cause()).await?;
        }
        self.load(|map| map.wanted_for_resize(new)).await?;
        let tail = self.map.borrow().tail_of_resize(new).in_volume(&self.name)?;
        if let Some(tail) = tail {
            self.make_one_writable(tail.index).await?;
        }
        if new > old {
            // Beyond the end, so nobody can see it until the size is another one.
            self.zero_tail().await?;
        }
        self.load(|map| map.wanted_for_resize(new)).await?;
        self.map.borrow_mut().resize(new).in_volume(&self.name)?;
        // The map in memory has the new size: nobody may go on with it if the store has not.
        let written = self.checkpoint(Purpose::Continue, self.same_cause()).await;
        self.or_over(written)?;
        // After a crash before this, whoever takes the session over does it.
        self.zero_tail().await
    }

    /// Makes the part of the last block that lies beyond the end read zeros, unless a snapshot has it as it is.
    pub(crate) async fn zero_tail(&self) -> Result<(), Failure> {
        let (size, block) = {
            let map = self.map.borrow();
            (map.size(), u64::from(map.block_size()))
        };
        let (index, start) = (BlockIndex(size / block), size % block);
        if start == 0 {
            return Ok(());
        }
        self.load(|map| map.wanted(&(index..BlockIndex(index.0 + 1)))).await?;
        let writability = self.map.borrow().writability(index).in_volume(&self.name)?;
        if let Writability::Writable(name) = writability {
            self.stores().zero_block(&name, start, block - start, self.fence()?).await?;
            self.made(name);
        }
        Ok(())
    }
}
