//! Compare: where two maps name different objects.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use protocol::{Compare as CompareArgument, Differences, ErrorKind, Failure, Message};
use volume::{Compare, NodeKey, ObjectName, Purpose, Root, Step};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, invalid},
    parallel,
    service::Service,
    volumes::Volume,
};

/// What the answer takes beside its ranges, and a range at most, in bytes.
const HEAD_BYTES: u64 = 32;
const RANGE_BYTES: u64 = 20;
/// Most ranges in one answer.
const RANGES_MAX: u64 = 4096;

/// A map to compare: what is in its tree, and blocks that are partial, of which any part may differ.
struct Compared {
    root: Root,
    partial: Vec<u64>,
}

impl Service {
    /// The byte ranges in which two volumes may differ, from the offset asked for on. What was changed since the last
    /// checkpoint is checkpointed first, so both must be snapshots or free for this node.
    pub(crate) async fn compare(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let argument: CompareArgument = asked.argument()?;
        let unknown = || invalid(format!("{:?} is not the name of a volume", argument.other));
        let other = self.volumes.get(&ObjectName::new(argument.other.as_str()).ok_or_else(unknown)?);
        let left = self.checkpointed(volume).await?;
        let right = self.checkpointed(&other).await;
        self.volumes.used(Rc::clone(&other));
        let right = right?;
        if left.root.block_size != right.root.block_size {
            let (one, two) = (left.root.block_size, right.root.block_size);
            return Err(invalid(format!(
                "blocks of {} have {one} bytes, those of {} {two}",
                asked.name, other.name
            )));
        }
        let found = self.differences(asked, [&left, &right]).await?;
        Ok(Answer::Buffer(found.encode()))
    }

    /// The root of a volume, with all that was changed in its tree, but for partial blocks.
    async fn checkpointed(&self, volume: &Volume) -> Result<Compared, Failure> {
        let _turn = volume.turns.exclusive().await;
        let opened = self.open(volume).await?;
        let session = &opened.session;
        let result = if session.map.borrow().is_legacy() {
            let message = format!("volume {} has a map of the original: update it first", volume.name);
            Err(Failure::new(ErrorKind::Unsupported, message))
        } else if session.map.borrow().is_changing() {
            session.checkpoint(Purpose::Continue, session.same_cause()).await
        } else {
            session.finish().await
        };
        let (root, partials) = (session.map.borrow().root().clone(), session.map.borrow().partials());
        let partial = partials.iter().map(|partial| partial.index.0).collect();
        let closed = self.close_if_new(volume, &opened).await;
        result.and(closed).map(|()| Compared { root, partial })
    }

    async fn differences(&self, asked: &Asked, compared: [&Compared; 2]) -> Result<Differences, Failure> {
        let [left, right] = compared.map(|compared| &compared.root);
        let block = u64::from(left.block_size);
        let end = left.size.max(right.size);
        let partial: BTreeSet<u64> =
            compared.iter().flat_map(|compared| compared.partial.iter().copied()).collect();
        let mut partial = partial.into_iter().peekable();
        let most = (asked.room.saturating_sub(HEAD_BYTES) / RANGE_BYTES).clamp(1, RANGES_MAX);
        let mut ranges = Vec::new();
        let mut add = |from: u64, to: u64| {
            let (from, to) = (from.max(asked.offset), to.min(end));
            if from < to {
                ranges.push((from, to - from));
            }
            u64::try_from(ranges.len()).unwrap_or(u64::MAX) >= most
        };
        let compare = RefCell::new(Compare::new(left, right));
        loop {
            let step = compare.borrow_mut().step();
            match step {
                Step::Done => {
                    for index in partial {
                        let from = index.saturating_mul(block);
                        if add(from, from.saturating_add(block)) {
                            let resume = Some(from.saturating_add(block)).filter(|to| *to < end);
                            return Ok(Differences { ranges, resume });
                        }
                    }
                    return Ok(Differences { ranges, resume: None });
                }
                Step::Differ(range) => {
                    while let Some(index) = partial.next_if(|index| *index < range.end.0) {
                        let from = index.saturating_mul(block);
                        let is_beside = index < range.start.0;
                        if is_beside && add(from, from.saturating_add(block)) {
                            return Ok(Differences { ranges, resume: Some(from.saturating_add(block)) });
                        }
                    }
                    let to = range.end.0.saturating_mul(block);
                    if add(range.start.0.saturating_mul(block), to) {
                        return Ok(Differences { ranges, resume: Some(to).filter(|to| *to < end) });
                    }
                }
                Step::Load(nodes) => self.load_compared(&asked.name, &compare, nodes).await?,
            }
        }
    }

    async fn load_compared(
        &self,
        name: &ObjectName,
        compare: &RefCell<Compare>,
        nodes: Vec<NodeKey>,
    ) -> Result<(), Failure> {
        let mut nodes = nodes.into_iter();
        parallel::each(|| {
            nodes.next().map(|key| async move {
                let Some(object) = key.name() else { return Ok(()) };
                let bytes = self.stores.read_whole(&object).await?;
                compare.borrow_mut().load(&key, &bytes).in_volume(name)
            })
        })
        .await
    }
}
