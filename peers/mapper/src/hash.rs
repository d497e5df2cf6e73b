//! Hash: one hash of a snapshot's whole content.

use std::cell::RefCell;

use protocol::{Failure, Hashed, Message};
use sha2::{Digest, Sha256};
use volume::{BlockIndex, FANOUT, Merkle, ObjectName, VolumeError};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, invalid},
    parallel,
    service::Service,
    session::Session,
    volumes::Volume,
};

impl Service {
    /// The Merkle root over the hashes of a snapshot's blocks.
    pub(crate) async fn hash(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let _turn = volume.turns.shared().await;
        if !self.stores_know_read_only(volume).await? {
            return Err(invalid(format!("volume {} is not a snapshot: only those have a hash", asked.name)));
        }
        let opened = self.open(volume).await?;
        let hash = self.hash_snapshot(&opened.session).await?;
        Ok(Answer::Argument(Hashed { hash }.encode()))
    }

    async fn hash_snapshot(&self, session: &Session) -> Result<[u8; 32], Failure> {
        let count = session.map.borrow().block_count();
        let step = u64::try_from(FANOUT).unwrap_or(1);
        let mut merkle = Merkle::new();
        let mut first = 0;
        loop {
            let next = session.next_data(first).await?.unwrap_or(count);
            merkle.add_holes(next - first);
            first = next;
            if first >= count {
                break;
            }
            let end = count.min(first - first % step + step);
            for hash in session.hashes(first..end).await? {
                merkle.add(hash);
            }
            first = end;
            self.breathe().await;
        }
        Ok(merkle.finish())
    }
}

impl Session {
    /// The first block from `from` on that is no hole.
    async fn next_data(&self, from: u64) -> Result<Option<u64>, Failure> {
        loop {
            let next = self.map.borrow().next_data(BlockIndex(from));
            match next {
                Err(VolumeError::NotLoaded(key)) => {
                    let first = key.blocks().start.max(BlockIndex(from));
                    self.load(|map| map.wanted(&(first..BlockIndex(first.0 + 1)))).await?;
                }
                other => return other.in_volume(&self.name).map(|next| next.map(|block| block.0)),
            }
        }
    }

    /// The hashes of some blocks, in order; that of nothing for holes.
    async fn hashes(&self, range: std::ops::Range<u64>) -> Result<Vec<[u8; 32]>, Failure> {
        let names = self.names(&range).await?;
        let empty: [u8; 32] = Sha256::digest([]).into();
        let all = RefCell::new(vec![empty; names.len()]);
        let hashes = &all;
        let mut left = names.iter().enumerate().filter_map(|(at, name)| name.as_ref().map(|name| (at, name)));
        parallel::each(|| {
            left.next().map(|(at, name)| async move {
                let hash = self.stores().hash_block(name).await?;
                hashes.borrow_mut()[at] = hash;
                Ok::<(), Failure>(())
            })
        })
        .await?;
        Ok(all.into_inner())
    }

    /// The objects of some blocks, in order; none for a hole.
    async fn names(&self, range: &std::ops::Range<u64>) -> Result<Vec<Option<ObjectName>>, Failure> {
        let blocks = BlockIndex(range.start)..BlockIndex(range.end);
        self.load(|map| map.wanted(&blocks)).await?;
        let map = self.map.borrow();
        let entries = map.entries(blocks);
        let names = entries.map(|found| found.map(|(index, entry)| entry.object_name(index)));
        names.collect::<Result<_, _>>().in_volume(&self.name)
    }
}
