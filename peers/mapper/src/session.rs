//! One volume's map while this mapper has it open.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use peer::tasks::Gate;
use protocol::{ErrorKind, Failure};
use volume::{BootId, LogAppend, Map, ObjectName, Plan, Purpose, RequestId, RootState, Write};

use crate::{
    failure::InVolume,
    parallel::{self, Signal},
    store_calls::{Fence, Place, Stores},
};

/// Blocks made since the last commit that are synced one by one; beyond, the whole store is flushed.
const FRESH_LIMIT: usize = 64;

/// A map in memory, under the volume's lock unless it is read-only.
///
/// When a write of it fails, what is at rest is whole but not known: the session is over, and the next one reads the store.
pub(crate) struct Session {
    pub(crate) name: ObjectName,
    /// The lock's grant; none for what is only read.
    pub(crate) fence: Option<Fence>,
    /// The header as it was read.
    pub(crate) header: Vec<u8>,
    pub(crate) map: RefCell<Map>,
    /// Blocks that are being made, with a signal for those who wait for the same one.
    pub(crate) allocating: RefCell<BTreeMap<u64, Signal>>,
    stores: Stores,
    /// Of this machine and this grant.
    boot: BootId,
    beginning: Gate,
    appending: Gate,
    fresh: RefCell<Fresh>,
    /// Why the map must not be used any more.
    over: RefCell<Option<Failure>>,
    /// The name before, until somebody has seen to the rename's end.
    pub(crate) former_name: Cell<Option<ObjectName>>,
    /// When it was used last, in turns of the mapper.
    pub(crate) used: Cell<u64>,
}

/// Blocks that were made and may not be durable yet.
enum Fresh {
    Few(Vec<ObjectName>),
    Many,
}

