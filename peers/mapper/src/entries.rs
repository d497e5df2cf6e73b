//! Map read and map write: where blocks are, and making them writable.

use std::{cell::Cell, future::pending, ops::Range, rc::Rc};

use protocol::{Base, Entries, Entry, ErrorKind, Failure, Flags, Fresh, Message, PARTIAL_BLOCK_BYTES, Shape};
use volume::{Allocation, BlockIndex, Map, Purpose, VolumeError, Writability};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, invalid, read_only},
    parallel::{self, Signal},
    service::Service,
    session::Session,
    turn::Turn,
    volumes::Volume,
};

/// The most blocks that one map write makes; its answer says how many it was.
const WRITE_BLOCKS_MAX: u64 = 64;
/// The most entries in one answer to a map read, whatever room there is.
const READ_BLOCKS_MAX: u64 = 4096;
/// How often a block is tried again that others took away while it was made.
pub(crate) const ATTEMPTS: u32 = 16;

impl Service {
    /// Where the blocks of a range are. Tries for the lock; without it the map is looked at once and dropped.
    pub(crate) async fn map_read(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let _turn = volume.turns.shared().await;
        match self.open(volume).await {
            Ok(opened) => map_read_opened(asked, &opened.session).await,
            Err(failure) if failure.kind == ErrorKind::Busy => self.map_look(asked, volume).await,
            Err(failure) => Err(failure),
        }
    }

