//! New volumes: blank, from a snapshot, or from a list of blocks.

use std::cell::RefCell;

use protocol::{BLOCK_SIZE_DEFAULT, BlockList, Clone as CloneArgument, ErrorKind, Failure, Message};
use volume::{
    BlockIndex, Map, NewVolume, ObjectName, Purpose, Root, RootState, VolumeId, VolumeName, ZERO_BLOCK,
};

use crate::{
    asked::{Answer, Asked},
    failure::{InVolume, exists, invalid, no_volume},
    loading::Found,
    lock::Taken,
    service::Service,
    session::Session,
    store_calls::Stores,
    volumes::Volume,
};

/// How many ids are drawn before we suspect the dice: two draws are never alike by chance.
const DRAWS: u32 = 8;

impl Service {
    /// Makes a volume, blank or from a snapshot.
    pub(crate) async fn clone_volume(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        VolumeName::new(volume.name.as_str()).in_volume(&volume.name)?;
        let argument: CloneArgument = asked.argument()?;
        self.end_rename_to(&volume.name).await?;
        let _turn = volume.turns.exclusive().await;
        let taken = self.stores.take(&volume.name).await?;
        let result = self.clone_under_lock(asked, &argument, &taken).await;
        volume.forget();
        self.stores.give_back(&taken).await;
        result.map(|()| Answer::Done)
    }

    async fn clone_under_lock(
        &self,
        asked: &Asked,
        argument: &CloneArgument,
        taken: &Taken,
    ) -> Result<(), Failure> {
        let name = &taken.fence.lock;
        let Vacancy::Free { replaces } = self.stores.vacancy(asked, name).await? else { return Ok(()) };
        let source = match &argument.source {
            Some(source) => Some(self.source(name, source).await?),
            None => None,
        };
        let size = argument.size_bytes.or(source.as_ref().map(|(_, found)| found.root().size));
        let size = size.ok_or_else(|| invalid(format!("volume {name} needs a size or a snapshot")))?;
        let new = self.new_volume(asked, name, size, replaces).await?;
        let root = match &source {
            None => Root::blank(new, argument.block_size.unwrap_or(BLOCK_SIZE_DEFAULT)),
            Some((parent, found)) => {
                check_block_size(name, argument.block_size, found)?;
                found.root().clone_as(new, parent)
            }
        };
        self.stores.replace(name, &root.in_volume(name)?.encode(), &taken.fence).await?;
        match source {
            Some((parent, found)) => self.check_still_there(asked, &parent, &found, taken).await,
            None => Ok(()),
        }
    }

    /// The snapshot that a clone begins as, in our format.
    async fn source(&self, name: &ObjectName, source: &str) -> Result<(ObjectName, Found), Failure> {
        let unknown = || invalid(format!("{source:?} is not the name of a snapshot"));
        let source = ObjectName::new(source).ok_or_else(unknown)?;
        if source == *name {
            return Err(no_volume(&source));
        }
        let found = self.stores.live(&source).await?;
        if found.root().state != RootState::ReadOnly {
            return Err(invalid(format!("volume {source} is not a snapshot: only those are cloned")));
        }
        Ok((source.clone(), self.upgraded(&source, found).await?))
    }

    /// A collector may have seen neither the clone nor, after it was deleted, the snapshot: then the clone must go as well.
    async fn check_still_there(
        &self,
        asked: &Asked,
        parent: &ObjectName,
        found: &Found,
        taken: &Taken,
    ) -> Result<(), Failure> {
        let now = self.stores.find_live(parent).await?;
        if now.is_some_and(|now| now.root().created_by == found.root().created_by) {
            return Ok(());
        }
        let name = &taken.fence.lock;
        if let Some(made) = self.stores.find(name, None).await? {
            self.stores.replace(name, &made.root().tombstone(asked.cause).encode(), &taken.fence).await?;
        }
        Err(no_volume(parent))
    }

    async fn new_volume(
        &self,
        asked: &Asked,
        name: &ObjectName,
        size: u64,
        replaces: Option<Box<Root>>,
    ) -> Result<NewVolume, Failure> {
        volume::check_size(size).in_volume(name)?;
        let id = match &replaces {
            Some(root) => root.id,
            None => self.stores.draw_id(name).await?,
        };
        Ok(NewVolume {
            id,
            size,
            created_by: asked.cause,
            created_unix_ms: self.now_ms(),
            replaces: replaces.map(|root| *root),
        })
    }