impl Session {
    pub(crate) fn new(
        stores: &Stores,
        boot: BootId,
        name: &ObjectName,
        fence: Option<Fence>,
        header: Vec<u8>,
        map: RefCell<Map>,
    ) -> Rc<Session> {
        let boot = fence.as_ref().map_or(boot, |fence| boot.under(fence.number));
        // What another incarnation made and did not commit is not known one by one.
        let is_inherited = map.borrow().root().state == RootState::Changing;
        let fresh = if is_inherited { Fresh::Many } else { Fresh::Few(Vec::new()) };
        let former_name = map.borrow().root().moved_from.clone().filter(|_| fence.is_some());
        Rc::new(Session {
            name: name.clone(),
            fence,
            header,
            map,
            allocating: RefCell::default(),
            stores: stores.clone(),
            boot,
            beginning: Gate::default(),
            appending: Gate::default(),
            fresh: RefCell::new(fresh),
            over: RefCell::default(),
            former_name: Cell::new(former_name),
            used: Cell::new(0),
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.map.borrow().root().state == RootState::ReadOnly
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The grant under which it may be written now.
    pub(crate) fn fence(&self) -> Result<&Fence, Failure> {
        if let Some(failure) = &*self.over.borrow() {
            return Err(failure.clone());
        }
        self.fence.as_ref().ok_or_else(|| {
            Failure::new(ErrorKind::NotOwner, format!("the lock of volume {} is not held here", self.name))
        })
    }

    /// The map is not to be used any more: the store may not hold what it says, or the lock is lost.
    pub(crate) fn end(&self, failure: &Failure) {
        if !self.is_over() {
            tracing::warn!(volume = %self.name, error = %failure, "map dropped");
            *self.over.borrow_mut() = Some(failure.clone());
        }
    }

    /// Ends the session if `result` is a failure of a write.
    pub(crate) fn or_over<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &result {
            self.end(failure);
        }
        result
    }

    /// The cause that leaves on record which request changed the volume last.
    pub(crate) fn same_cause(&self) -> RequestId {
        self.map.borrow().root().last_request
    }

    /// Loads what `wanted` names.
    pub(crate) async fn load(
        &self,
        wanted: impl FnMut(&mut Map) -> Vec<volume::Wanted>,
    ) -> Result<(), Failure> {
        self.stores.load(&self.name, &self.map, wanted).await
    }

    /// Remembers a block that the next commit must make durable.
    pub(crate) fn made(&self, block: ObjectName) {
        let fresh = &mut *self.fresh.borrow_mut();
        match fresh {
            Fresh::Few(names) if names.len() < FRESH_LIMIT => names.push(block),
            Fresh::Few(_) => *fresh = Fresh::Many,
            Fresh::Many => {}
        }
    }

    /// Makes the blocks durable that were made so far.
    pub(crate) async fn sync_made(&self) -> Result<(), Failure> {
        let fresh = self.fresh.replace(Fresh::Few(Vec::new()));
        let synced = match &fresh {
            Fresh::Few(names) => {
                let mut names = names.iter();
                parallel::each(|| names.next().map(|name| self.stores.sync(Place::Blocks, name))).await
            }
            Fresh::Many => self.stores.flush_blocks(&self.name).await,
        };
        if synced.is_err() {
            *self.fresh.borrow_mut() = Fresh::Many;
        }
        synced
    }

    /// Writes what was logged, in order, together with what others logged meanwhile.
    pub(crate) async fn append_log(&self) -> Result<(), Failure> {
        let _turn = self.appending.enter().await;
        self.fence()?;
        let append = self.map.borrow_mut().take_log();
        match append {
            Some(append) => self.or_over(self.write_log(&append).await),
            // Somebody else's append carried it.
            None => Ok(()),
        }
    }

    async fn write_log(&self, append: &LogAppend) -> Result<(), Failure> {
        let fence = self.fence()?;
        self.stores.write_at(&append.name, append.offset, &append.bytes, fence).await?;
        if append.durable {
            // Not FUA: the appends before this one must be durable, too.
            self.stores.sync(Place::Maps, &append.name).await?;
        }
        Ok(())
    }

    /// Everything so far is durable: blocks, then the log that names them. Nobody else changes the map meanwhile.
    pub(crate) async fn commit(&self) -> Result<(), Failure> {
        self.sync_made().await?;
        self.map.borrow_mut().commit();
        self.append_log().await
    }

    /// Makes the map ready for changes.
    pub(crate) async fn begin(&self) -> Result<(), Failure> {
        let _turn = self.beginning.enter().await;
        self.fence()?;
        if self.map.borrow().is_legacy() {
            self.upgrade().await?;
        }
        if self.map.borrow().is_changing() {
            return Ok(());
        }
        let begun = self.begin_changes().await;
        // What has begun halfway can neither begin again nor go on.
        self.or_over(begun)
    }

    async fn begin_changes(&self) -> Result<(), Failure> {
        let cause = self.same_cause();
        let plan = self.map.borrow_mut().begin(self.boot, cause).in_volume(&self.name)?;
        self.carry_out(plan).await?;
        if self.map.borrow().needs_checkpoint() {
            // A session that ended badly: first its changes must be whole in a tree of ours.
            self.checkpoint(Purpose::Continue, cause).await?;
            self.zero_tail().await?;
        }
        Ok(())
    }

    /// Writes a whole tree and a root that refers to it. Nobody else changes the map meanwhile.
    pub(crate) async fn checkpoint(&self, purpose: Purpose, cause: RequestId) -> Result<(), Failure> {
        self.append_log().await?;
        self.sync_made().await?;
        let plan = self.map.borrow_mut().checkpoint(purpose, cause).in_volume(&self.name)?;
        self.carry_out(plan).await
    }

    /// Leaves the volume clean: what changed is in the tree, and the root says that nobody changes it; unless blocks are partial.
    pub(crate) async fn finish(&self) -> Result<(), Failure> {
        if self.map.borrow().root().state != RootState::Changing {
            return Ok(());
        }
        self.begin().await?;
        if self.map.borrow().has_partial() {
            // A composer may still write to them: they stay as they are, for whoever opens the volume next.
            return self.commit().await;
        }
        self.checkpoint(Purpose::Close, self.same_cause()).await
    }

    pub(crate) async fn carry_out(&self, plan: Plan) -> Result<(), Failure> {
        let written = self.write_plan(&plan).await;
        self.or_over(written)?;
        self.map.borrow_mut().done();
        self.stores.delete_later(plan.map_deletes, plan.block_deletes);
        Ok(())
    }

    async fn write_plan(&self, plan: &Plan) -> Result<(), Failure> {
        let fence = self.fence()?;
        if let Some(seal) = &plan.seal {
            self.write_log(seal).await?;
        }
        if let Some(carried) = &plan.carried {
            // An attempt that failed may have left a longer one.
            self.stores.replace(&carried.name, &carried.bytes, fence).await?;
        }
        self.stores.write_nodes(&plan.writes, fence).await?;
        self.stores.replace(&self.name, &plan.root, fence).await
    }
}

impl Stores {
    /// Writes nodes, each a new object.
    pub(crate) async fn write_nodes(&self, nodes: &[Write], fence: &Fence) -> Result<(), Failure> {
        let mut nodes = nodes.iter();
        parallel::each(|| nodes.next().map(|node| self.create(&node.name, &node.bytes, Some(fence)))).await
    }

    /// Deletes what nothing refers to any more. Nobody waits for it; what is left over is the collector's.
    pub(crate) fn delete_later(&self, maps: Vec<ObjectName>, blocks: Vec<ObjectName>) {
        if maps.is_empty() && blocks.is_empty() {
            return;
        }
        let stores = self.clone();
        self.spawn(async move {
            let maps = maps.iter().map(|name| (Place::Maps, name));
            let mut all = maps.chain(blocks.iter().map(|name| (Place::Blocks, name)));
            let deleted: Result<(), Failure> =
                parallel::each(|| all.next().map(|(place, name)| stores.delete(place, name, None))).await;
            if let Err(failure) = deleted {
                tracing::warn!(error = %failure, "objects that nothing refers to are left to the collector");
            }
        });
    }
}
