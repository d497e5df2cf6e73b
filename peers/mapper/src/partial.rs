//! Blocks that hold only what was written since a snapshot: making them, and completing them where no composer does.

use protocol::{ErrorKind, Failure, PIECE_BYTES};
use volume::{BlockIndex, ObjectName, Partial, VolumeError, Writability};

use crate::{entries::ATTEMPTS, failure::InVolume, parallel, session::Session};

/// The most that is copied at a time, in bytes.
const FILL_BYTES: u64 = 256 << 10;

impl Session {
    /// Makes a shared block partial, others writable; whether the map changed. The log is not written yet.
    pub(crate) async fn make_one_partial(&self, index: BlockIndex) -> Result<bool, Failure> {
        for _ in 0..ATTEMPTS {
            self.load(|map| map.wanted(&(index..BlockIndex(index.0 + 1)))).await?;
            if self.map.borrow().partial(index).is_some() {
                return Ok(false);
            }
            let writability = self.map.borrow().writability(index);
            match writability {
                Ok(Writability::Writable(_)) => return Ok(false),
                Ok(Writability::Hole) => return self.make_one_writable(index).await,
                Ok(Writability::Shared(_)) => self.begin().await?,
                Err(VolumeError::NotLoaded(_)) => continue,
                Err(error) => return Err(error).in_volume(&self.name),
            }
            let made = self.map.borrow_mut().make_partial(index);
            match made {
                Ok(_) => return Ok(true),
                Err(VolumeError::Writable(_)) => return Ok(false),
                Err(VolumeError::Busy(_)) => self.until_made(index).await,
                Err(VolumeError::NotLoaded(_)) => {}
                // There are too many of them.
                Err(_) => return self.make_one_writable(index).await,
            }
        }
        let message = format!("block {} of volume {} changes all the time", index.0, self.name);
        Err(Failure::new(ErrorKind::Busy, message))
    }

    /// Takes a partial block for complete; whether it was partial. The log is not written yet.
    pub(crate) async fn complete_one(&self, index: BlockIndex) -> Result<bool, Failure> {
        self.begin().await?;
        for _ in 0..ATTEMPTS {
            let Some(partial) = self.map.borrow().partial(index) else { return Ok(false) };
            self.load(|map| map.wanted(&(index..BlockIndex(index.0 + 1)))).await?;
            // Durable before a commit says so.
            self.made(partial.name.clone());
            let completed = self.map.borrow_mut().complete(&partial);
            match completed {
                Err(VolumeError::NotLoaded(_)) => {}
                other => return other.in_volume(&self.name),
            }
        }
        Err(Failure::new(ErrorKind::Busy, format!("there is no memory for the map of volume {}", self.name)))
    }

    /// Completes all partial blocks, durably, while nobody else changes the volume.
    pub(crate) async fn complete_all(&self) -> Result<(), Failure> {
        if !self.map.borrow().has_partial() {
            return Ok(());
        }
        self.begin().await?;
        let mut partials = self.map.borrow().partials().into_iter();
        parallel::each(|| {
            partials.next().map(|partial| async move {
                self.fill(&partial).await?;
                self.complete_one(partial.index).await.map(drop)
            })
        })
        .await?;
        self.commit().await
    }

    /// Copies what was not written to a partial block from its base.
    async fn fill(&self, partial: &Partial) -> Result<(), Failure> {
        let (index, block) = (partial.index, u64::from(self.map.borrow().block_size()));
        let base = loop {
            self.load(|map| map.wanted(&(index..BlockIndex(index.0 + 1)))).await?;
            let base = self.map.borrow().entry(index).map(|entry| entry.object_name(index));
            match base {
                Err(VolumeError::NotLoaded(_)) => {}
                other => break other.in_volume(&self.name)?,
            }
        };
        let Some(base) = base else { return Ok(()) };
        if let Err(failure) = self.stores().read_block(&partial.name, 0, PIECE_BYTES).await {
            if failure.kind != ErrorKind::NotFound {
                return Err(failure);
            }
            // Nothing was written to it, and nothing may have to be.
            let piece = vec![0; usize::try_from(PIECE_BYTES).unwrap_or(0)];
            self.stores().write_block(&partial.name, 0, &piece, self.fence()?).await?;
        }
        let mut at = 0;
        while at < block {
            let size = FILL_BYTES.min(block - at);
            self.fill_range(&partial.name, &base, at, size).await?;
            at += size;
        }
        Ok(())
    }

    async fn fill_range(
        &self,
        own: &ObjectName,
        base: &ObjectName,
        at: u64,
        size: u64,
    ) -> Result<(), Failure> {
        let piece = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX);
        let written = self.stores().read_block(own, at, size).await?;
        let shared =
            self.stores().read_block(base, at, size).await.map_err(|failure| match failure.kind {
                ErrorKind::NotFound => Failure::new(ErrorKind::Corrupt, failure.message),
                _ => failure,
            })?;
        let pieces = written.chunks(piece).zip(shared.chunks(piece));
        let wanted = |(written, shared): (&[u8], &[u8])| is_zero(written) && !is_zero(shared);
        let is_wanted: Vec<bool> = pieces.map(wanted).collect();
        let mut first = 0;
        for run in is_wanted.chunk_by(|one, other| one == other) {
            let (from, to) = (first * piece, ((first + run.len()) * piece).min(shared.len()));
            if run.first() == Some(&true) {
                let offset = at + u64::try_from(from).unwrap_or(0);
                self.stores().write_block(own, offset, &shared[from..to], self.fence()?).await?;
            }
            first += run.len();
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
