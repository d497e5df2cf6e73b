//! The part of a check that is about one volume's blocks: those that its logs name, then its tree and what that names.

use std::{
    cell::RefCell,
    collections::{HashSet, VecDeque},
};

use protocol::{ErrorKind, Failure, Finding};
use volume::{
    BlockIndex, BootId, FANOUT, Header, LeafBlocks, LegacyMap, LoggedBlock, NodeKey, ObjectName, ParsedName,
    Root, RootState, Walk,
};

use crate::{
    failure::InVolume,
    findings::{self, Findings},
    kinds::key_of,
    loading::NO_BOOT,
    marks::Key,
    parallel,
    store_calls::{Place, Stores},
};

/// Most nodes remembered as whole, so that what snapshots share is looked at once: 24 bytes each.
const WHOLE_MAX: usize = 1 << 20;

/// A volume that is being looked at.
pub(crate) struct Tree {
    pub(crate) name: ObjectName,
    /// Where it is in the list: under its former name, perhaps.
    pub(crate) listed: Vec<u8>,
    /// The object of its header, and what it says.
    object: ObjectName,
    header: Vec<u8>,
    block_size: u64,
    rest: Rest,
    pub(crate) attempts: u32,
}

/// What of it is still to be looked at: logs, the blocks that they name, nodes; or tables.
enum Rest {
    Logs(Box<Root>),
    Logged(VecDeque<LoggedBlock>, Box<Root>),
    Nodes(Walk),
    /// The next leaf.
    Tables(Box<LegacyMap>, u64),
}

/// What one look at a tree came to.
pub(crate) enum Looked {
    Whole,
    Wrong(Vec<Finding>),
    End,
}

/// A block that something names.
struct Named {
    index: BlockIndex,
    object: ObjectName,
    /// Whether it need not be there.
    is_partial: bool,
}

impl Tree {
    pub(crate) fn new(
        name: ObjectName,
        listed: &[u8],
        object: ObjectName,
        header: Vec<u8>,
        decoded: Header,
    ) -> Tree {
        let (block_size, rest) = match decoded {
            Header::Root(root) if root.state == RootState::Changing => {
                (root.block_size, Rest::Logs(Box::new(root)))
            }
            Header::Root(root) => (root.block_size, Rest::Nodes(Walk::new(&root))),
            Header::Legacy(map) => (map.root.block_size, Rest::Tables(Box::new(map), 0)),
        };
        let listed = listed.to_vec();
        Tree { name, listed, object, header, block_size: u64::from(block_size), rest, attempts: 0 }
    }

    /// Looks at a node, a table, or as many blocks as a leaf may have.
    pub(crate) async fn next(
        &mut self,
        stores: &Stores,
        boot: BootId,
        whole: &mut HashSet<Key>,
        findings: &mut Findings,
    ) -> Result<Looked, Failure> {
        match &mut self.rest {
            Rest::Logs(_) => self.look_at_logs(stores, boot).await,
            Rest::Logged(..) => self.look_at_logged(stores, findings).await,
            Rest::Nodes(_) => self.look_at_node(stores, whole, findings).await,
            Rest::Tables(..) => self.look_at_table(stores, findings).await,
        }
    }

    async fn look_at_logs(&mut self, stores: &Stores, boot: BootId) -> Result<Looked, Failure> {
        let Rest::Logs(root) = &self.rest else { return Ok(Looked::End) };
        let (root, mut wrong) = (root.clone(), Vec::new());
        let blocks = match stores.logged(&self.name, &root, boot).await {
            Ok(blocks) => blocks,
            Err(failure) if failure.kind == ErrorKind::Corrupt => {
                wrong.push(findings::damaged_log(&self.name, &failure));
                Vec::new()
            }
            Err(failure) => return Err(failure),
        };
        let is_protected = |block: &LoggedBlock| root.protects(&ParsedName::parse(block.name.as_str()));
        let open = blocks.iter().filter(|block| !is_protected(block));
        let open = open.map(|block| (block.index, block.name.clone())).collect();
        wrong.extend(findings::unprotected_blocks(&self.name, open));
        self.rest = Rest::Logged(blocks.into(), root);
        Ok(Looked::Wrong(wrong))
    }

    async fn look_at_logged(&mut self, stores: &Stores, findings: &mut Findings) -> Result<Looked, Failure> {
        let Rest::Logged(blocks, root) = &mut self.rest else { return Ok(Looked::End) };
        if blocks.is_empty() {
            self.rest = Rest::Nodes(Walk::new(root));
            return Ok(Looked::Whole);
        }
        let some = blocks.drain(..blocks.len().min(FANOUT));
        let some =
            some.map(|LoggedBlock { index, name, is_partial }| Named { index, object: name, is_partial });
        let wrong = stores.wrong_blocks(&self.name, some, self.block_size, findings).await?;
        Ok(Looked::Wrong(wrong))
    }

