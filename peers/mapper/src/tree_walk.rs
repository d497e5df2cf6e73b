//! A walk through all trees of a census, a node at a time.

use std::{cell::RefCell, collections::HashSet};

use protocol::{ErrorKind, Failure};
use volume::{LeafBlocks, ObjectName, ParsedName, Root, Walk};

use crate::{failure::InVolume, kinds::key_of, marks::Key, store_calls::Stores};

/// Most nodes remembered as walked, so that what snapshots share is walked once: 24 bytes each. Beyond, it is walked again.
const WALKED_MAX: usize = 1 << 20;

/// Where a walk is.
#[derive(Default)]
pub(crate) struct TreeWalk {
    /// The tree to be walked next, and the walk through the one before.
    next: usize,
    walk: Option<Walk>,
    walked: HashSet<Key>,
}

/// How far down a walk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Leaves are named and not read.
    Nodes,
    Blocks,
}

/// What one step of a walk came to.
pub(crate) enum Visit {
    /// A node, and what a leaf holds that was not walked before.
    Node {
        key: Option<Key>,
        leaf: Option<LeafBlocks>,
    },
    /// A volume in use has replaced the node since the census, or was deleted.
    Overtaken,
    End,
}

/// What was last looked for in vain.
#[derive(Default)]
pub(crate) struct Missing(RefCell<Option<ObjectName>>);

impl Missing {
    /// Whether it was this; it is from now on.
    pub(crate) fn was(&self, name: &ObjectName) -> bool {
        self.0.replace(Some(name.clone())).is_some_and(|before| before == *name)
    }
}

impl TreeWalk {
    /// The next node of `trees`.
    ///
    /// # Errors
    /// `Corrupt` for a node that is not what was written, or is missing for the second time.
    pub(crate) async fn visit(
        &mut self,
        stores: &Stores,
        missing: &Missing,
        trees: &[Root],
        depth: Depth,
    ) -> Result<Visit, Failure> {
        let (walk, node) = loop {
            let node = self.walk.as_ref().and_then(Walk::next_node);
            if let (Some(walk), Some(node)) = (&mut self.walk, node) {
                break (walk, node);
            }
            let Some(root) = trees.get(self.next) else {
                *self = TreeWalk::default();
                return Ok(Visit::End);
            };
            self.next += 1;
            self.walk = Some(Walk::new(root));
        };
        let name = node.name();
        let key = name.as_ref().and_then(|name| key_of(&ParsedName::parse(name.as_str())));
        let is_known = key.is_some_and(|key| self.walked.contains(&key));
        let Some(name) = name.filter(|_| !is_known && (depth == Depth::Blocks || node.level > 0)) else {
            walk.skip();
            return Ok(Visit::Node { key, leaf: None });
        };
        let bytes = match stores.read_whole(&name).await {
            // A later census does not lead to a node that was replaced; to one that is lost it does.
            Err(failure) if failure.kind == ErrorKind::NotFound && !missing.was(&name) => {
                return Ok(Visit::Overtaken);
            }
            Err(failure) if failure.kind == ErrorKind::NotFound => {
                let message = format!("cannot collect: a volume uses node {name}, which is missing");
                return Err(Failure::new(ErrorKind::Corrupt, message));
            }
            other => other?,
        };
        let leaf = walk.load(&bytes).in_volume(&name)?;
        if let Some(key) = key.filter(|_| self.walked.len() < WALKED_MAX) {
            self.walked.insert(key);
        }
        Ok(Visit::Node { key, leaf })
    }
}