    /// As `map_read`, of a map that another node has locked, and may replace in the middle.
    async fn map_look(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        let mut attempt = 1;
        loop {
            let session = self.look(volume).await?;
            match map_read_opened(asked, &session).await {
                Err(failure) if failure.kind == ErrorKind::Corrupt && attempt < ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    /// Makes the blocks of a range writable, waiting for the lock.
    pub(crate) async fn map_write(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        if self.stores_know_read_only(volume).await? {
            return Err(read_only(&volume.name));
        }
        let way = Way::of(asked.flags);
        let (_turn, session) = match way {
            Way::Whole | Way::Partial => self.open_for_change(volume).await?,
            Way::Complete => self.open_at_once(volume).await?,
        };
        let range = range_of(asked, &session, WRITE_BLOCKS_MAX)?;
        // A mapper that died may have made the change and not told of it.
        let has_changed = session.make(&range, way).await? || asked.is_again;
        let answer = loop {
            match entries(asked, &session, &range, has_changed) {
                Err(VolumeError::NotLoaded(_)) => session.load(|map| map.wanted(&range)).await?,
                other => break other.in_volume(&session.name)?,
            }
        };
        session.settle().await?;
        Ok(answer)
    }

    /// Whether the volume is a snapshot, before anybody waits for its lock.
    pub(crate) async fn stores_know_read_only(&self, volume: &Volume) -> Result<bool, Failure> {
        match volume.session() {
            Some(session) if session.fence.is_some() => Ok(session.is_read_only()),
            _ => Ok(self.stores.live(&volume.name).await?.root().state == volume::RootState::ReadOnly),
        }
    }

    /// A shared turn and the map, unless another node has it: what nobody waits for waits for nobody.
    async fn open_at_once(&self, volume: &Volume) -> Result<(Turn, Rc<Session>), Failure> {
        let turn = volume.turns.shared().await;
        let opened = self.open(volume).await?;
        Ok((turn, opened.session))
    }

    /// A shared turn and a map that has room for changes.
    async fn open_for_change(&self, volume: &Volume) -> Result<(Turn, Rc<Session>), Failure> {
        loop {
            let (turn, session) = self.open_waiting(volume, false).await?;
            if !is_checkpoint_due(&session) {
                return Ok((turn, session));
            }
            drop(turn);
            let _alone = volume.turns.exclusive().await;
            if let Some(session) = volume.session().filter(|session| is_checkpoint_due(session)) {
                session.checkpoint(Purpose::Continue, session.same_cause()).await?;
            }
        }
    }
}

async fn map_read_opened(asked: &Asked, session: &Session) -> Result<Answer, Failure> {
    let range = range_of(asked, session, READ_BLOCKS_MAX)?;
    let answer = loop {
        session.load(|map| map.wanted(&range)).await?;
        match entries(asked, session, &range, false) {
            // Another conversation made room for its own nodes.
            Err(VolumeError::NotLoaded(_)) => {}
            other => break other.in_volume(&session.name)?,
        }
    };
    session.settle().await?;
    Ok(answer)
}

fn is_checkpoint_due(session: &Session) -> bool {
    let map = session.map.borrow();
    map.is_changing() && map.needs_checkpoint()
}

/// The blocks asked for, at most `most` of them.
pub(crate) fn range_of(asked: &Asked, session: &Session, most: u64) -> Result<Range<BlockIndex>, Failure> {
    let count = session.map.borrow().block_count();
    let end = asked.offset.checked_add(asked.size).filter(|end| *end <= count && asked.size > 0);
    let Some(end) = end else {
        let (first, size) = (asked.offset, asked.size);
        return Err(invalid(format!(
            "{size} blocks from {first} are not in the {count} of volume {}",
            asked.name
        )));
    };
    Ok(BlockIndex(asked.offset)..BlockIndex(end.min(asked.offset.saturating_add(most))))
}

/// What the longest parts of an answer beside its entries take, in bytes.
const HEAD_BYTES: u64 = 64;
/// What an entry without a name takes at most: its kind, two numbers, a flag.
const ENTRY_BYTES: u64 = 22;

fn entries(
    asked: &Asked,
    session: &Session,
    range: &Range<BlockIndex>,
    has_changed: bool,
) -> Result<Answer, VolumeError> {
    let map = session.map.borrow();
    let is_read_only = session.is_read_only();
    let fence = session.fence.as_ref().map(|fence| fence.number);
    let mut room = asked.room.saturating_sub(HEAD_BYTES);
    let mut found = Vec::new();
    for index in range.start.0..range.end.0 {
        let entry = entry(&map, BlockIndex(index), fence.is_some())?;
        let bytes = match &entry {
            Entry::Named { name, .. } => ENTRY_BYTES + u64::try_from(name.len()).unwrap_or(0),
            Entry::Hole | Entry::Object { .. } => ENTRY_BYTES,
            Entry::Partial { base, .. } => ENTRY_BYTES + base_bytes(base),
        };
        match room.checked_sub(bytes) {
            Some(left) => room = left,
            None if found.is_empty() => {}
            None => break,
        }
        found.push(entry);
    }
    let end = range.start.0 + u64::try_from(found.len()).unwrap_or(0);
    let answer = Entries {
        shape: Shape { size_bytes: map.size(), block_size: map.block_size(), is_read_only },
        // A snapshot never changes, so anybody may keep what it says.
        fence: if is_read_only { Some(0) } else { fence },
        first: range.start.0,
        entries: found,
        holes_after: holes_from(&map, end),
        has_changed,
        fresh: fresh(&map).filter(|_| fence.is_some() && !is_read_only),
    };
    Ok(Answer::Buffer(answer.encode()))
}

/// How many blocks from `first` on are holes, as far as that is known without reading more of the map.
fn holes_from(map: &Map, first: u64) -> u64 {
    let end = match map.next_data(BlockIndex(first)) {
        Ok(Some(data)) => data.0,
        Ok(None) => map.block_count(),
        Err(VolumeError::NotLoaded(key)) => key.blocks().start.0.min(map.block_count()),
        Err(_) => first,
    };
    end.saturating_sub(first)
}

fn base_bytes(base: &Base) -> u64 {
    match base {
        Base::Object { .. } => ENTRY_BYTES,
        Base::Named { name } => ENTRY_BYTES + u64::try_from(name.len()).unwrap_or(0),
    }
}

/// How blocks that become partial are named.
pub(crate) fn fresh(map: &Map) -> Option<Fresh> {
    let may_be = PARTIAL_BLOCK_BYTES.contains(&map.block_size()) && !map.is_legacy();
    may_be.then(|| Fresh { owner: map.root().id.0, written_at: map.generation().0 })
}

fn entry(map: &Map, index: BlockIndex, is_locked: bool) -> Result<Entry, VolumeError> {
    if let Some(partial) = map.partial(index)
        && let Some(base) = base(&map.entry(index)?)
    {
        let (owner, written_at) = (map.root().id.0, partial.written_at.0);
        return Ok(Entry::Partial { owner, written_at, base: Box::new(base) });
    }
    let is_writable = is_locked && matches!(map.writability(index)?, Writability::Writable(_));
    Ok(match map.entry(index)? {
        volume::Entry::Hole => Entry::Hole,
        volume::Entry::Object { owner, written_at } => {
            Entry::Object { owner: owner.0, written_at: written_at.0, is_writable }
        }
        volume::Entry::Named { name, .. } => Entry::Named { name: name.as_bytes().to_vec(), is_writable },
    })
}

fn base(entry: &volume::Entry<'_>) -> Option<Base> {
    match *entry {
        volume::Entry::Hole => None,
        volume::Entry::Object { owner, written_at } => {
            Some(Base::Object { owner: owner.0, written_at: written_at.0 })
        }
        volume::Entry::Named { name, .. } => Some(Base::Named { name: name.as_bytes().to_vec() }),
    }
}

/// What a map write does to its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Makes them writable, whole.
    Whole,
    /// Makes those that are shared partial.
    Partial,
    /// Takes those that are partial for complete.
    Complete,
}

impl Way {
    fn of(flags: Flags) -> Way {
        match (flags.contains(Flags::WHOLE), flags.contains(Flags::PARTIAL)) {
            (true, _) => Way::Complete,
            (false, true) => Way::Partial,
            (false, false) => Way::Whole,
        }
    }
}

impl Session {
    /// Waits until everything that the map says now is in its log: what was answered must outlive this mapper.
    async fn settle(&self) -> Result<(), Failure> {
        match self.fence {
            Some(_) => self.append_log().await,
            None => Ok(()),
        }
    }

    /// Makes all blocks of a range what was asked; whether the map changed for that. The log is not written yet.
    async fn make(&self, range: &Range<BlockIndex>, way: Way) -> Result<bool, Failure> {
        let mut index = range.start.0..range.end.0;
        let has_changed = &Cell::new(false);
        let made = parallel::each(|| {
            index.next().map(|index| async move {
                let index = BlockIndex(index);
                let is_new = match way {
                    Way::Whole => self.make_one_writable(index).await?,
                    Way::Partial => self.make_one_partial(index).await?,
                    Way::Complete => self.complete_one(index).await?,
                };
                has_changed.set(has_changed.get() | is_new);
                Ok(())
            })
        })
        .await;
        made.map(|()| has_changed.get())
    }

    /// Makes one block writable; whether it was not. One that is partial is, for a composer. The log is not written yet.
    pub(crate) async fn make_one_writable(&self, index: BlockIndex) -> Result<bool, Failure> {
        for _ in 0..ATTEMPTS {
            self.load(|map| map.wanted(&(index..BlockIndex(index.0 + 1)))).await?;
            if self.map.borrow().partial(index).is_some() {
                return Ok(false);
            }
            let writability = self.map.borrow().writability(index);
            match writability {
                Ok(Writability::Writable(_)) => return Ok(false),
                Ok(Writability::Shared(_) | Writability::Hole) => self.begin().await?,
                Err(VolumeError::NotLoaded(_)) => continue,
                Err(error) => return Err(error).in_volume(&self.name),
            }
            let allocated = self.map.borrow_mut().allocate(index);
            match allocated {
                Ok(allocation) => {
                    if self.make_allocated(&allocation).await? {
                        return Ok(true);
                    }
                }
                Err(VolumeError::Writable(_)) => return Ok(false),
                Err(VolumeError::Busy(_)) => self.until_made(index).await,
                Err(VolumeError::NotLoaded(_)) => {}
                Err(error) => return Err(error).in_volume(&self.name),
            }
        }
        let message = format!("block {} of volume {} changes all the time", index.0, self.name);
        Err(Failure::new(ErrorKind::Busy, message))
    }

    /// Waits for the conversation that makes this block.
    pub(crate) async fn until_made(&self, index: BlockIndex) {
        let made = self.allocating.borrow().get(&index.0).cloned();
        if let Some(made) = made {
            made.or(pending::<()>()).await;
        }
    }

    /// Makes the object of an allocated block and puts it into the map; false if the block was taken away meanwhile.
    async fn make_allocated(&self, allocation: &Allocation) -> Result<bool, Failure> {
        let _announced = Announced::new(self, allocation.index);
        let made = self.make_object(allocation).await;
        if let Err(failure) = made {
            return Err(self.give_up(allocation, failure));
        }
        self.made(allocation.name.clone());
        loop {
            let set = self.map.borrow_mut().set(allocation);
            match set {
                Ok(()) => return Ok(true),
                Err(VolumeError::Overtaken(_)) => return Ok(false),
                Err(VolumeError::NotLoaded(_)) => {
                    let range = allocation.index..BlockIndex(allocation.index.0 + 1);
                    self.load(|map| map.wanted(&range)).await?;
                }
                Err(error) => return Err(error).in_volume(&self.name),
            }
        }
    }

    async fn make_object(&self, allocation: &Allocation) -> Result<(), Failure> {
        let size = u64::from(self.map.borrow().block_size());
        let fence = self.fence()?;
        match &allocation.source {
            Some(source) => self.stores().copy_block(source, &allocation.name, size).await,
            None => self.stores().make_block(&allocation.name, size, fence).await,
        }
    }

    fn give_up(&self, allocation: &Allocation, failure: Failure) -> Failure {
        if failure.kind == ErrorKind::NotOwner {
            self.end(&failure);
        }
        if let Err(error) = self.map.borrow_mut().abandon(allocation) {
            tracing::debug!(volume = %self.name, %error, "an allocation ended with the map");
        }
        self.stores().delete_later(Vec::new(), vec![allocation.name.clone()]);
        // A copy whose source is missing is damage, not a volume that does not exist.
        match failure.kind {
            ErrorKind::NotFound => Failure::new(ErrorKind::Corrupt, failure.message),
            _ => failure,
        }
    }
}

/// Says to others that a block is being made; tells them when it is.
struct Announced<'a> {
    session: &'a Session,
    index: BlockIndex,
}

impl<'a> Announced<'a> {
    fn new(session: &'a Session, index: BlockIndex) -> Announced<'a> {
        session.allocating.borrow_mut().insert(index.0, Signal::default());
        Announced { session, index }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let made = self.session.allocating.borrow_mut().remove(&self.index.0);
        made.iter().for_each(Signal::give);
    }
}