    async fn look_at_node(
        &mut self,
        stores: &Stores,
        whole: &mut HashSet<Key>,
        findings: &mut Findings,
    ) -> Result<Looked, Failure> {
        let Tree { name, block_size, rest, .. } = self;
        let Rest::Nodes(walk) = rest else { return Ok(Looked::End) };
        let Some(node) = walk.next_node() else { return Ok(Looked::End) };
        let object = node.name();
        let key = object.as_ref().and_then(|object| key_of(&ParsedName::parse(object.as_str())));
        let is_whole = key.is_some_and(|key| whole.contains(&key));
        let Some(object) = object.filter(|_| !is_whole) else {
            walk.skip();
            return Ok(Looked::Whole);
        };
        findings.seen += 1;
        let read = stores.read_whole(&object).await;
        let leaf = match read.and_then(|bytes| walk.load(&bytes).in_volume(name)) {
            Ok(leaf) => leaf,
            Err(failure) => {
                walk.skip();
                return wrong_node(name, &object, blocks_below(&node), &failure);
            }
        };
        // An inner node says nothing of those below it.
        let Some(leaf) = leaf else { return Ok(Looked::Whole) };
        let wrong = stores.wrong_blocks(name, named_by(&leaf), *block_size, findings).await?;
        if let Some(key) = key.filter(|_| wrong.is_empty() && whole.len() < WHOLE_MAX) {
            whole.insert(key);
        }
        Ok(Looked::Wrong(wrong))
    }

    async fn look_at_table(&mut self, stores: &Stores, findings: &mut Findings) -> Result<Looked, Failure> {
        let Tree { name, block_size, rest, .. } = self;
        let Rest::Tables(map, index) = rest else { return Ok(Looked::End) };
        let at = *index;
        if at >= map.leaf_count() {
            return Ok(Looked::End);
        }
        *index += 1;
        findings.seen += 1;
        let reads = map.reads(at);
        let read = stores.read_ranges(&reads).await;
        match read.and_then(|bytes| map.decode_leaf(at, &bytes).in_volume(name)) {
            Ok(leaf) => {
                let leaf = LeafBlocks::new(at, leaf);
                let wrong = stores.wrong_blocks(name, named_by(&leaf), *block_size, findings).await?;
                Ok(Looked::Wrong(wrong))
            }
            Err(failure) => {
                let table = reads.first().map_or(&map.name, |range| &range.name);
                let blocks = map.leaf_blocks(at);
                wrong_node(name, table, (blocks.start.0, blocks.end.0 - blocks.start.0), &failure)
            }
        }
    }
}

fn named_by(leaf: &LeafBlocks) -> impl Iterator<Item = Named> {
    leaf.entries().filter_map(|(index, entry)| {
        Some(Named { index, object: entry.object_name(index)?, is_partial: false })
    })
}

/// The first block below a node, and how many there may be.
fn blocks_below(node: &NodeKey) -> (u64, u64) {
    let count = (0..node.level).fold(FANOUT as u64, |count, _| count.saturating_mul(FANOUT as u64));
    (node.index.saturating_mul(count), count)
}

/// A node or table that is not what its parent says; or why that cannot be told.
fn wrong_node(
    volume: &ObjectName,
    object: &ObjectName,
    blocks: (u64, u64),
    failure: &Failure,
) -> Result<Looked, Failure> {
    match failure.kind {
        ErrorKind::NotFound | ErrorKind::Corrupt => {
            Ok(Looked::Wrong(vec![findings::wrong_node(volume, object, blocks, failure)]))
        }
        _ => Err(failure.clone()),
    }
}

impl Stores {
    /// The blocks that the logs of a volume name for certain, on this start of the machine. `Corrupt`: they cannot be read.
    async fn logged(
        &self,
        name: &ObjectName,
        root: &Root,
        boot: BootId,
    ) -> Result<Vec<LoggedBlock>, Failure> {
        let lock = match self.lock_info(name).await {
            Ok(lock) => Some(lock).filter(|lock| lock.owner.as_deref() == Some(self.node())),
            Err(failure) if failure.kind == ErrorKind::Corrupt => None,
            Err(failure) => return Err(failure),
        };
        // What is not committed may be lost, unless this start of this machine wrote it.
        let boot = lock.map_or(NO_BOOT, |lock| boot.under(lock.number));
        let logs = self.read_logs(name, root, Some(boot)).await?;
        logs.blocks(root).map_err(|error| Failure::new(ErrorKind::Corrupt, format!("volume {name}: {error}")))
    }

    /// Whether the header is the one that the look began with.
    pub(crate) async fn is_still(&self, tree: &Tree) -> Result<bool, Failure> {
        let length = u64::try_from(tree.header.len()).unwrap_or(0);
        match self.read(&tree.object, 0, length).await {
            Ok(bytes) => Ok(bytes == tree.header),
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// What is wrong with some blocks.
    async fn wrong_blocks(
        &self,
        volume: &ObjectName,
        mut blocks: impl Iterator<Item = Named>,
        block_size: u64,
        findings: &mut Findings,
    ) -> Result<Vec<Finding>, Failure> {
        let (missing, long) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let (missing_blocks, long_blocks) = (&missing, &long);
        let mut seen = 0;
        parallel::each(|| {
            let Named { index, object, is_partial } = blocks.next()?;
            seen += 1;
            Some(async move {
                match self.size(Place::Blocks, &object).await {
                    Ok(size) if size > block_size => long_blocks.borrow_mut().push((index, object)),
                    Ok(_) => {}
                    Err(failure) if failure.kind == ErrorKind::NotFound => {
                        if !is_partial {
                            missing_blocks.borrow_mut().push((index, object));
                        }
                    }
                    Err(failure) => return Err(failure),
                }
                Ok(())
            })
        })
        .await?;
        findings.seen += seen;
        let missing = findings::missing_blocks(volume, missing.into_inner());
        let long = findings::long_blocks(volume, long.into_inner(), block_size);
        Ok(missing.into_iter().chain(long).collect())
    }
}
