//! The very last part of a collection: blocks of the original that no map refers to, neither of ours nor of the original's.
//!
//! As with ours, in pieces: what trees and tables refer to is marked, as many names as fit in memory, and what is not marked
//! up to there is deleted if its name can be nothing else.

use protocol::{ErrorKind, Failure};
use volume::{LeafBlocks, LegacyMap, LegacyVersion, ObjectName};

use crate::{
    census::Census,
    failure::InVolume,
    kept::Kept,
    kinds::after_page,
    loading::Found,
    marks::Marks,
    originals::is_of_version_1,
    store_calls::{Place, Stores},
    tally::{STEP_WORK, Tally},
    tree_walk::{Depth, Missing, TreeWalk, Visit},
};

/// Most names marked at a time: 280 bytes each at most, twice while they are sorted.
const MARKS_MAX: usize = if cfg!(test) { 4 } else { 1 << 16 };
/// Most pieces that are kept between their steps: one of a dry collection beside another one's.
const KEPT_MAX: usize = 2;

/// A piece of this part that is under way.
struct Piece {
    /// The last name that was dealt with; empty at the beginning.
    after: Vec<u8>,
    census: Census,
    marks: Marks<Vec<u8>>,
    /// Where marking is; none once it is done.
    marking: Option<Marking>,
}

enum Marking {
    Trees(TreeWalk),
    /// The map, and the leaf of it.
    Tables(usize, u64),
}

/// This part, one step at a time.
pub(crate) struct OriginalBlocks {
    stores: Stores,
    pieces: Kept<Piece, KEPT_MAX>,
    missing: Missing,
}

impl OriginalBlocks {
    pub(crate) fn new(stores: Stores) -> OriginalBlocks {
        OriginalBlocks { stores, pieces: Kept::default(), missing: Missing::default() }
    }

    /// One step, after the names up to `after`. The name to go on after; none at the end, or if nothing may be deleted.
    pub(crate) async fn step(&self, after: &[u8], tally: &mut Tally) -> Result<Option<Vec<u8>>, Failure> {
        let mut piece = match self.pieces.take(|kept| kept.after == after) {
            Some(kept) => kept,
            None => Box::new(Piece {
                after: after.to_vec(),
                census: self.stores.census().await?,
                marks: Marks::new(Some(after.to_vec()), MARKS_MAX),
                marking: Some(Marking::Trees(TreeWalk::default())),
            }),
        };
        let originals = piece.census.originals();
        if let Some(veto) = originals.veto() {
            tally.spare(veto);
            return Ok(None);
        }
        if originals.is_empty() {
            return Ok(None);
        }
        let next = match piece.marking.take() {
            Some(marking) => self.mark(&mut piece, marking).await?,
            None => self.sweep(&mut piece, tally).await?,
        };
        Ok(match next {
            Next::Here => {
                let after = piece.after.clone();
                self.pieces.keep(piece);
                Some(after)
            }
            Next::NewPiece(after) => Some(after),
            Next::Done => None,
            Next::Vetoed(reason) => {
                tally.spare(reason);
                None
            }
        })
    }

    async fn mark(&self, piece: &mut Piece, mut marking: Marking) -> Result<Next, Failure> {
        for _ in 0..STEP_WORK {
            let names: Vec<ObjectName> = match &mut marking {
                Marking::Trees(walk) => match walk
                    .visit(&self.stores, &self.missing, piece.census.trees(), Depth::Blocks)
                    .await?
                {
                    Visit::Node { leaf, .. } => leaf.iter().flat_map(|leaf| leaf.object_names()).collect(),
                    Visit::Overtaken => return Ok(Next::NewPiece(piece.after.clone())),
                    Visit::End => {
                        marking = Marking::Tables(0, 0);
                        continue;
                    }
                },
                Marking::Tables(map, leaf) => {
                    let Some(table) = piece.census.originals().maps().get(*map) else {
                        piece.marks.settle();
                        return Ok(Next::Here);
                    };
                    if *leaf >= table.leaf_count() {
                        (*map, *leaf) = (*map + 1, 0);
                        continue;
                    }
                    *leaf += 1;
                    match self.names_in(table, *leaf - 1).await {
                        Ok(names) => names,
                        Err(failure) if !matches!(failure.kind, ErrorKind::NotFound | ErrorKind::Corrupt) => {
                            return Err(failure);
                        }
                        // It was upgraded or deleted since the census, or it is damaged.
                        Err(_) if !self.missing.was(&table.name) => {
                            return Ok(Next::NewPiece(piece.after.clone()));
                        }
                        Err(failure) => return Ok(Next::Vetoed(failure.message)),
                    }
                }
            };
            names.into_iter().for_each(|name| piece.marks.add(name.as_bytes().to_vec()));
        }
        piece.marking = Some(marking);
        Ok(Next::Here)
    }

    /// The blocks that a leaf of a map of the original refers to.
    async fn names_in(&self, map: &LegacyMap, index: u64) -> Result<Vec<ObjectName>, Failure> {
        let bytes = self.stores.read_ranges(&map.reads(index)).await?;
        let leaf = LeafBlocks::new(index, map.decode_leaf(index, &bytes).in_volume(&map.name)?);
        if map.version != LegacyVersion::V2 {
            // Its entries lie behind the header: if that is another one, they were overwritten.
            let now = self.stores.header_of(&map.name, None).await?;
            if now.is_none_or(|now: Found| now.root() != &map.root) {
                let message = format!("map {} was replaced while it was read", map.name);
                return Err(Failure::new(ErrorKind::Corrupt, message));
            }
        }
        Ok(leaf.object_names().collect())
    }

    async fn sweep(&self, piece: &mut Piece, tally: &mut Tally) -> Result<Next, Failure> {
        while !tally.is_full() {
            let page = self.stores.list(Place::Blocks, &[], &piece.after).await?;
            let Some(last) = page.names.last() else { return Ok(Next::Done) };
            tally.add_seen(page.names.len());
            let mut garbage = Vec::new();
            let mut beyond = None;
            for bytes in &page.names {
                match piece.marks.contains(bytes) {
                    Some(true) => {}
                    Some(false) => garbage.extend(self.garbage_of(piece, bytes).await?),
                    None => {
                        beyond = piece.marks.end();
                        break;
                    }
                }
            }
            tally.remove(&self.stores, Place::Blocks, garbage).await?;
            if let Some(end) = beyond {
                return Ok(Next::NewPiece(end));
            }
            piece.after = after_page(last);
            if !page.more {
                return Ok(Next::Done);
            }
        }
        Ok(Next::Here)
    }

    async fn garbage_of(&self, piece: &Piece, bytes: &[u8]) -> Result<Option<ObjectName>, Failure> {
        let name = std::str::from_utf8(bytes).ok().and_then(ObjectName::new);
        let may_be_garbage = |name: &ObjectName| piece.census.originals().may_be_garbage(name.as_str());
        let Some(name) = name.filter(may_be_garbage) else { return Ok(None) };
        if !is_of_version_1(name.as_str()) {
            return Ok(Some(name));
        }
        // Before version 0.4 a map could be named so as well: it may be one where both stores are one.
        match self.stores.size(Place::Maps, &name).await {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(Some(name)),
            other => other.map(|_| None),
        }
    }
}

enum Next {
    Here,
    /// With a new census and new marks, after this name.
    NewPiece(Vec<u8>),
    Done,
    Vetoed(String),
}
