//! Collect: deletes what no map refers to, while volumes are in use.
//!
//! A collection goes over the names of our objects in order, a bounded piece at a time: it takes a census, walks the trees
//! and marks the names after the point it has reached, as many as fit in memory, and deletes those up to there that are not
//! marked. So it needs no more memory for a larger store, only more walks. A step does a bounded amount of that. Between
//! steps the marks are kept; if they are lost, the piece is begun again.

use std::{cell::Cell, collections::BTreeMap};

use peer::tasks::Gate;
use protocol::{Failure, Flags, List};
use volume::{ObjectName, ParsedName};

use crate::{
    asked::{Answer, Asked},
    census::{Census, Standing},
    failure::invalid,
    kept::Kept,
    kinds::{Kind, key_of, name_of},
    marks::Marks,
    original_blocks::OriginalBlocks,
    store_calls::{Place, Stores},
    tally::{STEP_WORK, Tally},
    tree_walk::{Depth, Missing, TreeWalk, Visit},
};

/// Most names marked at a time: 24 bytes each, twice while they are sorted. Few in tests, so that they see many pieces.
const MARKS_MAX: usize = if cfg!(test) { 8 } else { 1 << 20 };
/// Most pieces that are kept between their steps: one of a dry collection beside another one's.
const KEPT_MAX: usize = 2;

/// What resume points of the parts after the last kind begin with: no kind's prefix does.
const LEFTOVERS: &[u8] = b"t.";
const ORIGINALS: &[u8] = b"o.";

/// A piece of a collection that is under way.
struct Collection {
    kind: Kind,
    /// The last name that was dealt with; empty at the beginning.
    after: Vec<u8>,
    census: Census,
    marks: Marks,
    walk: TreeWalk,
    is_marked: bool,
}

/// Collects, one step at a time.
pub(crate) struct Collector {
    stores: Stores,
    turn: Gate,
    pieces: Kept<Collection, KEPT_MAX>,
    originals: OriginalBlocks,
    missing: Missing,
    /// Objects and bytes, by all steps.
    deleted: Cell<(u64, u64)>,
}

impl Collector {
    pub(crate) fn new(stores: Stores) -> Collector {
        Collector {
            originals: OriginalBlocks::new(stores.clone()),
            stores,
            turn: Gate::default(),
            pieces: Kept::default(),
            missing: Missing::default(),
            deleted: Cell::default(),
        }
    }

    /// Objects and bytes that were deleted.
    pub(crate) fn deleted(&self) -> (u64, u64) {
        self.deleted.get()
    }

    /// One step. Without the flag `FORCE` nothing is deleted, only counted. The answer says where to go on.
    pub(crate) async fn step(&self, asked: &Asked) -> Result<Answer, Failure> {
        let argument: List = asked.argument()?;
        let _one = self.turn.enter().await;
        let mut tally = Tally::new(!asked.flags.contains(Flags::FORCE));
        let resume = self.step_from(&argument.after, &mut tally).await;
        let ((objects, bytes), (more, more_bytes)) = (self.deleted.get(), tally.deleted());
        self.deleted.set((objects + more, bytes.saturating_add(more_bytes)));
        Ok(tally.answer(resume?))
    }

