//! Collect: deletes what no map refers to, while volumes are in use.
//!
//! A collection goes over the names of our objects in order, a bounded piece at a time: it takes a census, walks the trees
//! and marks the names after the point it has reached, as many as fit in memory, and deletes those up to there that are not
//! marked. So it needs no more memory for a larger store, only more walks. A step does a bounded amount of that. Between
//! steps the marks are kept; if they are lost, the piece is begun again.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
};

use protocol::{Collected, ErrorKind, Failure, Flags, List, Message};
use volume::{ObjectName, ParsedName};

use crate::{
    asked::{Answer, Asked},
    census::{Census, Standing},
    failure::invalid,
    kinds::{Kind, key_of, name_of},
    listing::cut,
    marks::Marks,
    original_blocks::Step,
    parallel,
    service::Service,
    store_calls::Place,
    tree_walk::{Depth, TreeWalk, Visit},
};

/// Most names marked at a time: 24 bytes each, twice while they are sorted. Few in tests, so that they see many pieces.
const MARKS_MAX: usize = if cfg!(test) { 8 } else { 1 << 20 };
/// The longest reason that an answer has room for, in bytes.
const SPARED_BYTES: usize = 400;
/// Nodes read, or names looked at, in one step.
pub(crate) const STEP_WORK: u64 = if cfg!(test) { 16 } else { 4096 };

/// What resume points of the parts after the last kind begin with: no kind's prefix does.
const LEFTOVERS: &[u8] = b"t.";
const ORIGINALS: &[u8] = b"o.";

/// A piece of a collection that is under way.
pub(crate) struct Collection {
    kind: Kind,
    /// The last name that was dealt with; empty at the beginning.
    after: Vec<u8>,
    census: Census,
    marks: Marks,
    walk: TreeWalk,
    is_marked: bool,
}

/// What one step found.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) seen: u64,
    removed: u64,
    removed_bytes: u64,
    /// Why the original's blocks were left alone.
    spared: Option<String>,
}

impl Tally {
    fn answer(self, resume: Option<Vec<u8>>) -> Answer {
        let Tally { seen, removed, removed_bytes, spared } = self;
        let spared = spared.map(|reason| cut(reason, SPARED_BYTES));
        Answer::Argument(Collected { seen, removed, removed_bytes, resume, spared }.encode())
    }
}

impl Service {
    /// One step. Without the flag `FORCE` nothing is deleted, only counted. The answer says where to go on.
    pub(crate) async fn collect(&self, asked: &Asked) -> Result<Answer, Failure> {
        let argument: List = asked.argument()?;
        let _one = self.collecting.enter().await;
        let is_dry = !asked.flags.contains(Flags::FORCE);
        if let Some(after) = argument.after.strip_prefix(LEFTOVERS) {
            return self.collect_leftovers(after, is_dry).await;
        }
        if let Some(after) = argument.after.strip_prefix(ORIGINALS) {
            let mut tally = Tally::default();
            return Ok(match self.collect_originals(after, is_dry, &mut tally).await? {
                Step::After(after) => tally.answer(Some([ORIGINALS, &after].concat())),
                Step::Done => tally.answer(None),
                Step::Vetoed(reason) => Tally { spared: Some(reason), ..tally }.answer(None),
            });
        }
        let (kind, after) = point_of(&argument.after)?;
        let kept = kept_piece(&self.collections, |kept| kept.kind == kind && kept.after == after);
        let mut collection = match kept {
            Some(kept) => kept,
            None => self.new_piece(kind, after).await?,
        };
        let mut tally = Tally::default();
        let resume = self.collect_some(&mut collection, is_dry, &mut tally).await?;
        let point = match resume {
            Resume::Here | Resume::NewPiece => collection.point(),
            Resume::NextKind => kind.next().map_or(LEFTOVERS, Kind::prefix).to_vec(),
        };
        if resume == Resume::Here {
            keep_piece(&self.collections, collection);
        }
        Ok(tally.answer(Some(point)))
    }

    async fn collect_leftovers(&self, after: &[u8], is_dry: bool) -> Result<Answer, Failure> {
        let found = self.stores.leftovers(after, STEP_WORK).await?;
        let mut tally = Tally { seen: found.seen, ..Tally::default() };
        self.remove(Place::Maps, found.tables, is_dry, &mut tally).await?;
        let next = found.after.map(|after| [LEFTOVERS, &after].concat());
        Ok(tally.answer(Some(next.unwrap_or_else(|| ORIGINALS.to_vec()))))
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

    async fn collect_some(
        &self,
        collection: &mut Collection,
        is_dry: bool,
        tally: &mut Tally,
    ) -> Result<Resume, Failure> {
        if !collection.is_marked {
            return self.mark_some(collection).await;
        }
        while tally.seen < STEP_WORK {
            let (kind, after) = (collection.kind, collection.after.clone());
            let page = self.stores.list(kind.place(), kind.prefix(), &after).await?;
            let Some(last) = page.names.last().cloned() else { return Ok(Resume::NextKind) };
            tally.seen += u64::try_from(page.names.len()).unwrap_or(0);
            let Sorted { garbage, is_all_known } = self.sort(collection, &page.names).await?;
            self.remove(kind.place(), garbage, is_dry, tally).await?;
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
            match self.visit(walk, census.trees(), depth).await? {
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

    pub(crate) async fn remove(
        &self,
        place: Place,
        garbage: Vec<ObjectName>,
        is_dry: bool,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let sum = RefCell::new((0_u64, 0_u64));
        let sums = &sum;
        let mut names = garbage.iter();
        parallel::each(|| {
            names.next().map(|name| async move {
                let size = match self.stores.size(place, name).await {
                    Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(()),
                    other => other?,
                };
                if !is_dry {
                    self.stores.delete(place, name, None).await?;
                }
                let mut sums = sums.borrow_mut();
                *sums = (sums.0 + 1, sums.1.saturating_add(size));
                Ok::<(), Failure>(())
            })
        })
        .await?;
        let (removed, bytes) = sum.into_inner();
        tally.removed += removed;
        tally.removed_bytes = tally.removed_bytes.saturating_add(bytes);
        if !is_dry {
            let (objects, all_bytes) = self.collected.get();
            self.collected.set((objects + removed, all_bytes.saturating_add(bytes)));
        }
        Ok(())
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

/// Pieces kept between steps, so that collections beside each other, one of them dry perhaps, both come to an end.
pub(crate) type Kept<P> = RefCell<VecDeque<Box<P>>>;

/// Most pieces that are kept; beyond, the one that was not asked for longest is begun again.
const KEPT_MAX: usize = 2;

pub(crate) fn kept_piece<P>(kept: &Kept<P>, is_wanted: impl Fn(&P) -> bool) -> Option<Box<P>> {
    let mut kept = kept.borrow_mut();
    let at = kept.iter().position(|piece| is_wanted(piece))?;
    kept.remove(at)
}

pub(crate) fn keep_piece<P>(kept: &Kept<P>, piece: Box<P>) {
    let mut kept = kept.borrow_mut();
    kept.truncate(KEPT_MAX - 1);
    kept.push_front(piece);
}