    /// Makes a volume or a snapshot of blocks that exist.
    pub(crate) async fn create(&self, asked: &Asked, volume: &Volume) -> Result<Answer, Failure> {
        VolumeName::new(volume.name.as_str()).in_volume(&volume.name)?;
        let list = BlockList::decode(&asked.data).map_err(|error| invalid(format!("{error}")))?;
        let count = list.size_bytes.div_ceil(u64::from(list.block_size.max(1)));
        if u64::try_from(list.blocks.len()) != Ok(count) {
            let given = list.blocks.len();
            return Err(invalid(format!(
                "volume {} has {count} blocks, but {given} are listed",
                volume.name
            )));
        }
        self.end_rename_to(&volume.name).await?;
        let _turn = volume.turns.exclusive().await;
        let taken = self.stores.take(&volume.name).await?;
        let result = self.create_under_lock(asked, &list, &taken).await;
        volume.forget();
        self.stores.give_back(&taken).await;
        result.map(|()| Answer::Done)
    }

    async fn create_under_lock(&self, asked: &Asked, list: &BlockList, taken: &Taken) -> Result<(), Failure> {
        let name = &taken.fence.lock;
        let Vacancy::Free { replaces } = self.stores.vacancy(asked, name).await? else { return Ok(()) };
        let new = self.new_volume(asked, name, list.size_bytes, replaces).await?;
        let mut root = Root::blank(new, list.block_size).in_volume(name)?;
        if list.read_only {
            root.state = RootState::ReadOnly;
        }
        let mut map = Map::build(root);
        for (index, block) in (0..).zip(&list.blocks) {
            if block.name.is_empty() || block.name == ZERO_BLOCK.as_bytes() {
                continue;
            }
            let object = std::str::from_utf8(&block.name).ok().and_then(ObjectName::new);
            let object = object
                .ok_or_else(|| invalid(format!("block {index} has no name that an object can have")))?;
            map.fill(BlockIndex(index), &object, !block.is_read_only).in_volume(name)?;
        }
        let fence = Some(taken.fence.clone());
        let session = Session::new(&self.stores, self.boot, name, fence, Vec::new(), RefCell::new(map));
        session.checkpoint(Purpose::Close, asked.cause).await
    }
}

/// What lies where a new volume is to be.
pub(crate) enum Vacancy {
    /// Nothing, or a tombstone whose counters go on.
    Free { replaces: Option<Box<Root>> },
    /// This very request has made it before.
    IsDone,
}

impl Stores {
    pub(crate) async fn vacancy(&self, asked: &Asked, name: &ObjectName) -> Result<Vacancy, Failure> {
        let Some(found) = self.find(name, None).await? else { return Ok(Vacancy::Free { replaces: None }) };
        let root = found.root();
        if root.state.is_live() && !self.has_moved(root).await? {
            return if root.created_by == asked.cause { Ok(Vacancy::IsDone) } else { Err(exists(name)) };
        }
        self.check_no_intent(name, root).await?;
        let goes_on = root.state == RootState::Deleted && root.id != VolumeId(0);
        Ok(Vacancy::Free { replaces: goes_on.then(|| Box::new(root.clone())) })
    }

    /// An id that no volume has or had.
    pub(crate) async fn draw_id(&self, name: &ObjectName) -> Result<VolumeId, Failure> {
        for _ in 0..DRAWS {
            let id = VolumeId(self.tasks().effects().random().max(1));
            match self.create(&ObjectName::id(id), name.as_bytes(), None).await {
                Ok(()) => return Ok(id),
                Err(failure) if failure.kind == ErrorKind::Exists => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::new(ErrorKind::Unavailable, format!("no id could be drawn for volume {name}")))
    }
}

fn check_block_size(name: &ObjectName, wanted: Option<u32>, found: &Found) -> Result<(), Failure> {
    let own = found.root().block_size;
    match wanted {
        Some(wanted) if wanted != own => Err(invalid(format!(
            "volume {name} cannot have blocks of {wanted} bytes: its snapshot has {own}"
        ))),
        _ => Ok(()),
    }
}
