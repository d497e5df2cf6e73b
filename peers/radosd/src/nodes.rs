//! Which nodes use the locks of a pool: docs/formats.md#node-record
//!
//! One object has the records of all, and everybody watches it. Who answers a notification lives; the answer is its record, with
//! what it does at this moment. Everything here blocks, for a thread of the pool.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use peer::node::unix_ms;
use serde::{Deserialize, Serialize};
use store::{ErrorKind, Node, NodeRecord};

use crate::fault::{Result, if_found};
use crate::librados::{Buffer, Context, Heard, Watch};
use crate::locks::has_lost;

/// The nodes of a pool and namespace, as one client sees them.
pub(crate) struct Register {
    context: Arc<Context>,
    /// This stack; none where locks are kept for nobody in particular.
    own: Option<NodeRecord>,
}

/// The object that has the records.
const OBJECT: &CStr = c"%n";
const VERSION: u32 = 1;
/// Longer is no list of records, in bytes.
const BYTES_MAX: usize = 256 << 10;
/// How often a change is tried again because others changed the list meanwhile.
const TRIES_MAX: usize = 64;
/// How long a stack has to say that it lives, before another gets its name.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// How long those who are only looked at have.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    version: u32,
    nodes: Vec<NodeRecord>,
}

impl Register {
    pub(crate) fn new(context: Arc<Context>, own: Option<NodeRecord>) -> Self {
        Self { context, own }
    }

    /// Becomes the node that its record names; gives the record of another stack that lives and is it already.
    pub(crate) fn join(&self) -> Result<Option<NodeRecord>> {
        let Some(own) = &self.own else { return Ok(None) };
        let mut taken = None;
        self.change(|nodes| {
            let holder =
                nodes.iter().find(|node| node.name == own.name && node.is_running && !node.is_same(own));
            if let Some(holder) = holder
                && self.answers(CLAIM_PATIENCE)?.iter().any(|node| node.is_same(holder))
            {
                taken = Some(holder.clone());
                return Ok(false);
            }
            nodes.retain(|node| node.name != own.name);
            nodes.push(own.clone());
            Ok(true)
        })?;
        Ok(taken)
    }

    /// Tells the others that this stack stops in order, unless its name is another's by now.
    pub(crate) fn leave(&self) -> Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        self.change(|nodes| {
            let Some(node) = nodes.iter_mut().find(|node| node.is_same(own)) else { return Ok(false) };
            (node.is_running, node.since_unix_ms) = (false, unix_ms());
            Ok(true)
        })
    }

    /// Begins to watch, so that this stack can answer; none if it is no node.
    pub(crate) fn watch(&self, tell: impl Fn(Heard) + Send + Sync + 'static) -> Result<Option<Watch>> {
        match self.own {
            Some(_) => Ok(Some(Watch::start(&self.context, OBJECT, Box::new(tell))?)),
            None => Ok(None),
        }
    }

    /// What this stack answers.
    pub(crate) fn answer(&self, waits: Vec<store::LockWait>) -> Vec<u8> {
        let Some(mut own) = self.own.clone() else { return Vec::new() };
        own.set_waits(waits);
        serde_json::to_vec(&own).unwrap_or_default()
    }

    /// All that are known, in order of their names.
    pub(crate) fn list(&self) -> Result<Vec<Node>> {
        let (known, _) = self.read()?;
        let answers = if known.is_empty() { Vec::new() } else { self.answers(LOOK_PATIENCE)? };
        let dead = known.into_iter().filter(|node| !answers.iter().any(|alive| alive.is_same(node)));
        let dead = dead.map(|record| (record, false)).collect::<Vec<_>>();
        let all = answers.into_iter().map(|record| (record, true)).chain(dead);
        let is_here = |record: &NodeRecord| self.own.as_ref().is_some_and(|own| own.is_same(record));
        let mut nodes: Vec<Node> = all
            .map(|(record, is_alive)| Node { is_here: is_here(&record), record, is_alive })
            .take(NodeRecord::NODES_MAX)
            .collect();
        nodes.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        Ok(nodes)
    }

    /// What those say who live.
    fn answers(&self, patience: Duration) -> Result<Vec<NodeRecord>> {
        let answers = if_found(self.context.notify_now(OBJECT, patience))?.unwrap_or_default();
        let told = answers.iter().filter_map(|answer| serde_json::from_slice::<NodeRecord>(answer).ok());
        Ok(told.filter(NodeRecord::is_known).collect())
    }

    /// The records, and the version of their object, 0 if there is none.
    fn read(&self) -> Result<(Vec<NodeRecord>, u64)> {
        let Some((bytes, version)) = if_found(self.context.read_now(OBJECT, 0, BYTES_MAX))? else {
            return Ok((Vec::new(), 0));
        };
        // What makes no sense is replaced by the next one who comes.
        let list: List = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok((if list.version == VERSION { list.nodes } else { Vec::new() }, version))
    }

    /// Changes the records, again and again until nobody came between; not at all if `change` says so.
    fn change(&self, mut change: impl FnMut(&mut Vec<NodeRecord>) -> Result<bool>) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let (mut nodes, version) = self.read()?;
            if !change(&mut nodes)? {
                return Ok(());
            }
            shorten(&mut nodes);
            let text = serde_json::to_vec(&List { version: VERSION, nodes }).unwrap_or_default();
            let bytes = Buffer::of(&text);
            let begun = self.context.change();
            let begun = if version == 0 { begun.create(true) } else { begun.assert_version(version) };
            match self.context.operate_now(OBJECT, begun.write_full(bytes.region())) {
                Ok(_) => return Ok(()),
                Err(error) if has_lost(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ErrorKind::Busy.into())
    }
}

/// Forgets who stopped or died long ago: the oldest first, if there are too many.
fn shorten(nodes: &mut Vec<NodeRecord>) {
    let now = unix_ms();
    nodes.retain(|node| node.is_running || !node.is_history(now));
    nodes.sort_by_key(|node| (!node.is_running, u64::MAX - node.since_unix_ms));
    nodes.truncate(NodeRecord::NODES_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_run_are_remembered_longest() {
        let now = unix_ms();
        let record = |name: usize, since, is_running| NodeRecord {
            is_running,
            ..NodeRecord::new(&name.to_string(), "host", "boot", 1, since)
        };
        let mut nodes: Vec<_> = (0..130).map(|name| record(name, now, false)).collect();
        nodes.push(record(130, 1, true));
        nodes.push(record(131, 1, false));
        shorten(&mut nodes);
        assert_eq!((nodes.len(), nodes[0].name.as_str()), (NodeRecord::NODES_MAX, "130"));
        assert!(nodes.iter().all(|node| node.name != "131"));
    }
}