    /// Where to go on; none at the end.
    async fn step_from(&self, point: &[u8], tally: &mut Tally) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(after) = point.strip_prefix(LEFTOVERS) {
            return self.collect_leftovers(after, tally).await.map(Some);
        }
        if let Some(after) = point.strip_prefix(ORIGINALS) {
            let next = self.originals.step(after, tally).await?;
            return Ok(next.map(|after| [ORIGINALS, &after].concat()));
        }
        let (kind, after) = point_of(point)?;
        let mut collection = match self.pieces.take(|kept| kept.kind == kind && kept.after == after) {
            Some(kept) => kept,
            None => self.new_piece(kind, after).await?,
        };
        let resume = self.collect_some(&mut collection, tally).await?;
        let point = match resume {
            Resume::Here | Resume::NewPiece => collection.point(),
            Resume::NextKind => kind.next().map_or(LEFTOVERS, Kind::prefix).to_vec(),
        };
        if resume == Resume::Here {
            self.pieces.keep(collection);
        }
        Ok(Some(point))
    }

    async fn collect_leftovers(&self, after: &[u8], tally: &mut Tally) -> Result<Vec<u8>, Failure> {
        let found = self.stores.leftovers(after, STEP_WORK).await?;
        tally.add_seen(found.seen);
        tally.remove(&self.stores, Place::Maps, found.tables).await?;
        let next = found.after.map(|after| [LEFTOVERS, &after].concat());
        Ok(next.unwrap_or_else(|| ORIGINALS.to_vec()))
    }

    async fn new_piece(&self, kind: Kind, after: Vec<u8>) -> Result<Box<Collection>, Failure> {
        let census = self.stores.census().await?;
        let reached = std::str::from_utf8(&after).ok().and_then(|name| key_of(&ParsedName::parse(name)));
        Ok(Box::new(Collection {
            kind,
            after,
            census,
            marks: Marks::new(reached, MARKS_MAX),
            walk: TreeWalk::default(),
            // Nothing but the root refers to a log.
            is_marked: kind == Kind::Log,
        }))
    }

    async fn collect_some(&self, collection: &mut Collection, tally: &mut Tally) -> Result<Resume, Failure> {
        if !collection.is_marked {
            return self.mark_some(collection).await;
        }
        while !tally.is_full() {
            let (kind, after) = (collection.kind, collection.after.clone());
            let page = self.stores.list(kind.place(), kind.prefix(), &after).await?;
            let Some(last) = page.names.last().cloned() else { return Ok(Resume::NextKind) };
            tally.add_seen(page.names.len());
            let Sorted { garbage, is_all_known } = self.sort(collection, &page.names).await?;
            tally.remove(&self.stores, kind.place(), garbage).await?;
            if !is_all_known {
                // Up to there all names were dealt with, whether there are such objects or not.
                let end = collection.marks.end().map(|end| name_of(kind, end));
                collection.after = end.map_or(after, |end| end.as_bytes().to_vec());
                return Ok(Resume::NewPiece);
            }
            collection.after = last;
            if !page.more {
                return Ok(Resume::NextKind);
            }
        }
        Ok(Resume::Here)
    }

    /// Walks on through the trees.
    async fn mark_some(&self, collection: &mut Collection) -> Result<Resume, Failure> {
        let depth = if collection.kind == Kind::Node { Depth::Nodes } else { Depth::Blocks };
        for _ in 0..STEP_WORK {
            let Collection { kind, census, marks, walk, is_marked, .. } = &mut *collection;
            match walk.visit(&self.stores, &self.missing, census.trees(), depth).await? {
                Visit::Node { key, .. } if *kind == Kind::Node => {
                    key.into_iter().for_each(|key| marks.add(key))
                }
                Visit::Node { leaf, .. } => {
                    let names = leaf.iter().flat_map(|leaf| leaf.object_names());
                    let keys = names.filter_map(|block| key_of(&ParsedName::parse(block.as_str())));
                    keys.for_each(|key| marks.add(key));
                }
                Visit::Overtaken => return Ok(Resume::NewPiece),
                Visit::End => {
                    marks.settle();
                    *is_marked = true;
                    break;
                }
            }
        }
        Ok(Resume::Here)
    }

    /// Which names of a page nothing refers to.
    async fn sort(&self, collection: &Collection, names: &[Vec<u8>]) -> Result<Sorted, Failure> {
        let mut sorted = Sorted { garbage: Vec::new(), is_all_known: true };
        let mut come = BTreeMap::new();
        for bytes in names {
            let name = std::str::from_utf8(bytes).ok().and_then(ObjectName::new);
            let Some(name) = name else { continue };
            let parsed = ParsedName::parse(name.as_str());
            let Some(key) = key_of(&parsed) else { continue };
            let Some(is_marked) = collection.marks.contains(&key) else {
                sorted.is_all_known = false;
                break;
            };
            let is_garbage = match collection.census.standing(&parsed) {
                Standing::Protected => false,
                Standing::Candidate => !is_marked,
                Standing::Ownerless(_) if is_marked => false,
                // Asked after the page was read: whoever made the object had its root before.
                Standing::Ownerless(id) => match come.get(&id) {
                    Some(has_come) => !has_come,
                    None => {
                        let has_come = self.stores.has_come(id).await?;
                        come.insert(id, has_come);
                        !has_come
                    }
                },
            };
            if is_garbage {
                sorted.garbage.push(name);
            }
        }
        Ok(sorted)
    }
}

struct Sorted {
    garbage: Vec<ObjectName>,
    /// Whether marks tell of all names of the page.
    is_all_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resume {
    /// With the same marks.
    Here,
    /// With a new census and new marks.
    NewPiece,
    NextKind,
}

impl Collection {
    /// Where to go on: the last name dealt with, or the prefix of the kind.
    fn point(&self) -> Vec<u8> {
        if self.after.is_empty() { self.kind.prefix().to_vec() } else { self.after.clone() }
    }
}

/// The kind and the name that a resume point stands for; the beginning, if it is empty.
fn point_of(resume: &[u8]) -> Result<(Kind, Vec<u8>), Failure> {
    if resume.is_empty() {
        return Ok((Kind::Block, Vec::new()));
    }
    let kind = Kind::ALL.into_iter().find(|kind| resume.starts_with(kind.prefix()));
    let kind = kind.ok_or_else(|| invalid("this is no point at which a collection goes on"))?;
    let after = if resume == kind.prefix() { Vec::new() } else { resume.to_vec() };
    Ok((kind, after))
}
